"""Reading back what an import has left in Kafka: how far it came, and where topics end now.

Must not know what is imported.
"""

import asyncio
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.domain.events import SourcePosition
from streams.errors import Transient
from streams.settings import Settings

READ_S = 30.0
"""Longest wait for the next records of a topic that has some."""
RECORDS_AT_ONCE = 5000


async def read_newest(settings: Settings, topic: str, keys: Collection[str]) -> dict[str, bytes]:
    """The newest record of each of some keys in a topic (full name) of one partition. Raises Transient."""
    wanted = {key.encode(): key for key in keys}
    newest: dict[str, bytes] = {}
    partition = TopicPartition(topic, 0)
    async with _Reader(settings) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        await consumer.seek_to_beginning(partition)
        while await consumer.position(partition) < end:
            found = await consumer.getmany(timeout_ms=int(READ_S * 1000), max_records=RECORDS_AT_ONCE)
            if not found:
                raise Transient(f"{topic} was not read to its end {end} within {READ_S:.0f} s")
            for record in found[partition]:
                if record.key in wanted and record.value is not None:
                    newest[wanted[record.key]] = record.value
    return newest


async def end_positions(settings: Settings, topics: Mapping[str, tuple[str, int]]) -> tuple[SourcePosition, ...]:
    """Where topics end now; by noun: full name and number of partitions. Raises Transient."""
    nouns = {name: noun for noun, (name, _) in topics.items()}
    partitions = [TopicPartition(name, number) for name, count in topics.values() for number in range(count)]
    async with _Reader(settings) as consumer:
        ends = await consumer.end_offsets(partitions)
    return tuple(
        SourcePosition(topic=nouns[at.topic], partition=at.partition, offset=end)
        for at, end in sorted(ends.items())
        if end
    )


class _Reader:
    """A consumer that belongs to no group; its faults are Transient."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = AIOKafkaConsumer(
            **settings.kafka_options(), enable_auto_commit=False, auto_offset_reset="none", group_id=None
        )

    async def __aenter__(self) -> AIOKafkaConsumer:
        try:
            await self._consumer.start()
        except KafkaError as error:
            await self._consumer.stop()
            raise Transient(f"Kafka does not answer: {error}") from error
        return self._consumer

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await asyncio.shield(self._consumer.stop())
        if isinstance(error, KafkaError):
            raise Transient(f"reading from Kafka failed: {error!r}") from error
