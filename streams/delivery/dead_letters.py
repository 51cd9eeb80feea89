"""The record of input that can't be processed: where it came from, why it was refused, its bytes. Pure.

Must not know how records are encoded or written, nor the time.
"""

from hashlib import sha256
from uuid import UUID, uuid5

from streams.delivery.agent import Record
from streams.domain.events import DeadLetter
from streams.errors import BadInput

__all__ = ["DEAD_LETTER", "DeadLetter", "dead_letter_id", "dead_record"]

DEAD_LETTER = DeadLetter.NAME
"""Noun of the topic."""

RAW_BYTES = 64 << 10
"""What a dead letter keeps of its input."""
DETAIL_CHARACTERS = 2000

NAMESPACE = UUID("0d6c9f3a-5b0e-5a52-9d0f-3c6a1f5b8e21")


def dead_record(agent: str, record: Record, error: BadInput) -> DeadLetter:
    """The dead letter of a record that `agent` refused; refused again, it is the same."""
    return DeadLetter(
        dead_letter_id=dead_letter_id(agent, record.topic, record.partition, record.offset),
        reason=error.code,
        detail=error.detail[:DETAIL_CHARACTERS],
        agent=agent,
        origin_topic=record.topic,
        origin_partition=record.partition,
        origin_offset=record.offset,
        raw_size=len(record.value),
        raw_sha256=sha256(record.value).hexdigest(),
        raw=record.value[:RAW_BYTES],
    )


def dead_letter_id(agent: str, *origin: str | int) -> str:
    """UUIDv5 of who refused an input and where the input stands."""
    return str(uuid5(NAMESPACE, "\x1f".join([agent, *map(str, origin)])))
