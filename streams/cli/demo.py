"""`demo`: the whole pipeline on this machine, fed by the simulated market, with its KPIs on the screen."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from connectors.simulator.feed import Plan, feed, truth_path
from connectors.simulator.truth import Compared, compare
from streams.audit import Audit, audit
from streams.cli.pipeline import start_pipeline
from streams.cli.stack import describe, stopping
from streams.clickhouse import connect, refusals
from streams.embedded import stack as embedded
from streams.embedded.stack import Stack
from streams.errors import Refused, Transient
from streams.progress import Progress
from streams.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

BOARD_S = 2.0
"""Between two drawings of the KPIs."""
PLAIN_S = 10.0
"""The same where the output is no terminal."""
DRAIN_S = 180.0
PRESENT = timedelta(seconds=5)
"""A market that is published up to so long ago has caught up."""
MEMORY_MIB = 1 << 20


def run_demo(settings: Settings, *, seconds: float | None, seed: int, days: int) -> int:
    """Run until Ctrl-C, or for `seconds` and then check. Exit status 1 when the check finds a difference."""
    return asyncio.run(_run(settings, seconds, Plan(seed=seed, history_days=days)))


async def _run(settings: Settings, seconds: float | None, plan: Plan) -> int:
    from rich.console import Console

    console = Console()
    began = time.monotonic()
    stack = Stack(settings, progress=lambda done, total: None)
    async with stopping() as stopped:
        try:
            starting = asyncio.ensure_future(
                start_pipeline(stack, lambda text: console.print(f"[dim]{time.monotonic() - began:5.1f} s[/] {text}"))
            )
            await _until(starting, stopped)
            if stopped.is_set():
                return 0
            console.print(f"[dim]{time.monotonic() - began:5.1f} s[/] ready")
            console.print(describe(stack.settings))
            return await _play(stack, console, began, seconds, plan, stopped)
        finally:
            await stack.stop()
            console.print("stopped; the data is kept, and the next `make demo` goes on from here")


async def _until(work: "asyncio.Future[Any]", stopped: asyncio.Event) -> None:
    """Wait for work or until stopped, which cancels the work."""
    told = asyncio.ensure_future(stopped.wait())
    await asyncio.wait((work, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not work.done():
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    elif not work.cancelled():
        work.result()


async def _play(
    stack: Stack, console: "Console", began: float, seconds: float | None, plan: Plan, stopped: asyncio.Event
) -> int:
    settings = stack.settings
    enough, present = asyncio.Event(), asyncio.Event()
    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, enough.set)
    reached: dict[str, Any] = {"published": 0, "at": None}

    def progress(published: int, at: datetime) -> None:
        reached.update(published=published, at=at)
        if datetime.now(UTC) - at < PRESENT:
            present.set()

    async def played_enough() -> None:
        # History is always played to its end: until then no account is live, and nothing can fall due.
        await enough.wait()
        await present.wait()

    ends = asyncio.Event()
    feeding: asyncio.Future[None] = asyncio.ensure_future(feed(settings, plan, stop=ends, progress=progress))
    watching: asyncio.Future[None] = asyncio.ensure_future(stack.wait())
    board: asyncio.Future[None] = asyncio.ensure_future(_show_board(settings, console, began, reached))
    told: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(played_enough())]
    try:
        await asyncio.wait((feeding, watching, board, *told), return_when=asyncio.FIRST_COMPLETED)
        for task in (feeding, watching, board):
            if task.done():
                task.result()
        ends.set()
        await feeding
        if stopped.is_set() and seconds is None:
            return 0
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/] no more events; letting the pipeline drain")
        horizon = datetime.now(UTC) - timedelta(seconds=1)
        draining: asyncio.Future[None] = asyncio.ensure_future(_drain(settings))
        told.append(draining)
        await asyncio.wait([draining, watching], return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        await draining
        board.cancel()
        return await _check(stack, console, began, horizon)
    finally:
        ends.set()
        for task in (board, watching, *told):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Refused, Transient):
            await feeding


async def _drain(settings: Settings) -> None:
    async with Progress(settings) as progress:
        await progress.wait_until_drained(DRAIN_S)


async def _show_board(settings: Settings, console: "Console", began: float, reached: dict[str, Any]) -> None:
    """Draw the KPIs again and again, and how far the market has been played."""
    from streams.cli.board import draw, is_empty
    from streams.kpi import kpi_overview

    first = True
    with refusals(settings), await asyncio.to_thread(connect, settings) as client, _live(console) as live:
        while True:
            overview = await asyncio.to_thread(kpi_overview, client)
            if first and not is_empty(overview):
                first = False
                console.print(f"[dim]{time.monotonic() - began:5.1f} s[/] first KPI row")
                console.print(
                    "[dim]ask in another terminal: [/][bold]aftersales kpi[/], "
                    "[bold]aftersales sql \"SHOW TABLES LIKE 'kpi_%'\"[/], [bold]aftersales status[/]"
                )
            at = reached["at"]
            caption = (
                f"{reached['published']:,} events published; the market is at {at:%Y-%m-%d %H:%M} UTC"
                if at
                else "the market opens"
            )
            picture = draw(overview, caption)
            if live is not None:
                live.update(picture, refresh=True)
            elif not is_empty(overview):
                console.print(picture)
            await asyncio.sleep(BOARD_S if live is not None else PLAIN_S)


@contextlib.contextmanager
def _live(console: "Console") -> "Iterator[Live | None]":
    """A picture that is drawn in its place; None where the output is no terminal."""
    from rich.live import Live

    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False) as live:
        yield live


async def _check(stack: Stack, console: "Console", began: float, horizon: datetime) -> int:
    """Compare what was made with what is there, and print it."""
    settings = stack.settings
    topics = await audit(settings)
    figures = await asyncio.to_thread(_compare, settings, horizon)
    wrong = [figure for figure in figures if figure.expected != figure.found]
    for line in _audit_lines(topics):
        console.print(line)
    mark = "[green]✔[/]" if not wrong else "[red]✘[/]"
    console.print(
        f"{mark} what the market knows to be true equals what ClickHouse holds:"
        f" {len(figures) - len(wrong)} of {len(figures)} figures agree"
    )
    for figure in wrong:
        console.print(f"    {figure.name}: made {figure.expected:,}, found {figure.found:,}")
    status = await asyncio.to_thread(embedded.status, stack.directory)
    if status is not None:
        memory = sum(process.pss_bytes or 0 for process in status.processes)
        console.print(f"memory of the whole stack (PSS): {memory / MEMORY_MIB:,.0f} MiB")
    good = topics.sound and not wrong
    console.print("[green]all invariants hold[/]" if good else "[red]invariants are broken[/]")
    return 0 if good else 1


def _compare(settings: Settings, horizon: datetime) -> list[Compared]:
    with refusals(settings), connect(settings) as client:
        return compare(truth_path(settings), lambda sql: [tuple(r) for r in client.query(sql).result_rows], horizon)


def _audit_lines(found: Audit) -> list[str]:
    def line(good: bool, text: str, examples: tuple[str, ...]) -> str:
        shown = "" if good else ": " + ", ".join(examples[:5])
        return f"{'[green]✔[/]' if good else '[red]✘[/]'} {text}{shown}"

    return [
        line(
            not found.lost,
            f"every event made is on a timeline or a dead letter: {found.source_records:,} records of "
            f"{found.source_events:,} events, {found.dead_source_records:,} of them dead letters",
            found.lost,
        ),
        line(not found.doubled, f"nothing is there twice: {found.timeline_records:,} on timelines", found.doubled),
        line(
            not found.broken_revisions,
            f"revisions of facts are contiguous and used once: {found.facts:,} statements",
            found.broken_revisions,
        ),
    ]
