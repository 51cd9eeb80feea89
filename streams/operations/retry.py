"""Asks casework to take up matters again, by entries on their timelines.

Must not know which matters are in quarantine or archived, nor what came of it: those are facts.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams import codec, kafka
from streams.delivery.dead_letters import DEAD_LETTER
from streams.delivery.names import group_name, topic_name
from streams.domain.events import Recall, Retry
from streams.errors import Transient
from streams.partitions import partition_of
from streams.settings import Settings
from streams.timepieces import MACHINE, Timepieces
from streams.topics import MAX_MESSAGE_BYTES

POLL_S = 0.2
SEND_S = 20.0


class Aside(NamedTuple):
    """A matter in quarantine."""

    customer: str
    matter: str
    reason: str
    detail: str


async def ask(
    settings: Settings, asides: Iterable[Aside], by: str, timepieces: Timepieces = MACHINE
) -> dict[TopicPartition, int]:
    """Ask for each matter, as `write` does. Asked twice, the second entry finds nothing to do."""
    now = timepieces.now()
    return behind(
        await write(settings, [(aside.customer, Retry(matter=aside.matter, asked_at=now, by=by)) for aside in asides])
    )


class Written(NamedTuple):
    """Where an entry stands."""

    place: TopicPartition
    offset: int


def behind(entries: Iterable[Written]) -> dict[TopicPartition, int]:
    """The position behind all of them, of each timeline partition."""
    positions: dict[TopicPartition, int] = {}
    for place, offset in entries:
        positions[place] = max(positions.get(place, 0), offset + 1)
    return positions


async def write(settings: Settings, entries: Iterable[tuple[str, Retry | Recall]]) -> list[Written]:
    """Write entries on the timelines of customers; returns where each of them stands.

    Raises Refused when Kafka can't be reached, Transient when it stops answering: some may have been written then.
    """
    timeline = topic_name(settings.namespace, "timeline")
    producer = kafka.Cluster(settings).producer(acks="all", enable_idempotence=True, max_request_size=MAX_MESSAGE_BYTES)
    await kafka.start(producer, settings)
    try:
        async with asyncio.timeout(SEND_S):
            count = len(await producer.partitions_for(timeline))
            waiting = []
            for customer, entry in entries:
                key = customer.encode()
                waiting.append(
                    await producer.send(timeline, codec.encode(entry), key=key, partition=partition_of(key, count))
                )
            written = await asyncio.gather(*waiting)
    except (TimeoutError, KafkaError) as error:
        raise Transient(
            f"Kafka at {settings.bootstrap_servers} does not take the entries ({error!r}): run the command again"
        ) from error
    finally:
        await producer.stop()
    return [Written(TopicPartition(record.topic, record.partition), record.offset) for record in written]


async def wait_until_answered(settings: Settings, behind: Mapping[TopicPartition, int], patience_s: float) -> bool:
    """Return True when casework has read up to `behind` and the sink has stored what it stated and refused of it; False
    when that takes longer than `patience_s`.
    """
    answers = [topic_name(settings.namespace, noun) for noun in ("matter_fact", DEAD_LETTER)]
    admin = await kafka.connect_admin(settings, "aftersales-quarantine-retry")
    consumer = kafka.Cluster(settings).consumer(enable_auto_commit=False)
    try:
        await kafka.start(consumer, settings)
        async with asyncio.timeout(patience_s):
            await _wait_for(admin, group_name(settings.namespace, "casework"), behind)
            places = [
                TopicPartition(topic["topic"], partition)
                for topic in await admin.describe_topics()
                if topic["topic"] in answers
                for partition in range(len(topic["partitions"]))
            ]
            await _wait_for(admin, group_name(settings.namespace, "sink"), await consumer.end_offsets(places))
    except TimeoutError:
        return False
    finally:
        await consumer.stop()
        await admin.close()
    return True


async def _wait_for(admin: Any, group: str, positions: Mapping[TopicPartition, int]) -> None:
    while True:
        committed = await admin.list_consumer_group_offsets(group, partitions=list(positions))
        if all(place in committed and committed[place].offset >= position for place, position in positions.items()):
            return
        await asyncio.sleep(POLL_S)
