"""Records to bytes and back: Avro single-object encoding, with the schemas of this package.

`C3 01`, the CRC-64-AVRO fingerprint of the writer's schema (8 bytes, little-endian), the Avro body
(Avro 1.12 specification, "Single object encoding"). A record says by itself what it is, so a topic may carry several
kinds. Records written with an earlier version of a schema (`schemas/versions/`) are read with today's.

Must not know what records are for. Raises BadInput for bytes that can't be read.
"""

import io
import json
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import fastavro
import msgspec
from msgspec.structs import asdict

from streams.domain import events, facts
from streams.errors import BadInput

MARKER = b"\xc3\x01"
HEADER_SIZE = 10

EVENTS: tuple[type[events.Event], ...] = (
    events.Order,
    events.Parcel,
    events.Return,
    events.Message,
    events.MessageText,
    events.Review,
    events.Claim,
    events.Ticket,
    events.Payment,
    events.ActionResult,
)
ENTRIES: tuple[type[Any], ...] = (
    events.Classification,
    events.ReadThrough,
    events.Tick,
    events.Reference,
    events.Place,
    events.PlaceMessage,
    events.Move,
    events.DeadLetter,
    events.Cursor,
    events.ClockProbe,
    facts.TimerFact,
    facts.MatterFact,
)
NESTED: Mapping[tuple[str, str], type[msgspec.Struct]] = {
    ("order", "lines"): events.OrderLine,
    ("return", "lines"): events.ReturnLine,
    ("read_through", "positions"): events.SourcePosition,
    ("tick", "accounts"): events.AccountClock,
}
STATES: Mapping[str, Any] = {
    state.KIND: state
    for state in (
        facts.OrderState,
        facts.OrderLineState,
        facts.ParcelState,
        facts.ReturnState,
        facts.ReturnLineState,
        facts.CaseState,
        facts.ClaimState,
        facts.ReviewState,
        facts.PaymentState,
        facts.QuarantineState,
    )
}

# ---- schemas


def resolve(name: str) -> Any:
    """Today's schema of a record, with the envelope put in where it is named."""
    schema = json.loads((files("schemas") / f"{name}.avsc").read_text())
    for field in schema["fields"]:
        if field["type"] == "aftersales.envelope":
            field["type"] = json.loads((files("schemas") / "envelope.avsc").read_text())
    return schema


def fingerprint(schema: Any) -> bytes:
    """CRC-64-AVRO of the schema's parsing canonical form, little-endian."""
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


@cache
def _current() -> dict[str, tuple[Any, bytes]]:
    """Name to (parsed schema, header of a record)."""
    current = {}
    for entry in (*EVENTS, *ENTRIES):
        schema = resolve(entry.NAME)
        current[entry.NAME] = fastavro.parse_schema(schema), MARKER + fingerprint(schema)
    return current


@cache
def _readable() -> dict[bytes, tuple[str, Any]]:
    """Header of a record to (name, schema it was written with): today's and all earlier versions."""
    readable = {}
    for folder in sorted((files("schemas") / "versions").iterdir(), key=lambda path: path.name):
        for file in folder.iterdir() if folder.is_dir() else ():
            schema = json.loads(file.read_text())
            readable[MARKER + fingerprint(schema)] = folder.name, fastavro.parse_schema(schema)
    for name, (schema, header) in _current().items():
        readable[header] = name, schema
    return readable


MAX_DECIMAL_BYTES = 11
"""What 24 digits need. A longer one is no amount, and turning it into digits takes time that grows with its square."""


def _read_decimal(data: bytes, writer_schema: Any = None, reader_schema: Any = None) -> Decimal:
    if len(data) > MAX_DECIMAL_BYTES:
        raise ValueError(f"a decimal of {len(data)} bytes; at most {MAX_DECIMAL_BYTES}")
    unscaled = int.from_bytes(data, "big", signed=True)
    if abs(unscaled) >= 10 ** writer_schema["precision"]:
        raise ValueError(f"a decimal of more than {writer_schema['precision']} digits")
    return Decimal(unscaled).scaleb(-writer_schema["scale"], _EXACT)


_EXACT = Context(prec=2 * MAX_DECIMAL_BYTES + 10)
# fastavro's way to give a logical type a reader of one's own.
fastavro.read.LOGICAL_READERS["bytes-decimal"] = _read_decimal

# ---- writing


def encode(entry: Any) -> bytes:
    """A struct of `streams.domain.events` or `.facts` as a record."""
    schema, header = _current()[entry.NAME]
    out = io.BytesIO()
    out.write(header)
    fastavro.schemaless_writer(out, schema, _TO_AVRO[entry.NAME](entry))
    return out.getvalue()


def _event_to_avro(event: events.Event) -> dict[str, Any]:
    plain = _to_avro(event)
    # The writer takes from a record what the schema names, so the flat event serves as its own envelope.
    plain["envelope"] = plain
    return plain


def _to_avro(entry: Any) -> dict[str, Any]:
    plain = asdict(entry)
    for field in _NESTED_FIELDS.get(entry.NAME, ()):
        plain[field] = [asdict(item) for item in plain[field]]
    return plain


def _reference_to_avro(reference: events.Reference) -> dict[str, Any]:
    return asdict(reference) | {"body": asdict(reference.body)}


def _timer_fact_to_avro(fact: facts.TimerFact) -> dict[str, Any]:
    return asdict(fact) | asdict(fact.key) | asdict(fact.state)


def _matter_fact_to_avro(fact: facts.MatterFact) -> dict[str, Any]:
    # A tuple names the branch of the union.
    state = f"aftersales.{fact.key.kind}_state", asdict(fact.state)
    return asdict(fact) | asdict(fact.key) | {"state": state}


_NESTED_FIELDS: Mapping[str, tuple[str, ...]] = {
    name: tuple(field for of, field in NESTED if of == name) for name, _ in NESTED
}
_TO_AVRO: dict[str, Callable[[Any], dict[str, Any]]] = {
    **{event.NAME: _event_to_avro for event in EVENTS},
    **{entry.NAME: _to_avro for entry in ENTRIES},
    "reference": _reference_to_avro,
    "timer_fact": _timer_fact_to_avro,
    "matter_fact": _matter_fact_to_avro,
}

# ---- reading


def name_of(record: bytes) -> str:
    """Which kind of record this is. Raises BadInput."""
    found = _readable().get(record[:HEADER_SIZE])
    if found is None:
        raise _refusal(record)
    return found[0]


def _refusal(record: bytes) -> BadInput:
    if record[:2] != MARKER or len(record) < HEADER_SIZE:
        return BadInput("not_avro", f"{len(record)} bytes do not begin with the marker C3 01 and a schema fingerprint")
    return BadInput(
        "unknown_schema",
        f"fingerprint {record[2:HEADER_SIZE].hex()} is of no schema known here; install the version that wrote it",
    )


def decode(record: bytes) -> Any:
    """The struct that a record holds. Raises BadInput: `not_avro`, `unknown_schema`, `undecodable`."""
    found = _readable().get(record[:HEADER_SIZE])
    if found is None:
        raise _refusal(record)
    name, written = found
    body = io.BytesIO(record)
    body.seek(HEADER_SIZE)
    today = _current()[name][0]
    try:
        plain: Any = fastavro.schemaless_reader(body, written, None if written is today else today)
    except (EOFError, ValueError, IndexError, KeyError, ArithmeticError, TypeError, MemoryError) as error:
        raise BadInput("undecodable", f"{name}: {type(error).__name__}: {error}") from error
    if body.tell() != len(record):
        raise BadInput("undecodable", f"{name}: {len(record) - body.tell()} bytes follow the record")
    return _FROM_AVRO[name](plain)


def _event_reader(event: type[events.Event]) -> Callable[[dict[str, Any]], Any]:
    lines = NESTED.get((event.NAME, "lines"))

    def read(plain: dict[str, Any]) -> events.Event:
        envelope = plain.pop("envelope")
        envelope["followers"] = tuple(envelope["followers"])
        if lines is not None:
            plain["lines"] = tuple(lines(**line) for line in plain["lines"])
        return event(**envelope, **plain)

    return read


def _entry_reader(entry: type[Any]) -> Callable[[dict[str, Any]], Any]:
    nested = [(field, struct) for (name, field), struct in NESTED.items() if name == entry.NAME]

    def read(plain: dict[str, Any]) -> Any:
        for field, struct in nested:
            plain[field] = tuple(struct(**item) for item in plain[field])
        return entry(**plain)

    return read


def _read_reference(plain: dict[str, Any]) -> events.Reference:
    plain["body"] = events.ResponseTargets(**plain["body"])
    return events.Reference(**plain)


def _read_timer_fact(plain: dict[str, Any]) -> facts.TimerFact:
    key = facts.TimerKey(**{name: plain.pop(name) for name in facts.TimerKey.__struct_fields__})
    plain["explained_by"] = tuple(plain["explained_by"])
    state = facts.TimerState(**{name: plain.pop(name) for name in facts.TimerState.__struct_fields__})
    return facts.TimerFact(key=key, state=state, **plain)


def _read_matter_fact(plain: dict[str, Any]) -> facts.MatterFact:
    key = facts.MatterKey(kind=plain.pop("kind"), item=plain.pop("item"))
    struct, state = STATES.get(key.kind), plain.pop("state")
    if struct is None or set(struct.__struct_fields__) != state.keys():
        raise BadInput("undecodable", f"matter_fact: the state is not one of a {key.kind}")
    return facts.MatterFact(key=key, state=struct(**state), **plain)


_FROM_AVRO: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{event.NAME: _event_reader(event) for event in EVENTS},
    **{entry.NAME: _entry_reader(entry) for entry in ENTRIES},
    "reference": _read_reference,
    "timer_fact": _read_timer_fact,
    "matter_fact": _read_matter_fact,
}
