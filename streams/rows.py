"""What a record of a topic becomes in ClickHouse: rows of tables. Pure.

Must not know how rows are stored. The columns of a table are the fields of the struct that it holds, in their order,
so that they are written down once, in streams/domain; a test compares them with deploy/clickhouse/.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final, TypeAlias, get_args, get_type_hints

import msgspec

from streams import avro, codec
from streams.delivery.agent import Record
from streams.delivery.dead_letters import dead_record
from streams.domain import events, facts
from streams.domain.instants import EARLIEST, LATEST, to_micros
from streams.errors import BadInput

AGENT: Final = "sink"
"""Name under which records are refused."""

Value: TypeAlias = str | bytes | int | float | bool | Decimal | tuple[str, ...] | None
"""What a column takes; an instant is its microseconds since 1970."""


class Row(msgspec.Struct, frozen=True, gc=False):
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
    "dead_letter_replay": events.DeadLetterReplay.__struct_fields__,
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
    "dead_letter": (events.DeadLetter, events.DeadLetterReplay),
}
"""Topics that are stored, and the records among theirs that are."""

SKIPPED: Final = frozenset({"tick", "move", "recall", "retry", "reference"})
"""Entries of a timeline that are no events. A tick a second and partition comes by: skipped without decoding."""

DECIMAL_SCALE: Final = 6
"""Of every decimal, here as in schemas/; so its 24 digits are 18 before the point."""
CACHED_DECIMALS: Final = 1 << 12
MOST_PIECES: Final = 10**12
"""A quantity times a price must fit into Decimal(38, 6): one line beyond would break all figures it counts for."""


def rows_of(record: Record) -> list[Row]:
    """The rows of a record: none for an entry that is no event, a dead letter for one that can't be stored.

    None for a tombstone of a place: what it erases here is deleted here.
    """
    if record.topic == events.Place.NAME and not record.value:
        return []
    try:
        name, value = codec.today(record.value)
        if record.topic == "timeline" and name in SKIPPED:
            return []
        if name not in _NAMES[record.topic]:
            raise BadInput("wrong_topic", f"a {name} on topic {record.topic}")
        return [_row_of(name, value)]
    except BadInput as error:
        return [row_of(dead_record(AGENT, record, error))]


def row_of(entry: Any) -> Row:
    """The row of one struct. Raises BadInput `out_of_range` for a value that its column can't hold."""
    return _row_of(entry.NAME, codec.encode(entry))


def _row_of(name: str, record: bytes) -> Row:
    """The row of a record of today, called `name`, without a struct in between. Raises BadInput."""
    read = _readers().get(name)
    if read is None:
        raise TypeError(f"no table holds a {name}")
    row: Row = codec.read(name, read, record)
    return row


@cache
def _readers() -> Mapping[str, avro.Reader]:
    """By name of the record; what they read is its row."""
    names = {
        "Row": Row,
        "event_row": _event_row,
        "fact_row": _fact_row,
        "check_quantity": _check_quantity,
        "EARLIEST": to_micros(EARLIEST),
        "LATEST": to_micros(LATEST),
        "refuse": _refuse,
        "to_decimal": avro.to_decimal,
    }
    decimal = "to_decimal({raw}, {precision}, {scale})"
    return {
        name: avro.reader(
            codec.resolve(name), _layout, _instant_in_body if name in _EVENTS else _micros, decimal, names
        )
        for name in _STORED
    }


def _layout(record: str, values: Mapping[str, str]) -> str:
    """Expression of what is made of a record: a row, a state to be put into one, or a line within a body."""
    if "quantity" in values:
        values = {**values, "quantity": f"check_quantity({values['quantity']})"}

    def columns(names: Iterable[str]) -> str:
        return f"({', '.join(values[name] for name in names)},)"

    if record in _EVENTS:
        own = {name: value for name, value in values.items() if name not in events.ENVELOPE_FIELDS}
        return f"event_row({record!r}, {columns(events.ENVELOPE_FIELDS)}, {_dict(own)})"
    if record == facts.MatterFact.NAME:
        return f"fact_row({values['kind']}, {columns(('generation', 'about', 'item', *STATEMENT))}, {values['state']})"
    if record in COLUMNS:
        return f"Row({record!r}, {columns(COLUMNS[record])})"
    kind = record.removesuffix("_state")
    if kind != record and kind in codec.STATES:
        return f"({kind!r}, {columns(codec.STATES[kind].__struct_fields__)})"
    return _dict(values)


def _dict(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {value}" for name, value in values.items()) + "}"


def _event_row(kind: str, envelope: tuple[Value, ...], own: dict[str, Any]) -> Row:
    """Envelope in columns; the event's own fields as JSON: instants in ISO 8601, decimals as text."""
    return Row("event", (kind, *envelope, _encode_json(own).decode()))


def _fact_row(kind: str, statement: tuple[Value, ...], state: tuple[str, tuple[Value, ...]]) -> Row:
    if state[0] != kind:
        raise BadInput("undecodable", f"matter_fact: the state is not one of a {kind}")
    return Row(f"{kind}_fact", statement + state[1])


def _check_quantity(quantity: int) -> int:
    if not -MOST_PIECES < quantity < MOST_PIECES:
        raise BadInput("out_of_range", f"quantity: {quantity} pieces of one line")
    return quantity


def _micros(field: str) -> str:
    """Expression of an instant as columns take it."""
    return f"({{raw}} if EARLIEST <= {{raw}} <= LATEST else refuse({field!r}, {{raw}}))"


def _instant_in_body(field: str) -> str:
    """Expression of an instant of an event: its own fields go into JSON, which takes instants as such."""
    return _micros(field) if field in events.ENVELOPE_FIELDS else f"EPOCH + {_micros(field)} * MICROSECOND"


def _refuse(name: str, micros: int) -> None:
    raise BadInput("out_of_range", f"{name}: {micros} µs since 1970 is not between {EARLIEST:%Y} and {LATEST:%Y}")


_encode_json: Final = msgspec.json.Encoder().encode
_NAMES: Final = {topic: frozenset(entry.NAME for entry in entries) for topic, entries in TOPICS.items()}
_STORED: Final = frozenset().union(*_NAMES.values())
_EVENTS: Final = _NAMES["timeline"]


def encode_rows(table: str, rows: Sequence[tuple[Value, ...]]) -> bytes:
    """Rows of one table as ClickHouse's format MsgPack: the values of all columns, one after the other.

    A decimal is its unscaled number in 16 bytes, little-endian; whatever is bytes goes into a String as it is.
    """
    decimals = _DECIMALS[table]
    if decimals:
        rows = [_with_decimals(row, decimals) for row in rows]
    encoded = _encode(list(chain.from_iterable(rows)))
    return encoded[_HEADER_SIZES.get(encoded[0], 1) :]


def _with_decimals(row: tuple[Value, ...], places: Iterable[int]) -> tuple[Value, ...]:
    values = list(row)
    for place in places:
        if (value := values[place]) is not None:
            values[place] = _unscaled(value)
    return tuple(values)


@lru_cache(CACHED_DECIMALS)
def _unscaled(value: Decimal) -> bytes:
    return int(value.scaleb(DECIMAL_SCALE)).to_bytes(16, "little", signed=True)


_encode: Final = msgspec.msgpack.Encoder().encode
_HEADER_SIZES: Final = {0xDC: 3, 0xDD: 5}
"""Of an array, by its first byte; of a short one, 1. MsgPack in ClickHouse has no array around its rows."""
_DECIMALS: Final[Mapping[str, Sequence[int]]] = {
    table: [
        place
        for place, name in enumerate(columns)
        if (state := codec.STATES.get(table.removesuffix("_fact"))) is not None
        and Decimal in (hint := get_type_hints(state).get(name), *get_args(hint))
    ]
    for table, columns in COLUMNS.items()
}
"""Places of the columns that are decimals, by table."""
