"""Whether a worker process is at work, for its supervisor or orchestrator.

As a file, and as the answer of the endpoint (`streams.endpoint`). Must not know what the process does.
"""

from pathlib import Path


class Readiness:
    """Ready, or not and why."""

    def __init__(self, ready_file: str = "") -> None:
        """`ready_file` appears when the process is ready and goes when it is not; empty: no file."""
        self._file = Path(ready_file) if ready_file else None
        self.not_ready("it is starting")

    @property
    def reason(self) -> str | None:
        """Why it is not ready; None: it is."""
        return self._reason

    def ready(self) -> None:
        """It is at work."""
        self._reason: str | None = None
        if self._file is not None:
            self._file.touch()

    def not_ready(self, reason: str) -> None:
        """It is not at work, for a reason that a person understands."""
        self._reason = reason
        if self._file is not None:
            self._file.unlink(missing_ok=True)
