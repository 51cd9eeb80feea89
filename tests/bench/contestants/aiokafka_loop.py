"""A loop over aiokafka's clients that writes the same transactions: outputs, changed counts, positions.

`way`: `batches`, records are packed into ready batches; or `sends`, each record is a `send`, as most would write it.
No restore, no rebalance, no deadlines: what a loop of a few lines can do.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.partitions import partition_of
from tests.bench.contestants.contest import Counted, Mark, decode_event, encode, told

TRANSACTION_RECORDS = 2000
BATCH_BYTES = 512 << 10

Write = tuple[str, int | None, bytes, bytes]
"""Topic, partition (None: by the key), key, value."""


async def main() -> None:
    contest = told()
    mark = Mark(contest)
    consumer = AIOKafkaConsumer(
        contest.topic(contest.source),
        bootstrap_servers=contest.bootstrap_servers,
        group_id=contest.name,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=2 << 20,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=contest.bootstrap_servers,
        transactional_id=contest.name,
        max_batch_size=BATCH_BYTES,
        retry_backoff_ms=20,
    )
    await consumer.start()
    await producer.start()
    write = {"batches": _write_batches, "sends": _write_sends}[contest.way]
    counted, changelog = contest.topic(contest.counted), contest.topic(contest.changelog)
    counts: dict[bytes, int] = {}
    while True:
        found = await consumer.getmany(timeout_ms=1000, max_records=TRANSACTION_RECORDS)
        if not found:
            continue
        mark()
        writes: list[Write] = []
        for place, records in found.items():
            for record in records:
                count = counts[record.key] = counts.get(record.key, 0) + 1
                output = encode(Counted(decode_event(record.value).number, count))
                writes.append((counted, None, record.key, output))
            for key in {record.key for record in records}:
                writes.append((changelog, place.partition, key, encode(counts[key])))
        async with producer.transaction():
            await write(producer, writes, contest.partitions)
            positions = {place: records[-1].offset + 1 for place, records in found.items()}
            await producer.send_offsets_to_transaction(positions, contest.name)


async def _write_sends(producer: Any, writes: Iterable[Write], _: int) -> None:
    waiting = [
        await producer.send(topic, value, key=key, partition=partition) for topic, partition, key, value in writes
    ]
    await asyncio.gather(*waiting)


async def _write_batches(producer: Any, writes: Iterable[Write], partitions: int) -> None:
    filling: dict[tuple[str, int], Any] = {}
    full: list[tuple[tuple[str, int], Any]] = []
    for topic, partition, key, value in writes:
        place = topic, partition_of(key, partitions) if partition is None else partition
        batch = filling.get(place)
        if batch is None or batch.append(key=key, value=value, timestamp=None) is None:
            if batch is not None:
                full.append((place, batch))
            batch = filling[place] = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    waiting = []
    for (topic, partition), batch in [*full, *filling.items()]:
        batch.close()
        waiting.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*waiting)


if __name__ == "__main__":
    uvloop.run(main())
