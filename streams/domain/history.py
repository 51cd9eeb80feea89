"""The history of a matter: what sources said of each of its ids, in the order in which it happened. Pure.

Rules that folds share: the newest word wins, the first occurrence counts once.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from streams.domain.events import Event, Reference, ResponseTargets, SourceEvent
from streams.domain.facts import FactState, MatterKey, TimerKey, TimerState

T = TypeVar("T")
E = TypeVar("E", bound=Event)

Events: TypeAlias = tuple[SourceEvent, ...]
"""Events of one id, sorted by `order_key`, each event id once."""

History: TypeAlias = Mapping[str, Events]
"""Id to its events, for every id of a matter that has any."""

Horizon: TypeAlias = Callable[[str], datetime]
"""Account to the instant up to which its events are known."""

FactKey: TypeAlias = tuple[str, TimerKey | MatterKey]
"""The id a fact is about, and its key."""


class Wake(NamedTuple):
    """A fact will change at an instant, by the horizon of an account, if nothing else happens."""

    account: str
    at: datetime


class Folded(NamedTuple):
    """What a history says."""

    facts: dict[FactKey, TimerState | FactState]
    wakes: list[Wake]


class References(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Versions of reference data that a partition has been given, oldest first."""

    response_targets: tuple[Reference, ...]

    def with_version(self, reference: Reference) -> "References":
        """These and one more version; a version that is here already changes nothing."""
        known = {version.version: version for version in self.response_targets}
        known.setdefault(reference.version, reference)
        return References(response_targets=tuple(known[version] for version in sorted(known)))

    def targets_at(self, instant: datetime) -> tuple[int, ResponseTargets]:
        """Version and content of the targets that hold for a case that began at `instant` (looked up by event time)."""
        for reference in reversed(self.response_targets):
            if reference.effective_at is None or reference.effective_at <= instant:
                return reference.version, reference.body
        first = self.response_targets[0]
        return first.version, first.body


def add_event(events: Events, event: SourceEvent) -> Events:
    """`events` with one more. The same event id is the same event; of two copies, the one ingested earlier is kept.

    Copies that differ and were ingested at one instant are a fault of the source; one of them is kept, always the same.
    """
    for position, known in enumerate(events):
        if known.event_id == event.event_id:
            if known == event or (known.ingested_at, repr(known)) <= (event.ingested_at, repr(event)):
                return events
            events = events[:position] + events[position + 1 :]
            break
    key = event.order_key
    if not events or events[-1].order_key < key:
        return (*events, event)
    position = bisect_left(events, key, key=lambda known: known.order_key)
    return (*events[:position], event, *events[position:])


def newest(values: Iterable[T | None]) -> T | None:
    """The last value that says something, of values in the order in which they were said."""
    found = None
    for value in values:
        if value is not None:
            found = value
    return found


def first(instants: Iterable[datetime | None]) -> datetime | None:
    """The earliest instant of those that are there."""
    found = None
    for instant in instants:
        if instant is not None and (found is None or instant < found):
            found = instant
    return found


def of_kind(history: History, kind: str) -> Iterable[tuple[str, Events]]:
    """The ids of one kind, with their events."""
    prefix = f"{kind}:"
    return [(id, events) for id, events in history.items() if id.startswith(prefix)]


def links_of(id: str, event: Event) -> list[tuple[str, str]]:
    """Who follows whom, by an event about `id`: pairs of follower and leader."""
    links = [(follower, id) for follower in event.followers]
    if event.leader:
        links.append((id, event.leader))
    return links


def only(events: Events, type_: type[E]) -> list[E]:
    """The events of one type."""
    return [event for event in events if isinstance(event, type_)]


def marketplace_of(events: Iterable[Event]) -> str:
    """The newest marketplace that is named; empty when none is."""
    return newest(event.marketplace or None for event in events) or ""
