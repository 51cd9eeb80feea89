"""What a scenario expects: read from words (`first response of T1: met`) and held against what was stated.

Names of timers, levels, kinds and fields are those of `schemas/`, so that a timer or level that is added there can be
expected here at once. Must not know how facts come about.
"""

import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from streams import codec
from streams.domain.events import Place
from streams.domain.facts import MatterFact, TimerFact, TimerState
from streams.scenario.story import (
    Cast,
    enumerations,
    read_decimal,
    read_money,
    read_number,
    read_symbol,
    show_money,
    show_symbol,
    symbols,
)
from streams.scenario.text import (
    Entries,
    Listing,
    Text,
    Value,
    as_items,
    as_text,
    read_instant,
    read_length,
    refuse,
    refuse_unknown,
    show_instant,
    show_length,
)

NOTHING = "nothing"
"""Expected where there is no fact, or a field without a value."""
WITHDRAWN = "withdrawn"
DEAD_LETTERS = "dead letters"
FORMS = (
    "first response of T1",
    "resolution of T1",
    "delivery of O1",
    "order O1",
    "case T1",
    "line 1 of order O1",
    "history of first response of T1",
    "customer of T1",
    "matter of P1",
    "stated about T1",
    DEAD_LETTERS,
)
MAIN_FIELDS: Mapping[str, str] = {
    "timer": "result",
    "order": "status",
    "parcel": "status",
    "return": "status",
    "case": "status",
    "claim": "status",
    "review": "score",
    "payment": "amount",
    "order_line": "quantity",
    "return_line": "quantity",
}
"""What a bare word is compared with."""

SHORT = {"destination_country": "destination", "destination_region": "region", "unit_price": "price"}
"""Fields that are written as in the events of a story."""
_UNIT = re.compile("_(at|s|minor)$")

Fact: TypeAlias = TimerFact | MatterFact


class Stated(NamedTuple):
    """Everything that came out of a story."""

    facts: Sequence[Fact]
    places: Mapping[str, Place]
    refused: Sequence[str]
    """Reason codes of dead letters."""


class Found(NamedTuple):
    """One expectation held against what was stated."""

    ok: bool
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """A sentence about the outcome. `of_history`: it speaks of revisions, so it depends on the order of arrival."""

    name: Text
    of_history: bool = False
    check: Callable[[Stated], Found]


def read_expectations(value: Value, cast: Cast) -> tuple[Expectation, ...]:
    """The expectations of a scenario: `name: value` lines, or a list of such. Raises Refused."""
    expectations = []
    for item in as_items(value):
        if not isinstance(item, Entries):
            refuse(item, f"an expectation is written as `name: value`, e.g. {FORMS[0]}: met")
        expectations += [_read(name, expected, cast) for name, expected in item.entries]
    return tuple(expectations)


# ---- names of expectations


def _read(name: Text, value: Value, cast: Cast) -> Expectation:
    if name.text == DEAD_LETTERS:
        return _read_dead_letters(name, value)
    words = name.text.split()
    if words[:2] == ["history", "of"]:
        return _read_history(name, words[2:], value, cast)
    match words:
        case ["customer", "of", known]:
            return _read_customer(name, _id_of(name, known, cast), value, cast)
        case ["matter", "of", known]:
            return _read_matter(name, _id_of(name, known, cast), value, cast)
        case ["stated", "about", known]:
            return _read_stated(name, _id_of(name, known, cast), value)
    subject = _read_subject(name, words, cast)
    compare = _read_fields(name, value, subject)
    return Expectation(name=name, check=lambda stated: compare(_newest(subject, stated)))


class Subject(NamedTuple):
    """A fact that is spoken of."""

    about: str
    kind: str
    """`timer`, or the kind of a matter's fact."""
    item: str | None = None
    """Of a matter's fact; None: whichever there is."""
    timer: str = ""
    cycle: int = 1
    level: str = ""

    def is_of(self, fact: Fact) -> bool:
        """Whether this is the fact."""
        if fact.about != self.about:
            return False
        if isinstance(fact, TimerFact):
            return self.kind == "timer" and (fact.key.timer, fact.key.cycle, fact.key.level) == (
                self.timer,
                self.cycle,
                self.level,
            )
        return fact.key.kind == self.kind and self.item in (None, fact.key.item)


def _read_subject(name: Text, words: list[str], cast: Cast) -> Subject:
    timers, levels = symbols("timer_fact", "timer"), symbols("timer_fact", "level")
    kinds = {show_symbol(kind): kind for kind in MAIN_FIELDS if kind != "timer"}
    match words:
        case ["line", item, "of", ("order" | "return") as kind, known]:
            return Subject(_id_of(name, known, cast), f"{kind}_line", item)
        case [*what, "of", known] if what:
            level, timer = "result", what
            if "of" in what:
                position = what.index("of")
                level, timer = " ".join(what[:position]), what[position + 1 :]
                level = read_symbol(Text(name.where, level), "level of a timer", levels)
            cycle = 1
            if len(timer) > 1 and timer[-1].isdecimal():
                cycle, timer = read_number(Text(name.where, timer[-1]), "a cycle"), timer[:-1]
            kind = read_symbol(Text(name.where, " ".join(timer)), "timer", timers)
            return Subject(_id_of(name, known, cast), "timer", timer=kind, cycle=cycle, level=level)
        case [kind, known] if kind in kinds:
            return Subject(_id_of(name, known, cast), kind)
    refuse_unknown(name, "expectation that is known", FORMS)


def _id_of(name: Text, known: str, cast: Cast) -> str:
    if known not in cast.ids:
        refuse_unknown(Text(name.where, known), "name of this scenario", cast.ids)
    return cast.ids[known]


def _newest(subject: Subject, stated: Stated) -> Fact | None:
    """The statement with the highest revision; None when there is none, or it was withdrawn."""
    newest = max(filter(subject.is_of, stated.facts), key=lambda fact: fact.revision, default=None)
    return None if newest is None or newest.withdrawn else newest


# ---- fields of facts


class Field(NamedTuple):
    """A field as it is written, read and shown."""

    name: str
    struct_field: str
    read: Callable[[Value], object]
    show: Callable[[Any], str]


def fields_of(kind: str) -> dict[str, Field]:
    """The fields of a fact, by the names that a person writes: `due` for `due_at`, `elapsed` for `elapsed_s`."""
    state: Any = TimerState if kind == "timer" else codec.STATES[kind]
    schema, record = ("timer_fact", "timer_fact") if kind == "timer" else ("matter_fact", f"{kind}_state")
    found = [
        _field(name, hint, enumerations(schema).get((record, name), ()))
        for name, hint in get_type_hints(state).items()
        if name != "KIND"
    ]
    return {field.name: field for field in found if field is not None}


def _field(name: str, hint: Any, allowed: tuple[str, ...]) -> Field | None:
    """How a field is read and shown, by its name and type. None: one that can't be expected, such as a list of ids."""
    plain = SHORT.get(name, show_symbol(_UNIT.sub("", name)))
    types_ = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)

    def field(read: Callable[[Value], object], show: Callable[[Any], str] = str) -> Field:
        return Field(plain, name, read, show)

    if name.endswith("_at"):
        return field(lambda value: read_instant(value, plain, None), show_instant)
    if name.endswith("_s"):
        return field(lambda value: read_length(value, plain).total_seconds(), show_length)
    if name.endswith("_minor"):
        return field(lambda value: read_money(value, plain), lambda value: show_money(*value))
    if bool in types_:
        return field(lambda value: _read_truth(value, plain), lambda value: "yes" if value else "no")
    if int in types_:
        return field(lambda value: read_number(value, plain))
    if Decimal in types_:
        return field(lambda value: read_decimal(value, plain), lambda value: f"{value.normalize():f}")
    if allowed:
        return field(lambda value: read_symbol(value, plain, allowed), show_symbol)
    if str in types_:
        return field(lambda value: as_text(value, plain).text)
    return None


def _read_truth(value: Value, what: str) -> bool:
    text = as_text(value, what)
    if text.text not in ("yes", "no"):
        refuse(text, f"{what} is yes or no, not {text.text!r}")
    return text.text == "yes"


def _value_of(field: Field, state: Any) -> object:
    """As `field.read` gives it: an amount of money comes with its currency."""
    value = getattr(state, field.struct_field)
    if field.struct_field.endswith("_minor") and value is not None:
        return value, state.currency or ""
    return value


def _read_fields(name: Text, value: Value, subject: Subject) -> Callable[[Fact | None], Found]:
    """How a fact is compared: field by field; a bare word with the main field; `nothing` with there being none."""
    fields = fields_of(subject.kind)
    if isinstance(value, Text) and value.text == NOTHING:
        return lambda fact: Found(
            fact is None, NOTHING, NOTHING if fact is None else _show(fact, list(fields.values()))
        )
    if isinstance(value, Entries):
        pairs = list(value.entries)
    else:
        pairs = [(Text(value.where, MAIN_FIELDS[subject.kind]), value)]
    wanted: list[tuple[Field, object]] = []
    for key, part in pairs:
        if key.text not in fields:
            refuse_unknown(key, f"field of {name.text!r}", fields)
        field = fields[key.text]
        none = isinstance(part, Text) and part.text == NOTHING
        wanted.append((field, None if none else field.read(part)))

    def compare(fact: Fact | None) -> Found:
        expected = ", ".join(f"{field.name} {_shown(field, value)}" for field, value in wanted)
        if fact is None:
            return Found(False, expected, NOTHING)
        ok = all(_value_of(field, fact.state) == value for field, value in wanted)
        return Found(ok, expected, _show(fact, [field for field, _ in wanted]))

    return compare


def _shown(field: Field, value: object) -> str:
    return NOTHING if value is None else field.show(value)


def _show(fact: Fact, fields: Iterable[Field]) -> str:
    return ", ".join(f"{field.name} {_shown(field, _value_of(field, fact.state))}" for field in fields)


# ---- other expectations


def _read_history(name: Text, words: list[str], value: Value, cast: Cast) -> Expectation:
    """Main field of each revision, in order; a revision that took the fact back is `withdrawn`."""
    subject = _read_subject(name, words, cast)
    field = fields_of(subject.kind)[MAIN_FIELDS[subject.kind]]
    wanted = [
        WITHDRAWN if isinstance(item, Text) and item.text == WITHDRAWN else field.show(field.read(item))
        for item in as_items(value)
    ]

    def check(stated: Stated) -> Found:
        facts = sorted(filter(subject.is_of, stated.facts), key=lambda fact: fact.revision)
        said = [WITHDRAWN if fact.withdrawn else _shown(field, _value_of(field, fact.state)) for fact in facts]
        return Found(said == wanted, ", ".join(wanted), ", ".join(said) or NOTHING)

    return Expectation(name=name, of_history=True, check=check)


def _read_customer(name: Text, id: str, value: Value, cast: Cast) -> Expectation:
    wanted = as_text(value, name.text)
    if wanted.text not in (*cast.customers, "unknown", NOTHING):
        refuse_unknown(wanted, "customer of this scenario", (*cast.customers, "unknown", NOTHING))

    def check(stated: Stated) -> Found:
        place = stated.places.get(id)
        found = cast.name_of(place.customer) if place else NOTHING
        return Found(found == wanted.text, wanted.text, found)

    return Expectation(name=name, check=check)


def _read_matter(name: Text, id: str, value: Value, cast: Cast) -> Expectation:
    """The head of the matter that an id lies in."""
    wanted = as_text(value, name.text)
    if wanted.text not in (*cast.ids, NOTHING):
        refuse_unknown(wanted, "name of this scenario", (*cast.ids, NOTHING))

    def check(stated: Stated) -> Found:
        place = stated.places.get(id)
        found = cast.name_of(place.matter) if place else NOTHING
        return Found(found == wanted.text, wanted.text, found)

    return Expectation(name=name, check=check)


def _read_stated(name: Text, id: str, value: Value) -> Expectation:
    """All that holds about an id, by name: nothing else may."""
    known = {show_symbol(word) for word in (*symbols("timer_fact", "timer"), *symbols("matter_fact", "kind"))}
    items = [as_text(item, name.text) for item in as_items(value)]
    if [item.text for item in items] == [NOTHING]:
        items = []
    for item in items:
        if item.text not in known:
            refuse_unknown(item, "fact", known)
    wanted = sorted({item.text for item in items})

    def check(stated: Stated) -> Found:
        newest: dict[object, Fact] = {}
        for fact in stated.facts:
            if fact.about == id and (fact.key not in newest or newest[fact.key].revision < fact.revision):
                newest[fact.key] = fact
        found = sorted({_kind_of(fact) for fact in newest.values() if not fact.withdrawn})
        return Found(found == wanted, ", ".join(wanted) or NOTHING, ", ".join(found) or NOTHING)

    return Expectation(name=name, check=check)


def _kind_of(fact: Fact) -> str:
    return show_symbol(fact.key.timer if isinstance(fact, TimerFact) else fact.key.kind)


def _read_dead_letters(name: Text, value: Value) -> Expectation:
    """How many events could not be processed, or for which reasons."""
    if isinstance(value, Listing):
        reasons = sorted(as_text(item, name.text).text for item in value.items)
        return Expectation(
            name=name,
            check=lambda stated: Found(sorted(stated.refused) == reasons, _join(reasons), _join(stated.refused)),
        )
    number = read_number(value, name.text)
    return Expectation(
        name=name,
        check=lambda stated: Found(len(stated.refused) == number, str(number), _join(stated.refused)),
    )


def _join(reasons: Sequence[str]) -> str:
    return ", ".join(sorted(reasons)) or NOTHING


def no_dead_letters(where: str) -> Expectation:
    """What every scenario expects that does not speak of dead letters."""
    return _read_dead_letters(Text(where, DEAD_LETTERS), Text(where, "0"))
