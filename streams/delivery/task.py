"""One partition of an agent: its state, its due instants, and how records become commits. Pure.

Must not know of Kafka, asyncio or the time. The same core serves a worker, the in-memory runner and tests:

    task = Task(agent, entries, positions)
    for commit in task.process(records):
        ...                         # write commit.changes, .sends and .positions: all of it or nothing
        task.apply(commit)          # acknowledged: now, and only now, memory follows

A task whose commit failed is dropped with its memory and made anew from what was committed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from streams.delivery.agent import Agent, Effects, Record, Send
from streams.delivery.dead_letters import DEAD_LETTER, DeadLetter, dead_record
from streams.errors import BadInput

T = TypeVar("T")

SLICE = 500
"""Due instants worked off in one commit, so that a mass expiry delays no other partition."""
COMMIT_BYTES = 4 << 20
"""Bytes decoded and sent in one commit; it ends with the record or due instant that passes this."""
DUES_PER_KEY = 10_000
"""Due instants of one key worked off for one record; more are taken for a loop."""
STALE_DUES = 1000
"""Outdated heap entries kept, beside as many as there are live ones, before the heaps are rebuilt."""


class NoProgress(RuntimeError):
    """A due instant was worked off and is still due: a bug in the agent."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What must become durable together."""

    changes: Mapping[bytes, bytes | None]
    """Encoded state entries; None: deleted."""
    sends: list[Send]
    positions: Mapping[str, int]
    """Next offset to read, of each topic whose position moved."""


class Task(Generic[T]):
    """One partition of `agent`: `entries` {key: encoded value} and `positions` {topic: next offset} as committed."""

    def __init__(
        self,
        agent: Agent[T],
        entries: dict[bytes, bytes],
        positions: Mapping[str, int],
        encode_dead_letter: Callable[[DeadLetter], bytes] = msgspec.json.encode,
    ) -> None:
        self.agent, self.entries, self.positions = agent, entries, dict(positions)
        self._encode_dead_letter = encode_dead_letter
        self._outputs = frozenset(agent.outputs)
        self._draft = _Draft(agent, entries)
        self._uncommitted: Commit | None = None
        self._heaps: dict[str, list[tuple[int, bytes]]] = {}
        self._heap_size = self._live_dues = 0
        self._rebuild_heaps()

    def process(self, records: Iterable[Record], positions: Mapping[str, int] | None = None) -> Iterator[Commit]:
        """Run `records` through the agent; yields commits, each of which must be applied before the next is asked for.

        `positions` {topic: next offset} is what is reached with the last commit (a log has holes that are no records);
        None: one beyond the last record of each topic. May be abandoned after an applied commit, not before.
        Raises what the agent raised and `Agent.quarantine` did not take, and RuntimeError where the agent breaks its
        declaration.
        """
        reached: dict[str, int] = {}
        for record in records:
            yield from self._advance(record, reached)
            reached[record.topic] = record.offset + 1
            if self._draft.weight >= COMMIT_BYTES:
                yield self._commit(reached)
                self._check_applied()
        if positions is not None:
            reached.update(positions)
        commit = self._commit(reached)
        if commit.positions or commit.changes or commit.sends:
            yield commit
            self._check_applied()
        self._uncommitted = None

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
        self._draft = _Draft(self.agent, self.entries)
        self._uncommitted = None
        if self._heap_size > 2 * self._live_dues + STALE_DUES:
            self._rebuild_heaps()

    def _advance(self, record: Record, reached: Mapping[str, int]) -> Iterator[Commit]:
        """Take in one record; if it moves clocks, work off what is due first, in slices.

        The record is decided anew once nothing is due before it: its changes rest on what the dues have left, and it
        makes no difference whether a crash came between two slices.
        """
        effects = self._decide(record)
        counts: dict[bytes, int] = {}
        while effects.advance and (found := self._next_due(effects.advance)) is not None:
            in_slice = 0
            while found is not None:
                due, key = found
                counts[key] = counts.get(key, 0) + 1
                self._work_off(due, key, counts[key])
                in_slice += 1
                if in_slice >= SLICE or self._draft.weight >= COMMIT_BYTES:
                    yield self._commit(reached)
                    self._check_applied()
                    in_slice = 0
                found = self._next_due(effects.advance)
            effects = self._decide(record)
        self._take(effects)

    def _decide(self, record: Record) -> Effects[T]:
        try:
            effects = self.agent.decide(record, self._draft)
            self._check_outputs(effects)
        except BadInput as error:
            letter = dead_record(self.agent.name, record, error)
            return Effects(
                sends=[Send(DEAD_LETTER, letter.dead_letter_id.encode(), self._encode_dead_letter(letter))]
            )
        except Exception as error:
            return self._set_aside(record, error)
        return effects
