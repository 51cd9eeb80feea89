"""What was last stated of each fact, and state that is brought in line with it. Pure.

A state that is folded anew from the timeline says the same of events, but not of statements when the rules have changed
since: which revisions are used is known by the fact topics alone.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from streams.agents import casework
from streams.agents.casework import CLOCKS_KEY, Clocks, Kept
from streams.domain.facts import MatterFact, MatterKey, QuarantineState, TimerFact, TimerKey
from streams.domain.fold import FOLD_VERSION
from streams.domain.matter import Matter, Past, Quarantine, Resident, Stated, archive_wakes

K = TypeVar("K")
Key: TypeAlias = TimerKey | MatterKey


class Last(NamedTuple):
    """The newest statement of a fact."""

    stated: Stated
    version: int
    """Of the rules that stated it."""


class Statements:
    """The last statements of one generation: of facts about `residents`, by id, and of quarantines.

    `is_here` tells customers whose timeline is meant: a quarantine belongs to a place, all else to an id.
    """

    def __init__(self, generation: str, residents: Container[str], is_here: Callable[[str], bool]) -> None:
        self._generation, self._residents, self._is_here = generation, residents, is_here
        self._facts: dict[str, dict[Key, Last]] = {}
        self._quarantines: dict[tuple[str, str], Last] = {}

    def add(self, fact: TimerFact | MatterFact) -> None:
        """Take in a statement; they may come in any order."""
        if fact.generation != self._generation:
            return
        last = Last(Stated(fact.key, fact.revision, fact.withdrawn, fact.state), fact.fold_version)
        if isinstance(fact.state, QuarantineState):
            if self._is_here(fact.state.customer):
                _keep(self._quarantines, (fact.state.customer, fact.about), last)
        elif fact.about in self._residents:
            _keep(self._facts.setdefault(fact.about, {}), fact.key, last)

    def of(self, id: str) -> Mapping[Key, Last]:
        """The last statement of each fact that belongs to an id."""
        return self._facts.get(id, {})

    def quarantine(self, matter: Matter) -> Last | None:
        """What was last said of a matter's quarantine; None: it never was in one."""
        return self._quarantines.get((matter.customer, matter.head))

    def places(self) -> Iterator[tuple[str, str]]:
        """(customer, head) of every matter that was ever in quarantine."""
        return iter(self._quarantines)


def _keep(known: dict[K, Last], key: K, last: Last) -> None:
    before = known.get(key)
    if before is None or before.stated.revision < last.stated.revision:
        known[key] = last


def residents_of(entries: Mapping[bytes, bytes]) -> set[str]:
    """All ids that live in a state of casework."""
    values = (casework.decode(entry) for entry in entries.values())
    return {id for value in values if isinstance(value, Kept) for id in value.matter.residents}


def in_line(entries: Mapping[bytes, bytes], statements: Statements) -> dict[bytes, bytes]:
    """A state of casework that was worked off from the timeline, with what was really stated of its matters.

    No revision is used twice from here on, and where today's rules say something else, the next touch corrects it.
    """
    clocks = casework.decode(entries[CLOCKS_KEY]) if CLOCKS_KEY in entries else Clocks()
    assert isinstance(clocks, Clocks)
    changed = dict(entries)
    for key, entry in entries.items():
        if isinstance(value := casework.decode(entry), Kept):
            matter = _matter(value.matter, statements, clocks.horizons.items())
            if matter != value.matter:
                changed[key] = casework.encode(Kept(matter=matter))
    for customer, head in statements.places():
        key = casework.place_key(customer, head)
        if key not in changed:
            matter = _matter(Matter(customer=customer, head=head), statements, ())
            changed[key] = casework.encode(Kept(matter=matter))
    return changed


def _matter(matter: Matter, statements: Statements, heard: Iterable[tuple[str, datetime]]) -> Matter:
    residents = {id: _resident(id, resident, statements) for id, resident in matter.residents.items()}
    version = matter.fold_version
    if residents != matter.residents:
        # Of other rules: then the next touch states the differences as theirs.
        others = {last.version for id in residents for last in statements.of(id).values()} - {FOLD_VERSION}
        version = max(others, default=version)
    matter = msgspec.structs.replace(matter, residents=residents, fold_version=version)
    return _with_quarantine(matter, statements.quarantine(matter), heard)


def _resident(id: str, resident: Resident, statements: Statements) -> Resident:
    past = resident.past
    if past == Past() or past.archived:
        return resident
    said = statements.of(id)
    known = [said[last.key].stated for last in past.stated if last.key in said]
    others: list[Stated] = []
    if not resident.expected:  # else they are on their way here, with its past
        others = [last.stated for key, last in said.items() if key not in {last.key for last in past.stated}]
    stated = (*known, *sorted(others, key=lambda last: repr(last.key)))
    return msgspec.structs.replace(resident, past=msgspec.structs.replace(past, stated=stated))


def _with_quarantine(matter: Matter, last: Last | None, heard: Iterable[tuple[str, datetime]]) -> Matter:
    revisions, quarantine, wakes = 0, None, matter.wakes
    if last is not None:
        revisions = last.stated.revision
        if not last.stated.withdrawn and isinstance(last.stated.state, QuarantineState):
            quarantine, wakes = Quarantine(last.stated.state.reason, last.stated.state.detail), ()
    if matter.quarantine is not None and quarantine is None:
        # Today's rules fail where former ones did not: it is set aside and says so when one of its accounts is next
        # heard of, or an event comes. An account that nobody has announced is not waited for.
        accounts = {event.account for events in matter.history.values() for event in events}
        wakes = tuple(sorted((account, at) for account, at in heard if account in accounts)) or archive_wakes(matter)
    return msgspec.structs.replace(matter, quarantine=quarantine, quarantine_revisions=revisions, wakes=wakes)
