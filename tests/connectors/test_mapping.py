"""What a declared mapping makes of rows."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.core import customer_id
from connectors.files import plan_import
from streams.domain.events import Order, OrderLine
from tests.connectors.shop import GOOD, HEADER, ORDERS, SECRET, imported, read_step, reasons, write_file, write_manifest


def value_of(tmp_path: Path, expression: Any, columns: str, row: str, field: str = "buyer") -> Any:
    """What one field of an order becomes; a BadInput's reason if the row is bad."""
    manifest = {
        "account": "shop",
        "files": [
            {
                "file": "orders.csv",
                "events": [
                    {
                        "event": "order",
                        "event_id": [{"row": "number"}],
                        "about": {"constant": "order:shop:1"},
                        "event_at": {"constant": "2026-03-02"},
                        "fields": {field: expression},
                    }
                ],
            }
        ],
    }
    events, dead = imported(tmp_path, f"{columns}\n{row}\n", yaml.safe_dump(manifest))
    return getattr(events[0], field) if events else dead[0].reason


def test_a_row_becomes_the_event_that_is_declared(tmp_path: Path) -> None:
    (event,), _ = imported(tmp_path, HEADER + GOOD)
    assert isinstance(event, Order)
    assert (event.account, event.marketplace, event.about) == ("shop", "shop-de", "order:shop:1")
    assert event.event_at == datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
    assert event.customer == customer_id(SECRET, "shop", "ann@example.com")
    assert (event.status, event.currency, event.total_minor) == ("created", "EUR", 1250)


@pytest.mark.parametrize(
    ("expression", "row", "value"),
    [
        ("a", "x,y", "x"),
        ("a", ",y", None),
        ({"column": "a"}, "x,y", "x"),
        ({"constant": "z"}, "x,y", "z"),
        ("{a}:{b}", "x,y", "x:y"),
        ("{a}:{b}", "x,", None),
        ("p-{a}", "x,y", "p-x"),
        ({"format": "p-{a}"}, "x,y", "p-x"),
        ({"first": ["a", "b"]}, ",y", "y"),
        ({"first": ["a", "b"]}, ",", None),
        ({"map": "a", "to": {"x": "one"}}, "x,y", "one"),
        ({"map": "a", "to": {"x": "one"}}, ",y", None),
        ({"map": "a", "to": {"x": "one"}}, "z,y", "unknown_value"),
        ({"map": "a", "to": {"x": "one"}, "otherwise": "other"}, "z,y", "other"),
        ({"map": "a", "to": {"x": "one"}, "otherwise": None}, "z,y", None),
        ({"if": {"value": "a", "equals": "x"}, "then": "b"}, "x,y", "y"),
        ({"if": {"value": "a", "equals": "x"}, "then": "b"}, "z,y", None),
        ({"if": {"value": "a", "equals": "x"}, "then": "b", "else": "a"}, "z,y", "z"),
    ],
)
def test_texts(tmp_path: Path, expression: Any, row: str, value: str | None) -> None:
    assert value_of(tmp_path, expression, "a,b", row) == value


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"value": "a", "present": True}, True),
        ({"value": "c", "present": False}, True),
        ({"value": "a", "equals": "y"}, False),
        ({"value": "a", "in": ["w", "x"]}, True),
        ({"value": "a", "not_in": ["w", "x"]}, False),
        ({"value": "a", "starts_with": "x"}, True),
        ({"value": "a", "same_as": "b"}, False),
        ({"not": {"value": "a", "same_as": "b"}}, True),
        ({"all": [{"value": "a", "present": True}, {"value": "c", "present": True}]}, False),
        ({"any": [{"value": "a", "present": True}, {"value": "c", "present": True}]}, True),
    ],
)
def test_conditions(tmp_path: Path, condition: Any, holds: bool) -> None:
    expression = {"if": condition, "then": {"constant": "yes"}, "else": {"constant": "no"}}
    assert value_of(tmp_path, expression, "a,b,c", "x,y,") == ("yes" if holds else "no")


@pytest.mark.parametrize(
    ("expression", "row", "value"),
    [
        ("a", "2026-03-02 01:30,", datetime(2026, 3, 2, 1, 30, tzinfo=UTC)),
        ("a", "2026-03-02T01:30:00.5+02:00,", datetime(2026, 3, 1, 23, 30, 0, 500_000, tzinfo=UTC)),
        ({"time": "a", "form": "%d.%m.%Y %H:%M"}, "02.03.2026 01:30,", datetime(2026, 3, 2, 1, 30, tzinfo=UTC)),
        ({"time": "a", "form": "%d.%m.%Y"}, "31.02.2026,", "wrong_time"),
        ({"max": ["a", "b"]}, "2026-03-02,2026-03-03", datetime(2026, 3, 3, tzinfo=UTC)),
        ({"min": ["a", "b"]}, "2026-03-02,2026-03-03", datetime(2026, 3, 2, tzinfo=UTC)),
        ({"max": ["a", "b"]}, "2026-03-02,", datetime(2026, 3, 2, tzinfo=UTC)),
        ({"max": ["a", "b"]}, ",", None),
        ({"max": ["a", "b"]}, "2026-03-02,soon", "wrong_time"),
    ],
)
def test_instants(tmp_path: Path, expression: Any, row: str, value: Any) -> None:
    assert value_of(tmp_path, expression, "a,b", row, "promised_at") == value


@pytest.mark.parametrize(
    ("expression", "row", "value"),
    [
        ("a", "12,EUR", 12),
        ({"integer": "a", "times": -2, "plus": 1}, "12,EUR", -23),
        ({"integer": "a"}, ",EUR", None),
        ({"minor": "a", "currency": "b"}, "12,EUR", 1200),
        ({"minor": "a", "currency": "b"}, "12,JPY", 12),
        ({"minor": "a", "currency": "b"}, "12.125,BHD", 12125),
        ({"minor": "a", "currency": "b"}, "12.5,JPY", "wrong_number"),
        ({"minor": "a", "currency": "b"}, "12,ECU", "unknown_currency"),
        ({"row": "number"}, "12,EUR", 1),
        ("a", "1.5,EUR", "wrong_number"),
    ],
)
def test_whole_numbers(tmp_path: Path, expression: Any, row: str, value: Any) -> None:
    assert value_of(tmp_path, expression, "a,b", row, "total_minor") == value


def test_instants_without_a_zone_are_of_the_manifest_s(tmp_path: Path) -> None:
    (event,), _ = imported(tmp_path, HEADER + GOOD, "time_zone: Asia/Shanghai\n" + ORDERS)
    assert event.event_at == datetime(2026, 3, 1, 17, 30, tzinfo=UTC)


def test_words_for_nothing_are_declared_per_file(tmp_path: Path) -> None:
    manifest = ORDERS.replace("    events:", '    empty: ["?"]\n    events:')
    (event,), _ = imported(tmp_path, HEADER + GOOD.replace("ann@example.com", "?"), manifest)
    assert event.customer is None


LINES = """
account: shop
files:
  - file: orders.csv
    events:
      - event: order
        event_id: content
        about: "order:shop:{id}"
        event_at: at
        fields:
          lines: [{line_id: {row: content}, sku: sku, quantity: pieces, unit_price: price}]
"""


def test_exact_duplicate_lines_of_a_file_without_ids_are_events_of_their_own(tmp_path: Path) -> None:
    rows = "id,at,sku,pieces,price\n" + "1,2026-03-02,A,2,0.125\n" * 3 + "1,2026-03-02,B,-1,-3\n"
    events, _ = imported(tmp_path, rows, LINES)
    assert len({event.event_id for event in events}) == 4
    line = events[0].lines[0]
    assert line == OrderLine(line_id=line.line_id, sku="A", quantity=2, unit_price=Decimal("0.125"))
    assert [event.event_id for event in imported(tmp_path, rows, LINES)[0]] == [event.event_id for event in events]


MESSAGES = """
account: shop
files:
  - file: orders.csv
    events:
      - event: message
        event_id: [id]
        about: "thread:shop:{id}"
        leader: "order:shop:{order}"
        event_at: at
        text: words
        subject: topic
        fields: {message_id: id, author: {constant: customer}}
"""


def test_a_text_goes_beside_its_message_and_never_into_it(tmp_path: Path) -> None:
    rows = "id,order,at,topic,words\n1,7,2026-03-02,Late,Where is it?\n2,,2026-03-02,,\n"
    events, _ = imported(tmp_path, rows, MESSAGES)
    assert [event.NAME for event in events] == ["message", "message_text", "message"]
    message, text, silent = events
    assert (text.text_of, text.about, text.text, text.subject) == (
        message.event_id,
        message.about,
        "Where is it?",
        "Late",
    )
    assert text.event_id != message.event_id
    assert "Where" not in repr(message)
    assert (message.leader, silent.leader) == ("order:shop:7", None)


def test_an_id_can_t_follow_one_of_a_lower_kind(tmp_path: Path) -> None:
    _, dead = imported(tmp_path, "id,order,at,topic,words\n1,7,2026-03-02,,\n", MESSAGES.replace("order:", "claim:"))
    assert reasons(dead) == [("wrong_id", 2)]


def test_a_row_without_any_part_of_its_id_is_a_dead_letter(tmp_path: Path) -> None:
    manifest = ORDERS.replace("order:shop:{id}", "order:shop:{total}")
    events, dead = imported(tmp_path, HEADER + GOOD.replace("1,", ",", 1), manifest)
    assert (events, reasons(dead)) == ([], [("missing_value", 2)])
    assert "order.event_id: all its columns are empty" in dead[0].detail


def test_a_row_whose_record_would_be_too_large_is_a_dead_letter(tmp_path: Path) -> None:
    big = "ж" * 255_000
    rows = f"id,order,at,topic,words\n1,7,2026-03-02,{big},{big}\n"
    events, dead = imported(tmp_path, rows, MESSAGES)
    assert (events, reasons(dead)) == ([], [("record_too_large", 2)])


LOOKUP = """
account: shop
lookups:
  first:
    file: orders.csv
    key: id
    where: {not: {value: state, equals: new}}
    order: [{time: at}, {integer: total}]
    columns: [total]
  people: {file: people.csv, key: name, required: REQUIRED}
files:
  - file: orders.csv
    join: {first: id, people: who}
    events:
      - event: order
        event_id: [id, total]
        about: "order:shop:{id}"
        event_at: at
        fields:
          buyer: people.code
          status: {if: {value: total, same_as: first.total}, then: {constant: shipped}}
"""


def lookup_import(tmp_path: Path, rows: str, *, required: bool) -> tuple[list[Any], list[Any]]:
    write_file(tmp_path, "name,code\nann,A\nann,B\n", "people.csv")
    write_file(tmp_path, "id,at,who,state,total\n" + rows)
    manifest = write_manifest(tmp_path, LOOKUP.replace("REQUIRED", "true" if required else "false"))
    events, dead, _ = read_step(plan_import(manifest, tmp_path, lambda: SECRET).steps[0])
    return events, dead


def test_a_look_up_gives_the_first_row_of_its_key_in_its_order(tmp_path: Path) -> None:
    rows = ["1,2026-03-01,ann,new,1", "1,2026-03-02,ann,open,10", "1,2026-03-02,ann,open,9", "1,2026-03-03,ann,open,2"]
    for order in (rows, rows[::-1]):
        events, _ = lookup_import(tmp_path, "\n".join(order), required=False)
        assert [event.event_at.day for event in events if event.status == "shipped"] == [2]
        assert len({event.event_id for event in events}) == 4
        assert {event.buyer for event in events} == {"A"}


def test_a_key_that_is_not_found_gives_empty_columns_unless_it_is_required(tmp_path: Path) -> None:
    row = "1,2026-03-01,bob,new,1"
    (event,), _ = lookup_import(tmp_path, row, required=False)
    assert event.buyer is None
    events, dead = lookup_import(tmp_path, row, required=True)
    assert (events, reasons(dead)) == ([], [("missing_lookup", 2)])
    assert "the look-up people has no row for 'bob'" in dead[0].detail


@pytest.mark.parametrize("text", ["1899-12-31", "2300-01-01", "0001-01-01", "9999-12-31T23:59:59"])
def test_an_instant_that_no_table_holds_is_a_bad_row_in_whatever_field(tmp_path: Path, text: str) -> None:
    events, dead = imported(tmp_path, f"{HEADER}2,{text},ann,new,1\n{GOOD}")
    assert (len(events), reasons(dead)) == (1, [("out_of_range", 2)])
    assert "order.event_at" in dead[0].detail
    for expression in ("a", {"time": "a"}, {"max": ["a", "b"]}):
        assert value_of(tmp_path, expression, "a,b", f"{text},", "promised_at") == "out_of_range"


def test_a_promise_may_lie_in_the_future(tmp_path: Path) -> None:
    assert value_of(tmp_path, "a", "a,b", "2299-12-30,", "promised_at") == datetime(2299, 12, 30, tzinfo=UTC)
