"""`timeline CUSTOMER|ID`: all that is known, in order, with the facts drawn from it."""

import json
from collections.abc import Sequence
from typing import Any

from streams.cli.query import ask, print_table, text
from streams.cli.screen import on_one_line
from streams.errors import Refused
from streams.settings import Settings

HIDDEN = frozenset({"message_id", "lines"})
"""Fields of events that say nothing to a reader of the page, or too much."""
MAX_EVENTS = 500

FACTS = {
    "current_order": "status, placed_at, promised_at, delivered_at, line_count, goods_total, currency",
    "current_parcel": "status, carrier, shipped_at, delivered_at, scan_count",
    "current_return": "kind, status, reason, requested_at, refunded_at, refund_minor, currency",
    "current_case": "status, opened_at, first_response_at, resolved_at, reopen_count",
    "current_claim": "status, reason, opened_at, respond_by_at, decided_at",
    "current_review": "score, score_max, reviewed_at",
    "current_payment": "kind, method, amount_minor, currency, paid_at",
}
"""What is shown of each current-state view."""


def show(settings: Settings, id: str) -> int:
    """Print the timeline of a customer, or of the matter that an id belongs to. Raises Refused for an unknown id."""
    _, places = ask(
        settings,
        "SELECT id, customer, matter FROM current_place WHERE customer = {id:String} OR id = {id:String} OR matter ="
        " {id:String} ORDER BY matter, id",
        {"id": id},
    )
    if not places:
        raise Refused(f"nothing is known about {id!r}: an id is written with its kind, such as order:amazon-de:302-1")
    if not id.startswith(("customer:", "provisional:")):
        # An id is shown with all that belongs to its matter.
        matter = next(place[2] for place in places if id in (place[0], place[2]))
        _, places = ask(
            settings,
            "SELECT id, customer, matter FROM current_place WHERE matter = {matter:String} ORDER BY id",
            {"matter": matter},
        )
    _show_places(places)
    ids = [place[0] for place in places]
    _show_events(settings, ids)
    _show_facts(settings, ids)
    return 0


def _show_places(places: Sequence[Sequence[str]]) -> None:
    customers = sorted({place[1] for place in places})
    print("customer", on_one_line(", ".join(customers)))
    for matter in sorted({place[2] for place in places}):
        print("  matter", on_one_line(matter))
        for about, _, head in places:
            if head == matter and about != matter:
                print("    -", on_one_line(about))


def _show_events(settings: Settings, ids: Sequence[str]) -> None:
    _, rows = ask(
        settings,
        "SELECT event_at, ingested_at, kind, about, body FROM event FINAL WHERE about IN {ids:Array(String)}"
        " ORDER BY event_at, sequence, event_id LIMIT {limit:UInt32}",
        {"ids": list(ids), "limit": MAX_EVENTS},
    )
    print_table(
        ("event at", "heard\nafter", "kind", "about", "says"),
        [(at, _delay((heard - at).total_seconds()), kind, about, _says(body)) for at, heard, kind, about, body in rows],
        title=f"{len(rows)} events",
        whole=3,
    )


def _delay(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def _says(body: str) -> str:
    fields: dict[str, Any] = json.loads(body)
    said = {
        name: value
        for name, value in fields.items()
        if name not in HIDDEN and value is not False and value not in (None, "", [])
    }
    shown = [f"{name}={value}" for name, value in said.items()]
    if lines := fields.get("lines"):
        shown.append(f"{len(lines)} line{'s' if len(lines) > 1 else ''}")
    return ", ".join(shown)


def _show_facts(settings: Settings, ids: Sequence[str]) -> None:
    rows = []
    for view, columns in FACTS.items():
        names, found = ask(
            settings,
            f"SELECT about, revision, {columns} FROM {view} WHERE about IN {{ids:Array(String)}} ORDER BY about",  # noqa: S608
            {"ids": list(ids)},
        )
        for about, revision, *values in found:
            said = [f"{n}={text(v)}" for n, v in zip(names[2:], values, strict=True) if v not in (None, "")]
            rows.append((view.removeprefix("current_"), about, revision, ", ".join(said)))
    _, timers = ask(
        settings,
        "SELECT timer, case_id, revision, result, started_at, due_at, stopped_at FROM current_timer"
        " WHERE about IN {ids:Array(String)} ORDER BY started_at, timer",
        {"ids": list(ids)},
    )
    for timer, case_id, revision, result, started, due, stopped in timers:
        said = [
            f"started={text(started)}",
            f"due={text(due)}" if due else "",
            f"stopped={text(stopped)}" if stopped else "",
        ]
        rows.append((f"timer {timer}", case_id, revision, f"{result}: " + ", ".join(filter(None, said))))
    print_table(("fact", "of", "revision", "says"), rows, title=f"{len(rows)} facts", whole=1)
