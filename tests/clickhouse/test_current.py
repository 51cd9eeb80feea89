"""Events once, facts by their highest revision, and the views of what holds now."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.domain import events, facts
from streams.domain.events import ENVELOPE_FIELDS
from tests.clickhouse.made import (
    ask,
    at,
    envelope,
    matter_fact,
    order,
    order_line,
    place,
    record,
    store,
    timer,
)
from tests.schemas.records import GOOD, SCHEMAS, label, read, write

pytestmark = pytest.mark.engines

ORDER = "order:shop-de:1"
CUSTOMER = "customer:shop-de:c"
EVENTS = {event.NAME for event in codec.EVENTS if event is not events.MessageText}


def message(event_at: str, ingested_at: str, **fields: Any) -> events.Message:
    """A message of one thread, the same one whenever it was taken in."""
    return events.Message(
        **envelope("thread:desk:1", event_at, ingested_at=at(ingested_at)), message_id="1", author="customer", **fields
    )


def test_a_repeated_event_stays_as_it_was_first_taken_in(client: Any) -> None:
    first = message("2024-05-01 10:00", "2024-05-01 10:01")
    later = message("2024-05-01 10:00", "2024-05-09 00:00")
    store(client, [later])
    store(client, [first])
    store(client, [later])
    assert ask(client, "SELECT ingested_at FROM event FINAL") == [(at("2024-05-01 10:01"),)]
    client.command("OPTIMIZE TABLE event FINAL")
    assert ask(client, "SELECT ingested_at FROM event") == [(at("2024-05-01 10:01"),)]


def test_the_highest_revision_holds_in_whatever_order_and_how_often_it_comes(client: Any) -> None:
    statements = [
        matter_fact(
            msgspec.structs.replace(order("1", "2024-05-01 10:00").state, status=status), ORDER, revision=number
        )
        for number, status in enumerate(["created", "shipped", "delivered"], start=1)
    ]
    for statement in [statements[2], statements[0], statements[1], statements[0], statements[2]]:
        store(client, [statement])
    assert ask(client, "SELECT about, status, revision FROM current_order") == [(ORDER, "delivered", 3)]


def test_a_withdrawn_fact_is_gone_until_it_is_stated_again(client: Any) -> None:
    fact = order("1", "2024-05-01 10:00")
    store(client, [fact, msgspec.structs.replace(fact, revision=2, withdrawn=True)])
    assert ask(client, "SELECT * FROM current_order") == []
    store(client, [msgspec.structs.replace(fact, revision=3)])
    assert ask(client, "SELECT revision FROM current_order") == [(3,)]


def test_views_read_the_generation_that_the_setting_names(client: Any) -> None:
    state = order("1", "2024-05-01 10:00").state
    store(
        client,
        [
            matter_fact(state, ORDER),
            matter_fact(msgspec.structs.replace(state, status="shipped"), ORDER, generation="g2"),
        ],
    )
    assert ask(client, "SELECT status FROM current_order") == [("delivered",)]
    client.command("INSERT INTO setting (name, value) VALUES ('generation', 'g2')")
    assert ask(client, "SELECT status FROM current_order") == [("shipped",)]


def test_facts_follow_their_id_to_another_customer(client: Any) -> None:
    store(client, [order("1", "2024-05-01 10:00"), place(ORDER, f"provisional:{ORDER}", revision=0)])
    assert ask(client, "SELECT customer, matter FROM current_order") == [(f"provisional:{ORDER}", ORDER)]
    store(client, [place(ORDER, CUSTOMER, revision=1)])
    store(client, [place(ORDER, f"provisional:{ORDER}", revision=0)])
    assert ask(client, "SELECT customer, matter FROM current_order") == [(CUSTOMER, ORDER)]


def test_instants_and_amounts_come_back_to_the_last_digit(client: Any) -> None:
    placed_at = at("2024-05-01 10:00:00.000001")
    total = Decimal("123456789012345678.123456")
    store(client, [order("1", "2024-05-01 10:00:00.000001", goods_total=total, total_minor=2**63 - 1)])
    assert ask(client, "SELECT placed_at, goods_total, total FROM current_order") == [
        (placed_at, total, Decimal("92233720368547758.070000"))
    ]


@pytest.mark.parametrize(("currency", "amount"), [("EUR", "12.34"), ("JPY", "1234"), ("KWD", "1.234")])
def test_minor_units_become_units_of_their_currency(client: Any, currency: str, amount: str) -> None:
    state = facts.PaymentState(
        account="shop-de",
        marketplace="amazon-de",
        kind="payment",
        method="card",
        currency=currency,
        amount_minor=1234,
        paid_at=at("2024-05-01 10:00"),
    )
    store(client, [matter_fact(state, "payment:shop-de:1")])
    assert ask(client, "SELECT amount FROM current_payment") == [(Decimal(amount),)]


@pytest.mark.parametrize("path", [path for path in GOOD if path.parent.parent.name in EVENTS], ids=label)
def test_the_view_of_a_kind_gives_each_field_of_its_events_back(client: Any, path: Any) -> None:
    kind = path.parent.parent.name
    event = codec.decode(write(SCHEMAS[kind], read(path)))
    store(client, [event])
    row = record(client, f"SELECT * FROM {kind}_event")
    for name in event.__struct_fields__:
        if name not in ("lines", "followers"):
            assert row[name] == getattr(event, name), name
    for line in getattr(event, "lines", ()):
        row = record(client, f"SELECT * FROM {kind}_line_event WHERE line_id = {{line:String}}", line=line.line_id)
        assert msgspec.structs.asdict(line).items() <= row.items()
        assert row["currency"] == event.currency


def test_an_event_view_has_the_envelope_in_front(client: Any) -> None:
    for kind in EVENTS:
        columns = [name for name, *_ in ask(client, f"DESCRIBE {kind}_event")]
        assert set(columns) >= set(ENVELOPE_FIELDS) - {"followers"}, kind


def test_a_matter_has_its_ids_events_and_what_is_due_next(client: Any) -> None:
    store(
        client,
        [
            place(ORDER, CUSTOMER),
            place("thread:desk:1", CUSTOMER, ORDER),
            place("thread:desk:2", "customer:shop-de:d"),
            message("2024-05-01 10:00", "2024-05-01 10:00"),
            message("2024-05-03 10:00", "2024-05-03 10:00"),
            timer("thread:desk:1", "first_response", "2024-05-01 10:00", None, "running", due_at="2024-05-01 14:00"),
            timer("thread:desk:1", "resolution", "2024-05-01 10:00", None, "running", due_at="2024-05-03 10:00"),
            timer(ORDER, "delivery", "2024-05-01 10:00", 60.0, "met", due_at="2024-05-01 12:00"),
        ],
    )
    matter = record(client, "SELECT * FROM current_matter WHERE matter = {matter:String}", matter=ORDER)
    assert matter == {
        "matter": ORDER,
        "customer": CUSTOMER,
        "provisional": False,
        "ids": [ORDER, "thread:desk:1"],
        "events": 2,
        "first_event_at": at("2024-05-01 10:00"),
        "last_event_at": at("2024-05-03 10:00"),
        "open_timers": 2,
        "next_due_at": at("2024-05-01 14:00"),
    }
    other = record(client, "SELECT * FROM current_matter WHERE matter != {matter:String}", matter=ORDER)
    assert (other["events"], other["first_event_at"], other["next_due_at"]) == (0, None, None)
    assert ask(client, "SELECT timer, next_due_at FROM current_timer ORDER BY timer") == [
        ("delivery", None),
        ("first_response", at("2024-05-01 14:00")),
        ("resolution", at("2024-05-03 10:00")),
    ]


def test_a_customer_has_spent_what_was_not_cancelled_by_currency(client: Any) -> None:
    store(
        client,
        [
            order("1", "2024-05-01 10:00", goods_total=Decimal("10.100000")),
            order("2", "2024-05-02 10:00", goods_total=Decimal("0.200000")),
            order("3", "2024-05-03 10:00", goods_total=Decimal("5.000000"), currency="SEK"),
            order("4", "2024-05-04 10:00", status="cancelled"),
            *(place(f"order:shop-de:{number}", CUSTOMER) for number in range(1, 5)),
            place("parcel:1", CUSTOMER, ORDER),
        ],
    )
    customer = record(client, "SELECT * FROM current_customer")
    assert (customer["matters"], customer["orders"], customer["cancelled_orders"], customer["parcels"]) == (4, 4, 1, 1)
    assert customer["first_order_at"] == at("2024-05-01 10:00")
    assert customer["last_order_at"] == at("2024-05-04 10:00")
    assert customer["spend"] == {"EUR": Decimal("10.300000"), "SEK": Decimal("5.000000")}


def test_a_customer_without_orders_has_spent_nothing(client: Any) -> None:
    store(client, [place("thread:desk:1", "provisional:thread:desk:1")])
    customer = record(client, "SELECT * FROM current_customer")
    assert (customer["orders"], customer["first_order_at"], customer["spend"]) == (0, None, {})
    assert customer["provisional"] is True


def test_lines_stand_beside_each_other(client: Any) -> None:
    store(client, [order_line("1", "1", "2024-05-01 10:00"), order_line("1", "2", "2024-05-01 10:00", sku="B")])
    assert ask(client, "SELECT about, line_id, sku FROM current_order_line ORDER BY line_id") == [
        (ORDER, "1", "A"),
        (ORDER, "2", "B"),
    ]


def test_a_matter_in_quarantine_is_listed(client: Any) -> None:
    state = facts.QuarantineState(customer=CUSTOMER, reason="fold_failed", detail="KeyError", event_count=3)
    store(client, [matter_fact(state, ORDER), place(ORDER, CUSTOMER)])
    assert ask(client, "SELECT about, customer, reason, event_count FROM quarantine") == [
        (ORDER, CUSTOMER, "fold_failed", 3)
    ]
