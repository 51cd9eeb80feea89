"""Reads spans of topics for commands: committed records, in order, up to an end that is fixed before.

Must not know what the records are for.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from streams import codec, kafka
from streams.errors import BadInput, Refused, Transient
from streams.settings import Settings

FETCH_MS = 500
FETCH_BYTES = 4 << 20
FETCH_RECORDS = 2_000
PATIENCE_S = 15.0
"""Longest silence of Kafka, beside what a transaction that somebody left open may hold readers back."""


def decoded(value: bytes | None) -> Any:
    """What a record holds; None for a tombstone, and for bytes that no step can have written."""
    try:
        return codec.decode(value or b"")
    except BadInput:
        return None


class Reader:
    """Reads one partition after the other. Raises Refused when Kafka can't be reached.

    async with Reader(settings) as reader:
        for place, (begin, end) in (await reader.spans(places)).items():
            async for records in reader.read(place, begin, end):
                ...
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._patience_s = PATIENCE_S + settings.transaction_timeout_s
        self._partitions: dict[str, int] = {}
        self._clients = AsyncExitStack()

    async def __aenter__(self) -> Self:
        admin = await kafka.connect_admin(self._settings, "aftersales-reader")
        try:
            # Of all topics: asking for one that does not exist could create it.
            self._partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        finally:
            await admin.close()
        async with AsyncExitStack() as clients:
            self._consumer = await self._start(clients, "read_committed")
            # It alone is told where a log ends; the other is told where the first open transaction begins.
            self._ends = await self._start(clients, "read_uncommitted")
            self._clients = clients.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clients.aclose()

    async def _start(self, clients: AsyncExitStack, isolation: str) -> Any:
        consumer = kafka.Cluster(self._settings).consumer(
            isolation_level=isolation,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        await kafka.start(consumer, self._settings)
        clients.push_async_callback(consumer.stop)
        return consumer

    def places(self, topic: str) -> list[TopicPartition]:
        """The partitions of a topic, given by its full name. Raises Refused when there is no such topic."""
        if topic not in self._partitions:
            raise Refused(f"topic {topic} does not exist: check `namespace`, or run `aftersales topics apply`")
        return [TopicPartition(topic, partition) for partition in range(self._partitions[topic])]

    async def spans(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """First offset that retention has left, and the end of the log, open transactions included."""
        asked = list(places)
        begins, ends = await self._ends.beginning_offsets(asked), await self._ends.end_offsets(asked)
        return {place: (begins[place], ends[place]) for place in asked}

    async def newest(self, place: TopicPartition) -> dict[bytes, tuple[int, bytes]]:
        """Of each key of a compacted topic, offset and value of its newest record; deleted keys are left out."""
        begin, end = (await self.spans([place]))[place]
        entries: dict[bytes, tuple[int, bytes]] = {}
        async for records in self.read(place, begin, end):
            for record in records:
                if record.value is None:
                    entries.pop(record.key, None)
                else:
                    entries[record.key] = record.offset, record.value
        return entries

    async def read(self, place: TopicPartition, begin: int, end: int) -> AsyncIterator[list[Any]]:
        """The committed records (aiokafka's) from `begin`, which must be there, up to `end`, which is not among them.

        Returns when no transaction below `end` is open. Raises Transient when Kafka says nothing for too long, Refused
        when retention has overtaken it.
        """
        self._consumer.assign([place])
        self._consumer.seek(place, begin)
        position = begin
        while position < end:
            records: list[Any] = []
            try:
                async with asyncio.timeout(self._patience_s):
                    while not records and (position := await self._consumer.position(place)) < end:
                        found = await self._consumer.getmany(place, timeout_ms=FETCH_MS, max_records=FETCH_RECORDS)
                        records = found.get(place, [])
            except OffsetOutOfRangeError:
                raise Refused(
                    f"{place.topic}, partition {place.partition}: retention removed offset {position} meanwhile; run "
                    "the command again"
                ) from None
            except TimeoutError:
                raise Transient(
                    f"Kafka at {self._settings.bootstrap_servers} has said nothing of {place.topic}, partition "
                    f"{place.partition}, offset {position} for {self._patience_s:.0f} s: run the command again"
                ) from None
            if within := [record for record in records if record.offset < end]:
                yield within
