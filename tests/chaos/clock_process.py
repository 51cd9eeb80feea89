"""The clock as a process whose machine may be wrong: a file says by how many seconds.

The file lies in the directory of the stack, so that the process finds it; without it the time is right.
"""

from pathlib import Path

from streams.clock import run_clock
from streams.settings import load
from streams.timepieces import MACHINE, Timepieces

FILE = "clock-offset-s"


def run() -> int:
    """Tick until told to stop. Returns the exit status."""
    settings = load()
    file = Path(settings.directory) / FILE

    def wall() -> float:
        try:
            return MACHINE.wall() + float(file.read_text())
        except FileNotFoundError:
            return MACHINE.wall()

    return run_clock(settings, Timepieces(wall=wall, boot=MACHINE.boot, monotonic=MACHINE.monotonic))


if __name__ == "__main__":
    raise SystemExit(run())
