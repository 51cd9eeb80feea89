"""Whether what a changelog holds is a state that can be worked with: looked at before a task begins.

Must not know what the entries mean.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition

from streams.delivery.agent import Agent

REBUILDING = b"\x00rebuilding"
"""Key of the entry that stands in a changelog while `aftersales state rebuild` writes: the rest is no state yet."""
LOOKED_AT = 2_000
"""Entries between two pauses: heartbeats must go on."""
IDLE_MS = 1000


class UnreadableState(RuntimeError):
    """A state that can't be worked with; the text says which record, and which command mends it."""


def fault_of(agent: Agent[Any], entry: bytes) -> Exception | None:
    """What is wrong with an entry; None: it can be read."""
    assert agent.decode is not None
    try:
        agent.decode(entry)
        if agent.dues is not None:
            [*agent.dues(entry)]
    except Exception as error:  # of whatever kind: damaged bytes say anything
        return error
    return None


async def check_state(
    agent: Agent[Any],
    place: TopicPartition,
    entries: Mapping[bytes, bytes],
    reader: Any,
    end: int,
    go_on: Callable[[], None],
) -> None:
    """Raise UnreadableState unless every entry of the changelog partition `place` can be read.

    `reader`: a consumer that is assigned to it; `end`: up to where the entries were read; `go_on` is called now and
    then, for both may take long.
    """
    mend = f"`aftersales state rebuild {agent.name}`, with all its workers stopped, makes it anew"
    where = f"{place.topic}, partition {place.partition}"
    if REBUILDING in entries:
        raise UnreadableState(f"{where}: the state is half written, `state rebuild` has not come to its end: {mend}")
    for number, (key, entry) in enumerate(entries.items()):
        if number % LOOKED_AT == 0:
            go_on()
            await asyncio.sleep(0)
        if (error := fault_of(agent, entry)) is not None:
            offset = await _offset_of(key, place, reader, end, go_on)
            raise UnreadableState(
                f"{where}, offset {offset}: the state of {key!r} can't be read ({error!r}): {mend}"
            ) from error


async def _offset_of(key: bytes, place: TopicPartition, reader: Any, end: int, go_on: Callable[[], None]) -> int | None:
    """Offset of the last record of `key`: asked for in an emergency only, for the whole log is read once more."""
    found = None
    await reader.seek_to_beginning(place)
    while await reader.position(place) < end:
        records = (await reader.getmany(place, timeout_ms=IDLE_MS)).get(place, ())
        if records:
            go_on()
        for record in records:
            if record.key == key and record.offset < end:
                found = record.offset
    return found


def follow(entries: dict[bytes, bytes], records: Iterable[Any]) -> None:
    """Let entries follow records of their changelog."""
    for record in records:
        if record.value is None:
            entries.pop(record.key, None)
        else:
            entries[record.key] = record.value
