"""Whether a schema reads, without loss or change of meaning, what an earlier version of it wrote.

Stricter than Avro's schema resolution (Avro 1.12 specification, "Schema Resolution"), which drops a field that the
reader does not know, says nothing of logical types and reads a text as bytes. Must not know which schemas there are.

Not told apart by a record's fingerprint, and therefore never to change: logical types, scales and defaults. A record
would be read with another meaning than it was written with.
"""

from collections.abc import Iterator
from typing import Any

from fastavro.schema import expand_schema

WIDER = {"int": ("int", "long"), "float": ("float", "double")}
"""Types that a value of a type may be read as, itself first."""


def breaks(former: Any, schema: Any) -> list[str]:
    """Why `schema` can't read what `former` wrote, one sentence each; empty when it can. Both are resolved schemas."""
    former, schema = expand_schema(former), expand_schema(schema)
    return list(_type_breaks(former, schema, former["name"].rpartition(".")[2]))


def _type_breaks(former: Any, schema: Any, path: str) -> Iterator[str]:
    if isinstance(former, list) or isinstance(schema, list):
        yield from _union_breaks(_branches(former), _branches(schema), path)
        return
    was, now = _kind(former), _kind(schema)
    if now not in WIDER.get(was, (was,)):
        yield f"{path}: a {was} can't be read as a {now}"
        return
    yield from _logical_breaks(former, schema, path)
    match was:
        case "record" | "enum" | "fixed" if former["name"] != schema["name"]:
            yield f"{path}: {was} {former['name']} can't be renamed to {schema['name']}"
        case "record":
            yield from _record_breaks(former, schema, path)
        case "enum":
            yield from _enum_breaks(former, schema, path)
        case "fixed" if former["size"] != schema["size"]:
            yield f"{path}: the size can't change"
        case "array":
            yield from _type_breaks(former["items"], schema["items"], f"{path}[]")
        case "map":
            yield from _type_breaks(former["values"], schema["values"], f"{path}{{}}")


def _logical_breaks(former: Any, schema: Any, path: str) -> Iterator[str]:
    for name in ("logicalType", "scale"):
        was, now = _attribute(former, name), _attribute(schema, name)
        if was != now:
            yield f"{path}: {name} can't change from {was} to {now}"
    if (_attribute(former, "precision") or 0) > (_attribute(schema, "precision") or 0):
        yield f"{path}: precision can't shrink"


def _union_breaks(former: list[Any], schema: list[Any], path: str) -> Iterator[str]:
    """Each former branch needs one that reads it; the nearest one says why it does not."""
    for branch in former:
        reasons = [list(_type_breaks(branch, candidate, path)) for candidate in schema if _alike(branch, candidate)]
        if not reasons:
            yield f"{path}: {_label(branch)} can no longer stand here"
        elif all(reasons):
            yield from min(reasons, key=len)


def _record_breaks(former: Any, schema: Any, path: str) -> Iterator[str]:
    fields = {field["name"]: field for field in schema["fields"]}
    for field in former["fields"]:
        name = field["name"]
        if name not in fields:
            yield f"{path}.{name}: a field stays (stop filling it); to rename one, add the new one with a default"
            continue
        present = fields.pop(name)
        if "default" in field and ("default" not in present or present["default"] != field["default"]):
            yield f"{path}.{name}: the default stays; records from before the field are read with it"
        yield from _type_breaks(field["type"], present["type"], f"{path}.{name}")
    for name, field in fields.items():
        if "default" not in field:
            yield f"{path}.{name}: a new field needs a default"


def _enum_breaks(former: Any, schema: Any, path: str) -> Iterator[str]:
    for symbol in former["symbols"]:
        if symbol not in schema["symbols"]:
            yield f"{path}: symbol {symbol} stays (stop using it)"
    if schema.get("default") not in schema["symbols"]:
        yield f"{path}: an enum needs a default, for symbols that a reader does not know"
    elif "default" in former and former["default"] != schema["default"]:
        yield f"{path}: the default symbol can't change"


def _branches(schema: Any) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def _alike(branch: Any, candidate: Any) -> bool:
    """Whether a candidate is meant for what a branch holds: the type fits, and the name where it has one."""
    was, now = _kind(branch), _kind(candidate)
    return now in WIDER.get(was, (was,)) and _attribute(branch, "name") == _attribute(candidate, "name")


def _kind(schema: Any) -> str:
    kind: str = schema["type"] if isinstance(schema, dict) else schema
    return kind


def _attribute(schema: Any, name: str) -> Any:
    return schema.get(name) if isinstance(schema, dict) else None


def _label(schema: Any) -> str:
    return str(_attribute(schema, "name") or _kind(schema))
