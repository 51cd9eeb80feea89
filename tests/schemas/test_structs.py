"""Structs say what schemas say, and schemas say all that a reader must know."""

import types
import typing
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.domain import events, facts
from tests.schemas.records import SCHEMAS

PYTHON = {"string": str, "int": int, "long": int, "double": float, "boolean": bool, "bytes": bytes, "null": type(None)}
LOGICAL = {"timestamp-micros": datetime, "decimal": Decimal}
KEYS: dict[str, type[msgspec.Struct]] = {"timer_fact": facts.TimerKey, "matter_fact": facts.MatterKey}


def parts(schema: Any) -> Iterator[Any]:
    """Every schema within a schema, itself first."""
    if isinstance(schema, list):
        for branch in schema:
            yield from parts(branch)
        return
    yield schema
    if isinstance(schema, dict):
        for field in schema.get("fields", ()):
            yield from parts(field["type"])
        if "items" in schema:
            yield from parts(schema["items"])


def fields(schema: Any) -> dict[str, Any]:
    return {field["name"]: field for field in schema["fields"]}


def flat(name: str) -> dict[str, Any]:
    """The fields of a record as its struct has them: the envelope's beside its own."""
    own = fields(SCHEMAS[name])
    envelope = own.pop("envelope", None)
    return (fields(envelope["type"]) if envelope else {}) | own


def struct_fields(struct: type[msgspec.Struct]) -> dict[str, tuple[Any, msgspec.structs.FieldInfo]]:
    """Name to (type, field)."""
    hints = typing.get_type_hints(struct)
    return {field.name: (hints[field.name], field) for field in msgspec.structs.fields(struct)}


def assert_same_fields(struct: type[msgspec.Struct], schema: dict[str, Any]) -> None:
    declared = struct_fields(struct)
    assert declared.keys() == schema.keys()
    for name, (hint, field) in declared.items():
        assert_same_type(hint, schema[name]["type"], f"{struct.__name__}.{name}")
        if not field.required:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            assert "default" in schema[name], f"{struct.__name__}.{name}: has a default in the struct only"
            assert schema[name]["default"] == (list(default) if isinstance(default, tuple) else default)


def assert_same_type(hint: Any, schema: Any, path: str) -> None:
    if isinstance(schema, list):
        branches = typing.get_args(hint)
        assert typing.get_origin(hint) in (types.UnionType, typing.Union), path
        assert len(branches) == len(schema), path
        assert (type(None) in branches) == ("null" in schema), path
        if "null" in schema:
            [(branch, other)] = zip(
                (branch for branch in branches if branch is not type(None)),
                (branch for branch in schema if branch != "null"),
                strict=True,
            )
            assert_same_type(branch, other, path)
            return
        for struct, record in zip(branches, schema, strict=True):
            assert_same_fields(struct, fields(record))
        return
    assert type(None) not in typing.get_args(hint), f"{path}: None is allowed in the struct only"
    if isinstance(schema, str):
        assert hint is PYTHON[schema], path
    elif "logicalType" in schema:
        assert hint is LOGICAL[schema["logicalType"]], path
    elif schema["type"] == "enum":
        assert hint is str, path
    elif schema["type"] == "array":
        assert typing.get_origin(hint) is tuple, path
        assert_same_type(typing.get_args(hint)[0], schema["items"], path)
    else:
        assert_same_fields(hint, fields(schema))


@pytest.mark.parametrize("entry", [*codec.EVENTS, *codec.ENTRIES], ids=lambda entry: entry.NAME)
def test_a_struct_has_the_fields_of_its_schema(entry: Any) -> None:
    if entry.NAME in KEYS:
        return
    assert_same_fields(entry, flat(entry.NAME))


@pytest.mark.parametrize("name", KEYS)
def test_a_fact_is_its_key_its_state_and_what_was_stated(name: str) -> None:
    [struct] = [entry for entry in codec.ENTRIES if name == entry.NAME]
    schema = flat(name)
    parted = {"key": KEYS[name]} | ({"state": facts.TimerState} if name == "timer_fact" else {})
    declared = struct_fields(struct)
    for field, part in parted.items():
        assert declared.pop(field)[0] is part
        for inner, (hint, _) in struct_fields(part).items():
            assert_same_type(hint, schema.pop(inner)["type"], f"{part.__name__}.{inner}")
    assert declared.keys() == schema.keys()
    for field, (hint, _) in declared.items():
        assert_same_type(hint, schema[field]["type"], f"{struct.__name__}.{field}")


def test_every_kind_of_state_is_a_record_of_its_name() -> None:
    states = {record["name"] for record in fields(SCHEMAS["matter_fact"])["state"]["type"]}
    assert states == {f"{kind}_state" for kind in codec.STATES}
    assert set(codec.STATES) == set(fields(SCHEMAS["matter_fact"])["kind"]["type"]["symbols"]) - {"unknown"}


@pytest.mark.parametrize("event", codec.EVENTS, ids=lambda event: event.NAME)
def test_an_event_begins_with_its_envelope(event: type[events.Event]) -> None:
    first = SCHEMAS[event.NAME]["fields"][0]
    assert (first["name"], first["type"]["name"]) == ("envelope", "envelope")
    assert list(fields(first["type"])) == list(events.ENVELOPE_FIELDS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_records_fields_and_enums_say_what_they_mean(name: str) -> None:
    for part in parts(SCHEMAS[name]):
        if isinstance(part, dict) and part["type"] in ("record", "enum"):
            assert part["doc"].strip(), part["name"]
            assert part["namespace"] == "aftersales", part["name"]
        for field in part.get("fields", ()) if isinstance(part, dict) else ():
            assert field["doc"].strip(), f"{part['name']}.{field['name']}"


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_enum_has_a_symbol_for_what_a_reader_does_not_know(name: str) -> None:
    for part in parts(SCHEMAS[name]):
        if isinstance(part, dict) and part["type"] == "enum":
            assert part["default"] == part["symbols"][0] == "unknown", part["name"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_type_of_one_name_is_the_same_everywhere(name: str) -> None:
    def named(schema: Any) -> dict[str, Any]:
        return {part["name"]: part for part in parts(schema) if isinstance(part, dict) and "name" in part}

    mine = named(SCHEMAS[name])
    for other in SCHEMAS.values():
        for shared, part in named(other).items():
            assert mine.get(shared, part) == part, shared


@pytest.mark.parametrize("name", SCHEMAS)
def test_amounts_and_instants_have_the_types_of_their_names(name: str) -> None:
    for record in parts(SCHEMAS[name]):
        for field in record.get("fields", ()) if isinstance(record, dict) else ():
            branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
            [kind, *others] = [branch for branch in branches if branch != "null"]
            match field["name"].rpartition("_")[2]:
                case "at" | "now" | "until" | "from":
                    assert kind == {"type": "long", "logicalType": "timestamp-micros"}, field["name"]
                case "price" | "freight" | "total":
                    assert kind == {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": 6}
                case "minor":
                    assert kind == "long", field["name"]
                case "s" | "probability":
                    assert kind in ("long", "double"), field["name"]
                case _:
                    assert kind != "double", field["name"]
                    assert "logicalType" not in kind, field["name"]
            assert not others or field["name"] == "state"
