"""One round: a stack of its own, the simulated market, what goes wrong, and whether it made a difference."""

import asyncio
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from connectors.simulator.feed import Plan as Market
from connectors.simulator.feed import feed, truth_path
from connectors.simulator.truth import read_lines
from streams import codec
from streams.delivery.names import topic_name
from streams.domain.events import Reference, ResponseTargets
from streams.embedded.stack import status
from streams.errors import Refused, Transient
from streams.progress import Progress
from streams.settings import Settings
from tests.chaos.checker import Checked, check
from tests.chaos.plan import NAMES, Plan
from tests.chaos.results import Result
from tests.chaos.saboteur import Saboteur
from tests.chaos.scene import Scene, apart, open_scene

HISTORY_DAYS = 4
ORDERS_PER_DAY = 40.0
SPEED = 20_000.0
"""Of the market: days in a day. With it, something happens some hundred times a second."""
TARGETS = ResponseTargets(first_response_s=2, resolution_s=10)
"""In place of hours, so that timers fall due within a round."""
SETTLE_S = 60.0
"""Longest time until every position is at its end, once the clock is stopped."""
POLL_S = 0.2
THREADS = 32
"""For what blocks: several workers may be waited for at once."""
BROKEN_OFF = (Refused, Transient, TimeoutError, KafkaError, AssertionError, ExceptionGroup)
TAKEN_OVER = re.compile(r"another (?:worker|clock) has taken over")
LEFT_BEHIND = re.compile(rf"{TAKEN_OVER.pattern}|went on without this process")
ENDS = re.compile(r"CRITICAL.*?: (.*)|^aftersales: (.*)", re.MULTILINE)


@dataclass
class Notes:
    """What is noted while a round is played."""

    missed: list[str] = field(default_factory=list)
    restarts: int = 0
    memory_bytes: int = 0


def play(plan: Plan, directory: Path) -> Result:
    """Play a round in `directory`, which is removed when nothing made a difference.

    What went wrong with the round itself (it did not start, heal or drain) is a difference too. Nothing is kept of a
    round that was interrupted.
    """
    return asyncio.run(_play(plan, directory))


async def _play(plan: Plan, directory: Path) -> Result:
    began = time.monotonic()
    notes, checked = Notes(), Checked(0, 0, 0, [])
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "plan.txt").write_text(f"{plan}\n")
    try:
        with _logged(directory / "round.log"):
            async with played(plan, directory, notes) as scene:
                checked = await check_scene(scene)
    except asyncio.CancelledError:
        shutil.rmtree(directory)
        raise
    except BROKEN_OFF as error:
        checked = Checked(0, 0, 0, [f"the round broke off: {error!r}"])
    result = Result(
        seed=plan.seed,
        seconds=plan.seconds,
        at=datetime.now(UTC),
        faults=len(plan.faults),
        missed=tuple(notes.missed),
        events=checked.events,
        facts=checked.facts,
        dead_letters=checked.dead_letters,
        fenced=sum(len(TAKEN_OVER.findall(text)) for text in _logs(directory)),
        restarts=notes.restarts,
        differences=tuple(checked.differences),
        duration_s=round(time.monotonic() - began, 1),
        memory_bytes=notes.memory_bytes,
        kept=str(directory) if checked.differences else "",
    )
    if result.good:
        shutil.rmtree(directory)
    else:
        (directory / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    return result


async def _nothing(scene: Scene) -> None:
    """Nothing goes on beside the faults of a plan."""


@asynccontextmanager
async def played(
    plan: Plan, directory: Path, notes: Notes, beside: Callable[[Scene], Coroutine[Any, Any, None]] = _nothing
) -> AsyncIterator[Scene]:
    """The scene after a round: all has been healed and worked off, and nothing moves any more.

    `beside` goes on beside the faults, and is over before anything is healed.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    async with open_scene(plan, directory) as scene:
        saboteur = Saboteur(scene, plan, notes.missed)
        await _start(scene)
        await _disturbed_feed(scene, plan, saboteur, beside(scene))
        await saboteur.heal()
        await feed(scene.settings, _market(plan), until_s=0)
        notes.restarts, notes.memory_bytes = _look(directory)
        await _drain(scene)
        yield scene


async def check_scene(scene: Scene) -> Checked:
    """Compare all that is there."""
    published = {line.id for line in read_lines(truth_path(scene.settings)) if not line.refused}
    return await apart(lambda: check(scene.pipeline, published))


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """What the clients of this process have to say goes into a file."""
    handler = logging.FileHandler(file)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def why_ended(directory: Path) -> Counter[str]:
    """The last words of processes, and how often they were said, from the logs of a round."""
    return Counter(one or other for text in _logs(directory) for one, other in ENDS.findall(text))


def left_behind(directory: Path) -> Counter[str]:
    """How often each worker of a round was told that others have its work now."""
    logs = (directory / "log").glob("*-*.log")
    return Counter({log.stem: len(LEFT_BEHIND.findall(log.read_text(errors="replace"))) for log in logs})


def _logs(directory: Path) -> Iterator[str]:
    for log in sorted((directory / "log").glob("*-*.log")):
        yield log.read_text(errors="replace")


def _look(directory: Path) -> tuple[int, int]:
    """Restarts of workers and engines, and memory of the whole tree."""
    found = status(directory)
    assert found is not None
    return sum(p.restarts for p in found.processes), sum(p.pss_bytes or 0 for p in found.processes)


async def _start(scene: Scene) -> None:
    """Start all workers, with targets of seconds."""
    await _publish_targets(scene.settings)
    await apart(lambda: scene.pipeline.add(*scene.pipeline.names))
    await apart(lambda: scene.pipeline.wait_until(lambda: _knows_targets(scene), expected=True))


async def _publish_targets(settings: Settings) -> None:
    now = datetime.now(UTC)
    reference = Reference(
        name="response_targets",
        version=2,
        effective_at=now,
        published_at=now,
        published_by="chaos",
        reason="timers fall due within a round",
        body=TARGETS,
    )
    async with AIOKafkaProducer(**settings.kafka_options()) as producer:
        topic = topic_name(settings.namespace, "reference")
        await producer.send_and_wait(topic, codec.encode(reference), key=b"response_targets/2", partition=0)


def _knows_targets(scene: Scene) -> bool:
    values = [record.value for record in scene.pipeline.read("timeline")]
    return any(codec.name_of(value) == Reference.NAME and codec.decode(value).version == 2 for value in values)


def _market(plan: Plan) -> Market:
    return Market(seed=plan.seed, history_days=HISTORY_DAYS, orders_per_day=ORDERS_PER_DAY, speed=SPEED)


async def _disturbed_feed(scene: Scene, plan: Plan, saboteur: Saboteur, beside: Coroutine[Any, Any, None]) -> None:
    """Feed while things go wrong. Nothing is fed any more when it returns."""
    stop = asyncio.Event()
    feeding = asyncio.create_task(_keep_feeding(scene.feeder, _market(plan), stop))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(saboteur.run())
            tasks.create_task(beside)
    finally:
        # Over a silent link it would not notice for long.
        await scene.links["feeder"].turn("fair")
        stop.set()
        await feeding


async def _keep_feeding(settings: Settings, market: Market, stop: asyncio.Event) -> None:
    """A feeder whose connection breaks is started again, as a supervisor would."""
    while not stop.is_set():
        try:
            await feed(settings, market, stop=stop)
        except (Transient, KafkaError, OSError):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL_S)


async def _drain(scene: Scene) -> None:
    """Return when all has been worked off, nothing ticks, and every step is at the end of what it reads."""
    await apart(scene.pipeline.drain)
    await apart(lambda: scene.pipeline.remove(*(name for name in NAMES if name.startswith("clock"))))
    async with asyncio.timeout(SETTLE_S), Progress(scene.settings) as progress:
        while any((await progress.unread()).values()):  # noqa: ASYNC110 - steps tell nobody
            await asyncio.sleep(POLL_S)
