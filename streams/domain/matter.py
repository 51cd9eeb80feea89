"""A matter: the ids that live at one place, their events, what was stated of them, and how ids come and go. Pure.

A matter is what a fold runs over. A fact belongs to the id that gave rise to it, is stated only where that id lives,
and travels with it, so its revisions never repeat. A matter whose past is announced but not here states nothing. The
protocol of moves, and why each rule is needed, stands in docs/identity.md.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

import msgspec

from streams.domain.events import Move, SourceEvent
from streams.domain.facts import FactState, MatterFact, MatterKey, QuarantineState, TimerFact, TimerKey, TimerState
from streams.domain.history import Events, FactKey, Folded, History, Wake, add_event
from streams.domain.ids import kind_of
from streams.errors import BadInput

MAX_EVENTS = 2_000
"""Of one matter. At the bound it is quarantined; further events become dead letters (`matter_full`)."""
MAX_SIZE = 256 << 10
"""Bytes of one matter's events as they came in. The same bound, for the same reason."""


MAX_FACTS = 2_000
"""Of one matter. A fold that says more is taken for a failed one."""


ARCHIVE = "\x00archive"
"""The clock of what is archived: a matter in which nothing runs, and since this instant nothing came."""
HASH_BYTES = 8


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
    archived: bytes = b""
    """Hashes, sorted, of the events it had when its matter was archived. They, and what was stated, are not here any
    more: what was stated last holds."""
    revisions: int = 0
    """Sum of the revisions of what was stated before."""
    recalled_at: datetime | None = None
    """When it was last brought back from the archive; None: never."""


NOTHING_PAST = Past()


class Resident(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """An id at this place. A move is announced and arrives in either order, so numbers of moves are kept until both."""

    past: Past = NOTHING_PAST
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
        return self.past == NOTHING_PAST and not (self.arrived or self.under_way)


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
    """Per account, the next instant at which a fact changes by time alone; in a matter without, by the clock `ARCHIVE`,
    when something last came."""
    quarantine: Quarantine | None = None
    quarantine_revisions: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is left to remember."""
        return not self.residents and not self.quarantine_revisions

    @property
    def history(self) -> History:
        """The events of every id that has any; an archived id is left as it was."""
        return {
            id: resident.past.events
            for id, resident in self.residents.items()
            if resident.past.events and not resident.past.archived
        }

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

    Raises BadInput: `matter_full` when the matter was set aside for its size already, `too_late` for news of an
    archived id.
    """
    if matter.quarantine is not None and (found := _fullness(matter)):
        raise BadInput("matter_full", f"{matter.head} was set aside: {found[1]}")
    resident = matter.residents.get(id, Resident())
    if resident.past.archived:
        if _hash(event) in _hashes(resident.past.archived):
            return matter
        raise BadInput("too_late", f"{id} was archived with {matter.head}: `aftersales matter recall {id}`")
    events = add_event(resident.past.events, compact(event))
    if events is resident.past.events:
        return matter
    grown = size if len(events) > len(resident.past.events) else 0
    past = msgspec.structs.replace(resident.past, events=events, size=resident.past.size + grown)
    return _with(matter, id, msgspec.structs.replace(resident, past=past))


def compact(event: SourceEvent) -> SourceEvent:
    """An event without what its place says anyway. Links stay: the fold asks whether a parcel goes to or fro."""
    return msgspec.structs.replace(event, about="", customer=None)


def excess(matter: Matter) -> tuple[str, str] | None:
    """Reason and detail when the matter is beyond its bounds, or holds news of an archived id."""
    return _fullness(matter) or _lateness(matter)


def _lateness(matter: Matter) -> tuple[str, str] | None:
    archived = [id for id, resident in matter.residents.items() if resident.past.archived]
    if not archived:
        return None
    if late := sum(len(matter.residents[id].past.events) for id in archived):
        return "too_late", f"{late} events came while an archived id was on its way"
    # What is said of an order rests on its parcels and returns.
    if orders := [id for id in matter.history if kind_of(id) == "order"]:
        return "too_late", f"{orders[0]} came when {archived[0]} and more of it were archived"
    return None


def _fullness(matter: Matter) -> tuple[str, str] | None:
    dropped = count = size = 0
    for resident in matter.residents.values():
        past = resident.past
        dropped, count, size = dropped + past.dropped, count + len(past.events), size + past.size
    if dropped:
        return "too_many_events", f"{dropped} events came when it was full, and are in the log only"
    if count > MAX_EVENTS:
        return "too_many_events", f"{count} events; at most {MAX_EVENTS} are allowed"
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
    if _fullness(matter):
        past = msgspec.structs.replace(past, events=(), size=0, dropped=past.dropped + len(past.events))
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
    archived = _hashes(here.archived) | _hashes(arriving.archived)
    events = tuple(event for event in here.events if not archived or _hash(event) not in archived)
    for event in arriving.events:
        if not archived or _hash(event) not in archived:
            events = add_event(events, event)
    doubled = len(here.events) + len(arriving.events) - len(events)
    size = here.size + arriving.size - doubled * arriving.size // max(1, len(arriving.events))
    stated = {last.key: last for last in here.stated}
    for last in arriving.stated:
        if last.key not in stated or stated[last.key].revision < last.revision:
            stated[last.key] = last
    return Past(
        events,
        size,
        tuple(stated.values()),
        here.dropped + arriving.dropped,
        b"".join(sorted(archived)),
        here.revisions + arriving.revisions,
        max(filter(None, (here.recalled_at, arriving.recalled_at)), default=None),
    )


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
        return (msgspec.structs.replace(matter, wakes=()) if matter.wakes else matter), []
    folded = fold(matter.history)
    wakes = _next(folded.wakes)
    if len(folded.facts) > MAX_FACTS:
        raise OverflowError(f"{len(folded.facts)} facts of one matter; at most {MAX_FACTS} are allowed")
    if len(wakes) > MAX_WAKES:
        raise OverflowError(f"{len(wakes)} accounts to wake for of one matter; at most {MAX_WAKES} are allowed")
    statements: list[Statement] = []
    residents = dict(matter.residents)
    for id, said in _by_id(folded.facts, matter.residents).items():
        resident = residents[id]
        if resident.past.archived:
            continue
        stated, new = _difference(id, resident.past.stated, said, version, generation, cause)
        if new:
            past = msgspec.structs.replace(resident.past, stated=stated)
            residents[id] = msgspec.structs.replace(resident, past=past)
            statements += new
    wakes = wakes or archive_wakes(matter)
    return msgspec.structs.replace(matter, residents=residents, fold_version=version, wakes=wakes), statements


def archive_wakes(matter: Matter) -> tuple[tuple[str, datetime], ...]:
    """Those of a matter in which nothing runs: none if all of it is archived already."""
    last = None
    for events in matter.history.values():
        for event in events:
            if last is None or event.ingested_at > last:
                last = event.ingested_at
    if last is None:
        return ()
    recalled_at = [known.past.recalled_at for known in matter.residents.values() if known.past.recalled_at is not None]
    return ((ARCHIVE, max(last, *recalled_at) if recalled_at else last),)


def archive(matter: Matter) -> Matter:
    """The matter without its events: it knows them again, and states nothing more of the ids that it has now.

    Its ids go on moving, and ids that come later are folded without them.
    """
    residents = {
        id: msgspec.structs.replace(known, past=_archived(known.past)) for id, known in matter.residents.items()
    }
    return msgspec.structs.replace(matter, residents=residents, wakes=())


def _archived(past: Past) -> Past:
    hashes = _hashes(past.archived).union(map(_hash, past.events))
    revisions = past.revisions + sum(stated.revision for stated in past.stated)
    return Past(dropped=past.dropped, archived=b"".join(sorted(hashes)), revisions=revisions)


def recall(matter: Matter, pasts: Mapping[str, Past], at: datetime) -> Matter:
    """Archived ids with their events and what was last stated of them. An id that is not archived stays as it is.

    `at`: when that was asked for; from then on it counts when they are archived again.

    Raises BadInput `incomplete_past` when events or statements are missing that an id had when it was archived.
    """
    residents = dict(matter.residents)
    for id, resident in matter.residents.items():
        archived = _hashes(resident.past.archived)
        past = pasts.get(id, Past())
        if missing := archived.difference(map(_hash, past.events)):
            raise BadInput("incomplete_past", f"{len(missing)} of {len(archived)} events of {id} are missing")
        if sum(stated.revision for stated in past.stated) < resident.past.revisions:
            raise BadInput("incomplete_past", f"of {id} more was stated than these {len(past.stated)} facts say")
        if archived:
            here = msgspec.structs.replace(resident.past, archived=b"", revisions=0)
            past = msgspec.structs.replace(_unite(here, past), recalled_at=at)
            residents[id] = msgspec.structs.replace(resident, past=past)
    return msgspec.structs.replace(matter, residents=residents)


def _hash(event: SourceEvent) -> bytes:
    return blake2b(event.event_id.encode(), digest_size=HASH_BYTES).digest()


def _hashes(archived: bytes) -> set[bytes]:
    return {archived[at : at + HASH_BYTES] for at in range(0, len(archived), HASH_BYTES)}


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
    if said:
        new = [Stated(key, 1, False, value) for key, value in said.items()]
        kept += new
        changes += new
    if not changes:
        return stated, []
    return tuple(kept), [_statement(id, change, version, generation, cause) for change in changes]


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
    """Put the matter in quarantine: it keeps its events, states nothing, and says so once for each cause."""
    revision, quarantine = matter.quarantine_revisions + 1, Quarantine(reason, detail)
    if matter.quarantine == quarantine:
        return matter, []
    fact = _quarantine_fact(matter, quarantine, revision, False, generation, version)
    matter = msgspec.structs.replace(matter, quarantine=quarantine, quarantine_revisions=revision, wakes=())
    return matter, [fact]


def release(matter: Matter, generation: str, version: int) -> tuple[Matter, list[Statement]]:
    """Lift a quarantine whose cause has moved away: of a matter that is no longer too full, or has nothing left."""
    quarantine = matter.quarantine
    if quarantine is None:
        return matter, []
    if matter.residents and (quarantine.reason not in EXCESSES or excess(matter)):
        return matter, []
    return lift(matter, generation, version)


def lift(matter: Matter, generation: str, version: int) -> tuple[Matter, list[Statement]]:
    """End a quarantine: from now on the rules are run again."""
    quarantine = matter.quarantine
    assert quarantine is not None
    revision = matter.quarantine_revisions + 1
    fact = _quarantine_fact(matter, quarantine, revision, True, generation, version)
    return msgspec.structs.replace(matter, quarantine=None, quarantine_revisions=revision), [fact]


EXCESSES = frozenset({"too_many_events", "too_large", "too_late"})
"""Reasons that `excess` gives: when they are gone, so is the quarantine."""


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
