"""Topics of a job: made, filled quickly, looked at, read, and taken away again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic

from streams.partitions import partition_of
from streams.settings import Settings
from tests.delivery.broker import admin_of

BATCH_BYTES = 512 << 10
BATCHES_IN_FLIGHT = 32
TOPICS_S = 60.0
READ_IDLE_S = 30.0
POLL_S = 0.1

Record = tuple[bytes, bytes, list[tuple[str, bytes]]]
"""Key, value, headers."""


@asynccontextmanager
async def consumer_of(settings: Settings, **options: Any) -> AsyncIterator[Any]:
    """A started consumer of committed records, from the beginning unless told otherwise."""
    given = {"isolation_level": "read_committed", "auto_offset_reset": "earliest", "fetch_max_wait_ms": 50}
    consumer = AIOKafkaConsumer(**settings.kafka_options(), **given | options)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def make_topics(settings: Settings, partitions: Mapping[str, int]) -> None:
    """Create topics {full name: number of partitions}, and wait until they are there."""
    async with admin_of(settings) as admin:
        kept = {"retention.ms": "-1"}  # a worker refuses dead letters that are kept for too short a time
        await admin.create_topics([NewTopic(name, count, 1, topic_configs=kept) for name, count in partitions.items()])
        end = monotonic() + TOPICS_S
        while not partitions.keys() <= {*await admin.list_topics()}:
            if monotonic() > end:
                raise TimeoutError(f"topics {', '.join(partitions)} did not appear in {TOPICS_S:.0f} s")
            await asyncio.sleep(POLL_S)


async def delete_topics(settings: Settings, belongs: Callable[[str], bool]) -> None:
    """Delete the topics whose full names satisfy `belongs`."""
    async with admin_of(settings) as admin:
        if names := [name for name in await admin.list_topics() if belongs(name)]:
            await admin.delete_topics(names)


async def fill(
    settings: Settings,
    topic: str,
    partitions: int,
    records: Iterable[Record],
    partition_key: Callable[[bytes], bytes] = lambda key: key,
) -> None:
    """Append records, each to the partition that `partition_key` of its key belongs to."""
    producer = AIOKafkaProducer(
        **settings.kafka_options(), max_batch_size=BATCH_BYTES, max_request_size=2 * BATCH_BYTES
    )
    await producer.start()
    filling, in_flight = dict[int, Any](), list[Any]()

    async def hand_over(partition: int) -> None:
        batch = filling.pop(partition)
        batch.close()
        in_flight.append(await producer.send_batch(batch, topic, partition=partition))
        if len(in_flight) >= BATCHES_IN_FLIGHT:
            await asyncio.gather(*in_flight)
            in_flight.clear()

    try:
        for key, value, headers in records:
            partition = partition_of(partition_key(key), partitions)
            fields = {"key": key, "value": value, "timestamp": None, "headers": headers}
            if partition in filling and filling[partition].append(**fields) is not None:
                continue
            if partition in filling:
                await hand_over(partition)
            filling[partition] = producer.create_batch()
            filling[partition].append(**fields)
        for partition in [*filling]:
            await hand_over(partition)
        await asyncio.gather(*in_flight)
    finally:
        await producer.stop()


def places(topic: str, partitions: int) -> list[TopicPartition]:
    """All partitions of a topic."""
    return [TopicPartition(topic, partition) for partition in range(partitions)]


async def read_last(consumer: Any, ends: Mapping[TopicPartition, int], records: int) -> list[ConsumerRecord]:
    """The last committed record of each partition, looked for among its last `records` offsets up to `ends`."""
    last: dict[TopicPartition, ConsumerRecord] = {}
    for place, end in ends.items():
        consumer.seek(place, max(0, end - records))
    async for place, record in _up_to(consumer, ends):
        last[place] = record
    return [*last.values()]


async def read_all(settings: Settings, topic: str, partitions: int) -> AsyncIterator[ConsumerRecord]:
    """All records that are committed now, partition by partition in order."""
    async with consumer_of(settings, max_partition_fetch_bytes=4 << 20) as consumer:
        consumer.assign(places(topic, partitions))
        ends = await consumer.end_offsets(places(topic, partitions))
        await consumer.seek_to_beginning()
        async for _, record in _up_to(consumer, ends):
            yield record


async def _up_to(
    consumer: Any, ends: Mapping[TopicPartition, int]
) -> AsyncIterator[tuple[TopicPartition, ConsumerRecord]]:
    heard = monotonic()
    while unread := [place for place, end in ends.items() if await consumer.position(place) < end]:
        found = await consumer.getmany(*unread, timeout_ms=200, max_records=20_000)
        for place, records in found.items():
            for record in records:
                if record.offset < ends[place]:
                    yield place, record
        if found:
            heard = monotonic()
        elif monotonic() > heard + READ_IDLE_S:
            raise TimeoutError(f"nothing more came of {unread} in {READ_IDLE_S:.0f} s")
