"""Commands as people type them: real processes, their output and exit status, and what is left behind of them."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import IO

import psutil

from streams.settings import PREFIX

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "streams.cli.main")
LONGEST_S = 240.0
"""No command takes longer, on a busy machine either."""
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one sentence of a refused command."""
        assert self.status == 2, self
        assert self.err.startswith("aftersales: "), self
        assert self.err.count("\n") == 1, self
        return self.err.removeprefix("aftersales: ").strip()


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without settings of its own, and with these, such as `partitions="3"`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    ours = {PREFIX + name.upper(): value for name, value in settings.items()}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **ours}


def run(*arguments: str | Path, cwd: Path | str | None = None, stdin: str = "", **settings: str) -> Ended:
    """Run `aftersales ARGUMENTS` with these settings to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=clean_environment(**settings),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that runs, with what it has printed so far."""

    def __init__(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env={**clean_environment(), "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._seen: list[str] = []
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, out: IO[str]) -> None:
        for line in out:
            self._lines.put(line)

    def wait_for_line(self, part: str) -> str:
        """Return the next line that holds `part`."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=POLL_S)
            except Empty:
                assert self._reader.is_alive(), f"ended without {part!r}: {self.output}"
                continue
            self._seen.append(line)
            if part in line:
                return line
        raise AssertionError(f"{part!r} was not printed: {self.output}")

    def end(self, number: int | None = None) -> int:
        """Send a signal, if one is given, and return the exit status."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(LONGEST_S)
        self._reader.join()
        return status

    @property
    def output(self) -> str:
        """All that was printed."""
        while not self._lines.empty():
            self._seen.append(self._lines.get())
        return "".join(self._seen)

    def kill(self) -> None:
        """End it whatever it does; a stack ends with it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def processes_of(directory: Path) -> list[str]:
    """Processes that name a directory in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.status() != psutil.STATUS_ZOMBIE and any(str(directory) in word for word in words):
            found.append(f"{process.pid} {' '.join(process.cmdline()[:4])}")
    return found


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + LONGEST_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_S)


def blocks(page: Path, *languages: str) -> list[str]:
    """Fenced blocks of a page that are of these languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]
