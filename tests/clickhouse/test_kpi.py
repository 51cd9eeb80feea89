"""KPI views against small data whose figures are computed by hand in the test."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy
import pytest

from streams.domain import events, facts
from streams.kpi import Figures, kpi_overview
from tests.clickhouse.made import ask, at, envelope, matter_fact, order, order_line, place, record, store, timer

pytestmark = pytest.mark.engines

CUSTOMER = "customer:shop-de:c"


def kpi(client: Any, view: str, dimension: str = "all", value: str = "all", month: str = "all") -> dict[str, Any]:
    """The one row of a KPI view."""
    return record(
        client,
        f"SELECT * FROM {view} WHERE dimension = {{dimension:String}} AND value = {{value:String}}"
        " AND month = {month:String}",
        dimension=dimension,
        value=value,
        month=month,
    )


def review(
    number: str, score: int, of_order: str | None, reviewed_at: str = "2024-06-01 10:00", **fields: Any
) -> list[Any]:
    """A review and its place."""
    about = f"review:shop-de:{number}"
    state = facts.ReviewState(
        account="shop-de",
        marketplace="amazon-de",
        review_id=number,
        score=score,
        has_text=False,
        reviewed_at=at(reviewed_at),
        **{"score_max": 5, **fields},
    )
    return [matter_fact(state, about), place(about, CUSTOMER, of_order and f"order:shop-de:{of_order}")]


def returned(number: str, kind: str, **fields: Any) -> facts.MatterFact:
    """A fact of a return."""
    state: dict[str, Any] = {
        "account": "shop-de",
        "marketplace": "amazon-de",
        "status": "received",
        "requested_at": at("2024-06-01 00:00"),
        "currency": "EUR",
        "line_count": 1,
        "goods_total": Decimal("10.000000"),
        **fields,
    }
    return matter_fact(facts.ReturnState(kind=kind, **state), f"return:shop-de:{number}")


def return_line(number: str, line_id: str, line_at: str, **fields: Any) -> facts.MatterFact:
    """A fact of a line of a return."""
    state: dict[str, Any] = {
        "account": "shop-de",
        "marketplace": "amazon-de",
        "sku": "A",
        "quantity": 1,
        "unit_price": Decimal("10.000000"),
        "line_at": at(line_at),
        **fields,
    }
    return matter_fact(facts.ReturnLineState(**state), f"return:shop-de:{number}", line_id)


def test_every_kpi_view_is_found_by_its_name_and_empty_without_data(client: Any) -> None:
    views = {name for (name,) in ask(client, "SHOW TABLES LIKE 'kpi_%'")}
    assert views == {
        "kpi_cancellation_match",
        "kpi_delivery",
        "kpi_first_response",
        "kpi_orders",
        "kpi_payments",
        "kpi_provisional",
        "kpi_resolution",
        "kpi_return_rate",
        "kpi_returns",
        "kpi_reviews",
    }
    for view in views:
        assert ask(client, f"SELECT * FROM {view}") == []


def test_late_is_after_the_promised_instant_and_late_day_after_its_day(client: Any) -> None:
    promised = {"promised_at": "2024-05-05 00:00"}
    store(
        client,
        [
            order("early", "2024-05-01 00:00", delivered_at="2024-05-03 00:00", **promised),
            order("to the instant", "2024-05-01 00:00", delivered_at="2024-05-05 00:00", **promised),
            order("same day", "2024-05-01 00:00", delivered_at="2024-05-05 18:00", **promised),
            order("next day", "2024-05-01 00:00", delivered_at="2024-05-06 00:00", **promised),
            order("no promise", "2024-05-01 00:00", delivered_at="2024-05-30 00:00"),
            order("cancelled", "2024-05-01 00:00", "cancelled", delivered_at="2024-05-30 00:00", **promised),
            order("under way", "2024-05-01 00:00", "shipped", **promised),
        ],
    )
    row = kpi(client, "kpi_delivery")
    assert (row["orders"], row["delivered"]) == (7, 5)
    assert (row["late"], row["late_share"]) == (2, 2 / 4)
    assert (row["late_day"], row["late_day_share"]) == (1, 1 / 4)


def test_percentiles_interpolate_between_the_two_nearest_values(client: Any) -> None:
    days = [1.0, 2.5, 4.0, 11.25, 30.0]
    start = at("2024-05-01 00:00")
    ends = [(start + timedelta(days=taken)).strftime("%Y-%m-%d %H:%M") for taken in days]
    store(client, [order(str(number), "2024-05-01 00:00", delivered_at=end) for number, end in enumerate(ends)])
    row = kpi(client, "kpi_delivery")
    for percentile in (50, 90, 95, 99):
        assert row[f"days_taken_p{percentile}"] == pytest.approx(numpy.percentile(days, percentile))
    assert row["days_taken_mean"] == pytest.approx(sum(days) / 5)
    assert row["days_promised_p50"] is None


def test_the_way_to_the_customer_is_measured_in_its_parts(client: Any) -> None:
    store(
        client,
        [
            order(
                "1",
                "2024-05-01 00:00",
                approved_at="2024-05-01 06:00",
                shipped_at="2024-05-03 00:00",
                delivered_at="2024-05-06 00:00",
            ),
            order_line("1", "1", "2024-05-01 00:00", ship_by_at="2024-05-01 12:00"),
            order_line("1", "2", "2024-05-01 00:00", ship_by_at="2024-05-02 12:00"),
            order("2", "2024-05-01 00:00", shipped_at="2024-05-02 00:00"),
            order_line("2", "1", "2024-05-01 00:00", ship_by_at="2024-05-02 00:00"),
            order("3", "2024-05-01 00:00", shipped_at="2024-05-09 00:00"),
        ],
    )
    row = kpi(client, "kpi_delivery")
    assert (row["hours_to_approval_p50"], row["days_to_carrier_p50"], row["days_in_transit_p50"]) == (6, 2, 3)
    assert (row["handed_over"], row["handed_over_late"], row["handed_over_late_share"]) == (2, 1, 0.5)


def test_an_order_counts_once_for_each_seller_and_category_of_its_lines(client: Any) -> None:
    store(
        client,
        [
            order("1", "2024-05-01 00:00", line_count=3, goods_total=Decimal("30.000000")),
            order_line("1", "1", "2024-05-01 00:00", seller="S", category="toys"),
            order_line("1", "2", "2024-05-01 00:00", seller="S"),
            order_line("1", "3", "2024-05-01 00:00", seller="T", category="toys"),
            order("2", "2024-06-01 00:00"),
        ],
    )
    rows = ask(
        client,
        "SELECT dimension, value, orders, lines, goods_total FROM kpi_orders"
        " WHERE dimension IN ('all', 'category', 'seller') AND month = 'all' ORDER BY ALL",
    )
    assert rows == [
        ("all", "all", 2, 4, Decimal(40)),
        ("category", "toys", 1, 2, Decimal(20)),
        ("category", "unknown", 1, 1, Decimal(10)),
        ("seller", "S", 1, 2, Decimal(20)),
        ("seller", "T", 1, 1, Decimal(10)),
    ]
    assert kpi(client, "kpi_orders", month="2024-05")["orders"] == 1
    assert kpi(client, "kpi_orders", "seller", "S", "2024-05")["orders"] == 1
    assert kpi(client, "kpi_orders", "destination", "DE")["orders"] == 2
    assert kpi(client, "kpi_orders", "region", "unknown")["orders"] == 2


def test_amounts_of_two_currencies_are_two_rows(client: Any) -> None:
    store(client, [order("1", "2024-05-01 00:00"), order("2", "2024-05-01 00:00", currency="SEK")])
    rows = ask(
        client,
        "SELECT currency, goods_total FROM kpi_orders WHERE dimension = 'all' AND month = 'all' ORDER BY currency",
    )
    assert rows == [("EUR", Decimal(10)), ("SEK", Decimal(10))]


def test_low_reviews_are_told_apart_by_what_became_of_the_delivery(client: Any) -> None:
    promised = {"promised_at": "2024-05-05 00:00"}
    store(
        client,
        [
            order("on time", "2024-05-01 00:00", delivered_at="2024-05-05 00:00", **promised),
            order("late", "2024-05-01 00:00", delivered_at="2024-05-06 00:00", **promised),
            order("lost", "2024-05-01 00:00", "shipped", **promised),
            order_line("late", "1", "2024-05-01 00:00", category="toys", seller="S"),
            order_line("late", "2", "2024-05-01 00:00", category="toys", seller="T"),
            *review("1", 5, "on time"),
            *review("2", 2, "on time"),
            *review("3", 1, "late", asked_at=at("2024-06-01 00:00")),
            *review("4", 3, "lost", "2024-07-01 00:00"),
            *review("5", 4, None, score_max=10),
            *review("6", 5, "late", seller="T"),
        ],
    )
    row = kpi(client, "kpi_reviews")
    assert (row["reviews"], row["low"], row["low_share"]) == (6, 3, 0.5)
    assert row["answer_hours_p50"] == 10
    rows = ask(
        client,
        "SELECT dimension, value, reviews, low FROM kpi_reviews"
        " WHERE dimension IN ('delivery', 'category', 'seller') AND month = 'all' ORDER BY ALL",
    )
    assert rows == [
        ("category", "toys", 2, 1),
        ("delivery", "late", 2, 1),
        ("delivery", "not_delivered", 1, 0),
        ("delivery", "on_time", 2, 1),
        ("delivery", "unknown", 1, 1),
        ("seller", "S", 1, 1),
        ("seller", "T", 2, 1),
    ]
    assert kpi(client, "kpi_reviews", month="2024-07")["reviews"] == 1


def case(thread: str, **fields: Any) -> facts.MatterFact:
    """A fact of a case."""
    state: dict[str, Any] = {
        "account": "desk",
        "marketplace": "",
        "channel": "email",
        "status": "open",
        "opened_at": at("2024-05-01 10:00"),
        "opened_by": "customer",
        "reopen_count": 0,
        "customer_message_count": 1,
        "agent_message_count": 0,
        "last_event_at": at("2024-05-01 10:00"),
        **fields,
    }
    return matter_fact(facts.CaseState(**state), thread, thread)


def test_first_responses_are_measured_over_those_that_were_given(client: Any) -> None:
    start, stop = "2024-05-01 10:00", {"stopped_at": "2024-05-01 11:00"}
    store(
        client,
        [
            timer("thread:desk:1", "first_response", start, 3600.0, "met", **stop),
            timer("thread:desk:2", "first_response", start, 14400.0, "met", **stop),
            timer("thread:desk:3", "first_response", start, 18000.0, "breached", **stop),
            timer("thread:desk:4", "first_response", start, None, "breached"),
            timer("thread:desk:5", "first_response", start, None, "running"),
            timer("thread:desk:6", "first_response", start, None, "not_applicable"),
            timer("thread:desk:1", "resolution", start, 7200.0, "met", **stop),
            case("thread:desk:1", team="refunds", reopen_count=2),
            case("thread:desk:2"),
        ],
    )
    row = kpi(client, "kpi_first_response")
    assert (row["cases"], row["answered"], row["running"]) == (5, 3, 1)
    assert (row["hours_p50"], row["hours_p90"]) == (4.0, pytest.approx(numpy.percentile([1, 4, 5], 90)))
    assert (row["within_target"], row["breached"], row["within_target_share"]) == (2, 2, 0.5)
    assert (row["within_4h"], row["within_4h_share"]) == (2, pytest.approx(2 / 3))
    assert kpi(client, "kpi_first_response", "team", "refunds")["cases"] == 1
    assert kpi(client, "kpi_first_response", "channel", "email")["cases"] == 2
    row = kpi(client, "kpi_resolution")
    assert (row["cases"], row["resolved"], row["hours_p50"], row["reopened"]) == (1, 1, 2.0, 1)


def test_returns_and_cancellations_are_counted_apart(client: Any) -> None:
    store(
        client,
        [
            returned("1", "return", refunded_at=at("2024-06-03 00:00"), line_count=2, goods_total=Decimal("30.000000")),
            return_line("1", "1", "2024-06-01 00:00", category="toys", quantity=2),
            return_line("1", "2", "2024-06-01 00:00"),
            returned("2", "exchange"),
            returned("3", "cancellation"),
        ],
    )
    row = kpi(client, "kpi_returns")
    assert (row["returns"], row["cancellations"], row["lines"], row["quantity"]) == (2, 1, 2, 3)
    assert (row["goods_total"], row["refunded"], row["days_to_refund_p50"]) == (Decimal(30), 1, 2.0)
    row = kpi(client, "kpi_returns", "category", "toys")
    assert (row["returns"], row["lines"], row["quantity"], row["goods_total"]) == (1, 1, 2, Decimal(20))


def test_the_return_rate_is_pieces_back_by_pieces_sold(client: Any) -> None:
    store(
        client,
        [
            order_line("1", "1", "2024-05-01 00:00", quantity=8),
            order_line("1", "2", "2024-05-01 00:00", quantity=-3),
            order_line("2", "1", "2024-06-01 00:00", sku="B", quantity=5),
            return_line("1", "1", "2024-06-01 00:00", quantity=2),
        ],
    )
    row = kpi(client, "kpi_return_rate", "sku", "A")
    assert (row["sold"], row["returned"], row["return_rate"]) == (8, 2, 0.25)
    assert kpi(client, "kpi_return_rate", "sku", "B")["return_rate"] == 0
    assert kpi(client, "kpi_return_rate", "sku", "A", "2024-06")["return_rate"] is None
    assert kpi(client, "kpi_return_rate")["sold"] == 13


def test_payments_and_refunds_are_summed_by_means_of_payment(client: Any) -> None:
    def paid(number: int, kind: str, method: str, amount_minor: int) -> facts.MatterFact:
        state = facts.PaymentState(
            account="shop-de",
            marketplace="amazon-de",
            kind=kind,
            method=method,
            currency="EUR",
            amount_minor=amount_minor,
            paid_at=at("2024-05-01 00:00"),
        )
        return matter_fact(state, f"payment:shop-de:{number}")

    store(client, [paid(1, "payment", "card", 10), paid(2, "payment", "card", 20), paid(3, "refund", "card", 5)])
    store(client, [paid(4, "payment", "voucher", 1)])
    row = kpi(client, "kpi_payments", "method", "card")
    assert (row["payments"], row["amount"], row["refunds"], row["refunded"]) == (2, Decimal("0.30"), 1, Decimal("0.05"))
    assert kpi(client, "kpi_payments")["amount"] == Decimal("0.31")


def test_a_return_line_matches_the_latest_earlier_or_equal_line_of_its_customer_and_product(client: Any) -> None:
    store(
        client,
        [
            order_line("old", "1", "2024-05-01 00:00"),
            order_line("same instant", "1", "2024-05-10 00:00"),
            order_line("later", "1", "2024-05-11 00:00"),
            order_line("correction", "1", "2024-05-09 00:00", quantity=-1),
            order_line("stranger", "1", "2024-05-02 00:00"),
            *(place(f"order:shop-de:{number}", CUSTOMER) for number in ("old", "same instant", "later", "correction")),
            place("order:shop-de:stranger", "customer:shop-de:x"),
            return_line("1", "equal", "2024-05-10 00:00"),
            return_line("1", "between", "2024-05-09 12:00"),
            return_line("1", "before", "2024-04-30 00:00"),
            return_line("1", "other product", "2024-05-20 00:00", sku="B"),
            place("return:shop-de:1", CUSTOMER),
            return_line("2", "unknown customer", "2024-05-20 00:00"),
            place("return:shop-de:2", "provisional:return:shop-de:2"),
        ],
    )
    rows = ask(client, "SELECT line_id, order_about, days FROM return_line_match ORDER BY line_id")
    assert rows == [
        ("before", "", None),
        ("between", "order:shop-de:old", 8.5),
        ("equal", "order:shop-de:same instant", 0.0),
        ("other product", "", None),
    ]
    row = kpi(client, "kpi_cancellation_match")
    assert (row["lines"], row["matched"], row["matched_share"], row["days_p50"]) == (4, 2, 0.5, 4.25)


def test_provisional_customers_are_counted_with_their_age(client: Any) -> None:
    about = "thread:desk:1"
    event = events.Message(
        **envelope(about, "2024-05-01 10:00", ingested_at=at("2024-05-02 10:00"), account="desk"),
        message_id="1",
        author="customer",
    )
    store(client, [event, place(about, f"provisional:{about}"), place("order:shop-de:1", CUSTOMER)])
    row = record(
        client,
        "SELECT *, dateDiff('hour', toDateTime64('2024-05-02 10:00:00', 6, 'UTC'), now64(6)) AS age"
        " FROM kpi_provisional WHERE dimension = 'all'",
    )
    assert (row["customers"], row["provisional"], row["provisional_share"]) == (2, 1, 0.5)
    assert row["oldest_event_at"] == at("2024-05-01 10:00")
    assert row["age_hours_max"] == pytest.approx(row["age"], abs=1.1)
    assert ask(client, "SELECT value, customers FROM kpi_provisional WHERE dimension = 'account'") == [("desk", 1)]


def test_the_overview_has_all_and_each_marketplace(client: Any) -> None:
    assert kpi_overview(client) == [Figures(marketplace="all", provisional_customers=0, dead_letters=0)]
    store(
        client,
        [
            order("1", "2024-05-01 00:00", promised_at="2024-05-05 00:00", delivered_at="2024-05-06 00:00"),
            order("2", "2024-05-01 00:00", marketplace="ebay-de", currency="SEK"),
            timer("thread:desk:1", "first_response", "2024-05-01 10:00", 7200.0, "met", stopped_at="2024-05-01 12:00"),
            place("thread:desk:1", "provisional:thread:desk:1"),
        ],
    )
    overview = {figures.marketplace: figures for figures in kpi_overview(client)}
    assert list(overview) == ["all", "amazon-de", "ebay-de", "unknown"]
    assert (overview["all"].orders, overview["all"].delivered, overview["all"].late_share) == (2, 1, 1.0)
    assert overview["all"].provisional_customers == 1
    assert overview["ebay-de"].orders == 1
    assert (overview["unknown"].cases, overview["unknown"].first_response_p50_h) == (1, 2.0)
    assert overview["unknown"].provisional_customers is None
