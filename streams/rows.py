"""What a record of a topic becomes in ClickHouse: rows of tables. Pure.

Must not know how rows are stored. The columns of a table are the fields of the struct that it holds, in their order,
so that they are written down once, in streams/domain; a test compares them with deploy/clickhouse/.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streams import codec
from streams.delivery.agent import Record
from streams.delivery.dead_letters import dead_record
from streams.domain import events, facts
from streams.domain.instants import EARLIEST, LATEST, to_micros
from streams.errors import BadInput

AGENT: Final = "sink"
"""Name under which records are refused."""

Value: TypeAlias = str | bytes | int | float | bool | Decimal | tuple[str, ...] | None
"""What a column takes; an instant is its microseconds since 1970."""


class Row(NamedTuple):
    """One row: its table and its values in the order of `COLUMNS[table]`."""

    table: str
    values: tuple[Value, ...]


STATEMENT: Final = ("revision", "withdrawn", "cause", "fold_version")
"""What every fact says of itself."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "event": ("kind", *events.ENVELOPE_FIELDS, "body"),
    "message_text": events.MessageText.__struct_fields__,
    "place": events.Place.__struct_fields__,
    "classification": events.Classification.__struct_fields__,
    "dead_letter": events.DeadLetter.__struct_fields__,
    "timer_fact": (
        "generation",
        "about",
        *facts.TimerKey.__struct_fields__,
        *STATEMENT,
        *facts.TimerState.__struct_fields__,
    ),
    **{
        f"{kind}_fact": ("generation", "about", "item", *STATEMENT, *state.__struct_fields__)
        for kind, state in codec.STATES.items()
    },
}
"""Columns that are written, by table. Others of the table are computed there."""

TOPICS: Final[Mapping[str, tuple[type[Any], ...]]] = {
    "timeline": (
        events.Order,
        events.Parcel,
        events.Return,
        events.Message,
        events.Ticket,
        events.Review,
        events.Claim,
        events.Payment,
        events.ActionResult,
    ),
    "timer_fact": (facts.TimerFact,),
    "matter_fact": (facts.MatterFact,),
    "place": (events.Place,),
    "message_text": (events.MessageText,),
    "classification": (events.Classification,),
    "dead_letter": (events.DeadLetter,),
}
"""Topics that are stored, and the records among theirs that are."""

SKIPPED: Final = frozenset({"tick", "move", "reference"})
"""Entries of a timeline that are no events. A tick a second and partition comes by: skipped without decoding."""

LARGEST: Final = Decimal(10**18)
"""Decimal(24, 6) has 18 digits before the point."""
MOST_PIECES: Final = 10**12
"""A quantity times a price must fit into Decimal(38, 6): one line beyond would break all figures it counts for."""


def rows_of(record: Record) -> list[Row]:
    """The rows of a record: none for an entry that is no event, a dead letter for one that can't be stored.

    None for a tombstone of a place: what it erases here is deleted here.
    """
    if record.topic == events.Place.NAME and not record.value:
        return []
    try:
        if record.topic == "timeline" and codec.name_of(record.value) in SKIPPED:
            return []
        entry = codec.decode(record.value)
        if not isinstance(entry, TOPICS[record.topic]):
            raise BadInput("wrong_topic", f"a {entry.NAME} on topic {record.topic}")
        return [row_of(entry)]
    except BadInput as error:
        return [_row_of_fields("dead_letter", dead_record(AGENT, record, error))]


def row_of(entry: Any) -> Row:
    """The row of one struct. Raises BadInput `out_of_range` for a value that its column can't hold."""
    match entry:
        case events.MessageText() | events.Place() | events.Classification() | events.DeadLetter():
            return _row_of_fields(entry.NAME, entry)
        case events.Event():
            envelope = [_stored(name, getattr(entry, name)) for name in events.ENVELOPE_FIELDS]
            return Row("event", (entry.NAME, *envelope, body_of(entry)))
        case facts.TimerFact(key=key, state=state):
            return Row(
                "timer_fact", (entry.generation, entry.about, *_values(key), *_statement(entry), *_values(state))
            )
        case facts.MatterFact(key=key, state=state):
            head = entry.generation, entry.about, key.item
            return Row(f"{key.kind}_fact", (*head, *_statement(entry), *_values(state)))
    raise TypeError(f"no table holds a {type(entry).__name__}")


def body_of(event: events.Event) -> str:
    """An event's own fields, without the envelope, as JSON: instants in ISO 8601, decimals as text."""
    names = event.__struct_fields__[len(events.ENVELOPE_FIELDS) :]
    return msgspec.json.encode({name: _plain(name, getattr(event, name)) for name in names}).decode()


def _plain(name: str, value: Any) -> Any:
    """For JSON, with fields by name, and no value that the columns of a view can't hold."""
    if isinstance(value, tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: _plain(name, getattr(value, name)) for name in value.__struct_fields__}
    _stored(name, value)
    return value


def _row_of_fields(table: str, struct: Any) -> Row:
    return Row(table, tuple(_stored(name, getattr(struct, name)) for name in COLUMNS[table]))


def _values(struct: msgspec.Struct) -> list[Value]:
    return [_stored(name, getattr(struct, name)) for name in struct.__struct_fields__]


def _statement(fact: facts.TimerFact | facts.MatterFact) -> tuple[Value, ...]:
    return fact.revision, fact.withdrawn, fact.cause, fact.fold_version


def _stored(name: str, value: Any) -> Value:
    convert = _CONVERT.get(type(value))
    stored: Value = value if convert is None else convert(name, value)
    return stored


def _instant(name: str, value: datetime) -> int:
    if not EARLIEST <= value <= LATEST:
        raise BadInput("out_of_range", f"{name}: {value.isoformat()} is not between {EARLIEST:%Y} and {LATEST:%Y}")
    return to_micros(value)


def _decimal(name: str, value: Decimal) -> Decimal:
    if not -LARGEST < value < LARGEST:
        raise BadInput("out_of_range", f"{name}: {value} has more than 18 digits before the point")
    return value


def _integer(name: str, value: int) -> int:
    if name == "quantity" and not -MOST_PIECES < value < MOST_PIECES:
        raise BadInput("out_of_range", f"quantity: {value} pieces of one line")
    return value


_CONVERT: Final[Mapping[type, Callable[[str, Any], Value]]] = {datetime: _instant, Decimal: _decimal, int: _integer}
