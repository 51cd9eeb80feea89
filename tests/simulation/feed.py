"""What comes in from outside in one round: a random story, partly twice, partly unreadable, and how far it was read.

The feeder keeps what it has published when it is killed, and publishes again what it is not sure of, as an import does.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from streams import codec
from streams.delivery.agent import Send
from streams.delivery.names import topic_name
from streams.domain.events import MessageText, ReadThrough, SourceEvent, SourcePosition
from streams.domain.ids import event_id, kind_of
from streams.partitions import partition_of
from tests.identity.stories import ACCOUNT, START, random_story, record_of
from tests.simulation.network import SimulatedClients
from tests.simulation.processes import NAMESPACE
from tests.simulation.world import Process

REPEATED, POISON, ANNOUNCED = 0.3, 0.05, 0.1
"""How often, at an event: it comes again, something unreadable comes, it is said how far the account is read."""
MOST_STORIES = 3
LONGEST_PAUSE_S = 0.6
END = START + timedelta(days=30)
"""Up to when all is heard in the end."""
PUBLISHED_AT = datetime(2026, 4, 5, tzinfo=UTC)


class Feed:
    """The records to publish, in order, and how far that has come: it survives the feeder."""

    def __init__(self, randomness: Random, partitions: int) -> None:
        self.partitions = partitions
        self.events: list[SourceEvent] = []
        for number in range(randomness.randint(1, MOST_STORIES)):
            self.events += [_renamed(event, number) for event in random_story(randomness).events]
        randomness.shuffle(self.events)
        self.records: list[Send | datetime] = []
        """Records, and instants up to which everything was read."""
        for event in self.events:
            self.records.append(record_of(event))
            if kind_of(event.about) == "thread":
                self.records.append(_text_of(event))
            if randomness.random() < REPEATED:
                self.records.insert(randomness.randint(0, len(self.records)), record_of(event))
            if randomness.random() < POISON:
                self.records.append(Send(event.NAME, event.about.encode(), randomness.randbytes(20)))
            if randomness.random() < ANNOUNCED:
                self.records.append(START + timedelta(hours=randomness.randint(0, 80)))
        self.records.append(END)
        self.published = 0
        self.positions: dict[tuple[str, int], int] = {}

    @property
    def done(self) -> bool:
        """Whether everything is published."""
        return self.published == len(self.records)


def _renamed(event: SourceEvent, number: int) -> SourceEvent:
    """An event of one of several stories that have only their customers in common."""

    def name(id: str) -> str:
        return f"{id}-{number}"

    return msgspec.structs.replace(
        event,
        event_id=event_id(ACCOUNT, "story", str(number), event.event_id),
        about=name(event.about),
        leader=event.leader and name(event.leader),
        followers=tuple(map(name, event.followers)),
    )


def _text_of(event: SourceEvent) -> Send:
    text = MessageText(
        event_id=event.event_id,
        event_at=event.event_at,
        ingested_at=event.ingested_at,
        account=event.account,
        about=event.about,
        text_of=event.event_id,
        text="ok",
    )
    return Send(text.NAME, text.about.encode(), codec.encode(text))


async def run_feeder(process: Process, feed: Feed) -> None:
    """Publish what is left. Raises KafkaError."""
    producer = SimulatedClients(process).producer(enable_idempotence=True, acks="all")
    await producer.start()
    while not feed.done:
        send = feed.records[feed.published]
        if isinstance(send, datetime):
            send = _announcement(feed, send)
        partition = 0 if send.topic == ReadThrough.NAME else partition_of(send.key, feed.partitions)
        topic = topic_name(NAMESPACE, send.topic)
        written = await producer.send_and_wait(topic, send.value, key=send.key, partition=partition)
        if send.topic not in (ReadThrough.NAME, MessageText.NAME):
            feed.positions[send.topic, partition] = written.offset + 1
        feed.published += 1
        await asyncio.sleep(process.world.random.uniform(0, LONGEST_PAUSE_S))
    await producer.stop()


def _announcement(feed: Feed, through_at: datetime) -> Send:
    positions = tuple(
        SourcePosition(topic=topic, partition=partition, offset=offset)
        for (topic, partition), offset in sorted(feed.positions.items())
    )
    entry = ReadThrough(
        account=ACCOUNT, through_at=through_at, live=False, published_at=PUBLISHED_AT, positions=positions
    )
    return Send(entry.NAME, ACCOUNT.encode(), codec.encode(entry))
