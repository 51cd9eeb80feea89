"""What a worker on a real broker tells of itself."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.delivery.transactions import Transactions
from streams.embedded.ports import free_port
from streams.kafka import Cluster
from streams.settings import Settings
from tests.delivery.broker import PARTITIONS, Worker, fill, make_topics, read, until, write
from tests.delivery.chain import POISON
from tests.metrics.scrape import Answer, get, scrape

pytestmark = pytest.mark.engines

RECORDS, KEYS = 600, 20


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    """Starts the worker of `first`, which reads `a` and `b`; none outlives the test."""
    workers: list[Worker] = []

    def start_worker(**more: Any) -> Worker:
        workers.append(Worker(settings, tmp_path, "first", metrics_port=free_port(), **more))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.kill()


async def until_read(worker: Worker) -> Answer:
    """Wait until all of `a` is committed; returns the metrics then."""

    async def is_read() -> bool:
        metrics = await scrape(worker.metrics_port)
        return metrics.shows("processed_records_total", RECORDS + 1, agent="first", topic="a")

    await until(is_read, "a is read")
    # Once more, for what goes up and down is looked at before the counts are: the last commit may lie between.
    return await scrape(worker.metrics_port)


async def publish(settings: Settings) -> None:
    """Good records in all partitions of `a`, and a bad one."""
    for partition in range(PARTITIONS):
        records = [(b"k%d-%d" % (partition, n % KEYS), b"c") for n in range(RECORDS // PARTITIONS)]
        await fill(settings, "a", partition, records)
    await write(settings, "a", [(0, b"k", POISON)])


def test_a_worker_counts_what_it_reads_writes_and_holds(settings: Settings, start: Callable[[], Worker]) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        await publish(settings)
        worker = await start().ready()
        metrics = await until_read(worker)
        assert metrics.value("sent_records_total", agent="first", topic="mid") == RECORDS
        assert metrics.value("dead_letters_total", agent="first", reason="poison") == 1
        assert metrics.value("lag_records", agent="first", topic="a") == 0
        assert metrics.value("lag_records", agent="first", topic="b") == 0
        assert metrics.value("partitions", agent="first") == PARTITIONS
        assert metrics.value("state_entries", agent="first") == PARTITIONS * KEYS
        assert metrics.value("transactions_total", agent="first", outcome="committed") >= PARTITIONS
        assert metrics.value("batch_records_sum", agent="first") == RECORDS + 1
        assert get(worker.metrics_port, "/healthz").body == "ready\n"

        assert await worker.stop() == 0
        worker.start()
        await worker.ready()
        metrics = await scrape(worker.metrics_port)
        changes = len(await read(settings, "first-changelog"))
        assert metrics.value("restored_records", agent="first") == changes
        assert metrics.value("unrestored_records", agent="first") == 0
        assert metrics.value("state_entries", agent="first") == PARTITIONS * KEYS
        assert metrics.value("work_seconds_count", agent="first", work="restore") == 1

    asyncio.run(scenario())


def test_a_fenced_worker_says_so_in_its_last_line_and_ends(settings: Settings, start: Callable[[], Worker]) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        worker = await start().ready()
        other = Transactions(settings, Cluster(settings), "first", 0)
        await other.fence()
        await other.stop()
        await write(settings, "a", [(0, b"k", b"c")])
        assert await worker.exit_status() == 1
        lines = worker.log.read_text().splitlines()
        assert "another worker has taken over a task of this one" in lines[-1]
        assert sum("Traceback" in line for line in lines) == 0

    asyncio.run(scenario())
