"""`demo`: the whole pipeline on this machine, fed by the simulated market, with its KPIs on the screen."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from connectors.simulator.feed import Plan, feed, open_course, place_of, truth_path
from connectors.simulator.truth import Compared, compare
from streams.audit import Audit, audit
from streams.cli.pipeline import start_pipeline, stop_whole
from streams.cli.stack import INTERRUPTED, command, describe, make_directory, memory_bytes, tell_fetching
from streams.clickhouse import connect, refusals
from streams.embedded import stack as embedded
from streams.embedded.stack import Stack
from streams.embedded.supervisor import signals_cancel_this_task
from streams.progress import Progress
from streams.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

T = TypeVar("T")

BOARD_S = 2.0
"""Between two drawings of the KPIs."""
FIRST_BOARD_S = 0.5
"""The same as long as there is nothing to draw."""
PLAIN_S = 10.0
"""The same where the output is no terminal."""
DRAIN_S = 180.0
LEAVE_S = 1.0
"""For what is being published when the demo is told to stop; the rest is published at the next start."""
PRESENT = timedelta(seconds=5)
"""A market that is published up to so long ago has caught up."""
MIB = 1 << 20


def run_demo(settings: Settings, *, seconds: float | None, seed: int, days: int) -> int:
    """Run until Ctrl-C, or for `seconds` and then check.

    Exit status 1 when the check finds a difference, 130 when it was stopped before it could check. Raises Refused.
    """
    make_directory(settings)
    plan = Plan(seed=seed, history_days=days)
    if (place_of(settings) / "course.json").exists():
        # Refuses another market than the one that has been started here, before anything is.
        open_course(place_of(settings), plan, datetime.now(UTC))
    return asyncio.run(_run(settings, seconds, plan))


class Demo:
    """What the parts of a running demo share: the screen, when it began, and how far the market is."""

    def __init__(self, console: "Console") -> None:
        self.console = console
        self.published = 0
        self.reached_at: datetime | None = None
        self.present = asyncio.Event()
        """Set when the market's history has been published."""
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        from rich.markup import escape

        self.console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/] {escape(text)}")

    def progress(self, published: int, at: datetime) -> None:
        """Take note of how far the market has been published."""
        self.published, self.reached_at = published, at
        if datetime.now(UTC) - at < PRESENT:
            self.present.set()


async def _run(settings: Settings, seconds: float | None, plan: Plan) -> int:
    from rich.console import Console

    demo = Demo(Console())
    stack = Stack(settings, progress=tell_fetching(demo.say))
    status = INTERRUPTED
    with signals_cancel_this_task():
        try:
            await start_pipeline(stack, demo.say)
            demo.say("ready")
            _say_where(stack.settings, demo.console)
            if seconds is None:
                status = 0  # Ctrl-C is the way it ends
            status = await _play(stack, demo, seconds, plan)
        except asyncio.CancelledError:
            pass
        finally:
            if stack.running:
                await stop_whole(stack)
                _say_goodbye(settings, demo.console)
    return status


def _say_where(settings: Settings, console: "Console") -> None:
    console.print(describe(settings), soft_wrap=True, highlight=False, markup=False)


def _say_goodbye(settings: Settings, console: "Console") -> None:
    from rich.markup import escape

    up = escape(command(settings, "up"))
    console.print(
        f"stopped; the data is kept. The same command goes on from here, [bold]{up}[/] only looks at it",
        soft_wrap=True,
        highlight=False,
    )


async def _play(stack: Stack, demo: Demo, seconds: float | None, plan: Plan) -> int:
    """Publish the market and show the KPIs; with `seconds`, end after them and check. Returns the exit status."""
    settings = stack.settings
    ends = asyncio.Event()
    feeding = asyncio.create_task(feed(settings, plan, stop=ends, progress=demo.progress))
    board = asyncio.create_task(_show_board(settings, demo))
    watching = asyncio.create_task(stack.wait())
    try:
        await _while_running(_enough(seconds, demo), feeding, board, watching)
        ends.set()
        await _while_running(feeding, board, watching)
        demo.say("no more events; letting the pipeline drain")
        horizon = datetime.now(UTC) - timedelta(seconds=1)
        await _while_running(_drain(settings), board, watching)
        board.cancel()
        await asyncio.wait([board])
        return await _while_running(_check(stack, demo, horizon), watching)
    finally:
        ends.set()
        await asyncio.wait([feeding], timeout=LEAVE_S)
        for task in (feeding, board, watching):
            task.cancel()
        await asyncio.gather(feeding, board, watching, return_exceptions=True)


async def _while_running(work: "Coroutine[Any, Any, T] | asyncio.Task[T]", *beside: "asyncio.Task[Any]") -> T:
    """The result of `work`. Raises the error of what runs beside it, and cancels `work`, if that fails first."""
    task: asyncio.Task[T] = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
    try:
        await asyncio.wait((task, *beside), return_when=asyncio.FIRST_COMPLETED)
        for other in beside:
            if other.done():
                other.result()
        return await task
    finally:
        if task is not work:
            task.cancel()


async def _enough(seconds: float | None, demo: Demo) -> None:
    """Wait for the end of the demo."""
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)
    # History is always played to its end: until then no account is live, and nothing can fall due.
    await demo.present.wait()


async def _drain(settings: Settings) -> None:
    async with Progress(settings) as progress:
        await progress.wait_until_drained(DRAIN_S)


async def _show_board(settings: Settings, demo: Demo) -> None:
    """Draw the KPIs again and again, and how far the market has been played."""
    from streams.cli.board import draw, is_empty
    from streams.kpi import kpi_overview

    first = True
    with refusals(settings), await asyncio.to_thread(connect, settings) as client, _live(demo.console) as live:
        while True:
            overview = await asyncio.to_thread(kpi_overview, client)
            if not is_empty(overview):
                if first:
                    first = False
                    demo.say("first KPI row")
                    _say_how_to_ask(settings, demo.console)
                picture = draw(overview, await asyncio.to_thread(_caption, settings, demo))
                if live is None:
                    demo.console.print(picture)
                else:
                    live.update(picture, refresh=True)
            await asyncio.sleep(FIRST_BOARD_S if first else PLAIN_S if live is None else BOARD_S)


def _caption(settings: Settings, demo: Demo) -> str:
    at = f"; the market is at {demo.reached_at:%Y-%m-%d %H:%M} UTC" if demo.reached_at else ""
    memory = _memory_mib(settings)
    return "\n".join(
        (
            f"{demo.published:,} records published{at}",
            "" if memory is None else f"memory of the whole stack (PSS): {memory:,.0f} MiB",
        )
    )


def _memory_mib(settings: Settings) -> float | None:
    found = embedded.status(Path(settings.directory))
    return None if found is None else memory_bytes(found) / MIB


def _say_how_to_ask(settings: Settings, console: "Console") -> None:
    from rich.markup import escape

    console.print("[dim]        ask in another terminal:[/]")
    for arguments in (("kpi",), ("sql", "SHOW TABLES"), ("dlq", "list"), ("status",)):
        console.print(f"          [bold]{escape(command(settings, *arguments))}[/]", soft_wrap=True, highlight=False)


@contextlib.contextmanager
def _live(console: "Console") -> "Iterator[Live | None]":
    """A picture that is drawn in its place; None where the output is no terminal."""
    from rich.live import Live

    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False) as live:
        yield live


async def _check(stack: Stack, demo: Demo, horizon: datetime) -> int:
    """Compare what was made with what is there, and print it."""
    settings = stack.settings
    topics = await audit(settings)
    figures = await asyncio.to_thread(_compare, settings, horizon)
    wrong = [figure for figure in figures if figure.expected != figure.found]
    say = demo.console.print
    for line in _audit_lines(topics):
        say(line, soft_wrap=True)
    agree = f"{len(figures) - len(wrong)} of {len(figures)} figures agree"
    say(_line(not wrong, f"ClickHouse holds what the market knows to be true: {agree}", ()), soft_wrap=True)
    for figure in wrong:
        say(f"    {figure.name}: made {figure.expected:,}, found {figure.found:,}", soft_wrap=True)
    if (memory := await asyncio.to_thread(_memory_mib, settings)) is not None:
        say(f"memory of the whole stack (PSS): {memory:,.0f} MiB")
    good = topics.sound and not wrong
    say("[green]all invariants hold[/]" if good else "[red]invariants are broken[/]")
    return 0 if good else 1


def _compare(settings: Settings, horizon: datetime) -> Sequence[Compared]:
    with refusals(settings), connect(settings) as client:
        return compare(truth_path(settings), lambda sql: [tuple(r) for r in client.query(sql).result_rows], horizon)


def _audit_lines(found: Audit) -> list[str]:
    return [
        _line(
            not found.lost,
            f"every event made is on a timeline or a dead letter: {found.source_records:,} records of "
            f"{found.source_events:,} events, {found.dead_source_records:,} dead letters",
            found.lost,
        ),
        _line(not found.doubled, f"nothing is there twice: {found.timeline_records:,} on timelines", found.doubled),
        _line(
            not found.broken_revisions,
            f"revisions of facts are contiguous and used once: {found.facts:,} statements",
            found.broken_revisions,
        ),
    ]


def _line(good: bool, text: str, examples: Sequence[str]) -> str:
    from rich.markup import escape

    shown = "" if good or not examples else ": " + ", ".join(examples[:5])
    return f"{'[green]✔[/]' if good else '[red]✘[/]'} {escape(text + shown)}"
