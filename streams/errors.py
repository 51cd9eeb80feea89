"""The errors that the pipeline tells apart. Everything else is a bug and ends the process."""


class BadInput(ValueError):
    """Input that can never be processed: `code: detail`. It goes to the dead-letter topic; the rest goes on."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


class Transient(Exception):
    """A fault outside that may pass: retried at the I/O edge, bounded and jittered; then the process ends."""


class Refused(Exception):
    """A command can't be carried out: the text names the thing, the value and what to do. Exit status 2."""
