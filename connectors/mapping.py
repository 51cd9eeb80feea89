"""From rows to events: the declarations of a manifest, compiled against the columns that its files have.

What a field of an event may hold is read from the schemas. Must not know how files are read or where events go.
Raises ManifestError while compiling; while mapping a row, BadInput that names the field, the value and what to do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from connectors import core
from connectors.expressions import (
    CONTENT,
    NUMBER,
    Expression,
    Scope,
    Values,
    compile_condition,
    compile_expression,
    compile_instant,
    compile_text,
    parse_optional_decimal,
)
from connectors.lookups import FoundLookup, compile_lookup, file_scope
from connectors.manifest import Manifest, Node, Source
from connectors.tables import MEND, Row
from streams import codec
from streams.domain import events
from streams.domain.admission import ABOUT
from streams.domain.ids import check_id, event_id, may_follow
from streams.domain.instants import EARLIEST, LATEST
from streams.errors import BadInput, Refused

CONTENTS = 5_000_000
"""Different rows of one file whose events are told apart by content: the hash of each stays in memory."""
CONTENT_BYTES = 16
AHEAD = timedelta(days=1)
"""How far a source's clock may be ahead, and its time zone be mistaken. What happened still later has not happened."""

WITH_TEXT = ("message", "review")

EVENTS: Mapping[str, type[events.Event]] = {event.NAME: event for event in codec.EVENTS}
LINES: Mapping[str, type[msgspec.Struct]] = {"order_line": events.OrderLine, "return_line": events.ReturnLine}

Get: TypeAlias = Callable[[Values], Any]
Build: TypeAlias = Callable[[Values, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class Join:
    """Columns of a look-up, added to each row."""

    key: Callable[[Values], str]
    rows: Mapping[str, list[str]]
    blank: list[str]
    required: str
    """What to say when the key is not found; empty: the columns are empty then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """The compiled mapping of one file."""

    joins: tuple[Join, ...]
    by_content: bool
    """Whether events are told apart by what stands in their row."""
    builds: tuple[Build, ...]

    def values(self, row: Row, number: int, contents: "Contents") -> Values:
        """All that the row's events can refer to. Raises BadInput for a key that a look-up must have and has not."""
        values: Values = list(row.values)
        for join in self.joins:
            found = join.rows.get(join.key(values))
            if found is None and join.required:
                raise BadInput("missing_lookup", f"{join.required} {core.shown(join.key(values))}; {MEND}")
            values += found or join.blank
        values.append(number)
        values.append(contents.id_of(row.values) if self.by_content else "")
        return values

    def events(self, values: Values, now: datetime) -> list[Any]:
        """The row's events and texts, in the order of their declaration. Raises BadInput."""
        made = []
        for build in self.builds:
            made += build(values, now)
        return made


class Contents:
    """Ids of rows by what stands in them: the hash of the row, and how many like it came before in the file."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def id_of(self, values: Sequence[str]) -> str:
        """Counts the row and gives its id. Raises Refused beyond `CONTENTS` different rows."""
        digest = blake2b("\x1f".join(values).encode(), digest_size=CONTENT_BYTES).digest()
        occurrence = self._seen.get(digest, 0)
        if not occurrence and len(self._seen) >= CONTENTS:
            raise Refused(
                f"more than {CONTENTS} different rows are told apart by content: name an id, or split the file"
            )
        self._seen[digest] = occurrence + 1
        return f"{digest.hex()}-{occurrence}"


def check_manifest(manifest: Manifest) -> None:
    """Checks all that can be checked without the files. Raises ManifestError."""
    for lookup in manifest.lookups:
        compile_lookup(lookup, file_scope(manifest, lookup.file, lookup.empty, None))
    names: set[tuple[str, str]] = set()
    for source in manifest.sources:
        scope = file_scope(manifest, source.file, source.empty, None)
        for _, key in source.join:
            compile_text(key, scope)
        for node in source.events:
            event = compile_event(node, scope, manifest)
            if event.name in names:
                node.refuse(f"there is another {' '.join(event.name)}; give each event of a kind a name of its own")
            names.add(event.name)


def compile_source(
    manifest: Manifest, source: Source, columns: Sequence[str], lookups: Mapping[str, FoundLookup], secret: bytes
) -> Program:
    """The mapping of a file with these columns. Raises ManifestError."""
    scope = file_scope(manifest, source.file, source.empty, columns, secret)
    joins = []
    for name, key in source.join:
        found = lookups[name]
        required = f"the look-up {name} has no row for" if found.required else ""
        joins.append(Join(compile_text(key, scope), found.rows, [""] * len(found.columns), required))
        scope = scope.extended(found.columns)
    scope = scope.extended((NUMBER, CONTENT))
    compiled = [compile_event(node, scope, manifest) for node in source.events]
    for name in scope.used:
        if list(columns).count(name) > 1:
            source.node.refuse(f"{source.file} has more than one column named {core.cut(name)}")
    return Program(
        joins=tuple(joins),
        by_content=CONTENT in scope.used,
        builds=tuple(event.build for event in compiled),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledEvent:
    """The declaration of one event of a row, as closures."""

    name: tuple[str, str]
    """Kind of the event and name of the declaration; both are part of the events' ids."""
    build: Build


def compile_event(node: Node, scope: Scope, manifest: Manifest) -> CompiledEvent:
    """One item of a file's `events`. Raises ManifestError."""
    found = node.entries(
        ("event", "event_id", "about", "event_at"),
        ("name", "when", "sequence", "customer", "leader", "followers", "fields", "text", "subject"),
    )
    kind = found["event"].word(tuple(ABOUT))
    name = found["name"].text() if "name" in found else kind
    struct = EVENTS[kind]
    fields = _compile_envelope(found, kind, scope)
    fields += _compile_fields(found.get("fields", Node(node.file, f"{node.path}.fields", {})), kind, scope)
    when = compile_condition(found["when"], scope) if "when" in found else None
    said = _compile_id(found["event_id"], scope)
    account, marketplace = manifest.account, manifest.marketplace
    text = _compile_texts(found, kind, scope)

    def build(values: Values, now: datetime) -> list[Any]:
        if when is not None and not when(values):
            return []
        try:
            content = {name: get(values) for name, get in fields}
            if content["event_at"] > now + AHEAD:
                raise BadInput(
                    "in_the_future", f"{kind}.event_at: {content['event_at'].isoformat()} has not come yet; {MEND}"
                )
            parts = [get(values) for get in said]
            if not any(parts):
                raise BadInput("missing_value", f"{kind}.event_id: all its columns are empty; {MEND}")
            event = struct(
                event_id=event_id(account, kind, name, *parts),
                ingested_at=now,
                account=account,
                marketplace=marketplace,
                **content,
            )
        except BadInput as error:
            raise _located(error, kind, fields, values) from None
        if text is None or not (written := text[0](values)):
            return [event]
        return [event, core.text_event(event, written, text[1](values) or None)]

    return CompiledEvent(name=(kind, name), build=build)


def _located(error: BadInput, kind: str, fields: Sequence[tuple[str, Get]], values: Values) -> BadInput:
    """The error with the name of the field it came from."""
    for name, get in fields:
        try:
            get(values)
        except BadInput:
            return BadInput(error.code, f"{kind}.{name}: {error.detail}; {MEND}")
    return error


def _compile_id(node: Node, scope: Scope) -> list[Callable[[Values], str]]:
    if node.value == "content":
        return [scope.column(node, CONTENT)]
    return [compile_text(item, scope) for item in node.items()]


def _compile_texts(found: Mapping[str, Node], kind: str, scope: Scope) -> tuple[Get, Get] | None:
    """The text and the subject of a message or review; None if it is not told."""
    for name in ("text", "subject"):
        if name in found and (kind not in WITH_TEXT or "text" not in found):
            found[name].refuse(f"allowed is text, and beside it subject, of {' or '.join(WITH_TEXT)}")
    if "text" not in found:
        return None
    subject = compile_text(found["subject"], scope) if "subject" in found else lambda values: ""
    return compile_text(found["text"], scope), subject


def _compile_envelope(found: Mapping[str, Node], kind: str, scope: Scope) -> list[tuple[str, Get]]:
    about = compile_text(found["about"], scope)
    kinds = ABOUT[kind]
    schema = _schema("envelope")
    fields: list[tuple[str, Get]] = [
        ("event_at", _compile_value(found["event_at"], schema["event_at"], scope)),
        ("about", lambda values: check_id(about(values), kinds)),
    ]
    if "sequence" in found:
        fields.append(("sequence", _compile_value(found["sequence"], schema["sequence"], scope)))
    if "customer" in found:
        customer, secret, account = compile_text(found["customer"], scope), scope.secret, scope.account
        fields.append(
            ("customer", lambda values: core.customer_id(secret, account, who) if (who := customer(values)) else None)
        )
    if "leader" in found:
        leader = compile_text(found["leader"], scope)
        fields.append(("leader", lambda values: _check_leader(about(values), leader(values))))
    if "followers" in found:
        gets = [compile_text(item, scope) for item in found["followers"].items()]
        fields.append(("followers", lambda values: tuple(check_id(id) for get in gets if (id := get(values)))))
    return fields


def _check_leader(about: str, leader: str) -> str | None:
    if not leader:
        return None
    if not may_follow(about, check_id(leader)):
        raise BadInput("wrong_id", f"{about} can't follow {leader}")
    return leader


def _compile_fields(node: Node, record: str, scope: Scope) -> list[tuple[str, Get]]:
    """Fields of an event or of a line, each checked against its schema."""
    schema = _schema(record)
    given = dict(node.named())
    for name, field in given.items():
        if name not in schema:
            field.refuse(f"allowed in {record}: {', '.join(schema)}")
    for name, spec in schema.items():
        if spec.required and name not in given:
            node.refuse(f"{name} is missing; it must be there in {record}")
    return [(name, _compile_value(field, schema[name], scope)) for name, field in given.items()]


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldSpec:
    """What the schema says of a field."""

    type: str
    """Avro type or logical type; of a list of records, `array`."""
    nullable: bool
    required: bool
    """It has no default: every event has a value."""
    symbols: tuple[str, ...] = ()
    """Of an enumeration."""
    record: str = ""
    """Of an array: the name of its records."""


@cache
def _schema(record: str) -> Mapping[str, FieldSpec]:
    """Fields of an event (without its envelope), of the envelope, or of a line, by their names."""
    for kind in ("envelope", *ABOUT):
        schema = codec.resolve(kind)
        if schema["name"] == record:
            return {field["name"]: _spec(field) for field in schema["fields"] if field["name"] != "envelope"}
        for field in schema["fields"]:
            if isinstance(field["type"], dict) and field["type"].get("items", {}) and _spec(field).record == record:
                return {inner["name"]: _spec(inner) for inner in field["type"]["items"]["fields"]}
    raise LookupError(record)


def _spec(field: dict[str, Any]) -> FieldSpec:
    type = field["type"]
    nullable = isinstance(type, list)
    if isinstance(type, list):
        (type,) = (option for option in type if option != "null")
    required = "default" not in field
    if isinstance(type, str):
        return FieldSpec(type=type, nullable=nullable, required=required)
    items = type.get("items")
    return FieldSpec(
        type=type.get("logicalType") or type["type"],
        nullable=nullable,
        required=required,
        symbols=tuple(type.get("symbols", ())),
        record=items["name"] if isinstance(items, dict) else "",
    )


def _compile_value(node: Node, spec: FieldSpec, scope: Scope) -> Get:
    """A value of the field's type; a text is read as such a value. Raises ManifestError if it can't be."""
    if spec.type == "array":
        return _compile_lines(node, spec.record, scope)
    expression = compile_expression(node, scope)
    convert = _CONVERSIONS.get((spec.type, expression.kind))
    if convert is None:
        kinds = ", ".join(kind for type, kind in _CONVERSIONS if type == spec.type)
        node.refuse(f"it is of kind {expression.kind}; allowed here: {kinds}")
    get = convert(node, expression, spec, scope)
    if not spec.nullable:
        get = _present(get)
    if expression.constant:
        try:
            get([])
        except BadInput as error:
            node.refuse(error.detail)
    return get


def _present(get: Get) -> Get:
    def present(values: Values) -> Any:
        value = get(values)
        if value is None:
            raise BadInput("missing_value", "there is no value, and there must be one")
        return value

    return present


def _compile_lines(node: Node, record: str, scope: Scope) -> Get:
    struct = LINES[record]
    lines = [_compile_fields(item, record, scope) for item in node.items()]
    return lambda values: tuple(struct(**{name: get(values) for name, get in fields}) for fields in lines)


def _as_is(node: Node, expression: Expression, spec: FieldSpec, scope: Scope) -> Get:
    return expression.get


def _string(node: Node, expression: Expression, spec: FieldSpec, scope: Scope) -> Get:
    get = expression.get
    return lambda values: get(values) or None


def _enumeration(node: Node, expression: Expression, spec: FieldSpec, scope: Scope) -> Get:
    get, symbols = expression.get, frozenset(spec.symbols)
    if expression.results is not None:
        if wrong := expression.results - symbols - {""}:
            node.refuse(f"{core.listed(sorted(wrong))} is not allowed here; allowed: {', '.join(spec.symbols)}")
        return lambda values: get(values) or None

    def symbol(values: Values) -> str | None:
        word: str = get(values)
        if word and word not in symbols:
            raise BadInput("unknown_value", f"{core.shown(word)} is none of: {', '.join(spec.symbols)}")
        return word or None

    return symbol


def _whole(node: Node, expression: Expression, spec: FieldSpec, scope: Scope) -> Get:
    get = expression.get
    limit = 1 << 31 if spec.type == "int" else core.LONG

    def whole(values: Values) -> int | None:
        value = get(values)
        if value is None or value == "":
            return None
        number = core.parse_integer(value) if isinstance(value, str) else value
        if not -limit <= number < limit:
            raise BadInput("wrong_number", f"{number} is too large")
        return int(number)

    return whole


def _decimal(node: Node, expression: Expression, spec: FieldSpec, scope: Scope) -> Get:
    get = expression.get
    return lambda values: parse_optional_decimal(get(values))


def _instant(node: Node, expression: Expression, spec: FieldSpec, scope: Scope) -> Get:
    get = compile_instant(node, scope)

    def instant(values: Values) -> datetime | None:
        at = get(values)
        if at is not None and not EARLIEST <= at <= LATEST:
            raise BadInput("out_of_range", f"{at.isoformat()} is not between {EARLIEST:%Y} and {LATEST:%Y}")
        return at

    return instant


_CONVERSIONS: Mapping[tuple[str, str], Callable[[Node, Expression, FieldSpec, Scope], Get]] = {
    ("string", "text"): _string,
    ("enum", "text"): _enumeration,
    ("int", "text"): _whole,
    ("int", "integer"): _whole,
    ("long", "text"): _whole,
    ("long", "integer"): _whole,
    ("decimal", "text"): _decimal,
    ("decimal", "decimal"): _as_is,
    ("boolean", "boolean"): _as_is,
    ("timestamp-micros", "text"): _instant,
    ("timestamp-micros", "instant"): _instant,
}
