"""Deadlines watched by a thread: a step that hangs ends the process, even if it is the event loop that hangs.

Must not know what the steps do.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

log = logging.getLogger(__name__)

CHECK_S = 0.2
STUCK = 1
"""Exit status of a process that was ended."""


class Watch:
    """Ends the process when a step is not over `limit_s` seconds after it was begun or last seen going on."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._ends: dict[str, float] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def begin(self, step: str, limit_s: float | None = None) -> None:
        """Begin a step, or say that it goes on; `limit_s` None: the watch's own limit."""
        self._ends[step] = monotonic() + (self._limit_s if limit_s is None else limit_s)

    def end(self, step: str) -> None:
        """The step is over; it need not have been begun."""
        self._ends.pop(step, None)

    @contextmanager
    def step(self, step: str) -> Iterator[None]:
        """A step that is over with the block."""
        self.begin(step)
        try:
            yield
        finally:
            self.end(step)

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(CHECK_S):
            now = monotonic()
            for step, end in list(self._ends.items()):
                if now > end:
                    log.critical("%s took too long: the process ends", step)
                    logging.shutdown()
                    os._exit(STUCK)
