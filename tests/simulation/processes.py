"""What the processes of the pipeline are in the simulation: the product's own code around its own clients.

Only what starts them is written here anew: it does what `streams.delivery.worker`, `streams.sink` and `streams.clock`
do around the same classes in a process of their own.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from streams import codec, sink
from streams.clock import Clock
from streams.delivery.agent import Agent
from streams.delivery.group import Group
from streams.settings import Settings
from tests.simulation.network import SimulatedClients
from tests.simulation.tables import SimulatedTables, Stored
from tests.simulation.world import Process, SimulatedWatch

PATIENCE_S = 4.0
"""For commits under way when a worker is told to end."""
NAMESPACE = "simulated"


def settings_of(name: str, static: bool) -> Settings:
    """Settings of one process. Short time-outs, in the order of the real ones."""
    return Settings(
        namespace=NAMESPACE,
        worker_name=name,
        static_membership=static,
        session_timeout_s=2.0,
        heartbeat_interval_s=0.5,
        rebalance_timeout_s=6.0,
        transaction_timeout_s=5.0,
        deadline_s=20.0,
    )


async def run_worker(process: Process, agent: Agent[Any], settings: Settings) -> None:
    """A worker of one agent. Ends when told to; raises what ends a worker."""
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def fail(error: BaseException) -> None:
        if not failed.done():
            failed.set_exception(error)

    turns: asyncio.Queue[Any] = asyncio.Queue()
    group = Group(
        agent,
        settings,
        SimulatedClients(process),
        turns=turns,
        watch=SimulatedWatch(process, settings.deadline_s),
        fail=fail,
        on_phase=lambda: None,
        encode_dead_letter=codec.encode,
        timepieces=process.timepieces(),
    )

    async def take_turns() -> None:
        while True:
            (await turns.get()).take_turn()

    group.guard(take_turns())
    await group.start()
    told: asyncio.Future[Any] = asyncio.ensure_future(process.stopping.wait())
    await asyncio.wait([failed, told], return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        failed.result()
    await group.leave(PATIENCE_S)


async def run_sink(process: Process, stored: Stored, settings: Settings) -> None:
    """A sink. Raises what ends a sink."""
    await sink.consume(
        settings,
        SimulatedClients(process),
        SimulatedTables(process, stored),
        SimulatedWatch(process, settings.deadline_s),
        process.stopping,
        process.timepieces(),
    )


async def run_clock(process: Process, settings: Settings) -> None:
    """The clock. Raises what ends a clock."""
    watch = SimulatedWatch(process, settings.deadline_s)
    clock = Clock(settings, SimulatedClients(process), process.timepieces())
    with watch.step("clock: start"):
        await clock.start()
    await clock.tick_until(process.stopping, watch)
    await clock.stop()


Main = Coroutine[Any, Any, None]
