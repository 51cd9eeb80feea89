"""Casework: folds the matters of each customer and states the facts that changed. State: one `Matter` per place.

Beside matters, a task keeps the clocks of accounts and the reference data that its partition has been given. Time is an
entry like any other: a tick moves the clocks, and delivery calls `wake` for every due instant that it passes, in order.
The rules are in `streams.domain.fold`, the protocol of moves in `streams.domain.matter`.
"""

import struct
from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias, get_args

import lz4.block
import msgspec

from streams import codec
from streams.agents.correlate import MATTER_HEADER
from streams.delivery.agent import NOTHING, Agent, Due, Effects, Record, Send, State
from streams.domain import matter as matters
from streams.domain.events import AccountClock, Move, Recall, Reference, Retry, SourceEvent, Tick
from streams.domain.facts import TimerFact
from streams.domain.fold import FOLD_VERSION, fold
from streams.domain.history import Folded, History, References
from streams.domain.instants import BEGINNING, from_micros, to_micros
from streams.domain.matter import Matter, Past, Shipment, Statement
from streams.domain.reference import SHIPPED
from streams.errors import BadInput


class Clocks(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="clocks"):
    """How far each account has been heard, and the newest tick."""

    now: datetime = BEGINNING
    horizons: dict[str, datetime] = {}

    def horizon(self, account: str) -> datetime:
        """Up to when the account's events are known."""
        return self.horizons.get(account, BEGINNING)

    def at(self, account: str, instant: datetime) -> "Clocks":
        """These clocks with one account's moved forward to `instant`, never back."""
        return msgspec.structs.replace(self, horizons={**self.horizons, account: max(self.horizon(account), instant)})


class Known(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="known"):
    """Reference data of this partition."""

    references: References = SHIPPED


class Kept(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="kept"):
    """A matter, as state."""

    matter: Matter


Value: TypeAlias = Clocks | Known | Kept

SOURCE_EVENTS = frozenset(get_args(SourceEvent))

MAX_TARGET_S = 10 * 365 * 24 * 3600
"""Ten years: a longer target is a mistake, and its due instants would leave the calendar."""
ACCELERATION = 4
"""Of compression: a matter of ten events shrinks to two thirds in 2 µs; 1 would shrink it to 60% in 4 µs."""
CLOCKS_KEY = b"\x00clocks"
REFERENCES_KEY = b"\x00references"


def place_key(customer: str, head: str) -> bytes:
    """State key of a matter."""
    return f"{customer}\x00{head}".encode()


class Casework:
    """The agent for one generation of facts."""

    def __init__(self, generation: str) -> None:
        self.generation = generation

    # ---- decisions

    def decide(self, record: Record, state: State[Value]) -> Effects[Value]:
        """The effects of one entry of the timeline. Raises BadInput."""
        entry = codec.decode(record.value)
        if type(entry) in SOURCE_EVENTS:
            return self._take(record, entry, _head_of(record), state)
        match entry:
            case Tick():
                return _tick(entry, _clocks(state))
            case Reference():
                return _learn_reference(entry, _references(state))
            case Move():
                return self._move(_customer_of(record), entry, state)
            case Retry():
                return self._retry(_customer_of(record), entry, state)
            case Recall():
                return self._recall(_customer_of(record), entry, state)
        raise BadInput("wrong_record", f"a {entry.NAME} on a timeline")

    def wake(self, due: Due, key: bytes, state: State[Value]) -> Effects[Value]:
        """The account `due.clock` has been heard up to `due.at`: state what that changes in one matter. By the clock
        `ARCHIVE` it is archived.
        """
        before, references = _clocks(state), _references(state)
        if due.clock == matters.ARCHIVE:
            matter, sends = self._catch_up(_matter(state, key), before, references)
            # By new rules a timer may run in it.
            if all(clock == matters.ARCHIVE for clock, _ in matter.wakes):
                matter = matters.archive(matter)
            return Effects(changes={key: Kept(matter=matter)}, sends=sends)
        clocks = before.at(due.clock, from_micros(due.at))
        matter, sends = self._catch_up(_matter(state, key), before, references)
        matter, facts = self._state(matter, clocks, references, "time")
        return Effects(changes={CLOCKS_KEY: clocks, key: Kept(matter=matter)}, sends=[*sends, *facts])

    def quarantine(
        self, subject: Record | tuple[Due, bytes], error: Exception, state: State[Value]
    ) -> Effects[Value] | None:
        """The rules failed on a matter: set it aside with its events. None when it was no matter that failed."""
        detail = f"{type(error).__name__}: {error}"[:500]
        if not isinstance(subject, Record):
            return self._set_aside(_matter(state, subject[1]), "fold_failed", detail, [])
        entry = codec.decode(subject.value)
        if isinstance(entry, SourceEvent):
            matter = _matter(state, place_key(_customer_of(subject), _head_of(subject)))
            return self._set_aside(
                matters.take_event(matter, entry.about, entry, len(subject.value)),
                "fold_failed",
                detail,
                [],
            )
        if isinstance(entry, Move):
            key = place_key(_customer_of(subject), entry.matter)
            matter, shipments = _apply_move(_matter(state, key), entry)
            if not matter.residents:  # what the rules failed on has left
                left = None if matter.empty else Kept(matter=matter)
                return Effects(changes={key: left}, sends=_shipments(shipments))
            return self._set_aside(matter, "fold_failed", detail, _shipments(shipments))
        if isinstance(entry, Retry | Recall):
            matter = _matter(state, place_key(_customer_of(subject), entry.matter))
            matter = _apply_recall(matter, entry) if isinstance(entry, Recall) else matter
            return self._set_aside(matter, "fold_failed", detail, [])
        return None

    # ---- steps

    def _take(self, record: Record, event: SourceEvent, head: str, state: State[Value]) -> Effects[Value]:
        key = place_key(_customer_of(record), head)
        before = _matter(state, key)
        clocks, references = _clocks(state), _references(state)
        matter, sends = self._catch_up(before, clocks, references)
        taken = matters.take_event(matter, event.about, event, len(record.value))
        if taken is matter:
            return Effects(changes={key: Kept(matter=matter)}, sends=sends) if matter is not before else NOTHING
        if (excess := matters.excess(taken)) and taken.quarantine is None:
            return self._set_aside(taken, *excess, sends)
        matter, facts = self._state(taken, clocks, references, "events")
        return Effects(changes={key: Kept(matter=matter)}, sends=[*sends, *facts])

    def _move(self, customer: str, move: Move, state: State[Value]) -> Effects[Value]:
        key = place_key(customer, move.matter)
        clocks, references = _clocks(state), _references(state)
        matter, sends = self._catch_up(_matter(state, key), clocks, references)
        matter, shipments = _apply_move(matter, move)
        matter, lifted = matters.release(matter, self.generation, FOLD_VERSION)
        sends += [*_shipments(shipments), *_facts(lifted)]
        if (excess := matters.excess(matter)) and matter.quarantine is None:
            return self._set_aside(matter, *excess, sends)
        matter, facts = self._state(matter, clocks, references, "events")
        return Effects(changes={key: None if matter.empty else Kept(matter=matter)}, sends=[*sends, *facts])

    def _retry(self, customer: str, retry: Retry, state: State[Value]) -> Effects[Value]:
        """Run the rules again on a matter in quarantine; if they fail again, it is set aside again. One that is in none
        (lifted, or moved away since it was asked) is left as it is.
        """
        key = place_key(customer, retry.matter)
        matter = _matter(state, key)
        if matter.quarantine is None:
            return NOTHING
        if excess := matters.excess(matter):
            return self._set_aside(matter, *excess, [])
        matter, lifted = matters.lift(matter, self.generation, FOLD_VERSION)
        matter, facts = self._state(matter, _clocks(state), _references(state), "software")
        return Effects(changes={key: Kept(matter=matter)}, sends=[*_facts(lifted), *facts])

    def _recall(self, customer: str, recall: Recall, state: State[Value]) -> Effects[Value]:
        """Take an archived matter up again; where nothing is archived (any more), nothing changes."""
        key = place_key(customer, recall.matter)
        before = _matter(state, key)
        if not any(resident.past.archived for resident in before.residents.values()):
            return NOTHING
        matter, lifted = matters.release(_apply_recall(before, recall), self.generation, FOLD_VERSION)
        if (excess := matters.excess(matter)) and matter.quarantine is None:
            return self._set_aside(matter, *excess, _facts(lifted))
        # No news came: where something else is said than before, the rules have changed since.
        matter, facts = self._state(matter, _clocks(state), _references(state), "software")
        return Effects(changes={key: Kept(matter=matter)}, sends=[*_facts(lifted), *facts])

    def _catch_up(self, matter: Matter, clocks: Clocks, references: References) -> tuple[Matter, list[Send]]:
        """The first touch after a new version of the rules: what they say of the old history, as cause `software`."""
        if matter.fold_version in (0, FOLD_VERSION):
            return matter, []
        return self._state(matter, clocks, references, "software")

    def _state(self, matter: Matter, clocks: Clocks, references: References, cause: str) -> tuple[Matter, list[Send]]:
        def run(history: History) -> Folded:
            return fold(history, references, clocks.horizon)

        matter, statements = matters.state(matter, run, FOLD_VERSION, self.generation, cause)
        return matter, _facts(statements)

    def _set_aside(self, matter: Matter, reason: str, detail: str, sends: list[Send]) -> Effects[Value]:
        matter, statements = matters.set_aside(matter, reason, detail, self.generation, FOLD_VERSION)
        key = place_key(matter.customer, matter.head)
        return Effects(changes={key: Kept(matter=matter)}, sends=[*sends, *_facts(statements)])


def agent(generation: str) -> Agent[Value]:
    """The declaration of casework that writes facts of `generation`."""
    casework = Casework(generation)
    return Agent(
        name="casework",
        inputs=("timeline",),
        outputs=("timeline", "timer_fact", "matter_fact"),
        decide=casework.decide,
        encode=encode,
        decode=decode,
        dues=dues,
        marks={_QUARANTINED: "quarantined_matters"},
        due=casework.wake,
        quarantine=casework.quarantine,
        bounds=frozenset({"matter_full", "too_late"}),
    )


# ---- entries of the partition itself


def _tick(tick: Tick, clocks: Clocks) -> Effects[Value]:
    """Move the clocks. A tick that goes back is ignored."""
    if tick.now <= clocks.now:
        return NOTHING
    after = msgspec.structs.replace(clocks, now=tick.now)
    for account in tick.accounts:
        after = after.at(account.account, _horizon(account, tick.now))
    advance = {
        account: to_micros(horizon)
        for account, horizon in after.horizons.items()
        if horizon != clocks.horizons.get(account)
    }
    if tick.archive_until is not None:
        advance[matters.ARCHIVE] = to_micros(tick.archive_until)
    return Effects(changes={CLOCKS_KEY: after}, advance=advance)


def _horizon(account: AccountClock, now: datetime) -> datetime:
    return now if account.live else account.heard_until


def _learn_reference(reference: Reference, references: References) -> Effects[Value]:
    if reference.name != "response_targets":
        return NOTHING  # of a later version of this program, which will need it
    for name in reference.body.__struct_fields__:
        if not 0 < getattr(reference.body, name) <= MAX_TARGET_S:
            raise BadInput("wrong_target", f"{name} is not between 1 and {MAX_TARGET_S} seconds")
    return Effects(changes={REFERENCES_KEY: Known(references=references.with_version(reference))})


def _apply_move(matter: Matter, move: Move) -> tuple[Matter, list[Shipment]]:
    match move.step:
        case "in":
            return matters.expect(matter, move), []
        case "out" if move.to_customer is not None and move.to_matter is not None:
            return matters.leave(matter, move)
        case "moved" if move.past is not None:
            return matters.arrive(matter, move, _decode_past(move.past))
        case _:
            raise BadInput("wrong_move", f"move {move.number} of {move.id}, step {move.step!r}, says too little")


def _apply_recall(matter: Matter, recall: Recall) -> Matter:
    return matters.recall(matter, {past.id: _decode_past(past.past) for past in recall.pasts}, recall.asked_at)


def _shipments(shipments: Iterable[Shipment]) -> list[Send]:
    return [
        Send(
            "timeline",
            shipment.customer.encode(),
            codec.encode(msgspec.structs.replace(shipment.move, past=encode_past(shipment.past))),
        )
        for shipment in shipments
    ]


def _facts(statements: Iterable[Statement]) -> list[Send]:
    return [
        Send(
            statement.NAME,
            (statement.key.case_id if isinstance(statement, TimerFact) else statement.about).encode(),
            codec.encode(statement),
        )
        for statement in statements
    ]


# ---- state: what is there, and how it is kept


def _customer_of(record: Record) -> str:
    """The customer whose timeline the record is on. Raises BadInput."""
    try:
        return record.key.decode()
    except UnicodeDecodeError:
        raise BadInput("wrong_key", f"the record is keyed {record.key[:100]!r}, which is no customer") from None


def _head_of(record: Record) -> str:
    """The matter that an event belongs to. Raises BadInput."""
    head = dict(record.headers).get(MATTER_HEADER)
    try:
        if head is not None:
            return head.decode()
    except UnicodeDecodeError:
        pass
    raise BadInput("no_matter", f"an event with {head!r} for its header `{MATTER_HEADER}`")


def _decode_past(past: bytes) -> Past:
    """What `encode_past` wrote. Raises BadInput."""
    try:
        return _read_past(past)
    except msgspec.DecodeError as error:
        raise BadInput("wrong_past", f"{len(past)} bytes that are no past of an id: {error}") from None


def _clocks(state: State[Value]) -> Clocks:
    value = state.get(CLOCKS_KEY)
    assert value is None or isinstance(value, Clocks)
    return value or Clocks()


def _references(state: State[Value]) -> References:
    value = state.get(REFERENCES_KEY)
    assert value is None or isinstance(value, Known)
    return value.references if value else SHIPPED


def _matter(state: State[Value], key: bytes) -> Matter:
    value = state.get(key)
    if value is None:
        customer, _, head = key.decode().partition("\x00")
        return Matter(customer=customer, head=head)
    assert isinstance(value, Kept)
    return value.matter


_encode_value = msgspec.msgpack.Encoder().encode
_decode_value = msgspec.msgpack.Decoder(Value).decode
encode_past = _encode_value
"""What travels with an id, as bytes."""
_read_past = msgspec.msgpack.Decoder(Past).decode
_PLAIN, _QUARANTINED = 0, 1
_MARK_AND_COUNT, _WAKE = struct.Struct(">BB"), struct.Struct(">qH")


def encode(value: Value) -> bytes:
    """A state value as bytes. First what is counted of it and its due instants: these are found without decoding it."""
    matter = value.matter if isinstance(value, Kept) else None
    mark = _QUARANTINED if matter is not None and matter.quarantine is not None else _PLAIN
    wakes = () if matter is None else matter.wakes
    out = [_MARK_AND_COUNT.pack(mark, len(wakes))]
    for account, at in wakes:
        name = account.encode()
        out += _WAKE.pack(to_micros(at), len(name)), name
    out.append(lz4.block.compress(_encode_value(value), mode="fast", acceleration=ACCELERATION))
    return b"".join(out)


def dues(encoded: bytes) -> list[Due]:
    """The due instants of an encoded value, from its prefix alone."""
    found, position = [], _MARK_AND_COUNT.size
    for _ in range(encoded[1]):
        at, length = _WAKE.unpack_from(encoded, position)
        position += _WAKE.size
        found.append(Due(encoded[position : position + length].decode(), at))
        position += length
    return found


def decode(encoded: bytes) -> Value:
    """The value of its bytes."""
    position = _MARK_AND_COUNT.size
    for _ in range(encoded[1]):
        position += _WAKE.size + _WAKE.unpack_from(encoded, position)[1]
    value: Value = _decode_value(lz4.block.decompress(encoded[position:]))
    return value
