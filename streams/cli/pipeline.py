"""The whole pipeline on this machine: engines, topics, tables, workers. Used by `up`, `demo`, and tests.

Must not import the engines or the streams library: the process that owns a stack stays small.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence

from streams.cli.children import environment, run_command
from streams.embedded.stack import Stack
from streams.embedded.supervisor import Child
from streams.errors import Refused
from streams.settings import PREFIX, Settings
from streams.workers import WORKERS

Say = Callable[[str], None]


def worker_child(stack: Stack, name: str, number: int = 1) -> Child:
    """One worker process of the stack. Static membership lets it take its tasks back at once after a kill."""
    unique = f"{name}-{number}"
    return stack.worker(
        unique,
        (sys.executable, "-m", "streams.cli.main", "worker", name),
        {
            **environment(stack.settings),
            PREFIX + "WORKER_NAME": unique,
            PREFIX + "STATIC_MEMBERSHIP": "true",
        },
    )


async def prepare(settings: Settings) -> None:
    """Create topics and tables, in a process of their own so that the memory they take is given back.

    Raises Refused when one of them can't be made.
    """
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(run_command(settings, "topics", "apply", "--quiet"))
            both.create_task(run_command(settings, "migrate", "--quiet"))
    except* Refused as refused:
        first = refused.exceptions[0]
    else:
        return
    raise first


async def stop_whole(stack: Stack) -> None:
    """Stop a stack to the end, even if this task is cancelled meanwhile: a stop is bounded."""
    stopping = asyncio.ensure_future(stack.stop())
    while not stopping.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(stopping)
    stopping.result()


async def start_pipeline(stack: Stack, say: Say, workers: Sequence[str] = tuple(WORKERS)) -> None:
    """Start the engines, make topics and tables, start the workers; returns when all are ready. Raises Refused."""
    say("starting Kafka and ClickHouse")
    await stack.start()
    await run_on(stack, say, workers)


async def run_on(stack: Stack, say: Say, workers: Sequence[str] = tuple(WORKERS)) -> None:
    """Make topics and tables and start the workers of a stack whose engines serve already."""
    say("creating topics and tables")
    await prepare(stack.settings)
    if workers:
        say(f"starting {', '.join(workers)}")
        await stack.add(*(worker_child(stack, name) for name in workers))
