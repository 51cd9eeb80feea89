"""`up`, `down` and `status`: the embedded stack and its workers."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from streams.cli.children import environment
from streams.cli.pipeline import start_pipeline
from streams.embedded import stack as embedded
from streams.embedded.stack import Stack
from streams.errors import Refused
from streams.settings import Settings, without_password
from streams.workers import WORKERS

DETACHED_S = 120.0
"""Longest wait for a detached stack to be ready."""


def up(settings: Settings, *, engines_only: bool, detach: bool) -> int:
    """Start and stay, or start in the background. Raises Refused."""
    if detach:
        return _detach(settings, engines_only)
    return asyncio.run(_up(settings, () if engines_only else tuple(WORKERS)))


async def _up(settings: Settings, workers: tuple[str, ...]) -> int:
    async with stopping() as stopped:
        stack = Stack(settings)
        try:
            starting = asyncio.ensure_future(start_pipeline(stack, print, workers))
            if not await _first(starting, stopped):
                return 0
            (stack.directory / "run").mkdir(exist_ok=True)
            _ready_mark(stack.directory).touch()
            print(describe(stack.settings))
            print("running; Ctrl-C stops it, `aftersales status` shows it")
            await _first(asyncio.ensure_future(stack.wait()), stopped)
        finally:
            _ready_mark(stack.directory).unlink(missing_ok=True) if stack.running else None
            await stack.stop()
        print("stopped; the data is kept")
    return 0


@contextlib.asynccontextmanager
async def stopping():  # type: ignore[no-untyped-def]
    """An event that SIGINT and SIGTERM set, in place of ending the process."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _first(work: "asyncio.Future[None]", stopped: asyncio.Event) -> bool:
    """Wait for work, or until told to stop: then the work is cancelled. Whether the work was done."""
    told = asyncio.ensure_future(stopped.wait())
    done, _ = await asyncio.wait((work, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if work in done:
        work.result()
        return True
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return False


def describe(settings: Settings) -> str:
    """Where things are, for a person."""
    return "\n".join(
        (
            f"  Kafka       {settings.bootstrap_servers}",
            f"  ClickHouse  {without_password(settings.clickhouse_dsn)}",
            f"  data, logs  {settings.directory}",
        )
    )


def _ready_mark(directory: Path) -> Path:
    return directory / "run" / "stack.ready"


def _detach(settings: Settings, engines_only: bool) -> int:
    directory = Path(settings.directory).absolute()
    if embedded.status(directory) is not None:
        raise Refused(f"a stack is running in {directory}: see `aftersales status`, stop it with `aftersales down`")
    (directory / "log").mkdir(parents=True, exist_ok=True)
    log = directory / "log" / "up.log"
    with log.open("wb") as out:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "streams.cli.main", "up", *(["--engines-only"] if engines_only else [])],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACHED_S
    while not _ready_mark(directory).exists():
        if child.poll() is not None:
            raise Refused(log.read_text().strip().rpartition("\n")[2].removeprefix("aftersales: "))
        if time.monotonic() > deadline:
            os.killpg(child.pid, signal.SIGTERM)
            raise Refused(f"the stack was not ready within {DETACHED_S:.0f} s: see {log}")
        time.sleep(0.1)
    print("\n".join(line for line in log.read_text().splitlines() if line.startswith("  ")))
    print("running in the background; `aftersales down` stops it")
    return 0


def down(settings: Settings) -> int:
    """Stop the stack of the directory, if one runs."""
    stopped = embedded.down(Path(settings.directory).absolute())
    print("stopped; the data is kept" if stopped else f"no stack is running in {settings.directory}")
    return 0


def status(settings: Settings) -> int:
    """Print what runs. Exit status 1 when nothing does."""
    from rich.console import Console
    from rich.table import Table

    found = embedded.status(Path(settings.directory).absolute())
    if found is None:
        print(f"no stack is running in {settings.directory}: start one with `aftersales up`")
        return 1
    table = Table("process", "state", "pid", "port", "memory", "restarts", title=f"since {found.started_at}")
    for process in found.processes:
        table.add_row(
            process.name,
            process.state or "ready",
            str(process.pid or "–"),
            str(process.port or "–"),
            "–" if process.pss_bytes is None else f"{process.pss_bytes >> 20} MiB",
            str(process.restarts),
        )
    total = sum(process.pss_bytes or 0 for process in found.processes)
    table.add_section()
    table.add_row("all", "", "", "", f"{total >> 20} MiB", "")
    Console().print(table)
    print(describe(settings))
    return 0
