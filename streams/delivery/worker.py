"""The worker process: a Faust app whose agents take turns of their tasks, until it is told to stop or must.

Faust gives the life cycle, channels and agents. Its own Kafka consumer, producer, tables and web server are not
started: see `group` for what takes their place. Must not know what the agents do.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Sequence
from typing import Any

import faust
import uvloop
from aiokafka.errors import KafkaError, ProducerFenced
from faust.app.base import BootStrategy as FaustBootStrategy
from mode import CrashingSupervisor

from streams import codec
from streams.delivery.agent import Agent
from streams.delivery.dead_letters import DeadLetter
from streams.delivery.group import Group, OwnedTask
from streams.delivery.topics import check_topics
from streams.delivery.watch import Watch
from streams.endpoint import serve
from streams.errors import Refused, Transient
from streams.kafka import Cluster, connect_admin
from streams.logs import set_up_logging
from streams.metrics import StepMetrics, new_registry
from streams.readiness import Readiness
from streams.settings import Settings

log = logging.getLogger(__name__)

SHUTDOWN_S = 8.0
"""For a shutdown in good order."""
CRASH_S = 5.0
"""For a shutdown after an error; a crashed Faust app can hang in it."""
PATIENCE_S, CRASH_PATIENCE_S = 4.0, 0.5
"""Of these, for the commits under way."""
CRASHED, REFUSED = 1, 2
"""Exit statuses."""


def run_worker(
    agents: Sequence[Agent[Any]],
    settings: Settings,
    *,
    encode_dead_letter: Callable[[DeadLetter], bytes] = codec.encode,
) -> None:
    """Run agents in this process until SIGTERM or SIGINT; then finish what is under way and return.

    Raises SystemExit, after one line in the log: with status 2 when the broker does not answer or topics are missing
    or wrong, with status 1 when an agent raised, another worker took over, or something took too long. All memory is
    then worthless: the process must end and be started anew.
    """
    set_up_logging()
    watch = Watch(settings.deadline_s)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_run(agents, settings, watch, encode_dead_letter))
    except Refused as refusal:
        log.critical("%s", refusal)
        status = REFUSED
    finally:
        watch.close()
    if status:
        raise SystemExit(status)


async def _run(
    agents: Sequence[Agent[Any]], settings: Settings, watch: Watch, encode_dead_letter: Callable[[DeadLetter], bytes]
) -> int:
    readiness = Readiness(settings.ready_file)
    registry = new_registry(readiness)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    admin = await connect_admin(settings, settings.worker_name)
    try:
        await check_topics(admin, agents, settings)
    finally:
        await admin.close()
    metrics = StepMetrics(registry)
    app = WorkerApp(agents, settings, watch, encode_dead_letter, readiness=readiness, metrics=metrics)
    async with serve(settings, registry, readiness, metrics.look):
        return await _work(app, watch, told)


async def _work(app: "WorkerApp", watch: Watch, told: asyncio.Event) -> int:
    try:
        await app.start()
        ends = [asyncio.ensure_future(told.wait()), asyncio.ensure_future(app.failed.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        crashed = app.failed.is_set()
        watch.begin("shutdown", CRASH_S if crashed else SHUTDOWN_S)
        await asyncio.gather(*(group.leave(CRASH_PATIENCE_S if crashed else PATIENCE_S) for group in app.groups))
        await app.stop()
    finally:
        app.readiness.not_ready("it has stopped")
    return CRASHED if app.failed.is_set() else 0


class WorkerApp(faust.App):
    """A Faust app with one agent and one consumer group for each declared agent."""

    mundane_level = "debug"
    logger = logging.getLogger("faust.app")

    class BootStrategy(FaustBootStrategy):
        enable_kafka = False
        enable_web = False

    def __init__(
        self,
        agents: Sequence[Agent[Any]],
        settings: Settings,
        watch: Watch,
        encode_dead_letter: Callable[[DeadLetter], bytes],
        *,
        readiness: Readiness | None = None,
        metrics: StepMetrics | None = None,
    ) -> None:
        """`readiness`, `metrics` None: nobody wants to know."""
        super().__init__(
            f"{settings.namespace}-{settings.worker_name}", agent_supervisor=CrashingSupervisor, web_enabled=False
        )
        self.failed = asyncio.Event()
        self.readiness = readiness or Readiness()
        cluster = Cluster(settings)
        self.groups = [
            Group(
                agent,
                settings,
                cluster,
                turns=self.channel(),
                watch=watch,
                fail=self.fail,
                on_phase=self._on_phase,
                encode_dead_letter=encode_dead_letter,
                metrics=metrics,
            )
            for agent in agents
        ]
        for group in self.groups:
            self.agent(group.turns, name=group.agent.name)(_take_turns)
            self.service(group)

    def fail(self, error: BaseException) -> None:
        """Say why, once, and let the process end."""
        if self.failed.is_set():
            return
        self.failed.set()
        # Futures of the client that nobody awaits any more have the same to say, with tracebacks.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        match error:
            case ProducerFenced():
                log.critical(
                    "the process ends: another worker has taken over a task of this one, or one of its transactions "
                    "was open longer than transaction_timeout_s"
                )
            case Transient() | KafkaError():
                log.critical("the process ends: %s", error)
            case _:
                log.critical("the process ends: %r", error, exc_info=error)

    async def on_start(self) -> None:
        """Let channels flow: they start suspended, and `resume` empties them, so it is called once, before all."""
        await super().on_start()
        self.flow_control.resume()

    def _crash(self, reason: BaseException) -> None:
        super()._crash(reason)
        self.fail(reason)

    def _create_directories(self) -> None:
        """No data directory: nothing is kept there."""

    def _on_phase(self) -> None:
        if busy := [f"{group.name}: {group.phase}" for group in self.groups if group.phase != "work"]:
            self.readiness.not_ready(", ".join(busy))
        else:
            _freeze()
            self.readiness.ready()

    async def _on_agent_error(self, agent: Any, error: BaseException) -> None:
        self.fail(error)


def _freeze() -> None:
    """Let the garbage collector pass by what is there now, program and state: it stays, and to look at all of it again
    and again takes time that grows with the state. What became garbage since the last time is collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _take_turns(turns: Any) -> None:
    task: OwnedTask
    async for task in turns:
        task.take_turn()
