"""What a round is played on: an embedded stack of its own, the workers, and what stands between them.

    async with open_scene(plan, directory) as scene:
        scene.links["sink"].turn("cut")

Must not know what goes wrong when.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from streams.settings import Settings
from tests.chaos.plan import FIRSTS, LINKS, WORKERS, Plan
from tests.chaos.proxy import Gate, Relay
from tests.end_to_end.pipeline import Pipeline
from tests.engines import RunningStack

T = TypeVar("T")

PARTITIONS = 6
SESSION_TIMEOUT_S = 4.0
DEADLINE_S = 25.0
ENTRIES = {"casework": "tests.end_to_end.failing_worker", "clock": "tests.chaos.clock_process"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """`settings` point straight at the engines, `feeder` leads over a link that can be disturbed."""

    pipeline: Pipeline
    links: Mapping[str, Relay]
    gate: Gate
    settings: Settings
    feeder: Settings


@asynccontextmanager
async def open_scene(plan: Plan, directory: Path) -> AsyncIterator[Scene]:
    """Start the engines and make topics and tables; no worker runs yet. All has ended when the block is left."""
    given = Settings(
        directory=str(directory),
        partitions=PARTITIONS,
        static_membership=plan.static_membership,
        session_timeout_s=SESSION_TIMEOUT_S,
        heartbeat_interval_s=0.5,
        rebalance_timeout_s=12.0,
        transaction_timeout_s=plan.transaction_timeout_s,
        deadline_s=DEADLINE_S,
    )
    async with AsyncExitStack() as exits:
        gate = await exits.enter_async_context(Gate())
        links = {name: await exits.enter_async_context(Relay()) for name in LINKS}
        detours = {name: link.port for name, link in links.items() if name != "clickhouse"}
        stack = await apart(lambda: RunningStack(given, detours))
        exits.push_async_callback(apart, stack.stop)
        for name in detours:
            links[name].target = stack.stack.detour(name)
        gate.target = urlsplit(stack.settings.clickhouse_dsn).port or 0
        links["clickhouse"].target = gate.port
        others, firsts = (over(stack.settings, kafka=links[name].port) for name in ("others", "firsts"))
        sink = over(stack.settings, kafka=links["sink"].port, clickhouse=links["clickhouse"].port)
        settings_of = dict.fromkeys(WORKERS, others) | dict.fromkeys(FIRSTS, firsts) | {"sink": sink}
        pipeline = Pipeline(stack, stack.settings, ENTRIES, counts=WORKERS, settings_of=settings_of)
        await apart(pipeline.prepare)
        feeder = over(stack.settings, kafka=links["feeder"].port)
        yield Scene(pipeline=pipeline, links=links, gate=gate, settings=stack.settings, feeder=feeder)


def over(settings: Settings, *, kafka: int, clickhouse: int | None = None) -> Settings:
    """The same settings, by way of other ports on loopback."""
    dsn = urlsplit(settings.clickhouse_dsn)
    if clickhouse is not None:
        dsn = dsn._replace(netloc=f"{dsn.username}:{dsn.password}@127.0.0.1:{clickhouse}")
    return msgspec.structs.replace(settings, bootstrap_servers=f"127.0.0.1:{kafka}", clickhouse_dsn=urlunsplit(dsn))


async def apart(work: Callable[[], T]) -> T:
    """Do what blocks in a thread of its own. A cancelled wait waits for it nevertheless: it is bounded."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise
    return task.result()
