"""The events of a scenario: what a person writes (`customer writes: T1`) as the events that sources would send.

The words for states are those of `schemas/`, with spaces for underscores. Must not know how events are processed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import msgspec

from streams import codec
from streams.domain import ids
from streams.domain.events import (
    Claim,
    Event,
    Message,
    Order,
    OrderLine,
    Parcel,
    Payment,
    Return,
    ReturnLine,
    Review,
    SourceEvent,
    Ticket,
)
from streams.scenario.text import (
    Entries,
    Text,
    Value,
    as_entries,
    as_items,
    as_text,
    read_instant,
    refuse,
    refuse_unknown,
)

MAX_EVENTS = 1_000
"""Of one scenario."""
_NAME = re.compile(r"[\w.-]{1,100}")


class Arrival(NamedTuple):
    """An event and when it reaches the pipeline."""

    event: SourceEvent
    at: datetime


@dataclass
class Cast:
    """Who and what occurs in a scenario: names and the ids behind them."""

    account: str
    marketplace: str
    ids: dict[str, str] = field(default_factory=dict)
    customers: dict[str, str] = field(default_factory=dict)

    def id_of(self, name: Text, kind: str) -> str:
        """The id behind a name, which belongs to one kind throughout a scenario. Raises Refused."""
        check_name(name)
        id = f"{kind}:{name.text}" if kind == "parcel" else f"{kind}:{self.account}:{name.text}"
        known = self.ids.setdefault(name.text, id)
        if known != id:
            refuse(name, f"{name.text!r} is a {ids.kind_of(known)} already; give the {kind} another name")
        return id

    def customer(self, name: Text) -> str:
        """The id of a customer. Raises Refused."""
        check_name(name)
        return self.customers.setdefault(name.text, f"customer:{self.account}:{name.text}")

    def name_of(self, id: str) -> str:
        """The name that was written for an id; `unknown` for a customer that nobody has named."""
        if ids.is_provisional(id):
            return "unknown"
        return id.rpartition(":")[2]


def check_name(name: Text) -> Text:
    """`name` itself. Raises Refused unless it can be a part of an id."""
    if not _NAME.fullmatch(name.text):
        refuse(name, f"{name.text!r}: a name is one word of letters, digits and - . _")
    return name


# ---- words of the schemas


@cache
def enumerations(schema: str) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """(record, field) to the symbols it may have, for every enumeration in a schema, nested records included."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    named: dict[str, tuple[str, ...]] = {}

    def walk(type_: Any) -> tuple[str, ...]:
        """The symbols of a type, or of the enumeration within it; notes those of the fields of a record."""
        match type_:
            case str():
                return named.get(type_.rpartition(".")[2], ())
            case list():
                return next(filter(None, [walk(branch) for branch in type_]), ())
            case {"type": "enum"}:
                named[type_["name"]] = tuple(type_["symbols"])
                return named[type_["name"]]
            case {"type": "record"}:
                for part in type_["fields"]:
                    if of_field := walk(part["type"]):
                        found[type_["name"], part["name"]] = of_field
            case {"type": "array"}:
                walk(type_["items"])
        return ()

    walk(codec.resolve(schema))
    return found


def symbols(record: str, name: str) -> tuple[str, ...]:
    """Symbols that a field of an event or a timer may have."""
    return enumerations(record)[record, name]


def read_symbol(value: Value, what: str, allowed: tuple[str, ...]) -> str:
    """A word such as `waiting for customer` as its symbol (`waiting_customer`). Raises Refused."""
    text = as_text(value, what)
    symbol = "_".join(word for word in text.text.lower().replace("_", " ").split() if word != "for")
    if symbol not in allowed:
        refuse_unknown(text, what, (show_symbol(known) for known in allowed))
    return symbol


def show_symbol(symbol: str) -> str:
    """As `read_symbol` reads it."""
    return symbol.replace("_", " ")


# ---- values of fields

Read: TypeAlias = Callable[[str, Value, datetime], Mapping[str, object]]
"""(name of the field as written, value, instant of the event) to struct fields. Raises Refused."""


def _text(into: str) -> Read:
    return lambda name, value, at: {into: as_text(value, name).text}


def _instant(into: str) -> Read:
    return lambda name, value, at: {into: read_instant(value, name, at)}


def _symbol(record: str, into: str) -> Read:
    return lambda name, value, at: {into: read_symbol(value, name, symbols(record, into))}


def _number(into: str) -> Read:
    return lambda name, value, at: {into: read_number(value, name)}


def _money(into: str) -> Read:
    def read(name: str, value: Value, at: datetime) -> Mapping[str, object]:
        amount_minor, currency = read_money(value, name)
        return {into: amount_minor, "currency": currency}

    return read


def read_number(value: Value, what: str) -> int:
    """A whole number. Raises Refused."""
    text = as_text(value, what)
    if not (text.text.isascii() and text.text.isdecimal() and len(text.text) <= 9):
        refuse(text, f"{what} is a whole number, not {text.text!r}")
    return int(text.text)


def read_decimal(value: Value, what: str) -> Decimal:
    """A price with at most six places, as the schemas hold it. Raises Refused."""
    text = as_text(value, what)
    try:
        amount = Decimal(text.text)
        exact = amount.quantize(Decimal("0.000001"))
    except InvalidOperation:
        refuse(text, f"{what} is an amount such as 19.90, not {text.text!r}")
    if amount != exact or amount < 0:
        refuse(text, f"{what} is an amount of at least 0 with at most six places, not {text.text!r}")
    return exact


MINOR_PLACES = 2


def read_money(value: Value, what: str) -> tuple[int, str]:
    """`15.00 USD` as (minor units, currency). Currencies have two places here. Raises Refused."""
    text = as_text(value, what)
    number, _, currency = text.text.partition(" ")
    if len(currency) != 3 or not currency.isalpha() or not currency.isupper():
        refuse(text, f"{what} is an amount with its currency such as 15.00 USD, not {text.text!r}")
    minor = read_decimal(Text(text.where, number), what).scaleb(MINOR_PLACES)
    if minor != int(minor):
        refuse(text, f"{what} has more places than {currency} has: {text.text!r}")
    return int(minor), currency


def show_money(amount_minor: int, currency: str | None) -> str:
    """As `read_money` reads it."""
    return f"{Decimal(amount_minor).scaleb(-MINOR_PLACES):.2f} {currency or ''}".strip()


def _lines(struct: type[Any]) -> Read:
    allowed = LINE_FIELDS[struct]

    def read(name: str, value: Value, at: datetime) -> Mapping[str, object]:
        lines = []
        for number, item in enumerate(as_items(value), 1):
            found: dict[str, object] = {"line_id": str(number), "sku": f"sku-{number}", "quantity": 1}
            found["unit_price"] = Decimal("0.000000")
            for key, part in as_entries(item, "a line").entries:
                if key.text not in allowed:
                    refuse_unknown(key, "field of a line", allowed)
                found |= allowed[key.text](key.text, part, at)
            lines.append(struct(**found))
        return {"lines": tuple(lines)}

    return read


def _price(into: str) -> Read:
    return lambda name, value, at: {into: read_decimal(value, name)}


_RETURN_LINE: dict[str, Read] = {
    "line": _text("line_id"),
    "sku": _text("sku"),
    "category": _text("category"),
    "quantity": _number("quantity"),
    "price": _price("unit_price"),
}
LINE_FIELDS: dict[type, dict[str, Read]] = {
    ReturnLine: _RETURN_LINE,
    OrderLine: {
        **_RETURN_LINE,
        "seller": _text("seller"),
        "freight": _price("freight"),
        "ship by": _instant("ship_by_at"),
    },
}

# ---- verbs


class Verb(NamedTuple):
    """What an event can be: the kind of thing it is about, its record, values it always has, and fields it may have."""

    kind: str
    event: type[Any]
    fixed: Mapping[str, object]
    fields: Mapping[str, Read]
    required: str = ""
    """A field that has to be there; empty: none."""


_WRITES = {"channel": _text("channel"), "agent": _text("agent")}


def _message(author: str) -> Verb:
    return Verb("thread", Message, {"author": author, "channel": "email"}, _WRITES)


_CARRIED = {
    "carrier": _text("carrier"),
    "service": _text("service"),
    "promised": _instant("promised_at"),
    "destination": _text("destination_country"),
}
VERBS: Mapping[str, Verb] = {
    "customer writes": _message("customer"),
    "agent answers": _message("agent"),
    "agent writes": _message("agent"),
    "automatic reply": _message("automatic"),
    "bot answers": _message("bot"),
    "note": _message("internal"),
    "third party": _message("third_party"),
    "ticket": Verb(
        "thread",
        Ticket,
        {"change": "status"},
        {
            "status": _symbol("ticket", "status"),
            "source status": _text("source_status"),
            "team": _text("team"),
            "assignee": _text("assignee"),
            "priority": _text("priority"),
            "category": _text("category"),
        },
    ),
    "order": Verb(
        "order",
        Order,
        {},
        {
            "status": _symbol("order", "status"),
            "placed": _instant("placed_at"),
            "promised": _instant("promised_at"),
            "destination": _text("destination_country"),
            "region": _text("destination_region"),
            "total": _money("total_minor"),
            "lines": _lines(OrderLine),
        },
    ),
    "shipment": Verb("parcel", Parcel, {"change": "shipment"}, _CARRIED),
    "parcel": Verb(
        "parcel",
        Parcel,
        {"change": "checkpoint"},
        {**_CARRIED, "scan": lambda name, value, at: {"status": read_symbol(value, name, symbols("parcel", "status"))}},
        required="scan",
    ),
    "return": Verb(
        "return",
        Return,
        {"kind": "return"},
        {
            "status": _symbol("return", "status"),
            "kind": _symbol("return", "kind"),
            "reason": _text("reason"),
            "refund": _money("refund_minor"),
            "destination": _text("destination_country"),
            "lines": _lines(ReturnLine),
        },
    ),
    "claim": Verb(
        "claim",
        Claim,
        {"status": "opened"},
        {
            "status": _symbol("claim", "status"),
            "reason": _text("reason"),
            "respond by": _instant("respond_by_at"),
            "amount": _money("amount_minor"),
        },
    ),
    "review": Verb(
        "review",
        Review,
        {},
        {
            "score": _number("score"),
            "out of": _number("score_max"),
            "asked": _instant("asked_at"),
            "sku": _text("sku"),
        },
        required="score",
    ),
    "payment": Verb(
        "payment",
        Payment,
        {"kind": "payment", "method": ""},
        {"kind": _symbol("payment", "kind"), "method": _text("method"), "amount": _money("amount_minor")},
        required="amount",
    ),
}

KINDS = tuple(sorted(ids.RANKS))
OF = {f"of {kind}": kind for kind in KINDS}
"""Whom the thing follows."""
WITH = {f"with {kind}{plural}": kind for kind in KINDS for plural in ("", "s")}
"""Who follows the thing."""
COMMON = ("at", "in", "customer", "account", "marketplace", *OF, *WITH)
SAME = "same as"


# ---- a story


def read_events(value: Value, cast: Cast) -> tuple[Arrival, ...]:
    """The events of a story, in the order in which they are written; names go to `cast`. Raises Refused."""
    items = as_items(value)
    if len(items) > MAX_EVENTS:
        refuse(value, f"{len(items)} events; a scenario has at most {MAX_EVENTS}")
    arrivals: list[Arrival] = []
    for number, item in enumerate(items, 1):
        entries = as_entries(item, "an event")
        fields = {key.text: part for key, part in entries.entries}
        if SAME in fields:
            arrivals.append(_repeat(entries, fields, arrivals))
        else:
            arrivals.append(_read_event(entries, number, arrivals[-1].event.event_at if arrivals else None, cast))
    return tuple(arrivals)


def _repeat(entries: Entries, fields: Mapping[str, Value], arrivals: list[Arrival]) -> Arrival:
    """An event that comes once more, the same in every word."""
    for key, _ in entries.entries:
        if key.text not in (SAME, "in"):
            refuse_unknown(key, f"field beside {SAME!r}", ("in",))
    number = read_number(fields[SAME], SAME)
    if not 1 <= number <= len(arrivals):
        refuse(fields[SAME], f"{SAME} {number}: only events that stand before it can come again (1 to {len(arrivals)})")
    event = arrivals[number - 1].event
    at = read_instant(fields["in"], "in", event.event_at) if "in" in fields else arrivals[-1].at
    return Arrival(msgspec.structs.replace(event, ingested_at=at), at)


def _read_event(entries: Entries, number: int, former: datetime | None, cast: Cast) -> Arrival:
    fields = {key.text: part for key, part in entries.entries}
    named = [key for key, _ in entries.entries if key.text in VERBS]
    if not named:
        first = next((key for key, _ in entries.entries if key.text not in COMMON), None)
        if first is None:
            refuse(entries, f"an event says what happens: one of {', '.join(VERBS)}")
        refuse_unknown(first, "verb", VERBS)
    if len(named) > 1:
        refuse(named[1], f"an event says one thing: {named[0].text!r} or {named[1].text!r}; write two events")
    if "at" not in fields:
        refuse(entries, "an event says when it happens, e.g. at: 2026-03-02 01:30")
    at = read_instant(fields["at"], "at", former)
    arrives = read_instant(fields["in"], "in", at) if "in" in fields else at
    verb = VERBS[named[0].text]
    account = check_name(as_text(fields["account"], "account")).text if "account" in fields else cast.account
    marketplace = as_text(fields["marketplace"], "marketplace").text if "marketplace" in fields else cast.marketplace
    said: dict[str, object] = {
        **verb.fixed,
        "event_id": ids.event_id(account, "scenario", str(number)),
        "event_at": at,
        "ingested_at": arrives,
        "account": account,
        "marketplace": marketplace,
        "sequence": number,
        "about": cast.id_of(as_text(fields[named[0].text], named[0].text), verb.kind),
    }
    if verb.event is Message:
        said["message_id"] = str(number)
    elif verb.event is Review:
        said["review_id"] = cast.name_of(str(said["about"]))
    for key, part in entries.entries:
        if key.text in verb.fields:
            said |= verb.fields[key.text](key.text, part, at)
        elif key.text not in COMMON and key is not named[0]:
            refuse_unknown(key, f"field of {named[0].text!r}", (*verb.fields, *COMMON))
    if verb.required and verb.required not in fields:
        refuse(entries, f"{named[0].text!r} needs {verb.required!r}")
    said |= _relations(entries, cast)
    if verb.event is Ticket and "status" not in fields:
        said["change"] = "assignment"
    event: SourceEvent = verb.event(**said)
    assert isinstance(event, Event)
    return Arrival(event, arrives)


def _relations(entries: Entries, cast: Cast) -> dict[str, object]:
    """Customer, leader and followers that the event names."""
    found: dict[str, object] = {}
    followers: list[str] = []
    for key, value in entries.entries:
        if key.text == "customer":
            found["customer"] = cast.customer(as_text(value, "customer"))
        elif key.text in OF:
            if "leader" in found:
                refuse(key, "a thing follows one other: there is an 'of' already")
            found["leader"] = cast.id_of(as_text(value, key.text), OF[key.text])
        elif key.text in WITH:
            followers += [cast.id_of(as_text(item, key.text), WITH[key.text]) for item in as_items(value)]
    return {**found, "followers": tuple(followers)}
