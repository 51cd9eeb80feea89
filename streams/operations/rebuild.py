"""Makes the state of a step anew from the log, when an entry of its changelog can't be read.

The former owner of a task is fenced, the log is read up to the committed position and worked off without sending, and
the changelog is written over. While it is, a mark stands in it, and workers refuse the state; a run that was stopped in
the middle is repeated from its beginning. Must not know what the rules say.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from streams import kafka
from streams.agents.correlate import SOURCES
from streams.delivery.agent import Agent, Record, Send
from streams.delivery.names import changelog_name, group_name, topic_name
from streams.delivery.recovery import REBUILDING, fault_of
from streams.delivery.task import Commit, Task
from streams.delivery.transactions import Transactions
from streams.domain.events import Place
from streams.domain.facts import MatterFact, TimerFact
from streams.errors import Refused
from streams.operations.identities import Correlation
from streams.operations.reading import Reader, decoded
from streams.operations.statements import Statements, in_line, residents_of
from streams.partitions import partition_of
from streams.settings import Settings

CHUNK_ENTRIES = 1_000
CHUNK_BYTES = 4 << 20
"""Of one transaction."""
IDLE = frozenset({"Empty", "Dead"})
"""States of a consumer group without members."""
POLL_S = 0.2
STOP_S = 3.0
"""Longest time for ending in good order."""
FORGOTTEN_S = 2.0
"""Longest time, beside its session, until a member that has ended is forgotten."""
CLIENT = "aftersales-state-rebuild"

Tell: TypeAlias = Callable[[int, int], None]
"""Called with how many records have been read, and how many there are."""
Spans: TypeAlias = Mapping[TopicPartition, tuple[int, int]]


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the old state that can't be read."""

    offset: int
    key: bytes
    error: str


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one partition."""

    partition: int
    entries: int
    """Of the new state."""
    unreadable: tuple[Unreadable, ...]
    differing: int
    """Readable entries of the old state that the new one has otherwise, or has not."""


async def rebuild(
    settings: Settings, agent: Agent[Any], *, partition: int | None, tell: Tell, dry_run: bool
) -> list[Rebuilt]:
    """Make the state of casework or correlate anew, in one partition or (None) all. With `dry_run` the new state is
    only compared with what is there; the step must be at rest even so, for the two to be of the same moment.

    Raises Refused when the step runs or is started meanwhile, there is no such partition, or retention has removed a
    part of the log; Transient when Kafka stops answering.
    """
    await _check_at_rest(settings, agent.name)
    async with Reader(settings) as reader:
        inputs = {noun: reader.places(topic_name(settings.namespace, noun)) for noun in agent.inputs}
        partitions = [place.partition for place in inputs[agent.inputs[0]]]
        if partition is not None and partition not in partitions:
            raise Refused(f"there is no partition {partition}: {agent.name} has 0 to {max(partitions)}")
        chosen = partitions if partition is None else [partition]
        async with _owned(settings, agent.name, [] if dry_run else chosen) as owners:
            rebuild_step = _correlate if agent.name == "correlate" else _casework
            rebuilt = []
            async for number, entries, sends in rebuild_step(settings, agent, reader, inputs, chosen, tell):
                old, unreadable = await _read_changelog(reader, settings, agent, number)
                if number in owners:
                    await _write(owners[number], old, entries, sends)
                differing = sum(entries.get(key) != entry for key, entry in old.items() if entry is not None)
                rebuilt.append(
                    Rebuilt(partition=number, entries=len(entries), unreadable=tuple(unreadable), differing=differing)
                )
    return rebuilt


New: TypeAlias = AsyncIterator[tuple[int, Mapping[bytes, bytes], Mapping[bytes, Sequence[Send]]]]
"""Per partition: its number, its new state, and what is sent with some of its entries."""


async def _casework(
    settings: Settings,
    agent: Agent[Any],
    reader: Reader,
    inputs: Mapping[str, Sequence[TopicPartition]],
    chosen: Sequence[int],
    tell: Tell,
) -> New:
    """From the timeline, and what was stated from the fact topics."""
    timeline = {place.partition: place for place in inputs["timeline"]}
    facts = [p for noun in ("timer_fact", "matter_fact") for p in reader.places(topic_name(settings.namespace, noun))]
    committed = await _committed(settings, agent.name, [timeline[number] for number in chosen])
    spans = await _whole(reader, {**dict.fromkeys(facts), **committed})
    progress = _Progress(reader, tell, sum(end for _, end in spans.values()))
    worked_off: dict[int, Mapping[bytes, bytes]] = {}
    statements: dict[int, Statements] = {}
    for number in chosen:
        task = Task(agent, number, {}, {})
        async for records in progress.read(timeline[number], spans):
            _work_off(task, kafka.records_of("timeline", records))

        def is_here(customer: str, number: int = number) -> bool:
            return partition_of(customer.encode(), len(timeline)) == number

        worked_off[number] = task.entries
        statements[number] = Statements(settings.generation, residents_of(task.entries), is_here)
    for place in facts:
        async for records in progress.read(place, spans):
            for record in records:
                if isinstance(fact := decoded(record.value), TimerFact | MatterFact):
                    for of_partition in statements.values():
                        of_partition.add(fact)
    for number in chosen:
        yield number, in_line(worked_off.pop(number), statements.pop(number)), {}


async def _correlate(
    settings: Settings,
    agent: Agent[Any],
    reader: Reader,
    inputs: Mapping[str, Sequence[TopicPartition]],
    chosen: Sequence[int],
    tell: Tell,
) -> New:
    """From the source topics, all partitions of them, for ids talk across; and from the topic of places."""
    sources = {place: noun for noun in SOURCES for place in inputs[noun]}
    told_on = reader.places(topic_name(settings.namespace, Place.NAME))
    committed = await _committed(settings, agent.name, list(sources))
    spans = await _whole(reader, committed)
    told_spans = await reader.spans(told_on)
    progress = _Progress(reader, tell, sum(end for _, end in [*spans.values(), *told_spans.values()]))
    correlation = Correlation(len(inputs[SOURCES[0]]))
    for place, noun in sources.items():
        async for records in progress.read(place, spans):
            correlation.take(place.partition, kafka.records_of(noun, records))
    places: dict[str, Place] = {}
    for place in told_on:
        async for records in progress.read(place, told_spans):
            for record in records:
                if isinstance(told := decoded(record.value), Place):
                    places[told.id] = told  # of one id they lie in one partition, in order
    for number in chosen:
        taken_up = list(correlation.take_up(number, places))
        yield number, {id.key: id.entry for id in taken_up}, {id.key: id.sends for id in taken_up}


def _work_off(task: Task[Any], records: Iterator[Record]) -> None:
    for commit in task.process(records):
        task.apply(commit)


class _Progress:
    """Reads spans and tells how far it has come."""

    def __init__(self, reader: Reader, tell: Tell, total: int) -> None:
        self._reader, self._tell, self._total, self._done = reader, tell, total, 0
        tell(0, total)

    async def read(self, place: TopicPartition, spans: Spans) -> AsyncIterator[list[Any]]:
        begin, end = spans[place]
        before = self._done
        async for records in self._reader.read(place, begin, end):
            yield records
            self._done = before + records[-1].offset + 1 - begin
            self._tell(self._done, self._total)
        self._done = before + end - begin
        self._tell(self._done, self._total)


async def _check_at_rest(settings: Settings, step: str) -> None:
    """Raises Refused when the step has members. One with static membership is forgotten some time after its end."""
    group = group_name(settings.namespace, step)
    admin = await kafka.connect_admin(settings, CLIENT)
    try:
        async with asyncio.timeout(settings.session_timeout_s + FORGOTTEN_S):
            state = ""
            while state not in IDLE:
                (answer,) = await admin.describe_consumer_groups([group])
                _, _, state, _, _, members, *_ = answer.groups[0]
                await asyncio.sleep(0 if state in IDLE else POLL_S)
    except TimeoutError:
        raise Refused(
            f"{step} runs (group {group}: {len(members)} members): stop all its workers first (embedded: `aftersales "
            "down`, then `aftersales up --engines-only`)"
        ) from None
    finally:
        await admin.close()


@asynccontextmanager
async def _owned(settings: Settings, step: str, partitions: Sequence[int]) -> AsyncIterator[dict[int, Transactions]]:
    """The tasks' producers: whoever had them is fenced. Raises Refused when a worker takes one meanwhile."""
    clients = kafka.Cluster(settings)
    owners = {number: Transactions(settings, clients, step, number) for number in partitions}
    try:
        for owner in owners.values():
            await owner.fence()
        yield owners
    except ProducerFenced:
        raise Refused(
            f"a {step} worker was started meanwhile, and has taken over; what is half written it refuses: stop all "
            "workers of this step and run the command again"
        ) from None
    finally:
        # If Kafka does not answer, what is open is left to the next owner's fence.
        if owners:
            await asyncio.wait([asyncio.ensure_future(owner.stop()) for owner in owners.values()], timeout=STOP_S)


async def _committed(settings: Settings, step: str, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Positions of the step's group; 0 where it has none. Raises Refused when it has none at all."""
    group = group_name(settings.namespace, step)
    admin = await kafka.connect_admin(settings, CLIENT)
    try:
        found = await admin.list_consumer_group_offsets(group, partitions=list(places))
    finally:
        await admin.close()
    if all(position.offset < 0 for position in found.values()):
        raise Refused(f"{step} has no committed position, so there is no moment to restore: has it ever run?")
    return {place: max(0, found[place].offset) if place in found else 0 for place in places}


async def _whole(reader: Reader, ends: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, tuple[int, int]]:
    """From the beginning up to these ends (None: of the log). Raises Refused where the beginning is gone."""
    spans = await reader.spans(ends)
    for place, (begin, end) in spans.items():
        if begin > 0 and ends[place] != 0:
            since = await _instant(reader, place, begin, end)
            raise Refused(
                f"{place.topic}, partition {place.partition}, begins at offset {begin}{since}: retention has removed "
                "what was before, and a state without it would take back facts that are true. Start a new `namespace`, "
                "filled from the sources"
            )
    return {place: (begin, end if (wanted := ends[place]) is None else wanted) for place, (begin, end) in spans.items()}


async def _instant(reader: Reader, place: TopicPartition, begin: int, end: int) -> str:
    async for records in reader.read(place, begin, end):
        return f" ({datetime.fromtimestamp(records[0].timestamp / 1000, UTC):%Y-%m-%d})"
    return ""


async def _read_changelog(
    reader: Reader, settings: Settings, agent: Agent[Any], number: int
) -> tuple[dict[bytes, bytes | None], list[Unreadable]]:
    """The old state, without the values that can't be read, and what is wrong with those."""
    place = TopicPartition(changelog_name(settings.namespace, agent.name), number)
    old: dict[bytes, bytes | None] = {}
    unreadable = []
    for key, (offset, entry) in (await reader.newest(place)).items():
        fault = None if key == REBUILDING else fault_of(agent, entry)
        old[key] = None if fault or key == REBUILDING else entry
        if fault is not None:
            unreadable.append(Unreadable(offset=offset, key=key, error=repr(fault)))
    return old, unreadable


async def _write(
    owner: Transactions,
    old: Mapping[bytes, bytes | None],
    entries: Mapping[bytes, bytes],
    sends: Mapping[bytes, Sequence[Send]],
) -> None:
    gone: dict[bytes, bytes | None] = {key: None for key in old if key not in entries and key != REBUILDING}
    for commit in commits(gone | dict(entries), sends):
        await owner.write(commit)


def commits(changes: Mapping[bytes, bytes | None], sends: Mapping[bytes, Sequence[Send]]) -> Iterator[Commit]:
    """First the mark; then what is no longer and what is now, in bounded pieces; with the last the mark goes."""
    yield Commit({REBUILDING: REBUILDING}, [], {})
    piece: dict[bytes, bytes | None] = {}
    sent: list[Send] = []
    size = 0
    for key, entry in changes.items():
        piece[key] = entry
        sent += sends.get(key, ())
        size += len(key) + len(entry or b"") + sum(len(send.value) for send in sends.get(key, ()))
        if len(piece) >= CHUNK_ENTRIES or size >= CHUNK_BYTES:
            yield Commit(piece, sent, {})
            piece, sent, size = {}, [], 0
    yield Commit({**piece, REBUILDING: None}, sent, {})
