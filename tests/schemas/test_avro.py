"""Functions made from a schema read and write what any reader and writer of Avro do; fastavro is asked to compare."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import avro, codec
from streams.errors import BadInput
from tests.schemas.records import SCHEMAS, write

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INT, LONG = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
INSTANTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999).map(lambda us: EPOCH + timedelta(0, 0, us))


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Everything that a schema takes, as fastavro takes it."""
    match schema:
        case "null":
            return st.none()
        case "string":
            return st.text(max_size=80)
        case "bytes":
            return st.binary(max_size=200)
        case "boolean":
            return st.booleans()
        case "double":
            return st.floats(allow_nan=False)
        case "int":
            return st.integers(*INT)
        case "long":
            return st.integers(*LONG) | st.integers(-200, 10_000)
        case list() if "null" in schema:
            return st.one_of(*map(values, schema))
        case list():
            return st.one_of(*(st.tuples(st.just(f"aftersales.{kind['name']}"), values(kind)) for kind in schema))
        case {"logicalType": "timestamp-micros"}:
            return INSTANTS
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            most = 10**precision - 1
            return st.integers(-most, most).map(lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale)))
        case {"type": "enum", "symbols": symbols}:
            return st.sampled_from(symbols)
        case {"type": "array", "items": items}:
            return st.lists(values(items), max_size=3)
    return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})


def with_kind(record: dict[str, Any]) -> dict[str, Any]:
    """A fact whose kind is that of its state; any other record as it is."""
    if not isinstance(record.get("state"), tuple):
        return record
    return record | {"kind": record["state"][0].removeprefix("aftersales.").removesuffix("_state")}


ANY_RECORD = st.sampled_from(sorted(SCHEMAS)).flatmap(
    lambda name: st.tuples(st.just(name), values(SCHEMAS[name]).map(with_kind))
)


@settings(deadline=None)  # a first example makes the functions
@given(ANY_RECORD)
def test_what_fastavro_writes_is_read_and_written_again_byte_for_byte(record: tuple[str, dict[str, Any]]) -> None:
    name, said = record
    written = write(SCHEMAS[name], said)
    assert codec.encode(codec.decode(written)) == written


@settings(deadline=None)  # a first example makes the functions
@given(ANY_RECORD)
def test_what_is_read_is_what_was_said(record: tuple[str, dict[str, Any]]) -> None:
    name, said = record
    entry = codec.decode(write(SCHEMAS[name], said))
    for field, value in said.items():
        if field == "envelope":
            for inner, one in value.items():
                assert plain(getattr(entry, inner)) == one
        elif isinstance(value, tuple):
            assert plain(getattr(entry, field)) == value[1]
        else:
            owners = [entry, *(getattr(entry, part, None) for part in ("key", "state"))]
            owner = next(owner for owner in owners if field in getattr(owner, "__struct_fields__", ()))
            assert plain(getattr(owner, field)) == value


def plain(value: Any) -> Any:
    """A value of a struct as fastavro takes it."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@settings(deadline=None)  # a first example makes the functions
@given(ANY_RECORD, st.data())
def test_no_beginning_of_a_record_is_taken_for_a_record(
    record: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    written = write(SCHEMAS[record[0]], record[1])
    end = data.draw(st.integers(codec.HEADER_SIZE, len(written) - 1))
    with pytest.raises(BadInput, match="undecodable"):
        codec.decode(written[:end])


@given(st.integers(*LONG))
def test_a_number_is_written_as_fastavro_writes_it(value: int) -> None:
    assert (
        avro.number(value)
        == write({"type": "record", "name": "n", "fields": [{"name": "n", "type": "long"}]}, {"n": value})[10:]
    )


AMOUNT = {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": 6}


def record_of(kind: Any) -> dict[str, Any]:
    """A record of one field."""
    return {"type": "record", "name": "one", "fields": [{"name": "value", "type": kind}]}


class One(msgspec.Struct):
    """A record of one field."""

    value: Any


def reader(kind: Any) -> avro.Reader:
    return avro.struct_reader(record_of(kind), One)


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("string", b"\x01", "negative"),
        ("string", b"\x04\xff\xfe", "utf-8"),
        ("long", b"\xff" * 10, "more than 10 bytes"),
        ("long", b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        ("long", b"\x80\x00", "shortest form"),
        ("int", avro.number(2**31), "more than 32 bits"),
        ("boolean", b"\x02", "2"),
        ("double", bytes(7), "requires"),
        (["null", "string"], b"\x04", "no branch 2"),
        (["null", "string"], b"\x03\x02a", "no branch 1"),
        ({"type": "enum", "name": "e", "symbols": ["unknown", "a"]}, b"\x04", "4"),
        ({"type": "array", "items": "long"}, b"\x04\x02", "out of range"),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": 6},
            avro.number(12) + bytes(12),
            "12 bytes",
        ),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 1}, b"\x02\x64", "more than 2 digits"),
        ({"type": "long", "logicalType": "timestamp-micros"}, avro.number(2**62), "out of range"),
    ],
)
def test_damage_is_refused(kind: Any, body: bytes, why: str) -> None:
    with pytest.raises(avro.DAMAGE, match=why):
        reader(kind)(body, 0)


def test_an_array_in_several_blocks_is_read_also_where_a_block_tells_its_size() -> None:
    blocks = avro.number(2) + b"\x02\x04" + avro.number(-1) + avro.number(1) + b"\x06" + b"\x00"
    found, end = reader({"type": "array", "items": "long"})(blocks, 0)
    assert (found.value, end) == ((1, 2, 3), len(blocks))


@pytest.mark.parametrize("us", [0, -1, 1, 2**47, 2**48 - 1, 2**48, 2**55 - 1, 2**55, 1_700_000_000_123_456])
def test_an_instant_of_any_length_comes_back(us: int) -> None:
    kind, instant = {"type": "long", "logicalType": "timestamp-micros"}, EPOCH + timedelta(0, 0, us)
    assert avro.struct_writer(record_of(kind), One)(One(instant)) == avro.number(us)
    assert reader(kind)(avro.number(us), 0)[0].value == instant


@pytest.mark.parametrize("value", ["1.0000001", "1E+18", "NaN"])
def test_an_amount_that_would_not_come_back_is_not_written(value: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        avro.struct_writer(record_of(AMOUNT), One)(One(Decimal(value)))


def test_an_enum_that_one_byte_cannot_tell_is_refused_at_once() -> None:
    def enum(size: int) -> dict[str, Any]:
        return {"type": "enum", "name": "e", "symbols": [f"s{n}" for n in range(size)]}

    assert reader(enum(64))(b"\x7e", 0)[0].value == "s63"
    with pytest.raises(TypeError, match="no reader"):
        reader(enum(65))


def test_a_schema_with_a_field_that_the_struct_has_not_is_refused_at_once() -> None:
    schema = {
        "type": "record",
        "name": "one",
        "fields": [{"name": "other", "type": "long"}, {"name": "value", "type": "long"}],
    }
    with pytest.raises(TypeError, match="other"):
        avro.struct_reader(schema, One)
