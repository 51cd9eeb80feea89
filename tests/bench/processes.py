"""Processes that a job starts: bound to it, ended by it, and what they have used."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from streams.embedded.supervisor import bind_to_parent

END_S = 10.0
"""For a process to end by itself once it has been told to."""
SHOWN_LINES = 5

_WHOLE_PROCESS = 2
"""What Linux makes the id of a process's CPU clock of, beside its pid: clock_getcpuclockid(3) does the same."""

CHECKOUT = Path(__file__).parents[2]


def cpu_s(pid: int) -> float:
    """CPU time that a process has taken, of all its threads, to the nanosecond. Raises OSError when it has ended."""
    return time.clock_gettime(~pid << 3 | _WHOLE_PROCESS)


class Process:
    """A process that writes what it says into a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                command,
                env={**environment, "PYTHONPATH": str(CHECKOUT)},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                process_group=0,  # Ctrl-C is for the job
                preexec_fn=bind_to_parent(os.getpid()),
            )
        self._usage = psutil.Process(self._popen.pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def cpu_s(self) -> float:
        """CPU time it has taken. Raises OSError when it has ended."""
        return cpu_s(self._popen.pid)

    def pss_bytes(self) -> int:
        """Memory, with its share of what it shares. Raises psutil.NoSuchProcess when it has ended."""
        return int(self._usage.memory_full_info().pss)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long."""
        self._popen.terminate()
        try:
            self._popen.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def last_words(self) -> str:
        """The end of what it said, in one line."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Process]:
    """A process for as long as the block lasts."""
    process = Process(command, environment, log)
    try:
        yield process
    finally:
        process.end()
