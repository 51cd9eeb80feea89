"""The record of input that can't be processed: where it came from, why it was refused, its bytes. Pure.

Must not know how records are encoded or written, nor the time.
"""

from hashlib import sha256
from uuid import UUID, uuid5

import msgspec

from streams.delivery.agent import Record
from streams.errors import BadInput

DEAD_LETTER = "dead_letter"
"""Noun of the topic."""

RAW_BYTES = 64 << 10
DETAIL_CHARACTERS = 2000

NAMESPACE = UUID("0d6c9f3a-5b0e-5a52-9d0f-3c6a1f5b8e21")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused input. It came from a topic or from a file; the other origin's fields are None."""

    dead_letter_id: str
    """UUIDv5 of who refused it and its origin: refused again, it is the same dead letter."""
    reason: str
    """Code of the BadInput."""
    detail: str
    """What is wrong, cut after `DETAIL_CHARACTERS`."""
    agent: str
    """Who refused it: an agent, or `import`."""
    account: str | None = None
    origin_topic: str | None = None
    """Noun of the topic."""
    origin_partition: int | None = None
    origin_offset: int | None = None
    origin_file: str | None = None
    """Name without folders."""
    origin_line: int | None = None
    """Counted from 1."""
    raw_size: int
    """Bytes of the whole."""
    raw_sha256: str
    """Of the whole, hexadecimal."""
    raw: bytes
    """The first `RAW_BYTES`."""


def dead_record(agent: str, record: Record, error: BadInput) -> DeadLetter:
    """The dead letter of a record that `agent` refused."""
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


def dead_line(agent: str, file: str, line: int, raw: bytes, error: BadInput, account: str | None = None) -> DeadLetter:
    """The dead letter of a line of a file (name without folders) that `agent` refused.

    Its id holds the content too: a mended file of the same name is another origin.
    """
    digest = sha256(raw).hexdigest()
    return DeadLetter(
        dead_letter_id=dead_letter_id(agent, file, line, digest),
        reason=error.code,
        detail=error.detail[:DETAIL_CHARACTERS],
        agent=agent,
        account=account,
        origin_file=file,
        origin_line=line,
        raw_size=len(raw),
        raw_sha256=digest,
        raw=raw[:RAW_BYTES],
    )


def dead_letter_id(agent: str, *origin: str | int) -> str:
    """UUIDv5 of who refused an input and where the input stands."""
    return str(uuid5(NAMESPACE, "\x1f".join([agent, *map(str, origin)])))
