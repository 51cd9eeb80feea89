"""The small language of import manifests: values and conditions over the columns of a row, compiled once to closures.

A value is the name of a column, a text with `{column}` in it, or one operator with its options. An empty text means
that there is no value. Must not know of events: `mapping` says which value goes where.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal, TypeAlias

from connectors import core
from connectors.core import cut, listed, shown
from connectors.manifest import Node
from streams.errors import BadInput

Values: TypeAlias = list[Any]
"""The columns of a row, then those of its look-ups, then the row's number and the id of its content."""
Kind: TypeAlias = Literal["text", "integer", "decimal", "instant", "boolean"]
Condition: TypeAlias = Callable[[Values], bool]

NUMBER, CONTENT = "\0number", "\0content"
"""Names in a scope of what a row is beside its columns."""
CACHED_INSTANTS = 1 << 13
TRUE_WORDS = ("true", "True", "TRUE", "1")
FALSE_WORDS = ("false", "False", "FALSE", "0")
_PLACE = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled value. An absent one is "" if it is a text, else None."""

    kind: Kind
    get: Callable[[Values], Any]
    results: frozenset[str] | None = None
    """All texts that can come out, if they are known."""
    constant: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What the values of one file may refer to."""

    file: str
    columns: Mapping[str, int] | None
    """Position of each column within Values; None: the form alone is checked, any name will do."""
    account: str
    secret: bytes
    zone: tzinfo
    """Of instants that are written without one."""
    empty: frozenset[str] = frozenset()
    """Values of the file's own columns that mean that there is none."""
    own: int = 0
    """Number of the file's own columns."""
    width: int = 0
    """Number of all columns."""
    used: set[str] = field(default_factory=set)
    """Filled with the columns that have been referred to."""

    def extended(self, names: Sequence[str]) -> "Scope":
        """The same with further columns behind those that there are."""
        added = {name: self.width + at for at, name in enumerate(names)}
        return replace(self, columns={**(self.columns or {}), **added}, width=self.width + len(names))

    def column(self, node: Node, name: str) -> Callable[[Values], Any]:
        """Reads a column. Raises ManifestError if there is none of this name."""
        self.used.add(name)
        if self.columns is None:
            return itemgetter(0)
        at = self.columns.get(name)
        if at is None:
            known = listed([column for column in self.columns if "\0" not in column])
            node.refuse(f"missing column {cut(name)}; {self.file} has {known}")
        if self.empty and at < self.own:
            empty = self.empty
            return lambda values: "" if values[at] in empty else values[at]
        return itemgetter(at)


def compile_expression(node: Node, scope: Scope) -> Expression:
    """The value that a node declares. Raises ManifestError."""
    if isinstance(node.value, str) and node.value:
        if "{" in node.value:
            return _format(node, scope)
        return Expression("text", scope.column(node, node.value))
    operators = [name for name in node.value if name in OPERATORS] if isinstance(node.value, dict) else []
    if len(operators) != 1:
        node.refuse(f"allowed is a column, a text with {{column}}, or one operator: {', '.join(OPERATORS)}")
    return OPERATORS[operators[0]](node, scope)


def compile_text(node: Node, scope: Scope) -> Callable[[Values], str]:
    """A value that must be a text or a whole number, as text. Raises ManifestError."""
    expression = compile_expression(node, scope)
    if expression.kind == "text":
        return expression.get
    if expression.kind != "integer":
        node.refuse(f"it is of kind {expression.kind}; allowed is a text or a whole number")
    get = expression.get
    return lambda values: "" if (value := get(values)) is None else str(value)


def compile_condition(node: Node, scope: Scope) -> Condition:
    """The condition that a node declares. Raises ManifestError."""
    if not isinstance(node.value, dict) or not node.value:
        node.refuse(f"allowed is a condition: all, any, not, or value with one of {', '.join(TESTS)}")
    if "value" not in node.value:
        ((name, inner),) = node.entries((), ("all", "any", "not")).items()
        if name == "not":
            refuted = compile_condition(inner, scope)
            return lambda values: not refuted(values)
        parts = tuple(compile_condition(item, scope) for item in inner.items())
        if name == "all":
            return lambda values: all(part(values) for part in parts)
        return lambda values: any(part(values) for part in parts)
    found = node.entries(("value",), TESTS)
    if len(found) != 2:
        node.refuse(f"allowed is value with one of: {', '.join(TESTS)}")
    value = compile_expression(found.pop("value"), scope)
    ((test, against),) = found.items()
    return _test(test, value, against, scope)


TESTS = ("present", "equals", "in", "not_in", "starts_with", "same_as")


def _test(test: str, value: Expression, against: Node, scope: Scope) -> Condition:
    get = value.get
    if test == "present":
        if against.boolean():
            return lambda values: get(values) not in ("", None)
        return lambda values: get(values) in ("", None)
    if test == "same_as":
        other = compile_expression(against, scope)
        if other.kind != value.kind:
            against.refuse(f"it is of kind {other.kind}, and compared with one of kind {value.kind}")
        return lambda values: get(values) == other.get(values)
    if value.kind != "text":
        against.refuse(f"{test} compares texts, and the value is of kind {value.kind}")
    if test == "equals":
        word = against.text()
        return lambda values: get(values) == word
    if test == "starts_with":
        prefix = against.text()
        return lambda values: str(get(values)).startswith(prefix)
    words = frozenset(against.texts())
    if test == "in":
        return lambda values: get(values) in words
    return lambda values: get(values) not in words


def _column(node: Node, scope: Scope) -> Expression:
    name = node.entries(("column",))["column"]
    return Expression("text", scope.column(name, name.text()))


def _constant(node: Node, scope: Scope) -> Expression:
    value = node.entries(("constant",))["constant"].value
    match value:
        case bool():
            return Expression("boolean", lambda _: value, constant=True)
        case int():
            return Expression("integer", lambda _: value, constant=True)
        case str() if value:
            return Expression("text", lambda _: value, frozenset({value}), constant=True)
    node.refuse("allowed is a text, a whole number, true or false")


def _format(node: Node, scope: Scope) -> Expression:
    """A text with columns put in; empty as soon as one of them is."""
    template = node.value if isinstance(node.value, str) else node.entries(("format",))["format"].text()
    parts = _PLACE.split(template)
    if any("{" in part or "}" in part for part in parts[::2]):
        node.refuse("allowed are pairs of braces with the name of a column between them")
    columns = [scope.column(node, name) for name in parts[1::2]]
    literals = parts[::2]
    if len(columns) == 1:
        only, before, after = columns[0], *literals

        def get_one(values: Values) -> str:
            value = only(values)
            return f"{before}{value}{after}" if value != "" else ""

        return Expression("text", get_one)

    def get(values: Values) -> str:
        text = literals[0]
        for column, literal in zip(columns, literals[1:], strict=True):
            value = column(values)
            if value == "":
                return ""
            text += f"{value}{literal}"
        return text

    return Expression("text", get)


def _map(node: Node, scope: Scope) -> Expression:
    """One text for another. `otherwise`: for all others (null: none); without it, another value is a bad row."""
    found = node.entries(("map", "to"), ("otherwise",))
    get = _texts(found["map"], scope)
    to = {word: "" if target.value is None else target.text() for word, target in found["to"].named()}
    if "otherwise" in found:
        otherwise = "" if found["otherwise"].value is None else found["otherwise"].text()
        return Expression("text", lambda values: to.get(get(values), otherwise), frozenset({*to.values(), otherwise}))
    to.setdefault("", "")

    def look_up(values: Values) -> str:
        word = get(values)
        try:
            return to[word]
        except KeyError:
            known = listed([word for word in to if word])
            raise BadInput("unknown_value", f"{shown(word)} is none of: {known}") from None

    return Expression("text", look_up, frozenset(to.values()))


def _first(node: Node, scope: Scope) -> Expression:
    """The first value that is there."""
    parts = _alike(node.entries(("first",))["first"], scope)
    gets = tuple(part.get for part in parts)

    def first(values: Values) -> Any:
        found = None
        for get in gets:
            found = get(values)
            if found != "" and found is not None:
                break
        return found

    results = frozenset[str]().union(*(part.results or () for part in parts))
    return Expression(parts[0].kind, first, results if all(part.results is not None for part in parts) else None)


def _choice(node: Node, scope: Scope) -> Expression:
    """One value where a condition holds, else another, or none."""
    found = node.entries(("if", "then"), ("else",))
    condition, then = compile_condition(found["if"], scope), compile_expression(found["then"], scope)
    if "else" not in found:
        get, absent = then.get, "" if then.kind == "text" else None
        return Expression(then.kind, lambda values: get(values) if condition(values) else absent, then.results)
    other = compile_expression(found["else"], scope)
    if other.kind != then.kind:
        found["else"].refuse(f"it is of kind {other.kind}; allowed is the kind of then: {then.kind}")
    known = then.results is not None and other.results is not None
    return Expression(
        then.kind,
        lambda values: (then if condition(values) else other).get(values),
        (then.results or frozenset()) | (other.results or frozenset()) if known else None,
    )


def _extreme(name: str, choose: Callable[..., Any]) -> Callable[[Node, Scope], Expression]:
    def build(node: Node, scope: Scope) -> Expression:
        """The latest or earliest of several instants; texts are read as instants."""
        gets = tuple(compile_instant(item, scope) for item in node.entries((name,))[name].items())

        def extreme(values: Values) -> datetime | None:
            instants = [instant for get in gets if (instant := get(values)) is not None]
            return choose(instants) if instants else None

        return Expression("instant", extreme)

    return build


def _time(node: Node, scope: Scope) -> Expression:
    """An instant. `form`: as in strptime; without it, ISO 8601 (a blank in place of the T will do)."""
    found = node.entries(("time",), ("form",))
    get = _texts(found["time"], scope)
    parse = instant_parser(scope.zone, found["form"].text() if "form" in found else None)
    return Expression("instant", lambda values: parse(get(values)))


def _decimal(node: Node, scope: Scope) -> Expression:
    get = _texts(node.entries(("decimal",))["decimal"], scope)
    return Expression("decimal", lambda values: parse_optional_decimal(get(values)))


def _minor(node: Node, scope: Scope) -> Expression:
    """An amount in whole minor units of a currency."""
    found = node.entries(("minor", "currency"))
    amount, currency = _texts(found["minor"], scope), compile_expression(found["currency"], scope)
    if currency.kind != "text":
        found["currency"].refuse("allowed is a currency code")
    if currency.constant and currency.get([]) not in core.CURRENCY_DECIMALS:
        found["currency"].refuse("allowed is a currency code of ISO 4217")

    def minor(values: Values) -> int | None:
        text = amount(values)
        return core.parse_minor(text, currency.get(values)) if text else None

    return Expression("integer", minor)


def _integer(node: Node, scope: Scope) -> Expression:
    """A whole number, then `times` and `plus` a whole number."""
    found = node.entries(("integer",), ("times", "plus"))
    get = _texts(found["integer"], scope)
    times = found["times"].integer() if "times" in found else 1
    plus = found["plus"].integer() if "plus" in found else 0
    return Expression(
        "integer", lambda values: core.parse_integer(text) * times + plus if (text := get(values)) else None
    )


def _boolean(node: Node, scope: Scope) -> Expression:
    found = node.entries(("boolean",), ("true_words", "false_words"))
    get = _texts(found["boolean"], scope)
    words: dict[str, bool | None] = {"": None}
    words |= dict.fromkeys(found["true_words"].texts() if "true_words" in found else TRUE_WORDS, True)
    words |= dict.fromkeys(found["false_words"].texts() if "false_words" in found else FALSE_WORDS, False)

    def boolean(values: Values) -> bool | None:
        word = get(values)
        try:
            return words[word]
        except KeyError:
            known = listed([word for word in words if word])
            raise BadInput("unknown_value", f"{shown(word)} is none of: {known}") from None

    return Expression("boolean", boolean)


def _condition(node: Node, scope: Scope) -> Expression:
    return Expression("boolean", compile_condition(node.entries(("test",))["test"], scope))


def _pseudonym(node: Node, scope: Scope) -> Expression:
    get = _texts(node.entries(("pseudonym",))["pseudonym"], scope)
    secret, account = scope.secret, scope.account
    return Expression("text", lambda values: core.pseudonym(secret, account, text) if (text := get(values)) else "")


def _row(node: Node, scope: Scope) -> Expression:
    """`number`: of the row within its file, from 1; `content`: the hash of all its columns and its occurrence."""
    which = node.entries(("row",))["row"].word(("number", "content"))
    if which == "number":
        return Expression("integer", scope.column(node, NUMBER))
    return Expression("text", scope.column(node, CONTENT))


OPERATORS: Mapping[str, Callable[[Node, Scope], Expression]] = {
    "column": _column,
    "constant": _constant,
    "format": _format,
    "map": _map,
    "first": _first,
    "if": _choice,
    "max": _extreme("max", max),
    "min": _extreme("min", min),
    "time": _time,
    "decimal": _decimal,
    "minor": _minor,
    "integer": _integer,
    "boolean": _boolean,
    "test": _condition,
    "pseudonym": _pseudonym,
    "row": _row,
}


def _texts(node: Node, scope: Scope) -> Callable[[Values], str]:
    expression = compile_expression(node, scope)
    if expression.kind != "text":
        node.refuse(f"it is of kind {expression.kind}; allowed is a text")
    return expression.get


def _alike(node: Node, scope: Scope) -> list[Expression]:
    parts = [compile_expression(item, scope) for item in node.items()]
    if len({part.kind for part in parts}) > 1:
        node.refuse(f"kinds {', '.join(part.kind for part in parts)}; allowed are values of one kind")
    return parts


def compile_instant(node: Node, scope: Scope) -> Callable[[Values], datetime | None]:
    """A value that must be an instant or a text in ISO 8601. Raises ManifestError."""
    expression = compile_expression(node, scope)
    if expression.kind == "instant":
        return expression.get
    if expression.kind != "text":
        node.refuse(f"it is of kind {expression.kind}; allowed is an instant")
    parse, get = instant_parser(scope.zone, None), expression.get
    return lambda values: parse(get(values))


def instant_parser(zone: tzinfo, form: str | None) -> Callable[[str], datetime | None]:
    """Reads instants, which are of `zone` when they are written without one; an empty text is None.

    The function raises BadInput `wrong_time`.
    """
    expected = form or "2026-03-02 01:30:00"

    @lru_cache(CACHED_INSTANTS)
    def parse(text: str) -> datetime | None:
        if not text:
            return None
        try:
            instant = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
            return (instant if instant.tzinfo else instant.replace(tzinfo=zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise BadInput("wrong_time", f"{shown(text)} is no time of the form {expected}") from None

    return parse


def parse_optional_decimal(text: str) -> Decimal | None:
    """The number that `text` writes; an empty one is None. Raises BadInput `wrong_number`."""
    return core.parse_decimal(text) if text else None
