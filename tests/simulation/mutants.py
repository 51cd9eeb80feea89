"""Bugs to plant: each breaks one rule of the product, so that the simulation can show that it would find it.

A mutant is patched in for a block, and is otherwise nowhere. If one survives, the simulation is to be made better.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

import msgspec

from streams import sink
from streams.delivery import names
from streams.delivery.agent import Record
from streams.delivery.group import Group, OwnedTask
from streams.delivery.task import Commit
from streams.delivery.transactions import Transactions
from streams.domain import heard, matter
from tests.simulation.network import SimulatedClients
from tests.simulation.world import Dangers

Patch = tuple[Any, str, Any]
"""Where, which name, and what stands there instead."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Within the block, the product has this bug."""
    with ExitStack() as stack:
        for where, attribute, instead in MUTANTS[name]():
            stack.enter_context(patch.object(where, attribute, instead))
        yield


def _position_outside_the_transaction() -> list[Patch]:
    """The position of a batch is committed in a transaction of its own, after that of its state and outputs."""
    write = Transactions.write

    async def write_twice(self: Transactions, commit: Commit) -> None:
        await write(self, Commit(commit.changes, commit.sends, {}))
        await write(self, Commit({}, [], commit.positions))

    return [(Transactions, "write", write_twice)]


def _fetch_survives_a_seek() -> list[Patch]:
    """What was fetched before a rebalance is handed out after it, though reading began anew with a seek."""
    process = OwnedTask._process

    async def process_and_keep(self: OwnedTask, records: Iterable[Record], positions: Mapping[str, int]) -> None:
        kept = self.group.__dict__.setdefault("kept_by_the_mutant", {})
        if self.partition in kept:
            await process(self, *kept.pop(self.partition))
        fetched = [*records]
        await process(self, fetched, positions)
        if self._pausing and fetched:
            kept[self.partition] = fetched, positions

    return [(OwnedTask, "_process", process_and_keep)]


def _reads_on_where_the_client_stands() -> list[Patch]:
    """Reading goes on where the group's offsets were upon assignment, not where the restored state ends."""
    read = OwnedTask._read

    async def read_on(self: OwnedTask) -> None:
        assert self.task is not None
        consumer, nouns = self.group.consumer, self.group.nouns
        for tp in self.tps:
            if nouns[tp.topic] in self.task.positions:
                self.task.positions[nouns[tp.topic]] = await consumer.position(tp)
        await read(self)

    return [(OwnedTask, "_read", read_on)]


def _fence_after_restore() -> list[Patch]:
    """The former owner is shut out only after the state was restored and positions were asked for."""
    fence, starts = Transactions.fence, Group._starts

    async def fence_later(self: Transactions) -> None:
        pass

    async def starts_then_fence(self: Group, tasks: list[OwnedTask], entries: Any) -> Any:
        found = await starts(self, tasks, entries)
        await asyncio.gather(*(fence(owned.transactions) for owned in tasks))
        return found

    return [(Transactions, "fence", fence_later), (Group, "_starts", starts_then_fence)]


def _no_fence() -> list[Patch]:
    """Every producer has a transactional id of its own, and shuts out nobody."""
    numbers, id = count(), names.transactional_id
    return [(names, "transactional_id", lambda *of: f"{id(*of)}-{next(numbers)}")]


def _reads_uncommitted() -> list[Patch]:
    """Readers see what was never committed."""
    consumer = SimulatedClients.consumer
    uncommitted = {"isolation_level": "read_uncommitted"}
    return [(SimulatedClients, "consumer", lambda self, **options: consumer(self, **options | uncommitted))]


def _departure_does_not_wait() -> list[Patch]:
    """An id leaves a place though its past, announced before, has not arrived there."""
    departure = matter.Departure
    return [(matter, "Departure", lambda number, customer, head, after: departure(number, customer, head, ()))]


def _correction_with_an_old_revision() -> list[Patch]:
    """A fact is corrected under the revision that it had."""
    statement = matter._statement

    def state_anew(id: str, stated: matter.Stated, *more: Any) -> matter.Statement:
        said = statement(id, stated, *more)
        return msgspec.structs.replace(said, revision=max(1, said.revision - 1))

    return [(matter, "_statement", state_anew)]


def _offsets_before_rows() -> list[Patch]:
    """The sink commits its positions, then inserts."""
    store = sink._store

    async def commit_first(batch: sink.Batch, tables: Any, consumer: Any, *more: Any) -> Any:
        await store(sink.Batch(0.0), tables, consumer, *more)
        return await store(batch, tables, consumer, *more)

    return [(sink, "_store", commit_first)]


def _tick_overtakes_events() -> list[Patch]:
    """An announcement counts at once, though correlate has not read what it speaks of."""
    return [(heard, "is_passed", lambda announcement, passed: True)]


MUTANTS: Mapping[str, Callable[[], list[Patch]]] = {
    function.__name__[1:]: function
    for function in (
        _position_outside_the_transaction,
        _fetch_survives_a_seek,
        _reads_on_where_the_client_stands,
        _fence_after_restore,
        _no_fence,
        _reads_uncommitted,
        _departure_does_not_wait,
        _correction_with_an_old_revision,
        _offsets_before_rows,
        _tick_overtakes_events,
    )
}
"""By name, what each breaks."""
FORCED: Mapping[str, Dangers] = {
    "fence_after_restore": Dangers(
        kill=0, stop=0, cut=0, slow=0.02, lag=0.05, ambush=("before end transaction", "list offsets")
    ),
}
"""Dangers that open the window of a bug that chance alone would seldom hit."""
