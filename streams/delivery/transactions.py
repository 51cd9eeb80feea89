"""The Kafka producer of one task: it fences the former owner and writes each commit as one transaction.

Must not know how a commit came about, nor who reads it.
"""

import asyncio
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import InvalidProducerIdMapping, InvalidTxnState, KafkaError, ProducerFenced

from streams.delivery import names
from streams.delivery.task import Commit
from streams.errors import Transient
from streams.kafka import Clients
from streams.partitions import partition_of
from streams.settings import Settings
from streams.topics import MAX_MESSAGE_BYTES

Headers = tuple[tuple[str, bytes], ...]

BATCH_BYTES = 512 << 10
"""Size at which a producer batch is full; a larger record is a batch of its own."""
RETRY_MS = 20
"""The broker answers the first produce of a back-to-back transaction with NOT_ENOUGH_REPLICAS, to be asked again."""

FENCED = (ProducerFenced, InvalidTxnState, InvalidProducerIdMapping)
"""What a broker answers to a producer that another one has taken the place of, or whose transaction it has ended."""


class Transactions:
    """Writes the commits of `agent` in `partition`. One after the other: a commit is awaited before the next."""

    def __init__(self, settings: Settings, clients: Clients, agent: str, partition: int) -> None:
        self._namespace, self._timeout_s = settings.namespace, settings.transaction_timeout_s
        self._group, self._partition = names.group_name(self._namespace, agent), partition
        self._changelog = names.changelog_name(self._namespace, agent)
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
            async with asyncio.timeout(self._timeout_s):
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
        except KafkaError as error:
            if await self._is_fenced(error):
                raise ProducerFenced from error
            raise

    async def _is_fenced(self, error: BaseException) -> bool:
        """Whether an error means that the transaction is no longer this producer's.

        What a write raises may only follow from that: the client wraps what ended its sender, and refuses to go on.
        """
        manager = self._producer._txn_manager
        errors = [error, error.__cause__]
        if manager.is_fatal_error():
            try:
                await manager.wait_for_transaction_end()
            except KafkaError as fatal:
                errors += [fatal, fatal.__cause__]
        return any(isinstance(known, FENCED) for known in errors)

    async def stop(self) -> None:
        """Close the connections; an open transaction is left to the next owner's fence."""
        await self._producer.stop()

    async def _write_records(self, commit: Commit) -> None:
        """Pack records into ready batches, much cheaper than a `send` for each, and await the brokers."""
        topics = {send.topic: names.topic_name(self._namespace, send.topic) for send in commit.sends}
        counts = {topic: len(await self._producer.partitions_for(name)) for topic, name in topics.items()}
        batches = _Batches(self._producer)
        for send in commit.sends:
            partition = send.partition
            if partition is None:
                partition = partition_of(send.key, counts[send.topic])
            batches.add(topics[send.topic], partition, send.key, send.value, send.headers)
        for key, entry in commit.changes.items():
            batches.add(self._changelog, self._partition, key, entry)
        await batches.send()


class _Batches:
    """Records packed by partition, in order."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._filling: dict[tuple[str, int], Any] = {}
        self._full: list[tuple[str, int, Any]] = []

    def add(self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers = ()) -> None:
        """Append a record."""
        place = topic, partition
        # A list, for an empty tuple makes a record that can't be read.
        fields = list(headers)
        batch = self._filling.get(place)
        if batch is not None:
            if batch.append(key=key, value=value, timestamp=None, headers=fields) is not None:
                return
            self._full.append((*place, batch))
        batch = self._filling[place] = self._producer.create_batch()
        batch.append(key=key, value=value, timestamp=None, headers=fields)  # the first one always fits

    async def send(self) -> None:
        """Hand over all batches and wait until the brokers have them."""
        acknowledgements = []
        for topic, partition, batch in [*self._full, *((*place, batch) for place, batch in self._filling.items())]:
            batch.close()
            acknowledgements.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*acknowledgements)
