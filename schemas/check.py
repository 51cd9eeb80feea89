"""Reads a record that a person wrote as JSON, strictly: nothing is guessed, cut or filled in but declared defaults.

Form: the fields of the schema; instants in ISO 8601 with their offset, decimals as text, bytes as text or
`{"base64": ...}`, a value of a union of several records as `{"<name of the record>": {...}}`.

Must not know how records are encoded. Beyond types it knows the ids: which kinds stand where, and who may follow whom.
"""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from streams.domain.ids import RANKS, check_id, may_follow
from streams.errors import BadInput

INTEGER_BITS = {"int": 32, "long": 64}
ABOUT = {
    "order": frozenset({"order"}),
    "parcel": frozenset({"parcel"}),
    "return": frozenset({"return"}),
    "message": frozenset({"thread"}),
    "message_text": frozenset({"thread", "review"}),
    "ticket": frozenset({"thread"}),
    "review": frozenset({"review"}),
    "claim": frozenset({"claim"}),
    "payment": frozenset({"payment"}),
    "classification": frozenset({"thread", "review"}),
}
"""Kinds of ids that records can be about; any of `RANKS` for those that are not named."""
ANY = frozenset(RANKS)
CUSTOMERS = frozenset({"customer"})
HOMES = frozenset({"customer", "provisional"})
IDS = {
    "place": {"id": ANY, "customer": HOMES, "matter": ANY},
    "place_message": {"sender": ANY, "matter": ANY},
    "recall": {"matter": ANY},
    "retry": {"matter": ANY},
    "move": {"id": ANY, "matter": ANY, "to_customer": HOMES, "to_matter": ANY},
}
"""Further fields that hold ids, and of which kinds."""
UUIDS = frozenset({"event_id", "text_of", "said_by", "explained_by", "dead_letter_id"})
UUID5 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CURRENCY = re.compile(r"[A-Z]{3}")


def read(schema: Any, record: object) -> dict[str, Any]:
    """The values of a record, of the types that Avro writers take. `schema` is resolved.

    Raises BadInput, with the path of the field in its text: `wrong_type`, `unknown_field`, `missing_field`,
    `unknown_symbol`, `unknown_branch`, `out_of_range`, `wrong_instant`, `naive_instant`, `wrong_decimal`,
    `wrong_bytes`, `wrong_id`, `wrong_currency`, `wrong_state`.
    """
    name = schema["name"]
    values: dict[str, Any] = _record(schema, record, name)
    envelope = values.get("envelope", values)
    if "about" in envelope:
        check_id(envelope["about"], ABOUT.get(name, ANY))
    if "envelope" in values:
        _check_envelope(envelope)
    for field, kinds in IDS.get(name, {}).items():
        if values[field] is not None:
            check_id(values[field], kinds)
    if name == "matter_fact" and values["state"][0] != f"aftersales.{values['kind']}_state":
        raise BadInput("wrong_state", f"a fact about {values['kind']} with the state {values['state'][0]}")
    return values


def _check_envelope(envelope: Mapping[str, Any]) -> None:
    about, leader, customer = envelope["about"], envelope["leader"], envelope["customer"]
    if customer is not None:
        check_id(customer, CUSTOMERS)
    pairs = [(follower, about) for follower in envelope["followers"]] + ([(about, leader)] if leader else [])
    for follower, head in pairs:
        if not may_follow(check_id(follower, ANY), check_id(head, ANY)):
            raise BadInput("wrong_id", f"{follower!r} can't follow {head!r}")


def _value(schema: Any, value: object, path: str) -> Any:
    match schema:
        case list():
            return _union(schema, value, path)
        case {"logicalType": "timestamp-micros"}:
            return _instant(value, path)
        case {"logicalType": "decimal"}:
            return _decimal(schema, value, path)
        case {"type": "record"}:
            return _record(schema, value, path)
        case {"type": "enum"}:
            return _symbol(schema, value, path)
        case {"type": "array"}:
            items = _of(list, value, path)
            return [_value(schema["items"], item, f"{path}[{index}]") for index, item in enumerate(items)]
        case "null":
            return _of(type(None), value, path)
        case "boolean":
            return _of(bool, value, path)
        case "int" | "long":
            return _integer(_of(int, value, path), INTEGER_BITS[schema], path)
        case "double":
            return _number(value, path)
        case "string":
            return _text(_of(str, value, path), path)
        case "bytes":
            return _bytes(value, path)
    raise NotImplementedError(f"{path}: examples of {schema}")


def _of(wanted: type, value: object, path: str) -> Any:
    # A boolean is an int to Python, not to a person.
    if type(value) is not wanted:
        raise BadInput("wrong_type", f"{path}: {value!r} is a {type(value).__name__} in place of a {wanted.__name__}")
    return value


def _record(schema: Any, value: object, path: str) -> dict[str, Any]:
    given = _of(dict, value, path)
    fields = {field["name"]: field for field in schema["fields"]}
    for name in given:
        if name not in fields:
            raise BadInput("unknown_field", f"{path}.{name}; known are {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name not in given and "default" not in field:
            raise BadInput("missing_field", f"{path}.{name}")
        values[name] = _value(field["type"], given.get(name, field.get("default")), f"{path}.{name}")
    return values


def _union(branches: list[Any], value: object, path: str) -> Any:
    if value is None and "null" in branches:
        return None
    others = [branch for branch in branches if branch != "null"]
    if len(others) == 1:
        return _value(others[0], value, path)
    given = _of(dict, value, path)
    named = {branch["name"]: branch for branch in others}
    if len(given) != 1 or not given.keys() <= named.keys():
        raise BadInput("unknown_branch", f"{path}: {', '.join(given)} in place of one of {', '.join(named)}")
    [(name, inner)] = given.items()
    # The form in which fastavro is told the branch.
    return f"{named[name]['namespace']}.{name}", _value(named[name], inner, f"{path}.{name}")


def _symbol(schema: Any, value: object, path: str) -> str:
    symbol: str = _of(str, value, path)
    if symbol not in schema["symbols"]:
        raise BadInput("unknown_symbol", f"{path}: {symbol!r} is none of {', '.join(schema['symbols'])}")
    return symbol


def _instant(value: object, path: str) -> datetime:
    text = _of(str, value, path)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("wrong_instant", f"{path}: {text!r} is not ISO 8601") from None
    if instant.tzinfo is None:
        raise BadInput("naive_instant", f"{path}: {text!r} has no offset; write Z for UTC")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise BadInput("out_of_range", f"{path}: {text!r}") from None


def _decimal(schema: Any, value: object, path: str) -> Decimal:
    text = _of(str, value, path)
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BadInput("wrong_decimal", f"{path}: {text!r} is not a number") from None
    digits, exponent = number.as_tuple()[1:]
    if not isinstance(exponent, int):
        raise BadInput("wrong_decimal", f"{path}: {text!r} is not finite")
    scale, precision = schema["scale"], schema["precision"]
    if -exponent > scale or len(digits) + exponent > precision - scale:
        raise BadInput("out_of_range", f"{path}: {text!r} has more than {precision - scale} and {scale} digits")
    return number


def _integer(value: int, bits: int, path: str) -> int:
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise BadInput("out_of_range", f"{path}: {value} does not fit into {bits} bits")
    return value


def _number(value: object, path: str) -> float:
    number = float(_of(int if type(value) is int else float, value, path))
    if not math.isfinite(number):
        raise BadInput("out_of_range", f"{path}: {number} is not finite")
    return number


def _text(value: str, path: str) -> str:
    field = path.rpartition(".")[2].partition("[")[0]
    if field in UUIDS and not UUID5.fullmatch(value):
        raise BadInput("wrong_id", f"{path}: {value!r} is not a UUID of version 5 in lower case")
    if field == "currency" and not CURRENCY.fullmatch(value):
        raise BadInput("wrong_currency", f"{path}: {value!r} is no ISO 4217 code")
    return value


def _bytes(value: object, path: str) -> bytes:
    if isinstance(value, dict):
        try:
            return base64.b64decode(_of(str, value.get("base64"), path), validate=True)
        except binascii.Error as error:
            raise BadInput("wrong_bytes", f"{path}: {error}") from None
    return str(_of(str, value, path)).encode()
