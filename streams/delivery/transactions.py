"""The Kafka producer of one task: it fences the former owner and writes each commit as one transaction.

Must not know how a commit came about, nor who reads it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from aiokafka import TopicPartition

from streams.delivery import names
from streams.delivery.task import Commit
from streams.errors import Transient
from streams.kafka import Clients, told_of_fence
from streams.partitions import partition_of
from streams.settings import Settings
from streams.topics import MAX_MESSAGE_BYTES

Headers: TypeAlias = tuple[tuple[str, bytes], ...]

BATCH_BYTES = 512 << 10
"""Size at which a producer batch is full; a larger record is a batch of its own."""
RETRY_MS = 20
"""The broker answers the first produce of a back-to-back transaction with NOT_ENOUGH_REPLICAS, to be asked again."""


class Transactions:
    """Writes the commits of `agent` in `partition`. One after the other: a commit is awaited before the next."""

    def __init__(self, settings: Settings, clients: Clients, agent: str, partition: int) -> None:
        self._namespace, self._timeout_s = settings.namespace, settings.transaction_timeout_s
        self._group, self._partition = names.group_name(self._namespace, agent), partition
        self._changelog = names.changelog_name(self._namespace, agent)
        self._topics: dict[str, tuple[str, int]] = {}
        """By noun: full name and number of partitions, as they were when first written to."""
        self._producer = clients.producer(
            client_id=settings.worker_name,
            transactional_id=names.transactional_id(self._namespace, agent, partition),
            transaction_timeout_ms=int(self._timeout_s * 1000),
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_MESSAGE_BYTES,
            retry_backoff_ms=RETRY_MS,
        )

    async def fence(self) -> None:
        """Refuse the former owner from now on; the transaction it left open is ended when this returns."""
        await self._producer.start()

    async def write(self, commit: Commit) -> None:
        """All of the commit, or nothing.

        Raises ProducerFenced when another worker has fenced this one, Transient after the transaction time-out.
        After any error the outcome is unknown until the task is taken over anew.
        """
        offsets = {
            TopicPartition(names.topic_name(self._namespace, topic), self._partition): position
            for topic, position in commit.positions.items()
        }
        try:
            async with asyncio.timeout(self._timeout_s), told_of_fence(self._producer):
                await self._producer.begin_transaction()
                writes = [self._write_records(commit)] if commit.sends or commit.changes else []
                if offsets:
                    writes.append(self._producer.send_offsets_to_transaction(offsets, self._group))
                await asyncio.gather(*writes)
                await self._producer.commit_transaction()
        except TimeoutError:
            raise Transient(
                f"no answer to a transaction of {self._group}, partition {self._partition}, in {self._timeout_s:g} s"
            ) from None

    async def stop(self) -> None:
        """Close the connections; an open transaction is left to the next owner's fence."""
        await self._producer.stop()

    async def _write_records(self, commit: Commit) -> None:
        """Pack records into ready batches, much cheaper than a `send` for each, and await the brokers."""
        for noun in {send.topic for send in commit.sends} - self._topics.keys():
            name = names.topic_name(self._namespace, noun)
            self._topics[noun] = name, len(await self._producer.partitions_for(name))
        batches, topics = Batches(self._producer.create_batch), self._topics
        for send in commit.sends:
            topic, count = topics[send.topic]
            partition = partition_of(send.key, count) if send.partition is None else send.partition
            batches.add((topic, partition), send.key, send.value, send.headers)
        for key, entry in commit.changes.items():
            batches.add((self._changelog, self._partition), key, entry)
        acknowledgements = [
            await self._producer.send_batch(batch, topic, partition=partition)
            for (topic, partition), batch in batches.close()
        ]
        await asyncio.gather(*acknowledgements)


Place: TypeAlias = tuple[str, int]
"""Full name of a topic, and partition."""


class Batches:
    """Records packed by partition, in order; `create_batch` is aiokafka's."""

    def __init__(self, create_batch: Callable[[], Any]) -> None:
        self._create_batch = create_batch
        self._filling: dict[Place, Any] = {}
        self._full: list[tuple[Place, Any]] = []

    def add(self, place: Place, key: bytes, value: bytes | None, headers: Headers = ()) -> None:
        """Append a record."""
        batch = self._filling.get(place)
        # Headers as a list, for an empty tuple makes a record that can't be read.
        if batch is not None:
            if batch.append(timestamp=None, key=key, value=value, headers=[*headers]) is not None:
                return
            self._full.append((place, batch))
        batch = self._filling[place] = self._create_batch()
        batch.append(timestamp=None, key=key, value=value, headers=[*headers])  # the first one always fits

    def close(self) -> list[tuple[Place, Any]]:
        """All batches, to each of which nothing is added any more; those of a partition in order."""
        batches = [*self._full, *self._filling.items()]
        for _, batch in batches:
            batch.close()
        return batches
