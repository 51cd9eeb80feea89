"""The clients of Kafka, and one sentence when they can't connect.

Must not know what the clients are for.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import IllegalOperation, InvalidProducerIdMapping, InvalidTxnState, KafkaError, ProducerFenced

from streams.delivery.agent import Record
from streams.errors import Refused
from streams.settings import Settings

CONNECT_S = 8.0
ENDS_S = 2.0

FENCED = (ProducerFenced, InvalidTxnState, InvalidProducerIdMapping)
"""What a broker answers to a producer that another one has taken the place of, or whose transaction it has ended."""


class Clients(Protocol):
    """Makes clients of one cluster, not started yet. Options are those of aiokafka's classes, connecting apart.

    Whatever reads and writes in a worker gets its clients here, so that a simulated broker can take Kafka's place.
    """

    def consumer(self, **options: Any) -> Any:
        """A client as `aiokafka.AIOKafkaConsumer`."""
        ...

    def producer(self, **options: Any) -> Any:
        """A client as `aiokafka.AIOKafkaProducer`."""
        ...

    def admin(self, **options: Any) -> Any:
        """A client as `aiokafka.admin.AIOKafkaAdminClient`."""
        ...


class Cluster:
    """The Kafka cluster that settings name. Raises SettingsError for settings that can't be right."""

    def __init__(self, settings: Settings) -> None:
        self._options = settings.kafka_options()

    def consumer(self, **options: Any) -> Any:
        """A consumer, not started."""
        return AIOKafkaConsumer(**self._options, **options)

    def producer(self, **options: Any) -> Any:
        """A producer, not started."""
        return AIOKafkaProducer(**self._options, **options)

    def admin(self, **options: Any) -> Any:
        """An admin client, not started."""
        return AIOKafkaAdminClient(**self._options, **options)


async def start(client: Any, settings: Settings) -> None:
    """Start a client of aiokafka. Raises Refused when no broker answers within `CONNECT_S`, or lets us in."""
    try:
        with _silence("aiokafka"):  # the refusal says it in one sentence
            async with asyncio.timeout(CONNECT_S):
                await client.start()
    except (KafkaError, OSError, TimeoutError):
        await stop(client)
        # The client says "unable to bootstrap" of a closed port and of a wrong password alike.
        raise Refused(
            f"Kafka at {settings.bootstrap_servers} can't be reached: start the embedded stack with `aftersales up`, "
            "or correct bootstrap_servers, security_protocol, or the user name and password"
        ) from None


async def stop(client: Any) -> None:
    """Stop a client, started or not."""
    # aiokafka calls it `close` in the admin client, and `stop` in the others.
    await (client.close() if hasattr(client, "close") else client.stop())


async def connect_admin(settings: Settings, client_id: str, clients: Clients | None = None) -> Any:
    """A started admin client, of `clients` or of the cluster that settings name. Raises Refused as `start` does."""
    admin = (clients or Cluster(settings)).admin(client_id=client_id)
    await start(admin, settings)
    return admin


@asynccontextmanager
async def told_of_fence(producer: Any) -> AsyncIterator[None]:
    """Raises ProducerFenced for whatever the client raises in the block because another producer took its place.

    That may only follow from the fence: the client wraps what ended its sender, and refuses to go on with an error of
    its own. Any other KafkaError that ended it is raised as it is.
    """
    try:
        yield
    except (KafkaError, IllegalOperation) as error:
        reason = _reason(producer, error)
        if isinstance(reason, FENCED) or isinstance(reason.__cause__, FENCED):
            raise ProducerFenced from error
        raise reason from reason.__cause__


def _reason(producer: Any, error: KafkaError | IllegalOperation) -> Any:
    """What ended the sender of a producer that raised an error; the error itself when its sender goes on."""
    manager = producer._txn_manager  # aiokafka has no word for it; it is pinned exactly
    return manager.wait_for_transaction_end().exception() if manager.is_fatal_error() else error


async def subscribe(consumer: Any, topics: Sequence[str], listener: Any) -> None:
    """Let a started consumer join its group, to read these topics. Raises KafkaError when one does not become known.

    A member that is elected to assign partitions gives nobody those of a topic that it does not know: had its first
    question been lost, its group would idle until it asks again, after five minutes.
    """
    for topic in topics:
        await consumer._client._wait_on_metadata(topic)  # aiokafka has no word for it; it is pinned exactly
    consumer.subscribe(topics, listener=listener)


async def count_unread(consumer: Any, positions: Mapping[Any, int]) -> dict[str, int]:
    """How many offsets lie between positions {TopicPartition: offset} and the ends, by topic.

    Nothing when the broker does not answer within `ENDS_S`. Transaction markers and ticks count too.
    """
    try:
        async with asyncio.timeout(ENDS_S):
            ends = await consumer.end_offsets([*positions]) if positions else {}
    except (KafkaError, TimeoutError):
        return {}
    unread: dict[str, int] = {}
    for place, end in ends.items():
        unread[place.topic] = unread.get(place.topic, 0) + max(0, end - positions[place])
    return unread


class Read(msgspec.Struct, frozen=True, gc=False):
    """A record as consumers give it: of aiokafka's ConsumerRecord what is of use, made in a third of the time."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970."""
    timestamp_type: int
    """0: of the producer; 1: of the broker."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def _read(_: Any, place: Any, found: Any) -> Read:
    return Read(
        place.topic,
        place.partition,
        found.offset,
        found.timestamp,
        found.timestamp_type,
        found.key,
        found.value,
        tuple(found.headers),
    )


# aiokafka has no word for it; it is pinned exactly.
PartitionRecords._consumer_record = _read


def records_of(noun: str, found: Iterable[Read]) -> Iterator[Record]:
    """Records of the topic that steps call `noun`, as consumers read them, in the form that steps take."""
    for record in found:
        yield Record(noun, record.partition, record.offset, record.key or b"", record.value or b"", record.headers)


def member_id(consumer: Any) -> str:
    """Under which id a consumer is a member of its group; a new one when the group had gone on without it."""
    # aiokafka has no word for it; it is pinned exactly.
    return str(consumer._coordinator.member_id)


@contextmanager
def _silence(logger: str) -> Iterator[None]:
    before = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(before)
