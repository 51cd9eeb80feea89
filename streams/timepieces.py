"""What a process reads time from, in one place: a test or a simulation gives it others.

Must not know what the time is for. Nothing else that decides may ask the machine for the time.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple


class Timepieces(NamedTuple):
    """Three ways to read the time, all in seconds."""

    wall: Callable[[], float]
    """Since 1970, as the machine believes; it may jump."""
    boot: Callable[[], float]
    """Since the machine was started, sleep included; it never jumps."""
    monotonic: Callable[[], float]
    """For measuring how long something took."""

    def now(self) -> datetime:
        """The wall clock's instant, aware, in UTC."""
        return datetime.fromtimestamp(self.wall(), UTC)


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


MACHINE = Timepieces(wall=time.time, boot=_since_boot, monotonic=time.monotonic)
