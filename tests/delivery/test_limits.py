"""What is slow gets behind, and stays small; what can't keep its work says so and ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from streams import codec
from streams.cli.children import environment
from streams.clickhouse import migrate
from streams.delivery.group import FETCH_BYTES, LEAST_FETCH_BYTES
from streams.delivery.membership import LOST_TIMES
from streams.delivery.task import LIMITS
from streams.domain.events import MessageText
from streams.embedded.ports import free_port
from streams.rows import TOPICS
from streams.settings import Settings
from streams.sink import BATCH_BYTES
from streams.sink import FETCH_BYTES as SINK_FETCH_BYTES
from streams.topics import apply
from tests.clickhouse.made import envelope
from tests.delivery.broker import PARTITIONS, Worker, fill, make_topics, read, until
from tests.metrics.scrape import scrape

pytestmark = pytest.mark.engines

MIB = 1 << 20
BACKLOG_BYTES = 200 * MIB
OVERHEAD = 4
"""Bytes of memory for a byte that was fetched: as it came, decoded, as it goes out, and what an allocator keeps."""
SETTLED = 8
"""So many looks in a row at which a process has not grown."""
PAUSE_S = 7.5
"""Beyond the session time-out."""
STOP_S = 10.0
STUCK_SINK = """
import asyncio
from streams import settings, sink

async def never(self, table, rows):
    await asyncio.Event().wait()

sink.Store.insert = never
sink.run_sink(settings.load())
"""


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers of the chain; none outlives the test."""
    workers = []

    def start_worker(*agents: str, **more: Any) -> Worker:
        workers.append(Worker(settings, tmp_path, *agents, **({"metrics_port": free_port()} | more)))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.kill()


def pss_bytes(pid: int) -> int:
    """Memory of a process, with its share of what it shares with others."""
    return int(psutil.Process(pid).memory_full_info().pss)


async def settled_bytes(pid: int) -> int:
    """The memory of a process once it does not grow any more."""
    most, looks = 0, 0

    async def is_settled() -> bool:
        nonlocal most, looks
        now = pss_bytes(pid)
        looks = looks + 1 if now < most + MIB else 0
        most = max(most, now)
        return looks >= SETTLED

    await until(is_settled, f"process {pid} stays as it is", poll_s=0.2)
    return most


def test_a_slow_step_shows_as_lag_and_not_as_memory(settings: Settings, start: Callable[..., Worker]) -> None:
    count, size = BACKLOG_BYTES >> 12, 1 << 12
    fetched = PARTITIONS * 2 * max(FETCH_BYTES // 2, LEAST_FETCH_BYTES)
    bound = OVERHEAD * (fetched + PARTITIONS * LIMITS.weight)

    async def scenario() -> None:
        await make_topics(settings)
        worker = start("first", slow_s="0.01")
        await worker.ready()
        before = pss_bytes(worker.process.pid)
        for partition in range(PARTITIONS):
            await fill(settings, "a", partition, ((b"k", os.urandom(size)) for _ in range(count // PARTITIONS)))
        grown = await settled_bytes(worker.process.pid) - before
        lag = (await scrape(worker.metrics_port)).value("lag_records", agent="first", topic="a")
        print(
            f"slow step: {lag:.0f} records behind, {before / MIB:.0f} MiB + {grown / MIB:.0f} MiB of {bound / MIB:.0f}"
        )
        assert lag > count / 2
        assert grown < bound < BACKLOG_BYTES

    asyncio.run(scenario())


def test_a_sink_that_can_store_nothing_gets_behind_alone_and_stays_small(
    settings: Settings, start: Callable[..., Worker], tmp_path: Path
) -> None:
    count, size = BACKLOG_BYTES >> 12, 1 << 12
    port = free_port()
    ours = msgspec.structs.replace(settings, partitions=PARTITIONS, metrics_port=port)
    bound = OVERHEAD * (len(TOPICS) * PARTITIONS * SINK_FETCH_BYTES + BATCH_BYTES)

    async def scenario(sink: "subprocess.Popen[bytes]") -> None:
        async def is_ready() -> bool:
            try:
                return (await scrape(port)).value("ready") == 1
            except OSError:
                assert sink.poll() is None, (tmp_path / "sink.log").read_text()
                return False

        await until(is_ready, "the sink is ready")
        before = pss_bytes(sink.pid)
        text = MessageText(**envelope("thread:shop:1", "2026-03-02 10:00"), text_of="m", text="x" * size)
        for partition in range(PARTITIONS):
            await fill(settings, "message_text", partition, [(b"k", codec.encode(text))] * (count // PARTITIONS))
        grown = await settled_bytes(sink.pid) - before
        lag = (await scrape(port)).value("lag_records", agent="sink", topic="message_text")
        print(
            f"stuck sink: {lag:.0f} records behind, {before / MIB:.0f} MiB + {grown / MIB:.0f} MiB of {bound / MIB:.0f}"
        )
        assert lag == count // PARTITIONS * PARTITIONS
        assert grown < bound < BACKLOG_BYTES

        await make_topics(settings, ["a", "b", "mid"])
        await fill(settings, "a", 0, [(b"k", b"c")] * 1000)
        await start("first").ready()

        async def is_worked_off() -> bool:
            return len(await read(settings, "mid")) == 1000

        await until(is_worked_off, "a step works on meanwhile")
        sink.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(sink.wait, STOP_S) == 1
        assert "sink: stop took too long" in (tmp_path / "sink.log").read_text()

    asyncio.run(apply(ours, dry_run=False))
    migrate(ours)
    with (tmp_path / "sink.log").open("wb") as log:
        sink = subprocess.Popen([sys.executable, "-c", STUCK_SINK], env=environment(ours), stdout=log, stderr=log)
    try:
        asyncio.run(scenario(sink))
    finally:
        sink.kill()
        sink.wait()


def test_a_worker_that_loses_its_place_again_and_again_says_why_and_ends(
    settings: Settings, start: Callable[..., Worker]
) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        worker = await start("first").ready()
        for lost in range(1, LOST_TIMES + 1):
            worker.send(signal.SIGSTOP)
            await asyncio.sleep(PAUSE_S)
            worker.send(signal.SIGCONT)
            if lost < LOST_TIMES:

                async def is_back(lost: int = lost) -> bool:
                    metrics = await scrape(worker.metrics_port)
                    return metrics.shows("ready", 1) and metrics.shows("lost_memberships_total", lost, agent="first")

                await until(is_back, "it is back")
        assert await worker.exit_status() == 1
        (said,) = [line for line in worker.log.read_text().splitlines() if " CRITICAL " in line]
        assert f"first went on without this process {LOST_TIMES} times" in said
        assert worker.log.read_text().splitlines()[-1] == said

    asyncio.run(scenario())
