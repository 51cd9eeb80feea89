"""Rows as the sink encodes them come back from the engine as they were: every column, and the outermost values."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.domain import events
from streams.domain.instants import EARLIEST, LATEST, from_micros
from streams.rows import COLUMNS, TOPICS, Row, row_of
from streams.sink import insert_rows
from tests.clickhouse.made import ask, at, envelope, order, place, timer
from tests.schemas.records import GOOD, SCHEMAS, label, read, write

pytestmark = pytest.mark.engines

STORED = {entry.NAME for entries in TOPICS.values() for entry in entries}
LONG = 2**63 - 1
TEXT = "\x00 \\ ' \" \t\n é 中 😀 " + "x" * 70_000


def stored(client: Any, row: Row) -> dict[str, Any]:
    """What a table holds after one row was inserted."""
    insert_rows(client, row.table, [row.values])
    columns = COLUMNS[row.table]
    # Bytes that are no text would not arrive as such.
    shown = [f"hex({name})" if name == "raw" else name for name in columns]
    (found,) = ask(client, f"SELECT {', '.join(shown)} FROM {row.table}")
    return dict(zip(columns, found, strict=True))


def expected(row: Row) -> dict[str, Any]:
    """The values of a row, instants as instants."""
    return dict(zip(COLUMNS[row.table], row.values, strict=True))


def same(found: Any, value: Any) -> bool:
    if isinstance(found, datetime):
        return found == from_micros(value)
    if isinstance(value, bytes):
        return bool(found == value.hex().upper())
    return bool(found == ([*value] if isinstance(value, tuple) else value))


@pytest.mark.parametrize("path", [path for path in GOOD if path.parent.parent.name in STORED], ids=label)
def test_every_good_record_comes_back_column_by_column(client: Any, path: Any) -> None:
    name = path.parent.parent.name
    row = row_of(codec.decode(write(SCHEMAS[name], read(path))))
    found = stored(client, row)
    assert {name: found[name] for name, value in expected(row).items() if not same(found[name], value)} == {}


@pytest.mark.parametrize(
    "entry",
    [
        order("1", "1900-01-01 00:00", total_minor=LONG, goods_total=Decimal("-999999999999999999.999999")),
        order("1", "2024-05-01 10:00", total_minor=-LONG - 1, freight_total=Decimal("999999999999999999.999999")),
        order("1", "2024-05-01 10:00", buyer=TEXT, destination_country="", goods_total=Decimal("0.000001")),
        timer("thread:desk:1", "first_response", "2024-05-01 10:00", 1e300, "met", explained_by=()),
        timer("thread:desk:1", "first_response", "2024-05-01 10:00", -0.1, "met", explained_by=("a", TEXT, "")),
        place("order:shop-de:1", "", revision=LONG),
        events.MessageText(**envelope("thread:desk:1", "2024-05-01 10:00", event_id="1"), text_of="1", text=TEXT),
    ],
    ids=["least", "most", "text", "large", "negative", "empty", "long text"],
)
def test_the_outermost_values_come_back(client: Any, entry: Any) -> None:
    row = row_of(entry)
    found = stored(client, row)
    assert {name: found[name] for name, value in expected(row).items() if not same(found[name], value)} == {}


@pytest.mark.parametrize("instant", [EARLIEST, EARLIEST + timedelta(microseconds=1), at("1969-12-31 23:59"), LATEST])
def test_instants_of_all_ages_come_back_to_the_microsecond(client: Any, instant: datetime) -> None:
    state = msgspec.structs.replace(order("1", "2024-05-01 10:00").state, placed_at=instant)
    fact = msgspec.structs.replace(order("1", "2024-05-01 10:00"), state=state)
    assert stored(client, row_of(fact))["placed_at"] == instant


def test_raw_bytes_of_a_dead_letter_come_back_byte_for_byte(client: Any) -> None:
    raw = bytes(range(256)) * 300
    letter = events.DeadLetter(
        dead_letter_id="1", reason="r", detail="d", agent="sink", raw_size=len(raw), raw_sha256="", raw=raw
    )
    assert stored(client, row_of(letter))["raw"] == raw.hex().upper()


@pytest.mark.parametrize("count", [1, 20, 3000])
def test_any_number_of_rows_is_stored(client: Any, count: int) -> None:
    rows = [row_of(place(f"order:shop-de:{n}", "customer:shop-de:c")).values for n in range(count)]
    insert_rows(client, "place", rows)
    assert ask(client, "SELECT count(), uniqExact(id) FROM place") == [(count, count)]


def test_a_client_that_compresses_stores_the_same(client: Any) -> None:
    row = row_of(order("1", "2024-05-01 10:00"))
    before, client.write_compression = client.write_compression, "lz4"
    found = stored(client, row)
    client.write_compression = before
    assert {name: found[name] for name, value in expected(row).items() if not same(found[name], value)} == {}
