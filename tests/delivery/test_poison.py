"""A source of nothing but poison is left alone, and no other; what it wrote is read once it can be."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.delivery.group import FETCH_RECORDS
from streams.embedded.ports import free_port
from streams.settings import Settings
from tests.delivery.broker import PARTITIONS, Worker, fill, make_topics, read, until, write
from tests.delivery.chain import POISON, Step
from tests.metrics.scrape import scrape

pytestmark = pytest.mark.engines

LIMIT = 1000
POISONED = 100_000
GOOD = 3_000
PROBES = 5
"""More than are tried while a test runs."""
OPENED, CLOSED = "is not read by first any more", "is read by first again"

Start = Callable[..., Worker]


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Starts workers of `first`, which reads the sources `a` and `b`; none outlives the test."""
    workers = []

    def start_worker(**more: Any) -> Worker:
        workers.append(Worker(settings, tmp_path, "first", **({"metrics_port": free_port()} | more)))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.kill()


async def poison(settings: Settings, noun: str, count: int, partitions: int = PARTITIONS) -> None:
    """Append `count` records that can't be read, in all partitions alike."""
    for partition in range(partitions):
        share = count // partitions + (partition < count % partitions)
        await fill(settings, noun, partition, [(b"k%d" % (number % 50), POISON) for number in range(share)])


async def accepted(settings: Settings, noun: str) -> Counter[tuple[int, int]]:
    """How often each record of a source was decided on: (partition, offset)."""
    steps = [msgspec.json.decode(record.value, type=Step) for record in await read(settings, "mid")]
    return Counter((step.partition, step.offset) for step in steps if step.topic == noun)


async def refused(settings: Settings, noun: str) -> Counter[tuple[int, int]]:
    """How often each record of a source became a dead letter."""
    letters = [codec.decode(record.value) for record in await read(settings, "dead_letter")]
    return Counter((letter.origin_partition, letter.origin_offset) for letter in letters if letter.origin_topic == noun)


def test_poison_opens_the_breaker_of_its_source_alone_and_is_read_once_after_the_mend(
    settings: Settings, start: Start
) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        await poison(settings, "a", POISONED)
        worker = await start(breaker_records=LIMIT).ready()

        async def is_open() -> bool:
            return (await scrape(worker.metrics_port)).value("breaker_open", agent="first", topic="a") == 1

        await until(is_open, "the breaker of a is open")
        for partition in range(PARTITIONS):
            await fill(settings, "b", partition, [(b"k", b"c")] * (GOOD // PARTITIONS))

        async def is_good_read() -> bool:
            return (await accepted(settings, "b")).total() == GOOD

        await until(is_good_read, "the other source is read")
        metrics = await scrape(worker.metrics_port)
        dead = await refused(settings, "a")
        assert metrics.value("breaker_open", agent="first", topic="b") == 0
        assert metrics.value("breaker_openings_total", agent="first", topic="a") == 1
        assert LIMIT <= dead.total() <= PARTITIONS * (LIMIT + FETCH_RECORDS + PROBES)
        assert metrics.value("lag_records", agent="first", topic="a") >= POISONED - dead.total() - PARTITIONS * PROBES
        assert metrics.value("dead_letters_total", agent="first", reason="poison") >= LIMIT
        assert worker.log.read_text().count(OPENED) == 1
        assert await worker.stop() == 0

        worker.start(MENDED="yes")

        async def is_all_read() -> bool:
            left = await accepted(settings, "a") + await refused(settings, "a")
            return left.total() >= POISONED

        await until(is_all_read, "all of a is read", poll_s=1.0)
        assert Counter(await accepted(settings, "a") + await refused(settings, "a")) == Counter(
            (record.partition, record.offset) for record in await read(settings, "a")
        )

    asyncio.run(scenario())


def test_a_source_that_is_mended_is_read_again_without_a_restart(settings: Settings, start: Start) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        await poison(settings, "a", 10, partitions=1)
        worker = await start(breaker_records=10).ready()

        async def is_open() -> bool:
            return OPENED in worker.log.read_text()

        await until(is_open, "the breaker of a is open")
        await write(settings, "a", [(partition, b"k", b"c") for partition in range(PARTITIONS)] * 5)

        async def is_read() -> bool:
            return (await accepted(settings, "a")).total() == 5 * PARTITIONS

        await until(is_read, "a is read again")
        assert worker.log.read_text().count(CLOSED) == 1
        assert (await refused(settings, "a")).total() == 10

    asyncio.run(scenario())


def test_without_a_limit_all_that_cannot_be_read_becomes_dead_letters(settings: Settings, start: Start) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        await poison(settings, "a", 5_000)
        worker = await start(breaker_records=0).ready()

        async def is_read() -> bool:
            return (await refused(settings, "a")).total() == 5_000

        await until(is_read, "all of a is refused")
        assert OPENED not in worker.log.read_text()

    asyncio.run(scenario())
