"""Runs of the simulated market for tests, and a stand-in for Kafka and for the present."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import TypeVar

from connectors.simulator.market import Market
from connectors.simulator.planned import Planned
from streams.domain.events import Event

E = TypeVar("E", bound=Event)

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


@cache
def market_run(seed: int = 7, days: int = 120, orders_per_day: float = 40) -> tuple[Planned, ...]:
    """Everything that a market publishes within so many days."""
    end_at = START + timedelta(days=days)
    market = Market(seed=seed, start_at=START, orders_per_day=orders_per_day)
    return tuple(takewhile(lambda planned: planned.publish_at <= end_at, market))


def only(planned: Iterable[Planned], kind: type[E]) -> list[E]:
    """The good events of one kind, each once, by event time."""
    events = {one.body.event_id: one.body for one in planned if isinstance(one.body, kind) and one.refused is None}
    return sorted(events.values(), key=lambda event: (event.event_at, event.sequence))


def by_id(events: Iterable[E]) -> dict[str, list[E]]:
    """Events by the id that they are about."""
    found = defaultdict(list)
    for event in events:
        found[event.about].append(event)
    return dict(found)


class Broker:
    """Keeps what is published; only what was flushed counts."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, bytes]] = []
        self.heard: list[tuple[str, datetime, bool, datetime | None]] = []
        self._open: list[tuple[str, str, bytes]] = []

    async def publish(self, noun: str, key: str, record: bytes) -> None:
        self._open.append((noun, key, record))

    async def flush(self) -> None:
        self.written += self._open
        self._open = []

    async def read_through(
        self, account: str, through_at: datetime, live: bool, live_from: datetime | None = None
    ) -> None:
        await self.flush()
        self.heard.append((account, through_at, live, live_from))


class Present:
    """A present that moves only when somebody rests."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    async def rest(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
