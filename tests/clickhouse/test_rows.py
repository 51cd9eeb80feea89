"""Records become rows: pure, without engines."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.clickhouse import MIGRATIONS
from streams.delivery.agent import Record
from streams.domain import events, facts
from streams.domain.instants import to_micros
from streams.errors import BadInput
from streams.rows import COLUMNS, TOPICS, Row, row_of, rows_of
from tests.clickhouse.made import at, envelope, matter_fact, order, order_line, place, timer
from tests.schemas.records import GOOD, SCHEMAS, label, read, write

STORED = {entry.NAME: topic for topic, entries in TOPICS.items() for entry in entries}


def record(topic: str, value: bytes) -> Record:
    """A record of `topic`."""
    return Record(topic, 3, 7, b"key", value)


def cells(row: Row) -> dict[str, Any]:
    """Values by column."""
    return dict(zip(COLUMNS[row.table], row.values, strict=True))


@pytest.mark.parametrize("path", [path for path in GOOD if path.parent.parent.name in STORED], ids=label)
def test_every_good_record_is_one_row_of_its_table(path: Any) -> None:
    name = path.parent.parent.name
    (row,) = rows_of(record(STORED[name], write(SCHEMAS[name], read(path))))
    assert row.table != "dead_letter" or name == "dead_letter"
    assert len(row.values) == len(COLUMNS[row.table])


def test_an_event_keeps_its_envelope_in_columns_and_the_rest_in_its_body() -> None:
    payment = events.Payment(
        **envelope("payment:shop-de:1", "2024-05-01 10:00", leader="order:shop-de:1"),
        kind="payment",
        method="card",
        currency="EUR",
        amount_minor=1999,
    )
    row = cells(row_of(payment))
    assert (row["kind"], row["about"], row["leader"]) == ("payment", "payment:shop-de:1", "order:shop-de:1")
    assert row["event_at"] == to_micros(at("2024-05-01 10:00"))
    assert msgspec.json.decode(row["body"]) == {
        "kind": "payment",
        "method": "card",
        "currency": "EUR",
        "amount_minor": 1999,
        "instalments": None,
    }


def test_a_body_names_fields_of_lines_and_keeps_every_decimal_and_microsecond() -> None:
    line = events.OrderLine(line_id="1", sku="A", quantity=2, unit_price=Decimal("0.100001"))
    event = events.Order(
        **envelope("order:shop-de:1", "2024-05-01 10:00"),
        placed_at=datetime(2024, 5, 1, 9, 59, 59, 999999, tzinfo=UTC),
        lines=(line,),
    )
    body = msgspec.json.decode(cells(row_of(event))["body"])
    assert body["placed_at"] == "2024-05-01T09:59:59.999999Z"
    assert body["lines"][0]["unit_price"] == "0.100001"
    assert body["lines"][0]["seller"] is None


@pytest.mark.parametrize(
    "entry",
    [
        events.Tick(now=at("2024-05-01 10:00")),
        events.Move(step="out", id="parcel:1", number=1, matter="parcel:1"),
    ],
)
def test_an_entry_of_the_timeline_that_is_no_event_is_skipped(entry: Any) -> None:
    assert rows_of(record("timeline", codec.encode(entry))) == []


def test_a_tick_is_skipped_without_reading_its_body() -> None:
    tick = codec.encode(events.Tick(now=at("2024-05-01 10:00")))
    assert rows_of(record("timeline", tick[: codec.HEADER_SIZE])) == []


def test_a_tombstone_of_a_place_is_no_row() -> None:
    assert rows_of(record("place", b"")) == []
    assert rows_of(record("timeline", b"")) != []


def test_a_record_that_cannot_be_read_becomes_a_dead_letter_that_names_its_origin() -> None:
    (row,) = rows_of(record("matter_fact", b"\xffnonsense"))
    letter = cells(row)
    assert row.table == "dead_letter"
    assert (letter["reason"], letter["agent"], letter["raw"]) == ("not_avro", "sink", b"\xffnonsense")
    assert (letter["origin_topic"], letter["origin_partition"], letter["origin_offset"]) == ("matter_fact", 3, 7)


def test_the_same_unreadable_record_is_the_same_dead_letter() -> None:
    assert rows_of(record("place", b"?")) == rows_of(record("place", b"?"))


def test_a_record_on_a_topic_where_it_does_not_belong_is_a_dead_letter() -> None:
    (row,) = rows_of(record("place", codec.encode(order("1", "2024-05-01 10:00"))))
    assert cells(row)["reason"] == "wrong_topic"


@pytest.mark.parametrize(
    "fact",
    [
        order("1", "2300-01-01 00:00"),
        order("1", "1899-12-31 23:59"),
        order_line("1", "1", "2024-05-01 10:00", quantity=10**12),
    ],
    ids=["too late", "too early", "too many"],
)
def test_a_value_that_its_column_cannot_hold_is_a_dead_letter(fact: facts.MatterFact) -> None:
    with pytest.raises(BadInput, match="out_of_range"):
        row_of(fact)
    (row,) = rows_of(record("matter_fact", codec.encode(fact)))
    assert cells(row)["reason"] == "out_of_range"


def test_an_amount_of_more_digits_than_its_schema_has_is_not_written() -> None:
    codec.encode(order("1", "2024-05-01 10:00", goods_total=Decimal(10**18 - 1)))
    with pytest.raises(ValueError, match="no decimal of 24 digits"):
        codec.encode(order("1", "2024-05-01 10:00", goods_total=Decimal(10**18)))


def test_a_line_in_a_body_is_held_to_the_same_range() -> None:
    line = events.OrderLine(line_id="1", sku="A", quantity=10**12, unit_price=Decimal(1))
    with pytest.raises(BadInput, match="out_of_range"):
        row_of(events.Order(**envelope("order:shop-de:1", "2024-05-01 10:00"), lines=(line,)))


def test_facts_carry_key_statement_and_state() -> None:
    row = cells(row_of(order_line("1", "2", "2024-05-01 10:00", sku="B")))
    assert (row["generation"], row["about"], row["item"], row["revision"]) == ("g1", "order:shop-de:1", "2", 1)
    assert (row["withdrawn"], row["cause"], row["sku"]) == (False, "events", "B")
    row = cells(row_of(timer("thread:desk:1", "first_response", "2024-05-01 10:00", None, "running")))
    assert (row["case_id"], row["timer"], row["level"], row["explained_by"]) == (
        "thread:desk:1",
        "first_response",
        "result",
        (),
    )


def test_what_no_table_holds_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no table holds"):
        row_of(events.Tick(now=at("2024-05-01 10:00")))


def test_the_generation_of_a_fact_is_stored() -> None:
    state = order("1", "2024-05-01 10:00").state
    assert cells(row_of(matter_fact(state, "order:shop-de:1", generation="g2")))["generation"] == "g2"
    assert cells(row_of(place("order:shop-de:1", "customer:shop-de:c")))["customer"] == "customer:shop-de:c"


def test_migrations_are_numbered_without_holes_and_may_be_repeated() -> None:
    files = sorted(MIGRATIONS.glob("*.sql"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        for create in re.findall(r"^CREATE .*", file.read_text(), re.MULTILINE):
            assert re.match(r"CREATE ((TABLE|VIEW) IF NOT EXISTS|OR REPLACE VIEW) ", create), create
