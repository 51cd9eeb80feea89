"""Records to bytes and back: Avro single-object encoding, with the schemas of this package.

`C3 01`, the CRC-64-AVRO fingerprint of the writer's schema (8 bytes, little-endian), the Avro body
(Avro 1.12 specification, "Single object encoding"). A record says by itself what it is, so a topic may carry several
kinds. Records written with an earlier version of a schema (`schemas/versions/`) are read with today's.

Must not know what records are for. Raises BadInput for bytes that can't be read.
"""

import io
import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import fastavro

from streams import avro
from streams.domain import events, facts
from streams.errors import BadInput

MARKER = b"\xc3\x01"
HEADER_SIZE = 10


def _read_decimal(raw: bytes, written: Any = None, _: Any = None) -> Decimal:
    return avro.to_decimal(raw, written["precision"], written["scale"])


# Records of earlier versions are read by fastavro, whose own way takes time that grows with the square of the digits.
fastavro.read.LOGICAL_READERS["bytes-decimal"] = _read_decimal

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
    events.DeadLetterReplay,
    events.Recall,
    events.Retry,
    events.Cursor,
    events.ClockProbe,
    facts.TimerFact,
    facts.MatterFact,
)
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


class _Form(NamedTuple):
    """How records of one kind look today."""

    entry: type[Any]
    schema: Any
    header: bytes


@cache
def _forms() -> dict[str, _Form]:
    """By name of the record."""
    schemas = {entry: resolve(entry.NAME) for entry in (*EVENTS, *ENTRIES)}
    return {entry.NAME: _Form(entry, schema, MARKER + fingerprint(schema)) for entry, schema in schemas.items()}


@cache
def _writer(name: str) -> avro.Writer:
    form = _forms()[name]
    return avro.struct_writer(form.schema, form.entry, form.header)


@cache
def _reader(name: str) -> avro.Reader:
    form = _forms()[name]
    return avro.struct_reader(form.schema, form.entry)


@cache
def _parsed(name: str) -> Any:
    """Today's schema, as fastavro takes it."""
    return fastavro.parse_schema(_forms()[name].schema)


@cache
def _readable() -> dict[bytes, tuple[str, Any]]:
    """Header of a record to its name and, where it is of an earlier version, the schema that it was written with."""
    readable: dict[bytes, tuple[str, Any]] = {}
    for folder in sorted((files("schemas") / "versions").iterdir(), key=lambda path: path.name):
        for file in folder.iterdir() if folder.is_dir() else ():
            schema = json.loads(file.read_text())
            readable[MARKER + fingerprint(schema)] = folder.name, fastavro.parse_schema(schema)
    return readable | {form.header: (name, None) for name, form in _forms().items()}


def encode(entry: Any) -> bytes:
    """A struct of `streams.domain.events` or `.facts` as a record.

    Raises ValueError, TypeError, KeyError, AttributeError or OverflowError for a value that its schema does not take.
    """
    return _writer(entry.NAME)(entry)


def name_of(record: bytes) -> str:
    """Which kind of record this is. Raises BadInput."""
    return _find(record)[0]


def decode(record: bytes) -> Any:
    """The struct that a record holds. Raises BadInput: `not_avro`, `unknown_schema`, `undecodable`."""
    name, record = today(record)
    entry = read(name, _reader(name), record)
    if name == "matter_fact" and type(entry.state) is not STATES.get(entry.key.kind):
        raise BadInput("undecodable", f"matter_fact: the state is not one of a {entry.key.kind}")
    return entry


def today(record: bytes) -> tuple[str, bytes]:
    """The kind of a record, and the record as today's schema writes it. Raises BadInput, as `decode`."""
    name, written = _find(record)
    if written is None:
        return name, record
    body, form = io.BytesIO(record[HEADER_SIZE:]), _forms()[name]
    schema = _parsed(name)
    try:
        values: Any = fastavro.schemaless_reader(body, written, schema, return_record_name=True)
    except (EOFError, ValueError, IndexError, KeyError, ArithmeticError, TypeError, MemoryError) as error:
        raise BadInput("undecodable", f"{name}: {type(error).__name__}: {error}") from error
    out = io.BytesIO()
    out.write(form.header)
    fastavro.schemaless_writer(out, schema, values)
    return name, out.getvalue() + body.read()


def read(name: str, reader: avro.Reader, record: bytes) -> Any:
    """What `reader` finds in a whole record of today, called `name`. Raises BadInput `undecodable`."""
    try:
        found, end = reader(record, HEADER_SIZE)
    except BadInput:  # of a reader that looks at what it reads
        raise
    except avro.DAMAGE as error:
        raise BadInput("undecodable", f"{name}: {type(error).__name__}: {error}") from error
    if end != len(record):
        raise BadInput("undecodable", f"{name}: it ends at {end} of {len(record)} bytes")
    return found


def _find(record: bytes) -> tuple[str, Any]:
    found = _readable().get(record[:HEADER_SIZE])
    if found is not None:
        return found
    if record[:2] != MARKER or len(record) < HEADER_SIZE:
        raise BadInput("not_avro", f"{len(record)} bytes do not begin with the marker C3 01 and a schema fingerprint")
    raise BadInput(
        "unknown_schema",
        f"fingerprint {record[2:HEADER_SIZE].hex()} is of no schema known here; install the version that wrote it",
    )
