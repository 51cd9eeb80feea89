"""Who owns the directory of an embedded stack: whoever holds the lock on its file `lock`, which names the process.

Must not know what a stack is. The kernel gives the lock up when its holder ends, however that happens, so what the
other files of the directory say counts only while somebody holds it. Imported by every command: stays small.
"""

import fcntl
import os
import re
import time
from pathlib import Path
from typing import IO

from streams.errors import Refused

LOCK = "lock"
LONGEST_S = 0.5
"""Longest wait for a lock that nobody claims as owner."""
POLL_S = 0.05
_PROCESS_ID = re.compile(rb"[1-9][0-9]{0,6}\n?")
"""Linux has no process ids above 2^22."""


class Owned(Refused):
    """Somebody owns the directory. `process` is None when the file does not say which process it is."""

    def __init__(self, directory: Path, process: int | None) -> None:
        super().__init__(f"a stack is running in {directory} (process {process or 'unknown'})")
        self.process = process


def own(directory: Path) -> IO[bytes]:
    """Become the owner of a directory, until the file returned is closed. Raises Owned."""
    lock = (directory / LOCK).open("a+b")
    deadline = time.monotonic() + LONGEST_S
    while not _locked(lock, fcntl.LOCK_EX):
        process = owner(directory)
        if process or time.monotonic() > deadline:
            lock.close()
            raise Owned(directory, process)
        # Somebody looks whether there is an owner, or has only just become it.
        time.sleep(POLL_S)
    lock.truncate(0)
    lock.write(b"%d\n" % os.getpid())
    lock.flush()
    return lock


def give_up(lock: IO[bytes]) -> None:
    """End the ownership that `own` has given."""
    lock.truncate(0)
    lock.close()


def is_owned(directory: Path) -> bool:
    """Whether somebody owns a directory. Raises OSError when that can't be seen."""
    try:
        with (directory / LOCK).open("rb") as lock:
            return not _locked(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def owner(directory: Path) -> int | None:
    """Process id of the owner of a directory; None when there is none, or its file does not say.

    Raises OSError when that can't be seen.
    """
    try:
        with (directory / LOCK).open("rb") as lock:
            if _locked(lock, fcntl.LOCK_SH):
                return None
            said = lock.read()
    except FileNotFoundError:
        return None
    # 0 and 1 are never a stack, and a signal to 0 or to a negative number goes to many processes.
    return int(said) if _PROCESS_ID.fullmatch(said) and int(said) > 1 else None


def _locked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
