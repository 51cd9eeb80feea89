"""What a worker looks at before it begins with a state that it has read."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from aiokafka import TopicPartition

from streams.delivery.recovery import LOOKED_AT, UnreadableState, check_state
from tests.delivery.alarms import Alarms, alarm_agent, encode

PLACE = TopicPartition("changelog", 3)
GOOD = encode(Alarms())


class Entry(NamedTuple):
    offset: int
    key: bytes
    value: bytes | None


class Log:
    """A changelog that is read in small pieces."""

    PIECE = 10

    def __init__(self, records: Sequence[Entry]) -> None:
        self.records, self.at = records, 0

    async def seek_to_beginning(self, place: TopicPartition) -> None:
        self.at = 0

    async def position(self, place: TopicPartition) -> int:
        return self.at

    async def getmany(self, place: TopicPartition, timeout_ms: int) -> dict[TopicPartition, Sequence[Entry]]:
        found = self.records[self.at : self.at + self.PIECE]
        self.at += len(found)
        return {place: found}


def check(records: Sequence[Entry]) -> int:
    """How often it was said that the check goes on."""
    said: list[None] = []
    entries = {record.key: record.value for record in records if record.value is not None}
    log = Log(records)
    asyncio.run(check_state(alarm_agent(), PLACE, entries, log, len(records), lambda: said.append(None)))
    return len(said)


def entries(count: int) -> list[Entry]:
    return [Entry(offset, str(offset).encode(), GOOD) for offset in range(count)]


def test_a_long_look_at_one_partition_is_seen_to_go_on() -> None:
    assert check(entries(3 * LOOKED_AT)) == 3


def test_an_entry_that_cannot_be_read_is_named_with_its_newest_offset() -> None:
    records = entries(100)
    records[40] = Entry(40, b"spoilt", GOOD)
    records[77] = Entry(77, b"spoilt", b"\xc1")
    with pytest.raises(UnreadableState, match=r"changelog, partition 3, offset 77: the state of b'spoilt'"):
        check(records)


def test_the_search_for_an_offset_is_seen_to_go_on() -> None:
    said: list[None] = []
    records = [Entry(0, b"spoilt", b"\xc1"), *entries(100)[1:]]
    looking = check_state(alarm_agent(), PLACE, {b"spoilt": b"\xc1"}, Log(records), 100, lambda: said.append(None))
    with pytest.raises(UnreadableState, match="offset 0"):
        asyncio.run(looking)
    assert len(said) == 1 + 100 // Log.PIECE
