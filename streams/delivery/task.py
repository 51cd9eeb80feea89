"""One partition of an agent: its state, its due instants, and how records become commits. Pure.

Must not know of Kafka, asyncio or the time. The same core serves a worker, the in-memory runner and tests:

    task = Task(agent, partition, entries, positions)
    for commit in task.process(records):
        ...                         # write commit.changes, .sends and .positions: all of it or nothing
        task.apply(commit)          # acknowledged: now, and only now, memory follows

A task whose commit failed, or whose agent raised, is dropped with its memory and made anew from what was committed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

import msgspec

from streams.delivery.agent import Agent, Due, Effects, Record, Send
from streams.delivery.dead_letters import DEAD_LETTER, DeadLetter, dead_record
from streams.errors import BadInput

T = TypeVar("T")

DUES_PER_KEY = 10_000
"""Due instants of one key worked off for one record; more are taken for an endless loop."""
RECORD_BYTES = 4_000_000
"""Largest key and value, of state or sent. Topics take batches of 8 MiB (`streams.topics`; changelogs likewise)."""
KEPT_BYTES = 256 << 10
"""Of keys and encoded values, after which what was decoded before them is forgotten: up to twice as much is kept, and
what one commit touches. Decoded, a matter takes about six times its encoded bytes."""
STALE_DUES = 1000
"""Outdated heap entries kept, beside as many as there are live ones, before the heaps are rebuilt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """A commit ends with the record or due instant that reaches one of these."""

    records: int = 2000
    dues: int = 500
    """Due instants worked off: a mass expiry is sliced, so that it delays no other partition."""
    weight: int = 4 << 20
    """Bytes of state decoded and of records sent."""


LIMITS = Limits()


class NoProgress(RuntimeError):
    """A due instant was worked off and is due again: a bug in the agent."""


class Refusal(NamedTuple):
    """A record that became a dead letter."""

    topic: str
    nth: int
    """Which of the topic's records in its commit it was; the first is 0."""
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What must become durable together."""

    changes: Mapping[bytes, bytes | None]
    """Encoded state entries; None: deleted."""
    sends: list[Send]
    positions: Mapping[str, int]
    """Next offset to read, of each topic whose position moved."""
    read: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Records decided on, by topic: to be counted, not to be written."""
    refusals: Sequence[Refusal] = field(default=(), compare=False)
    """Those of them that were refused, in order."""


class Task(Generic[T]):
    """One partition of `agent`: `entries` {key: encoded value} and `positions` {topic: next offset} as committed.

    `is_late` is asked after each record and due instant: True ends the commit there, as the limits do.
    """

    def __init__(
        self,
        agent: Agent[T],
        partition: int,
        entries: dict[bytes, bytes],
        positions: Mapping[str, int],
        *,
        encode_dead_letter: Callable[[DeadLetter], bytes] = msgspec.json.encode,
        limits: Limits = LIMITS,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        self.agent, self.partition, self.entries, self.positions = agent, partition, entries, dict(positions)
        self._encode_dead_letter, self._limits, self._is_late = encode_dead_letter, limits, is_late
        self._outputs = frozenset([*agent.outputs, DEAD_LETTER])
        self._kept: _Kept[T] = _Kept()
        self._draft = _Draft(agent, entries, self._kept)
        self._uncommitted: Commit | None = None
        self._dues = _Dues(agent, entries)

    def size(self) -> "Size":
        """How much the task holds, counted now: some 0.1 us per entry, and nothing as long as nobody asks."""
        entries, marks = self.entries, self.agent.marks
        found = Counter(map(_MARK, entries.values())) if marks else Counter()
        return Size(
            entries=len(entries),
            bytes=sum(map(len, entries)) + sum(map(len, entries.values())),
            marked={name: found[mark] for mark, name in marks.items()},
            dues=self._dues.live,
        )

    def process(self, records: Iterable[Record], positions: Mapping[str, int] | None = None) -> Iterator[Commit]:
        """Run `records` through the agent; yields commits, each to be applied before the next is asked for.

        `positions` {topic: next offset} is what is reached with the last commit (a log has holes that are no records);
        None: one beyond the last record of each topic. May be abandoned after an applied commit, not before.
        Raises what the agent raised and its `quarantine` did not take; RuntimeError where it breaks its declaration.
        """
        if self._uncommitted is not None or self._draft.is_used():
            raise RuntimeError("a task that failed is to be dropped: its memory is not what was committed")
        reached: dict[str, int] = {}
        for record in records:
            effects = self._decide(record)
            if effects.advance:
                worked: dict[bytes, int] = {}
                # Decided anew once nothing is due before it: its changes rest on what the dues have left, so that it
                # makes no difference whether there was a crash between two slices.
                while effects.advance and self._next_due(effects.advance) is not None:
                    yield from self._work_off_all(effects.advance, worked, reached)
                    effects = self._decide(record)
            self._take(effects)
            draft, topic = self._draft, record.topic
            draft.read[topic] = draft.read.get(topic, 0) + 1
            draft.records += 1
            reached[topic] = record.offset + 1
            if self._is_full():
                yield from self._commit(reached)
        yield from self._commit(reached if positions is None else {**reached, **positions})

    def apply(self, commit: Commit) -> None:
        """Let memory follow a commit that was acknowledged."""
        if commit is not self._uncommitted:
            raise RuntimeError("only the commit that was yielded last can be applied, once")
        for key, entry in commit.changes.items():
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry
        self.positions.update(commit.positions)
        self._kept.add(self._draft.values, self.entries)
        self._draft, self._uncommitted = _Draft(self.agent, self.entries, self._kept), None
        self._dues.compact(self.entries)

    def _commit(self, reached: Mapping[str, int]) -> Iterator[Commit]:
        self._encode_changes()
        moved = {topic: position for topic, position in reached.items() if self.positions.get(topic) != position}
        if not (moved or self._draft.changes or self._draft.sends):
            return
        draft = self._draft
        self._uncommitted = Commit(draft.changes, draft.sends, moved, draft.read, draft.refusals)
        yield self._uncommitted
        if self._uncommitted is not None:
            raise RuntimeError("a commit was not applied before the next was asked for")

    def _is_full(self) -> bool:
        draft, limits = self._draft, self._limits
        return (
            draft.records >= limits.records
            or draft.dues >= limits.dues
            or draft.weight >= limits.weight
            or self._is_late()
        )

    def _decide(self, record: Record) -> Effects[T]:
        try:
            return self.agent.decide(record, self._draft)
        except BadInput as error:
            return self._refuse(record, error)
        except Exception as error:
            return self._set_aside(record, error)

    def _refuse(self, record: Record, error: BadInput) -> Effects[T]:
        nth = self._draft.read.get(record.topic, 0)
        self._draft.refusals.append(Refusal(record.topic, nth, error.code, error.detail))
        letter = dead_record(self.agent.name, record, error)
        key, value = letter.dead_letter_id.encode(), self._encode_dead_letter(letter)
        return Effects(sends=(Send(DEAD_LETTER, key, value),))

    def _set_aside(self, subject: Record | tuple[Due, bytes], error: Exception) -> Effects[T]:
        """The effects of a quarantine, or the error again."""
        quarantine = self.agent.quarantine
        try:
            effects = None if quarantine is None else quarantine(subject, error, self._draft)
        except BadInput as refusal:
            if not isinstance(subject, Record):
                raise
            return self._refuse(subject, refusal)
        if effects is None:
            what = f"record {subject.topic}@{subject.offset}" if isinstance(subject, Record) else f"due {subject}"
            error.add_note(f"in agent {self.agent.name}, partition {self.partition}, {what}")
            raise error
        return effects

    def _take(self, effects: Effects[T]) -> None:
        draft, outputs, weight = self._draft, self._outputs, 0
        for send in effects.sends:
            if send.topic not in outputs:
                raise RuntimeError(f"agent {self.agent.name} sent to {send.topic}, which is not among its outputs")
            size = len(send.key) + len(send.value)
            if size > RECORD_BYTES:
                raise self._too_large(f"for {send.topic}", size, send.key)
            weight += size
        draft.weight += weight
        draft.sends += effects.sends
        draft.change(effects.changes)

    def _encode_changes(self) -> None:
        for key, before, after in self._draft.encode_changes():
            if after is not None and (size := len(key) + len(after)) > RECORD_BYTES:
                raise self._too_large("of state", size, key)
            self._dues.follow(key, before, after)

    def _too_large(self, what: str, size: int, key: bytes) -> RuntimeError:
        return RuntimeError(
            f"agent {self.agent.name}: a record {what} has {size} bytes, more than {RECORD_BYTES}: {key[:100]!r}"
        )

    def _next_due(self, advance: Mapping[str, int]) -> tuple[Due, bytes] | None:
        """The first due instant up to `advance`, in order of (instant, clock, key)."""
        self._encode_changes()
        return self._dues.first(advance, self._draft.entry)

    def _work_off_all(
        self, advance: Mapping[str, int], worked: dict[bytes, int], reached: Mapping[str, int]
    ) -> Iterator[Commit]:
        """Work off what is due up to `advance`; `worked` counts by key. The record that advances is not reached yet."""
        while (found := self._next_due(advance)) is not None:
            key = found[1]
            worked[key] = worked.get(key, 0) + 1
            if worked[key] > DUES_PER_KEY:
                raise NoProgress(
                    f"agent {self.agent.name}: {key!r} was due {DUES_PER_KEY} times in one step of {found[0].clock}"
                )
            self._work_off(*found)
            self._draft.dues += 1
            if self._is_full():
                yield from self._commit(reached)

    def _work_off(self, due: Due, key: bytes) -> None:
        assert self.agent.due is not None
        try:
            effects = self.agent.due(due, key, self._draft)
            self._check_progress(due, key, effects)
        except Exception as error:
            effects = self._set_aside((due, key), error)
            self._check_progress(due, key, effects)
        self._take(effects)

    def _check_progress(self, due: Due, key: bytes, effects: Effects[T]) -> None:
        if effects.advance:
            raise RuntimeError(f"agent {self.agent.name}: what is due can't advance a clock")
        if key in effects.changes:
            entry = self._draft.encode(effects.changes[key])
            if entry is None or due not in self._dues.of(entry):
                return
        raise NoProgress(f"agent {self.agent.name}: {key!r} still holds {due} after it was worked off")


class Size(NamedTuple):
    """How much a task holds."""

    entries: int
    """Of state."""
    bytes: int
    """Of their keys and encoded values."""
    marked: Mapping[str, int]
    """Entries by the names that the agent's declaration gives to marks."""
    dues: int
    """Due instants that lie ahead."""


_MARK = itemgetter(0)


class _Kept(Generic[T]):
    """Decoded values of entries as committed, those used last: what was touched is often touched again.

    Two generations: one grows, and when it is full it takes the place of the other.
    """

    def __init__(self) -> None:
        self._recent: dict[bytes, T | None] = {}
        self._former: dict[bytes, T | None] = {}
        self._bytes = 0

    def get(self, key: bytes) -> T | None:
        """The value of an entry that is there; None: it is not kept."""
        value = self._recent.get(key)
        return self._former.get(key) if value is None else value

    def add(self, values: Mapping[bytes, T | None], entries: Mapping[bytes, bytes]) -> None:
        """Take in what a commit used, changed or not; `entries` as it left them."""
        self._recent.update(values)
        self._bytes += sum(len(key) + len(entries.get(key, b"")) for key in values)
        if self._bytes > KEPT_BYTES:
            self._recent, self._former, self._bytes = {}, self._recent, 0


class _Draft(Generic[T]):
    """The state as the decisions of one commit see it: what they changed, over the committed entries.

    A key is decoded at most once, and encoded once unless a due instant needs to be seen in between.
    """

    def __init__(self, agent: Agent[T], entries: Mapping[bytes, bytes], kept: _Kept[T]) -> None:
        self._agent, self._entries, self._kept = agent, entries, kept
        self.values: dict[bytes, T | None] = {}
        """What was used so far."""
        self._unencoded: dict[bytes, T | None] = {}
        self._encoded: tuple[T | None, bytes | None] = None, None
        self.changes: dict[bytes, bytes | None] = {}
        self.sends: list[Send] = []
        self.read: dict[str, int] = {}
        self.refusals: list[Refusal] = []
        self.records = self.dues = self.weight = 0

    def is_used(self) -> bool:
        """Whether a decision has been taken in."""
        return bool(self.records or self.dues or self.sends or self.changes or self._unencoded)

    def get(self, key: bytes, /) -> T | None:
        """The value of `key`, or None."""
        if key in self.values:
            return self.values[key]
        entry = self._entries.get(key)
        if entry is None or self._agent.decode is None:
            return None
        self.weight += len(entry)
        value = self._kept.get(key)
        if value is None:
            value = self._agent.decode(entry)
        self.values[key] = value
        return value

    def entry(self, key: bytes) -> bytes | None:
        """The encoded value of `key`; changes must be encoded."""
        return self.changes[key] if key in self.changes else self._entries.get(key)

    def change(self, changes: Mapping[bytes, T | None]) -> None:
        """Take in new values."""
        for key, value in changes.items():
            self.values[key] = self._unencoded[key] = value

    def encode(self, value: T | None) -> bytes | None:
        """The last answer is kept: a due instant's new value is looked at before it is taken."""
        if value is None:
            return None
        if self._agent.encode is None:
            raise RuntimeError(f"agent {self._agent.name} declares no state and changes it")
        if value is not self._encoded[0]:
            self._encoded = value, self._agent.encode(value)
        return self._encoded[1]

    def encode_changes(self) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
        """Encode what was changed since the last time; yields (key, entry before, entry now) where they differ."""
        if not self._unencoded:
            return
        changes, self._unencoded = self._unencoded, {}
        for key, value in changes.items():
            before, now = self.entry(key), self.encode(value)
            if before != now:
                self.changes[key] = now
                yield key, before, now


class _Dues:
    """Due instants of all keys: a heap per clock.

    Entries are never removed when they become outdated: `first` drops those whose key no longer holds the instant,
    and `compact` rebuilds the heaps when most are outdated.
    """

    def __init__(self, agent: Agent[T], entries: Mapping[bytes, bytes]) -> None:
        self._dues = agent.dues
        self._heaps: dict[str, list[tuple[int, bytes]]] = {}
        self._size = self.live = 0
        self._rebuild(entries)

    def of(self, entry: bytes) -> Sequence[Due]:
        """The due instants of an encoded value, each once."""
        return () if self._dues is None else self._dues(entry)

    def follow(self, key: bytes, before: bytes | None, after: bytes | None) -> None:
        """Note that the entry of `key` changed."""
        if self._dues is None:
            return
        old = () if before is None else self.of(before)
        new = () if after is None else self.of(after)
        if new == old:
            return
        for due in new:
            if due not in old:
                heappush(self._heaps.setdefault(due.clock, []), (due.at, key))
                self._size += 1
        self.live += len(new) - len(old)

    def first(self, advance: Mapping[str, int], entry_of: Callable[[bytes], bytes | None]) -> tuple[Due, bytes] | None:
        """The first due instant up to `advance` that its key's entry still holds."""
        while True:
            first: tuple[int, str, bytes] | None = None
            for clock, until in advance.items():
                heap = self._heaps.get(clock)
                if heap and heap[0][0] <= until:
                    at, key = heap[0]
                    if first is None or (at, clock, key) < first:
                        first = at, clock, key
            if first is None:
                return None
            at, clock, key = first
            due, entry = Due(clock, at), entry_of(key)
            if entry is not None and due in self.of(entry):
                return due, key
            heappop(self._heaps[clock])
            self._size -= 1

    def compact(self, entries: Mapping[bytes, bytes]) -> None:
        if self._size > 2 * self.live + STALE_DUES:
            self._rebuild(entries)

    def _rebuild(self, entries: Mapping[bytes, bytes]) -> None:
        if self._dues is None:
            return
        self._heaps = {}
        for key, entry in entries.items():
            for due in self.of(entry):
                self._heaps.setdefault(due.clock, []).append((due.at, key))
        for heap in self._heaps.values():
            heapify(heap)
        self._size = self.live = sum(map(len, self._heaps.values()))
