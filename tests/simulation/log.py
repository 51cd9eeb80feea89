"""One partition of a simulated topic: batches as producers made them, transactions, holes. Pure.

Batches are kept as the bytes that the client built, with their place in the log written in, as a broker does it.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

BASE_OFFSET = struct.Struct(">q")
LAST_DELTA = struct.Struct(">i")
LAST_DELTA_AT = 23
ATTRIBUTES = struct.Struct(">h")
ATTRIBUTES_AT = 21
PRODUCER = struct.Struct(">qhi")
PRODUCER_AT = 43
"""Where these stand in a batch (Kafka protocol, record batch v2)."""
CONTROL = 0x20
COMMIT_KEY, ABORT_KEY = b"\x00\x00\x00\x01", b"\x00\x00\x00\x00"
BATCH_BYTES = 1 << 24
KEPT_SEQUENCES = 5
"""Batches of a producer that are known again when they come twice."""


class Record(NamedTuple):
    """A record as readers see it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    written: int
    """Place among all batches of all logs, in the order in which they were appended."""


class Batch:
    """Some records next to each other, or a marker."""

    __slots__ = ("aborted", "base", "control", "data", "last", "open", "producer", "written")

    def __init__(self, data: bytearray, base: int, written: int) -> None:
        header = DefaultRecordBatch(data)
        self.base, self.last = base, base + header.last_offset_delta
        self.data, self.control, self.written = data, header.is_control_batch, written
        self.producer: int = header.producer_id
        self.open = header.is_transactional and not self.control
        self.aborted = False
        BASE_OFFSET.pack_into(data, 0, base)

    def records(self) -> Iterator[Record]:
        """What it holds."""
        for record in DefaultRecordBatch(self.data):
            yield Record(record.offset, record.key, record.value, tuple(record.headers), self.written)


class OutOfOrder(ValueError):
    """A producer's batch is not the next one."""


class _Sequences(NamedTuple):
    epoch: int
    following: int
    """Number of the next record."""
    recent: dict[int, int]
    """First number of a batch to its offset."""


class Log:
    """One partition."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.start = self.end = 0
        self.open: dict[int, int] = {}
        """Producer with a transaction under way to its first offset."""
        self.aborted: list[tuple[int, int, int]] = []
        """Producer, first offset, offset of the marker."""
        self._sequences: dict[int, _Sequences] = {}

    @property
    def stable(self) -> int:
        """Where readers of committed records must stop."""
        return min(self.open.values(), default=self.end)

    def append(self, data: bytes, written: int) -> int:
        """Add a batch; returns its offset. What came already is not added again. Raises OutOfOrder."""
        batch = Batch(bytearray(data), self.end, written)
        if batch.producer >= 0:
            _, epoch, sequence = PRODUCER.unpack_from(data, PRODUCER_AT)
            known = self._sequences.get(batch.producer)
            if known is None or known.epoch != epoch:
                known = _Sequences(epoch, 0, {})
            if sequence in known.recent:
                return known.recent[sequence]
            if sequence != known.following:
                raise OutOfOrder(f"producer {batch.producer} sent {sequence} instead of {known.following}")
            recent = dict([*known.recent.items()][1 - KEPT_SEQUENCES :]) | {sequence: batch.base}
            following = sequence + batch.last - batch.base + 1
            self._sequences[batch.producer] = _Sequences(epoch, following, recent)
        if batch.open:
            self.open.setdefault(batch.producer, batch.base)
        self.batches.append(batch)
        self.end = batch.last + 1
        return batch.base

    def mark(self, producer: int, epoch: int, commit: bool, written: int) -> None:
        """End a producer's transaction here."""
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=0,
            is_transactional=1,
            producer_id=producer,
            producer_epoch=epoch,
            base_sequence=-1,
            batch_size=BATCH_BYTES,
        )
        builder.append(0, timestamp=0, key=COMMIT_KEY if commit else ABORT_KEY, value=b"\x00" * 6, headers=[])
        data = bytearray(builder.build())
        (attributes,) = ATTRIBUTES.unpack_from(data, ATTRIBUTES_AT)
        ATTRIBUTES.pack_into(data, ATTRIBUTES_AT, attributes | CONTROL)
        marker = Batch(data, self.end, written)
        first = self.open.pop(producer, None)
        if first is not None:
            for batch in self.batches[bisect_left(self.batches, first, key=_last) :]:
                if batch.producer == producer and batch.open:
                    batch.open, batch.aborted = False, not commit
            if not commit:
                self.aborted.append((producer, first, marker.base))
        self.batches.append(marker)
        self.end = marker.last + 1

    def read(self, offset: int, committed: bool, most: int) -> list[Batch]:
        """At most so many batches from an offset on; nothing behind a transaction under way if `committed`."""
        limit = self.stable if committed else self.end
        at = bisect_left(self.batches, offset, key=_last)
        return [batch for batch in self.batches[at : at + most] if batch.base < limit]

    def aborted_in(self, first: int, last: int) -> list[tuple[int, int]]:
        """Producer and first offset of aborted transactions that overlap these offsets."""
        return [(producer, begin) for producer, begin, marker in self.aborted if marker >= first and begin <= last]

    def records(self, offset: int = 0, *, committed: bool = True) -> Iterator[Record]:
        """Records from an offset on; with `committed` False also those whose transaction has not ended."""
        for batch in self.read(offset, committed, len(self.batches)):
            if not (batch.control or batch.aborted):
                yield from (record for record in batch.records() if record.offset >= offset)

    def compact(self, keep: int, drop: Callable[[], bool]) -> None:
        """Remove what came again or was aborted, and markers, but nothing of the last `keep` batches.

        `drop` is asked for each record that may go. An aborted batch goes before its marker, and both leave the list
        of aborted transactions, or readers would pass over what the same producer wrote later.
        """
        settled = [batch for batch in self.batches[: -keep or None] if batch.last < self.stable]
        newest = {record.key: record.offset for record in self.records()}
        kept = []
        for batch in settled:
            if batch.control or batch.aborted:
                continue
            left = [record for record in batch.records() if newest[record.key] == record.offset or not drop()]
            if left:
                kept.append(_rebuilt(batch, left))
        self.batches[: len(settled)] = kept
        if settled:
            self.aborted = [found for found in self.aborted if found[2] > settled[-1].last]


def _last(batch: Batch) -> int:
    last: int = batch.last
    return last


def _rebuilt(batch: Batch, left: list[Record]) -> Batch:
    header: Any = DefaultRecordBatch(batch.data)
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=int(header.is_transactional),
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        batch_size=BATCH_BYTES,
    )
    for record in left:
        builder.append(
            record.offset - batch.base, timestamp=0, key=record.key, value=record.value, headers=[*record.headers]
        )
    data = bytearray(builder.build())
    LAST_DELTA.pack_into(data, LAST_DELTA_AT, batch.last - batch.base)
    rebuilt = Batch(data, batch.base, batch.written)
    rebuilt.open, rebuilt.aborted = batch.open, batch.aborted
    return rebuilt
