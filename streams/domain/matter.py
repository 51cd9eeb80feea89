"""A matter: the ids that live at one place, their events, what was stated of them, and how ids come and go. Pure.

A matter is what a fold runs over. A fact belongs to the id that gave rise to it, is stated only where that id lives,
and travels with it, so its revisions never repeat. A matter whose past is announced but not here states nothing. The
protocol of moves, and why each rule is needed, stands in docs/identity.md.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec

from streams.domain.events import Move, SourceEvent
from streams.domain.facts import FactState, MatterFact, MatterKey, QuarantineState, TimerFact, TimerKey, TimerState
from streams.domain.history import Events, FactKey, Folded, History, Wake, add_event
from streams.errors import BadInput

MAX_EVENTS = 2_000
"""Of one matter. At the bound it is quarantined; further events become dead letters (`matter_full`)."""
MAX_SIZE = 256 << 10
"""Bytes of one matter's events as they came in. The same bound, for the same reason."""


MAX_FACTS = 2_000
"""Of one matter. A fold that says more is taken for a failed one."""


MAX_WAKES = 255
"""Accounts for which a matter waits for an instant. The same."""


class Stated(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last statement of a fact. `withdrawn`: it was taken back; its revision goes on counting."""

    key: TimerKey | MatterKey
    revision: int
    withdrawn: bool
    state: TimerState | FactState


class Departure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A move away that waits for the arrivals named before it: they may bring what has to leave."""

    number: int
    to_customer: str
    to_matter: str
    after: tuple[int, ...]


class Past(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What travels with an id: its events, their size in bytes, and what was stated of it."""

    events: Events = ()
    size: int = 0
    stated: tuple[Stated, ...] = ()
    dropped: int = 0
    """Events that came to a place which was full: they are in the log only, and nothing may be stated without them."""


class Resident(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """An id at this place. A move is announced and arrives in either order, so numbers of moves are kept until both."""

    past: Past = Past()
    expected: tuple[int, ...] = ()
    """Announced, not here yet."""
    arrived: tuple[int, ...] = ()
    """Here, not announced yet."""
    leaving: tuple[Departure, ...] = ()

    @property
    def under_way(self) -> bool:
        """Whether some of its past is still on the way here, or has to leave."""
        return bool(self.leaving or self.expected)

    @property
    def empty(self) -> bool:
        """Whether nothing of it is here: no event, nothing stated, nothing under way."""
        return self.past == Past() and not (self.arrived or self.under_way)


class Quarantine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why the rules are not run on a matter."""

    reason: str
    detail: str


class Matter(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Everything at one place."""

    customer: str
    head: str
    residents: dict[str, Resident] = {}
    fold_version: int = 0
    wakes: tuple[tuple[str, datetime], ...] = ()
    """Per account, the next instant at which a fact changes by time alone."""
    quarantine: Quarantine | None = None
    quarantine_revisions: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is left to remember."""
        return not self.residents and not self.quarantine_revisions

    @property
    def history(self) -> History:
        """The events of every id that has any."""
        return {id: resident.past.events for id, resident in self.residents.items() if resident.past.events}

    @property
    def silent(self) -> bool:
        """Whether nothing may be stated: a part of the past is on the way, or the rules failed on it."""
        return self.quarantine is not None or any(resident.under_way for resident in self.residents.values())


Statement: TypeAlias = TimerFact | MatterFact


class Shipment(NamedTuple):
    """An arrival to be written to another customer's timeline."""

    customer: str
    move: Move
    past: Past


Fold: TypeAlias = Callable[[History], Folded]


# ---- what happens to a matter


def take_event(matter: Matter, id: str, event: SourceEvent, size: int) -> Matter:
    """The matter with one more event of an id; `size` is the event's size in bytes as it came.

    Raises BadInput `matter_full` when the matter was set aside for its size already.
    """
    if matter.quarantine is not None and (found := excess(matter)):
        raise BadInput("matter_full", f"{matter.head} was set aside: {found[1]}")
    resident = matter.residents.get(id, Resident())
    events = add_event(resident.past.events, _compact(event))
    if events is resident.past.events:
        return matter
    grown = size if len(events) > len(resident.past.events) else 0
    past = msgspec.structs.replace(resident.past, events=events, size=resident.past.size + grown)
    return _with(matter, id, msgspec.structs.replace(resident, past=past))


def _compact(event: SourceEvent) -> SourceEvent:
    """An event without what its place says anyway. Links stay: the fold asks whether a parcel goes to or fro."""
    return msgspec.structs.replace(event, about="", customer=None)


def excess(matter: Matter) -> tuple[str, str] | None:
    """Reason and detail when the matter is beyond its bounds."""
    dropped = sum(resident.past.dropped for resident in matter.residents.values())
    if dropped:
        return "too_many_events", f"{dropped} events came when it was full, and are in the log only"
    count = sum(len(resident.past.events) for resident in matter.residents.values())
    if count > MAX_EVENTS:
        return "too_many_events", f"{count} events; at most {MAX_EVENTS} are allowed"
    size = sum(resident.past.size for resident in matter.residents.values())
    if size > MAX_SIZE:
        return "too_large", f"{size} bytes of events; at most {MAX_SIZE} are allowed"
    return None


def expect(matter: Matter, move: Move) -> Matter:
    """An arrival is announced (`in`)."""
    resident = matter.residents.get(move.id, Resident())
    if move.number in resident.arrived:
        resident = msgspec.structs.replace(resident, arrived=_without(resident.arrived, move.number))
    else:
        resident = msgspec.structs.replace(resident, expected=(*resident.expected, move.number))
    return _with(matter, move.id, resident)


def leave(matter: Matter, move: Move) -> tuple[Matter, list[Shipment]]:
    """An id has to leave (`out`): at once, or when the arrivals announced before have come."""
    assert move.to_customer is not None
    assert move.to_matter is not None
    resident = matter.residents.get(move.id, Resident())
    departure = Departure(move.number, move.to_customer, move.to_matter, resident.expected)
    resident = msgspec.structs.replace(resident, leaving=(*resident.leaving, departure))
    return _ship(matter, move.id, resident)


def arrive(matter: Matter, move: Move, past: Past) -> tuple[Matter, list[Shipment]]:
    """The past of an id is here (`moved`); two sets of its events are united.

    A matter that is full takes no more events: the id arrives without them, and says so.
    """
    resident = matter.residents.get(move.id, Resident())
    if excess(matter):
        past = Past((), 0, past.stated, past.dropped + len(past.events))
    if move.number in resident.expected:
        resident = msgspec.structs.replace(
            resident,
            expected=_without(resident.expected, move.number),
            leaving=tuple(
                msgspec.structs.replace(departure, after=_without(departure.after, move.number))
                for departure in resident.leaving
            ),
        )
    else:
        resident = msgspec.structs.replace(resident, arrived=(*resident.arrived, move.number))
    return _ship(matter, move.id, msgspec.structs.replace(resident, past=_unite(resident.past, past)))


def _without(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    return tuple(known for known in numbers if known != number)


def _unite(here: Past, arriving: Past) -> Past:
    """Two pasts of one id. An event that both have counts once; of a fact, the higher revision is the newer."""
    if here == Past():
        return arriving
    events = here.events
    for event in arriving.events:
        events = add_event(events, event)
    doubled = len(here.events) + len(arriving.events) - len(events)
    size = here.size + arriving.size - doubled * arriving.size // max(1, len(arriving.events))
    stated = {last.key: last for last in here.stated}
    for last in arriving.stated:
        if last.key not in stated or stated[last.key].revision < last.revision:
            stated[last.key] = last
    return Past(events, size, tuple(stated.values()), here.dropped + arriving.dropped)


def _ship(matter: Matter, id: str, resident: Resident) -> tuple[Matter, list[Shipment]]:
    """Pass an id on as soon as every arrival that was announced before its departure is here."""
    shipments = []
    while resident.leaving and not resident.leaving[0].after:
        departure, *rest = resident.leaving
        move = Move(step="moved", id=id, number=departure.number, matter=departure.to_matter)
        shipments.append(Shipment(departure.to_customer, move, resident.past))
        resident = msgspec.structs.replace(resident, past=Past(), leaving=tuple(rest))
    return _with(matter, id, resident), shipments


def _with(matter: Matter, id: str, resident: Resident) -> Matter:
    residents = {**matter.residents, id: resident}
    if resident.empty:
        del residents[id]
    return msgspec.structs.replace(matter, residents=residents)


# ---- what a matter states


def state(matter: Matter, fold: Fold, version: int, generation: str, cause: str) -> tuple[Matter, list[Statement]]:
    """Fold the matter and state what differs from what was stated before. A silent matter states nothing.

    Raises whatever the fold raises, OverflowError when it says too much: the caller sets the matter aside.
    """
    if matter.silent:
        return msgspec.structs.replace(matter, wakes=()), []
    folded = fold(matter.history)
    wakes = _next(folded.wakes)
    for what, count, most in (("facts", len(folded.facts), MAX_FACTS), ("accounts to wake for", len(wakes), MAX_WAKES)):
        if count > most:
            raise OverflowError(f"{count} {what} of one matter; at most {most} are allowed")
    statements: list[Statement] = []
    residents = dict(matter.residents)
    for id, said in _by_id(folded.facts, matter.residents).items():
        resident = residents[id]
        stated, new = _difference(id, resident.past.stated, said, version, generation, cause)
        if new:
            past = msgspec.structs.replace(resident.past, stated=stated)
            residents[id] = msgspec.structs.replace(resident, past=past)
            statements += new
    changed = msgspec.structs.replace(matter, residents=residents, fold_version=version, wakes=wakes)
    return changed, statements


def _by_id(
    facts: Mapping[FactKey, TimerState | FactState], residents: Iterable[str]
) -> dict[str, dict[TimerKey | MatterKey, TimerState | FactState]]:
    said: dict[str, dict[TimerKey | MatterKey, TimerState | FactState]] = {id: {} for id in residents}
    for (id, key), value in facts.items():
        said[id][key] = value
    return said


def _difference(
    id: str,
    stated: tuple[Stated, ...],
    said: dict[TimerKey | MatterKey, TimerState | FactState],
    version: int,
    generation: str,
    cause: str,
) -> tuple[tuple[Stated, ...], list[Statement]]:
    """The new list of what was stated of an id, and what has to be said to get there."""
    changes: list[Stated] = []
    kept: list[Stated] = []
    for last in stated:
        value = said.pop(last.key, None)
        if value is None:
            now = last if last.withdrawn else Stated(last.key, last.revision + 1, True, last.state)
        elif last.withdrawn or value != last.state:
            now = Stated(last.key, last.revision + 1, False, value)
        else:
            now = last
        kept.append(now)
        if now is not last:
            changes.append(now)
    new = [Stated(key, 1, False, value) for key, value in said.items()]
    if not changes and not new:
        return stated, []
    changes += new
    return (*kept, *new), [_statement(id, change, version, generation, cause) for change in changes]


def _statement(id: str, stated: Stated, version: int, generation: str, cause: str) -> Statement:
    if isinstance(stated.key, TimerKey):
        assert isinstance(stated.state, TimerState)
        return TimerFact(
            generation=generation,
            about=id,
            key=stated.key,
            revision=stated.revision,
            withdrawn=stated.withdrawn,
            cause=cause,
            fold_version=version,
            state=stated.state,
        )
    assert not isinstance(stated.state, TimerState)
    return MatterFact(
        generation=generation,
        about=id,
        key=stated.key,
        revision=stated.revision,
        withdrawn=stated.withdrawn,
        cause=cause,
        fold_version=version,
        state=stated.state,
    )


def _next(wakes: Iterable[Wake]) -> tuple[tuple[str, datetime], ...]:
    """The earliest instant per account."""
    earliest: dict[str, datetime] = {}
    for account, at in wakes:
        if account not in earliest or at < earliest[account]:
            earliest[account] = at
    return tuple(sorted(earliest.items()))


def set_aside(
    matter: Matter, reason: str, detail: str, generation: str, version: int
) -> tuple[Matter, list[Statement]]:
    """Put the matter in quarantine: it keeps its events, states nothing, and says so once."""
    if matter.quarantine is not None:
        return matter, []
    revision, quarantine = matter.quarantine_revisions + 1, Quarantine(reason, detail)
    fact = _quarantine_fact(matter, quarantine, revision, False, generation, version)
    matter = msgspec.structs.replace(matter, quarantine=quarantine, quarantine_revisions=revision, wakes=())
    return matter, [fact]


def release(matter: Matter, generation: str, version: int) -> tuple[Matter, list[Statement]]:
    """Lift a quarantine whose cause has moved away: of a matter that is no longer too full, or has nothing left."""
    quarantine = matter.quarantine
    if quarantine is None:
        return matter, []
    if matter.residents and (quarantine.reason not in FULL or excess(matter)):
        return matter, []
    revision = matter.quarantine_revisions + 1
    fact = _quarantine_fact(matter, quarantine, revision, True, generation, version)
    return msgspec.structs.replace(matter, quarantine=None, quarantine_revisions=revision), [fact]


FULL = frozenset({"too_many_events", "too_large"})


def _quarantine_fact(
    matter: Matter, quarantine: Quarantine, revision: int, withdrawn: bool, generation: str, version: int
) -> MatterFact:
    count = sum(len(resident.past.events) for resident in matter.residents.values())
    return MatterFact(
        generation=generation,
        about=matter.head,
        key=MatterKey(kind="quarantine", item=matter.customer),
        revision=revision,
        withdrawn=withdrawn,
        cause="events",
        fold_version=version,
        state=QuarantineState(
            customer=matter.customer, reason=quarantine.reason, detail=quarantine.detail, event_count=count
        ),
    )
