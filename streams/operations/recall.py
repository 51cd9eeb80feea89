"""Brings archived matters back: their past, as ClickHouse has kept it, goes to casework as an entry of their timeline.

Must not know what is archived: casework takes what it misses, and refuses a past that is not whole.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec

from streams import codec
from streams.agents.casework import encode_past
from streams.clickhouse import connect, refusals
from streams.delivery.task import RECORD_BYTES
from streams.domain.events import ENVELOPE_FIELDS, OrderLine, Recall, RecalledPast, ReturnLine, SourceEvent
from streams.domain.facts import MatterKey, TimerKey, TimerState
from streams.domain.history import add_event
from streams.domain.matter import Past, Stated, compact
from streams.errors import Refused
from streams.settings import Settings

Fields: TypeAlias = Mapping[str, Any]
"""A row by the names of its columns."""

LINES = {"order": OrderLine, "return": ReturnLine}
_EVENTS = {kind.NAME: kind for kind in codec.EVENTS}
_STATES = {"timer": TimerState, **{kind: state for kind, state in codec.STATES.items() if kind != "quarantine"}}
"""By kind of fact. A quarantine is none of an id: it belongs to the place where a matter lies."""


class Kept(NamedTuple):
    """What ClickHouse has of one matter."""

    customer: str
    matter: str
    pasts: Mapping[str, Past]
    """By id, for all ids that belong to it."""


def find(settings: Settings, id: str) -> Kept:
    """What is known of the matter that an id belongs to. Raises Refused for an id that nobody has seen."""
    with refusals(settings), connect(settings) as client:

        def ask(statement: str, **parameters: Any) -> list[Fields]:
            return list(client.query(statement, parameters=parameters).named_results())

        places = ask(
            "SELECT id, customer, matter FROM place FINAL WHERE matter ="
            " (SELECT argMax(matter, revision) FROM place WHERE id = {id:String})",
            id=id,
        )
        if not places:
            raise Refused(f"{id}: nothing of this id is known; `aftersales timeline` takes the same ids")
        ids = [place["id"] for place in places]
        matter = places[0]["matter"]
        happened = ask(
            "SELECT * FROM event FINAL WHERE about IN (SELECT id FROM place FINAL WHERE matter = {matter:String})",
            matter=matter,
        )
        stated = {
            kind: ask(
                "SELECT * FROM {table:Identifier} FINAL"
                " WHERE generation = {generation:String}"
                " AND about IN (SELECT id FROM place FINAL WHERE matter = {matter:String})",
                table=f"{kind}_fact",
                generation=settings.generation,
                matter=matter,
            )
            for kind in _STATES
        }
    return Kept(places[0]["customer"], matter, pasts_of(ids, happened, stated))


def entry_of(kept: Kept, by: str, at: datetime) -> Recall:
    """The entry that gives casework the past of a matter. Raises Refused when it is larger than a record may be."""
    pasts = tuple(RecalledPast(id=id, past=encode_past(past)) for id, past in kept.pasts.items())
    entry = Recall(matter=kept.matter, asked_at=at, by=by, pasts=pasts)
    size = len(codec.encode(entry))
    if size > RECORD_BYTES:
        raise Refused(f"{kept.matter}: its past has {size:,} bytes, more than the {RECORD_BYTES:,} of a record")
    return entry


def pasts_of(ids: Iterable[str], happened: Iterable[Fields], stated: Mapping[str, Iterable[Fields]]) -> dict[str, Past]:
    """What each id has, from rows of the table `event` and, by kind of fact, of the fact tables."""
    events: dict[str, tuple[SourceEvent, ...]] = defaultdict(tuple)
    sizes: dict[str, int] = defaultdict(int)
    for row in happened:
        event = event_of(row)
        events[event.about] = add_event(events[event.about], event)
        sizes[event.about] += len(codec.encode(event))
    said: dict[str, list[Stated]] = defaultdict(list)
    for kind, rows in stated.items():
        for row in rows:
            said[row["about"]].append(statement_of(kind, row))
    return {id: Past(tuple(map(compact, events[id])), sizes[id], tuple(said[id])) for id in ids if id in events}


def event_of(row: Fields) -> SourceEvent:
    """The event of a row of the table `event`."""
    kind = _EVENTS[row["kind"]]
    fields = json.loads(row["body"]) | {name: row[name] for name in ENVELOPE_FIELDS}
    if lines := fields.get("lines"):
        fields["lines"] = [_values(LINES[kind.NAME], line) for line in lines]
    return msgspec.convert([kind.NAME, *_values(kind, fields)], SourceEvent)  # type: ignore[no-any-return]


def statement_of(kind: str, row: Fields) -> Stated:
    """What was stated last of a fact, by a row of the table of its kind."""
    state = _STATES[kind]
    key: TimerKey | MatterKey
    if kind == "timer":
        key = TimerKey(**{name: row[name] for name in TimerKey.__struct_fields__})
    else:
        key = MatterKey(kind=kind, item=row["item"])
    value = msgspec.convert([state.KIND, *_values(state, row)], state)
    return Stated(key, row["revision"], row["withdrawn"], value)


def _values(struct: type[Any], fields: Fields) -> list[Any]:
    """In order; what was stored before there was such a field has its default."""
    return [fields.get(field.name, field.default) for field in msgspec.structs.fields(struct)]
