"""Publishing to Kafka for everything that brings in events: the file import, the simulator, later the connectors.

An idempotent producer without transactions: records of one key keep their order, a retry doubles nothing, and what
has been acknowledged by all replicas survives a broker. A process that dies may publish again what it had published:
ids of events make that harmless. Must not know where records come from.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from time import time
from types import TracebackType
from typing import Any, Self, get_args

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from streams import codec
from streams.delivery.names import topic_name
from streams.domain import events
from streams.domain.admission import MAX_EVENT_BYTES
from streams.domain.events import ReadThrough, SourcePosition
from streams.errors import BadInput, Refused, Transient
from streams.partitions import partition_of
from streams.settings import Settings

SOURCES = frozenset(event.NAME for event in get_args(events.SourceEvent))
"""Topics that correlate reads, by their nouns. Only positions in these say how far an account has been taken in."""

BATCH_BYTES = 64 << 10
BATCHES_IN_FLIGHT = 64
"""Batches handed over and not yet acknowledged; beyond these, `publish` waits for the oldest."""
RECORD_BYTES = MAX_EVENT_BYTES
"""Largest record of any kind."""
REQUEST_TIMEOUT_MS = 30_000
"""How long a batch is retried; then the fault is Transient and the process ends."""

READ_THROUGH = "read_through"


class Publisher:
    """Publishes records by the noun of their topic.

        async with Publisher(settings) as publisher:
            await publisher.publish("order", "order:shop:1", record)
            await publisher.flush()

    Records wait in batches until a batch is full or `flush` is called: whoever follows the present flushes often.
    A task may use it, not several at once. Leaving the block flushes, unless it is left by an error.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics: dict[str, tuple[str, int]] = {}
        self._batches: dict[tuple[str, int], Any] = {}
        self._in_flight: dict[Any, tuple[str, int, int]] = {}  # oldest first
        self._positions: dict[tuple[str, int], int] = {}

    async def __aenter__(self) -> Self:
        """Connects. Raises Transient if no broker answers."""
        servers = self._settings.bootstrap_servers
        self._producer = AIOKafkaProducer(
            **self._settings.kafka_options(),
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await self._producer.start()
            # All topics at once: asking for one that does not exist would create it on some brokers.
            self._metadata = await self._producer.client.fetch_all_metadata()
        except BaseException as error:
            await self._producer.stop()
            if isinstance(error, KafkaError):
                raise Transient(f"Kafka at {servers} does not answer: {error}") from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            for waiting in self._in_flight:
                waiting.cancel()
            await self._producer.stop()

    async def publish(self, noun: str, key: str, record: bytes) -> None:
        """Adds a record to the topic `noun`; its partition is that of Kafka's default partitioner.

        Raises BadInput `record_too_large`, Refused if the topic does not exist, Transient if an earlier record
        could not be written.
        """
        if len(record) > RECORD_BYTES:
            raise BadInput("record_too_large", f"a record of {len(record)} bytes; at most {RECORD_BYTES} are allowed")
        _, partitions = self._topics.get(noun) or self._find_topic(noun)
        key_bytes = key.encode()
        where = noun, partition_of(key_bytes, partitions)
        batch = self._batches.get(where)
        now_ms = int(time() * 1000)
        if batch is None or batch.append(timestamp=now_ms, key=key_bytes, value=record) is None:
            if batch is not None:
                del self._batches[where]
                await self._send(where, batch)
            batch = self._batches[where] = self._producer.create_batch()
            appended = batch.append(timestamp=now_ms, key=key_bytes, value=record)
            assert appended is not None, "an empty batch takes any record"

    async def flush(self) -> None:
        """Returns when everything published is acknowledged. Raises Transient if something could not be written."""
        for where, batch in list(self._batches.items()):
            del self._batches[where]
            await self._send(where, batch)
        while self._in_flight:
            await self._settle_oldest()

    def positions(self) -> tuple[SourcePosition, ...]:
        """Offset after the last acknowledged record, per partition of the source topics that was written to."""
        return tuple(
            SourcePosition(topic=noun, partition=partition, offset=offset)
            for (noun, partition), offset in sorted(self._positions.items())
            if noun in SOURCES
        )

    def partitions(self, noun: str) -> tuple[str, int]:
        """Full name of the topic and its number of partitions. Raises Refused if it does not exist."""
        return self._topics.get(noun) or self._find_topic(noun)

    async def read_through(
        self,
        account: str,
        through_at: datetime,
        live: bool,
        live_from: datetime | None = None,
        positions: Iterable[SourcePosition] | None = None,
    ) -> None:
        """Says that all that `account` knew up to `through_at`, by event time, has been published.

        `live`: the account is followed from now on; what fell due before `live_from` never goes outward. `positions`
        None: what this publisher has written. Flushes before and after.
        """
        await self.flush()
        entry = ReadThrough(
            account=account,
            through_at=through_at,
            live=live,
            live_from=live_from,
            published_at=datetime.now(UTC),
            positions=self.positions() if positions is None else tuple(positions),
        )
        await self.publish(READ_THROUGH, account, codec.encode(entry))
        await self.flush()

    def _find_topic(self, noun: str) -> tuple[str, int]:
        topic = topic_name(self._settings.namespace, noun)
        partitions = self._metadata.partitions_for_topic(topic)
        if not partitions:
            raise Refused(f"the topic {topic} does not exist: create the topics with `aftersales topics apply`")
        self._topics[noun] = topic, len(partitions)
        return self._topics[noun]

    async def _send(self, where: tuple[str, int], batch: Any) -> None:
        while len(self._in_flight) >= BATCHES_IN_FLIGHT:
            await self._settle_oldest()
        noun, partition = where
        batch.close()
        try:
            sent = await self._producer.send_batch(batch, self._topics[noun][0], partition=partition)
        except KafkaError as error:
            raise _fault(self._topics[noun][0], partition, error) from error
        self._in_flight[sent] = noun, partition, batch.record_count()

    async def _settle_oldest(self) -> None:
        sent = next(iter(self._in_flight))
        noun, partition, count = self._in_flight.pop(sent)
        try:
            written = await sent
        except KafkaError as error:
            raise _fault(self._topics[noun][0], partition, error) from error
        self._positions[noun, partition] = written.offset + count


def _fault(topic: str, partition: int, error: KafkaError) -> Transient:
    if isinstance(error, KafkaConnectionError):
        return Transient(f"the connection to Kafka is lost: {error}")
    return Transient(f"{topic}, partition {partition}: not written within {REQUEST_TIMEOUT_MS // 1000} s: {error!r}")
