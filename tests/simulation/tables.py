"""Simulated tables of ClickHouse: they refuse, store a part, or store and say they did not. Must not know of Kafka."""

import asyncio
from typing import Any

from streams.errors import Transient
from tests.simulation.world import Process, World

REFUSE, PART, DOUBT = 0.03, 0.03, 0.03
"""How often an insert stores nothing, a part, or everything, and answers with an error; while there are dangers."""

Stored = dict[str, set[tuple[Any, ...]]]
"""All rows that were ever inserted, by table. A row stored twice is a row; the newest revision of a key is its last."""


class SimulatedTables:
    """The tables as one process sees them (`streams.sink.Tables`)."""

    def __init__(self, process: Process, stored: Stored) -> None:
        self._process, self._stored = process, stored

    async def insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Store rows. Raises Transient."""
        world = self._process.world
        answer: asyncio.Future[str | None] = world.loop.create_future()
        world.strike(self._process, "before insert")
        world.loop.call_soon(world.later, world.trip_s(), self._take, table, rows, answer)
        if (fault := await answer) is not None:
            raise Transient(fault)

    def _take(self, table: str, rows: list[tuple[Any, ...]], answer: "asyncio.Future[str | None]") -> None:
        world = self._process.world
        count, fault = _outcome(world, len(rows))
        world.note(f"{self._process.name} inserts {count} of {len(rows)} rows of {table}")
        self._stored.setdefault(table, set()).update(rows[:count])
        if fault is not None:
            world.faults["insert"] += 1
        world.strike(self._process, "after insert")
        world.later(world.trip_s(), answer.set_result, fault)


def _outcome(world: World, count: int) -> tuple[int, str | None]:
    """How many rows are stored, and what is said of it."""
    roll = world.random.random() if world.dangers.cut else 1.0
    if roll < REFUSE:
        return 0, "too many parts"
    if roll < REFUSE + PART:
        return world.random.randint(0, count), "the connection broke in the middle"
    if roll < REFUSE + PART + DOUBT:
        return count, "the answer was lost"
    return count, None
