"""What the broker tests do with topics and worker processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from streams.delivery.names import topic_name
from streams.settings import Settings

PARTITIONS = 3
DEADLINE_S = 60.0
BATCH_BYTES = 512 << 10
POLL_S = 0.05
TOPICS = ("a", "b", "mid", "out", "dead_letter")


async def until(fact: Callable[[], Coroutine[Any, Any, bool]], what: str, poll_s: float = POLL_S) -> None:
    """Wait for a fact; TimeoutError says which one did not come true."""
    end = monotonic() + DEADLINE_S
    while not await fact():
        if monotonic() > end:
            raise TimeoutError(what)
        await asyncio.sleep(poll_s)


@asynccontextmanager
async def admin_of(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.kafka_options())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_topics(settings: Settings, topics: Sequence[str] = TOPICS, partitions: int = PARTITIONS) -> None:
    names = {topic_name(settings.namespace, noun) for noun in topics}
    async with admin_of(settings) as admin:
        kept = {"retention.ms": "-1"}  # a worker refuses dead letters that are kept for too short a time
        configs = {name: {"cleanup.policy": "compact"} if "-changelog." in name else kept for name in names}
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs[name]) for name in names])

        async def are_there() -> bool:
            return names <= {*await admin.list_topics()}

        await until(are_there, f"topics {names}")


async def delete_before(settings: Settings, noun: str, offset: int) -> None:
    """Remove the records below `offset` in all partitions, as retention would."""
    name = topic_name(settings.namespace, noun)
    async with admin_of(settings) as admin:
        await admin.delete_records({TopicPartition(name, p): RecordsToDelete(offset) for p in range(PARTITIONS)})


@asynccontextmanager
async def producer_of(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**settings.kafka_options(), **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def write(settings: Settings, noun: str, records: Sequence[tuple[int, bytes, bytes]]) -> None:
    """Append (partition, key, value)."""
    name = topic_name(settings.namespace, noun)
    async with producer_of(settings) as producer:
        for partition, key, value in records:
            await producer.send_and_wait(name, value, key=key, partition=partition)


async def fill(settings: Settings, noun: str, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Append many (key, value) to one partition, in large batches."""
    name = topic_name(settings.namespace, noun)
    async with producer_of(settings, max_batch_size=BATCH_BYTES, enable_idempotence=True) as producer:
        batch = producer.create_batch()
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=None) is None:
                await (await producer.send_batch(batch, name, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        await (await producer.send_batch(batch, name, partition=partition))


@asynccontextmanager
async def consumer_of(settings: Settings, isolation_level: str = "read_committed") -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **settings.kafka_options(), isolation_level=isolation_level, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def places_of(settings: Settings, noun: str) -> list[TopicPartition]:
    """The partitions of a topic."""
    name = topic_name(settings.namespace, noun)
    return [TopicPartition(name, partition) for partition in range(PARTITIONS)]


async def grows(settings: Settings, noun: str) -> None:
    """Return when more is committed to a topic than at the call."""
    async with consumer_of(settings) as consumer:
        places = places_of(settings, noun)
        before = await consumer.end_offsets(places)

        async def has_grown() -> bool:
            return bool(await consumer.end_offsets(places) != before)

        await until(has_grown, f"{noun} grows")


async def nothing_open(settings: Settings, noun: str) -> None:
    """Return when no transaction holds back readers of a topic: a commit is answered before its markers are written."""
    places = places_of(settings, noun)
    async with consumer_of(settings) as committed, consumer_of(settings, "read_uncommitted") as everything:

        async def agree() -> bool:
            return bool(await committed.end_offsets(places) == await everything.end_offsets(places))

        await until(agree, f"no transaction is open on {noun}")


async def read(settings: Settings, noun: str) -> list[ConsumerRecord]:
    """All committed records, partition by partition in order."""
    async with consumer_of(settings) as consumer:
        places = places_of(settings, noun)
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        unread = {place for place in places if ends[place] > 0}
        found: dict[TopicPartition, list[ConsumerRecord]] = {place: [] for place in places}
        while unread:
            for place, records in (await consumer.getmany(*unread, timeout_ms=100)).items():
                found[place] += records
            unread = {place for place in unread if await consumer.position(place) < ends[place]}
    return [record for records in found.values() for record in records]


class Worker:
    """A worker process of the chain, in a folder of its own. `slow_s`: how long `first` takes for a record."""

    def __init__(
        self, settings: Settings, folder: Path, *agents: str, name: str = "worker", slow_s: str = "0", **more: Any
    ) -> None:
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        self.ready_file, self.log = self.folder / "ready", self.folder / "log"
        self.metrics_port: int = more.get("metrics_port", 0)
        given = {"partitions": PARTITIONS, "worker_name": name, "ready_file": str(self.ready_file), **more}
        ours = msgspec.structs.replace(settings, **given)
        self._command = [sys.executable, "-m", "tests.delivery.chain", *agents]
        ways = {"PYTHONPATH": str(Path(__file__).parents[2]), "SLOW_S": slow_s}
        self._environment = os.environ | environment_of(ours) | ways
        self.start()

    def start(self, **environment: str) -> None:
        """Start, again if need be."""
        self._environment = self._environment | environment
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )

    async def ready(self) -> "Worker":
        """Wait until it is ready."""

        async def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.ready_file.exists()

        await until(is_ready, f"{self.folder.name} is ready")
        return self

    async def exit_status(self) -> int:
        """Wait until it has ended by itself."""

        async def has_ended() -> bool:
            return self.process.poll() is not None

        await until(has_ended, f"{self.folder.name} ends: {self.log.read_text()}")
        return self.process.wait()

    async def stop(self) -> int:
        """Tell it to stop; returns its exit status."""
        self.process.terminate()
        return await self.exit_status()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that gives a process these settings."""
    default = Settings()
    return {
        f"AFTERSALES_{name.upper()}": str(value)
        for name, value in msgspec.structs.asdict(settings).items()
        if value != getattr(default, name)
    }
