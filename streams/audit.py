"""An audit of the topics: is every source record on a timeline or a dead letter, once, and are revisions sound?

Reads Kafka from the beginning and compares, without state, Faust or ClickHouse. Meant for demos, tests and a doubt on
a small installation: it reads everything, at about 50,000 records a second.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import codec, kafka
from streams.agents.correlate import SOURCES
from streams.delivery.names import topic_name
from streams.domain.events import DeadLetter, Event
from streams.domain.facts import MatterFact, TimerFact
from streams.errors import BadInput
from streams.settings import Settings
from streams.topics import read_topics

FETCH_MS = 500
FETCH_RECORDS = 5_000
SHOWN = 5
"""Examples of each fault."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. Everything but the counts should be empty."""

    source_records: int
    """Records on all source topics, repetitions included."""
    source_events: int
    """Distinct events among them."""
    timeline_records: int
    """Events on the timeline, repetitions included."""
    dead_source_records: int
    """Source records that became dead letters."""
    facts: int
    lost: tuple[str, ...]
    """Events that are neither on a timeline nor dead letters, as often as they were published."""
    doubled: tuple[str, ...]
    """Events that are on timelines more often than they were published."""
    broken_revisions: tuple[str, ...]
    """Keys of facts with a revision that is missing or used twice."""

    @property
    def sound(self) -> bool:
        """Whether nothing was lost or doubled."""
        return not (self.lost or self.doubled or self.broken_revisions)


async def audit(settings: Settings) -> Audit:
    """Read all topics up to their present ends."""
    dead = await _dead_origins(settings)
    published: Counter[str] = Counter()
    source_records = dead_sources = 0
    async for record in read_all(settings, SOURCES):
        source_records += 1
        noun = record.topic.removeprefix(f"{settings.namespace}.").removesuffix(".v1")
        if (noun, record.partition, record.offset) in dead:
            dead_sources += 1
            continue
        published[_event_id(record.value or b"") or f"{noun} {record.partition} {record.offset}"] += 1
    arrived: Counter[str] = Counter()
    async for record in read_all(settings, ("timeline",)):
        if event := _event_id(record.value or b""):
            arrived[event] += 1
    revisions: dict[str, list[int]] = defaultdict(list)
    async for record in read_all(settings, ("timer_fact", "matter_fact")):
        fact = codec.decode(record.value)
        assert isinstance(fact, TimerFact | MatterFact)
        revisions[f"{fact.generation} {fact.about} {fact.key}"].append(fact.revision)
    return Audit(
        source_records=source_records,
        source_events=len(published),
        timeline_records=arrived.total(),
        dead_source_records=dead_sources,
        facts=sum(map(len, revisions.values())),
        lost=tuple(sorted((published - arrived).elements())),
        doubled=tuple(sorted((arrived - published).elements())),
        broken_revisions=tuple(
            sorted(key for key, numbers in revisions.items() if sorted(numbers) != list(range(1, len(numbers) + 1)))
        ),
    )


async def _dead_origins(settings: Settings) -> set[tuple[str, int, int]]:
    origins = set()
    async for record in read_all(settings, ("dead_letter",)):
        letter = codec.decode(record.value)
        if isinstance(letter, DeadLetter) and letter.origin_topic is not None:
            assert letter.origin_partition is not None
            assert letter.origin_offset is not None
            origins.add((letter.origin_topic, letter.origin_partition, letter.origin_offset))
    return origins


def _event_id(value: bytes) -> str | None:
    try:
        entry = codec.decode(value)
    except BadInput:
        return None
    return entry.event_id if isinstance(entry, Event) else None


async def read_all(settings: Settings, nouns: Sequence[str]) -> AsyncIterator[Any]:
    """Committed records of these topics from the beginning to their present ends, as consumers give them."""
    topics = read_topics(settings.partitions)
    places = [
        TopicPartition(topic_name(settings.namespace, noun), partition)
        for noun in nouns
        for partition in range(topics[noun].partitions)
    ]
    consumer = AIOKafkaConsumer(
        **settings.kafka_options(),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )
    await kafka.start(consumer, settings)
    try:
        consumer.assign(places)
        ends, begins = await consumer.end_offsets(places), await consumer.beginning_offsets(places)
        for place in places:
            consumer.seek(place, begins[place])
        left = {place for place in places if begins[place] < ends[place]}
        while left:
            found = await consumer.getmany(*left, timeout_ms=FETCH_MS, max_records=FETCH_RECORDS)
            for records in found.values():
                for record in records:
                    yield record
            left = {place for place in left if await consumer.position(place) < ends[place]}
    finally:
        await consumer.stop()
