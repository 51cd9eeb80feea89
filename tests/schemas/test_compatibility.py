"""What may change between versions of a schema: shown on copies of the real ones, and by what Avro reads."""

import copy
import io
from collections.abc import Callable
from typing import Any

import fastavro
import pytest

from schemas.compatibility import breaks
from streams.codec import HEADER_SIZE, fingerprint
from tests.schemas.records import GOOD, SCHEMAS, read, write

Change = Callable[[Any], None]
NEW = {"name": "note", "doc": "A note.", "type": "string"}
INSTANT = {"type": "long", "logicalType": "timestamp-micros"}


def field(schema: Any, path: str) -> Any:
    """The field at a path like `lines.unit_price`; arrays and unions with null are looked through."""
    for name in path.split("."):
        found = next(field for field in schema["fields"] if field["name"] == name)
        schema = inner(found["type"])
    return found


def inner(schema: Any) -> Any:
    """The type within a union with null or an array."""
    if isinstance(schema, list):
        schema = schema[1]
    return schema["items"] if isinstance(schema, dict) and schema["type"] == "array" else schema


def drop(path: str) -> Change:
    def change(schema: Any) -> None:
        record, _, name = path.rpartition(".")
        fields = inner(field(schema, record)["type"])["fields"] if record else schema["fields"]
        fields[:] = [field for field in fields if field["name"] != name]

    return change


def add(path: str, new: Any) -> Change:
    def change(schema: Any) -> None:
        (inner(field(schema, path)["type"]) if path else schema)["fields"].append(new)

    return change


def put(path: str, **attributes: Any) -> Change:
    """Sets attributes of a field; None takes one away."""

    def change(schema: Any) -> None:
        found = field(schema, path)
        for name, value in attributes.items():
            found[name] = value
            if value is None:
                del found[name]

    return change


def put_type(path: str, **attributes: Any) -> Change:
    """Sets attributes of the type of a field."""

    def change(schema: Any) -> None:
        inner(field(schema, path)["type"]).update(attributes)

    return change


def without_symbol(path: str, symbol: str) -> Change:
    def change(schema: Any) -> None:
        inner(field(schema, path)["type"])["symbols"].remove(symbol)

    return change


def without_state(name: str) -> Change:
    def change(schema: Any) -> None:
        states = field(schema, "state")["type"]
        states[:] = [state for state in states if state["name"] != name]

    return change


BREAKING: dict[str, tuple[str, Change]] = {
    "a field is dropped": ("order", drop("buyer")),
    "a field of a line is dropped": ("order", drop("lines.freight")),
    "a field of the envelope is dropped": ("order", drop("envelope.sequence")),
    "a field is renamed": ("order", put("buyer", name="purchaser")),
    "a field with an alias is renamed": ("order", put("buyer", name="purchaser", aliases=["buyer"])),
    "a new field without default": ("order", add("", NEW)),
    "a new field of a line without default": ("order", add("lines", NEW)),
    "a default is taken away": ("review", put("score_max", default=None)),
    "a default becomes another": ("review", put("score_max", default=10)),
    "a long becomes an int": ("order", put("lines.quantity", type="int")),
    "a long becomes a double": ("payment", put("amount_minor", type="double")),
    "a text becomes bytes": ("payment", put("method", type="bytes")),
    "a text becomes a list": ("payment", put("method", type={"type": "array", "items": "string"})),
    "null is no longer allowed": ("order", put("currency", type="string", default=None)),
    "a record becomes a text": ("order", put("lines", type={"type": "array", "items": "string"})),
    "an instant becomes a number": ("tick", put("now", type="long")),
    "an instant counts milliseconds": ("tick", put_type("now", logicalType="timestamp-millis")),
    "an instant that may be null counts milliseconds": ("order", put_type("placed_at", logicalType="timestamp-millis")),
    "a decimal has another scale": ("order", put_type("lines.unit_price", scale=4)),
    "a decimal has fewer digits": ("order", put_type("lines.unit_price", precision=18)),
    "a decimal becomes bytes": ("order", put("lines.unit_price", type="bytes")),
    "a symbol is dropped": ("order", without_symbol("status", "approved")),
    "an enum loses its default": ("ticket", lambda schema: field(schema, "change")["type"].pop("default")),
    "an enum gets another default": ("ticket", put_type("change", default="status")),
    "an enum is renamed": ("ticket", put_type("change", name="change_kind")),
    "an enum within a union is renamed": ("ticket", put_type("status", name="desk_status")),
    "an enum becomes a text": ("ticket", put("change", type="string")),
    "a nested record is renamed": ("order", put_type("lines", name="line")),
    "the record is renamed": ("order", lambda schema: schema.update(name="purchase")),
    "a state can no longer stand": ("matter_fact", without_state("claim_state")),
    "the envelope is dropped": ("order", drop("envelope")),
}

ALLOWED: dict[str, tuple[str, Change]] = {
    "nothing": ("order", lambda schema: None),
    "a doc": ("order", put("buyer", doc="Said better.")),
    "a new field with a default": ("order", add("", NEW | {"type": "boolean", "default": False})),
    "a new field that may be null": ("order", add("", NEW | {"type": ["null", INSTANT], "default": None})),
    "a new field of a line": ("order", add("lines", NEW | {"default": ""})),
    "a new field of the envelope": ("order", add("envelope", NEW | {"default": ""})),
    "a default is added": ("payment", put("method", default="")),
    "an int becomes a long": ("review", put("score", type="long")),
    "an int that may be null becomes a long": ("payment", put("instalments", type=["null", "long"])),
    "null becomes allowed": ("payment", put("method", type=["null", "string"])),
    "a decimal has more digits": ("order", put_type("lines.unit_price", precision=30)),
    "a new symbol": ("ticket", lambda schema: field(schema, "change")["type"]["symbols"].append("priority")),
    "symbols in another order": ("ticket", lambda schema: field(schema, "change")["type"]["symbols"].reverse()),
    "fields in another order": ("payment", lambda schema: schema["fields"].insert(1, schema["fields"].pop())),
    "a new state": (
        "matter_fact",
        lambda schema: field(schema, "state")["type"].insert(
            0, {"type": "record", "name": "notice_state", "namespace": "aftersales", "doc": ".", "fields": []}
        ),
    ),
}


def mutated(name: str, change: Change) -> Any:
    schema = copy.deepcopy(SCHEMAS[name])
    change(schema)
    return schema


@pytest.mark.parametrize("what", BREAKING)
def test_a_breaking_change_is_refused(what: str) -> None:
    name, change = BREAKING[what]
    schema = mutated(name, change)
    assert schema != SCHEMAS[name]
    reasons = breaks(SCHEMAS[name], schema)
    assert reasons
    assert all(reason.startswith(name) for reason in reasons)


@pytest.mark.parametrize("what", ALLOWED)
def test_an_allowed_change_is_accepted_and_reads_what_was_written(what: str) -> None:
    name, change = ALLOWED[what]
    schema = mutated(name, change)
    assert breaks(SCHEMAS[name], schema) == []
    for path in GOOD:
        if path.parent.parent.name == name:
            record = io.BytesIO(write(SCHEMAS[name], read(path))[HEADER_SIZE:])
            former, today = fastavro.parse_schema(copy.deepcopy(SCHEMAS[name])), fastavro.parse_schema(schema)
            plain: Any = fastavro.schemaless_reader(record, former, None)
            record.seek(0)
            resolved: Any = fastavro.schemaless_reader(record, former, today)
            assert holds(resolved, plain)


def holds(resolved: Any, plain: Any) -> bool:
    """Whether all that was written is there after reading with another schema."""
    match plain:
        case dict():
            return all(holds(resolved[name], value) for name, value in plain.items())
        case list():
            return len(resolved) == len(plain) and all(map(holds, resolved, plain))
    return bool(resolved == plain)


def test_a_change_of_meaning_that_keeps_the_fingerprint_is_refused() -> None:
    schema = mutated("order", put_type("lines.unit_price", scale=4))
    assert fingerprint(schema) == fingerprint(SCHEMAS["order"])
    assert breaks(SCHEMAS["order"], schema) == ["order.lines[].unit_price: scale can't change from 6 to 4"]


def test_all_reasons_are_told() -> None:
    schema = mutated("order", drop("buyer"))
    drop("currency")(schema)
    assert [reason.partition(":")[0] for reason in breaks(SCHEMAS["order"], schema)] == [
        "order.buyer",
        "order.currency",
    ]
