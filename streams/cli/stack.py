"""`up`, `down` and `status`: the embedded stack and its workers."""

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from streams.cli.children import environment, refusal
from streams.cli.pipeline import Say, start_pipeline, stop_whole
from streams.embedded import stack as embedded
from streams.embedded.jars import Progress
from streams.embedded.stack import Stack
from streams.embedded.supervisor import signals_cancel_this_task
from streams.errors import Refused
from streams.settings import Settings, load, without_password
from streams.workers import WORKERS

DETACHED_S = 180.0
"""Longest wait for a detached stack to be ready; Kafka's jars may have to be fetched."""
STOPPED_S = 15.0
"""Longest wait for a detached stack that was told to stop while it was starting."""
POLL_S = 0.1
FETCHING_S = 2.0
"""Between two lines that say how much of Kafka has been fetched."""
INTERRUPTED = 130


def up(settings: Settings, *, engines_only: bool, detach: bool) -> int:
    """Start and stay, or start in the background. Raises Refused."""
    make_directory(settings)
    if detach:
        return _detach(settings, engines_only)
    return asyncio.run(_up(settings, () if engines_only else tuple(WORKERS)))


async def _up(settings: Settings, workers: tuple[str, ...]) -> int:
    stack = Stack(settings, progress=tell_fetching(print))
    ready = False
    with signals_cancel_this_task():
        try:
            await start_pipeline(stack, print, workers)
            ready = True
            _ready_mark(stack.directory).parent.mkdir(exist_ok=True)
            _ready_mark(stack.directory).touch()
            print(describe(stack.settings))
            print(f"running; Ctrl-C stops it, `{command(settings, 'status')}` shows it")
            await stack.wait()
        except asyncio.CancelledError:
            pass  # told to stop: the way it ends
        finally:
            if ready:
                _ready_mark(stack.directory).unlink(missing_ok=True)
            if stack.running:
                await stop_whole(stack)
            if ready:
                print("stopped; the data is kept")
    return 0 if ready else INTERRUPTED


def make_directory(settings: Settings) -> None:
    """Make the directory of the stack if it is not there. Raises Refused when it can't be made or written."""
    directory = Path(settings.directory).absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        reason = "" if os.access(directory, os.W_OK | os.X_OK) else "may not be written by this user"
    except OSError as error:
        reason = f"can't be made ({error.strerror})"
    if reason:
        raise Refused(f"the directory {directory} {reason}: choose another one with --directory")


def tell_fetching(say: Say) -> Progress:
    """Says how much of Kafka has been fetched, if that takes a while: it does so at the very first start."""
    said_at = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= FETCHING_S:
            said_at = time.monotonic()
            say(f"fetching Kafka, once: {done} of {total} files")

    return progress


def describe(settings: Settings) -> str:
    """Where things are, for a person."""
    places = {
        "Kafka": settings.bootstrap_servers,
        "ClickHouse": without_password(settings.clickhouse_dsn),
        "data, logs": settings.directory,
    }
    return "\n".join(f"  {name:10}  {place}" for name, place in places.items() if place)


def command(settings: Settings, *arguments: str) -> str:
    """A command as a person would type it to reach the stack of these settings."""
    default = Path(load().directory).absolute()
    elsewhere = () if Path(settings.directory).absolute() == default else ("-d", settings.directory)
    return shlex.join(("aftersales", *arguments, *elsewhere))


def _ready_mark(directory: Path) -> Path:
    return directory / "run" / "stack.ready"


def _detach(settings: Settings, engines_only: bool) -> int:
    directory = Path(settings.directory).absolute()
    if embedded.status(directory) is not None:
        raise Refused(
            f"a stack is running in {directory}: see `{command(settings, 'status')}`, "
            f"or stop it with `{command(settings, 'down')}`"
        )
    log = directory / "log" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # Left by an owner that was killed.
    _ready_mark(directory).unlink(missing_ok=True)
    with log.open("wb") as out:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "streams.cli.main", "up", *(["--engines-only"] if engines_only else [])],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        _wait_until_ready(child, directory, log)
    except BaseException:
        _end(child)
        raise
    print(describe(load(directory=str(directory))))
    print(f"running in the background; `{command(settings, 'down')}` stops it")
    return 0


def _wait_until_ready(child: "subprocess.Popen[bytes]", directory: Path, log: Path) -> None:
    deadline = time.monotonic() + DETACHED_S
    while not _ready_mark(directory).exists():
        if child.poll() is not None:
            raise Refused(refusal(log.read_text(errors="replace")) or f"the stack has been stopped: see {log}")
        if time.monotonic() > deadline:
            raise Refused(f"the stack was not ready within {DETACHED_S:.0f} s: see {log}")
        time.sleep(POLL_S)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOPPED_S)
    child.kill()


def down(settings: Settings) -> int:
    """Stop the stack of the directory, if one runs. Raises Refused when it belongs to somebody else."""
    stopped = embedded.down(Path(settings.directory).absolute())
    print("stopped; the data is kept" if stopped else f"no stack is running in {settings.directory}")
    return 0


def status(settings: Settings) -> int:
    """Print what runs. Exit status 1 when nothing does, or something is not ready."""
    from rich.console import Console
    from rich.table import Table

    found = embedded.status(Path(settings.directory).absolute())
    if found is None:
        print(f"no stack is running in {settings.directory}: start one with `{command(settings, 'up', '--detach')}`")
        return 1
    states = {process.name: process.state or "ready" for process in found.processes}
    colours = {"ready": "green", "given up": "red"}
    table = Table("process", "state", title=f"since {found.started_at}", title_justify="left")
    for heading in ("pid", "port", "metrics", "memory", "restarts"):
        table.add_column(heading, justify="right")
    for process in found.processes:
        state = states[process.name]
        table.add_row(
            process.name,
            f"[{colours.get(state, 'yellow')}]{state}[/]",
            str(process.pid or "–"),
            str(process.port or "–"),
            str(process.metrics_port or "–"),
            "–" if process.pss_bytes is None else f"{process.pss_bytes >> 20} MiB",
            str(process.restarts),
        )
    table.add_section()
    table.add_row("all", "", "", "", "", f"{memory_bytes(found) >> 20} MiB", "")
    Console().print(table)
    print(describe(load(directory=settings.directory)))
    return int(set(states.values()) != {"ready"})


def memory_bytes(status: embedded.Status) -> int:
    """Memory (PSS) of all processes of a stack."""
    return sum(process.pss_bytes or 0 for process in status.processes)
