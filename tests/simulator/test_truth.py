"""The truth: figures of hand-made events, and agreement with what the pipeline's own rules say of a whole market."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.simulator.planned import Planned
from connectors.simulator.truth import Figures, Truth, compare, figures, line_of, read_lines
from streams.domain.events import Claim, Event, Message, Order, Parcel, Payment, Return, Review, Ticket
from tests.simulator import folded
from tests.simulator.market_runs import START, market_run

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
ORDER, THREAD = "order:shop:1", "thread:desk:1"


def told(event: type[Event], at: datetime, about: str, **fields: Any) -> Planned:
    """One event, told at once."""
    made = event(
        event_id=f"{about} {at} {fields}",
        event_at=at,
        ingested_at=at,
        account="shop",
        marketplace="shop",
        about=about,
        **fields,
    )
    return Planned(publish_at=at, noun=event.NAME, key=about, body=made)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def message(author: str, at: datetime, thread: str = THREAD, **fields: Any) -> Planned:
    return told(Message, at, thread, message_id=f"{thread} {at}", author=author, **fields)


def ticket(status: str, at: datetime, thread: str = THREAD) -> Planned:
    return told(Ticket, at, thread, change="status", status=status)


def order(status: str, at: datetime, id: str = ORDER, **fields: Any) -> Planned:
    return told(Order, at, id, status=status, **fields)


def scan(status: str, at: datetime, parcel: str, **fields: Any) -> Planned:
    return told(Parcel, at, parcel, change="checkpoint", status=status, **fields)


def figures_of(*planned: Planned, horizon: datetime = NOW) -> Figures:
    """The figures without those that count events."""
    found = figures(map(line_of, planned), horizon)
    return {name: value for name, value in found.items() if not name.startswith("events")}


def timers(*planned: Planned, horizon: datetime = NOW) -> set[str]:
    return {name for name in figures_of(*planned, horizon=horizon) if name.startswith("timers")}


def test_an_event_told_twice_is_one() -> None:
    once = order("created", ago(days=2), customer="customer:shop:a", total_minor=500, currency="EUR")
    found = figures(map(line_of, [once, once]), NOW)
    assert found == {
        "events: order": 1,
        "orders: shop, created": 1,
        "order totals: shop, EUR": 500,
        "provisional customers": 0,
    }


def test_refused_records_count_once_per_bytes_and_teach_nothing() -> None:
    def spoilt(body: bytes) -> Planned:
        return Planned(publish_at=NOW, noun="order", key="k", body=body, refused="not_avro")

    assert figures_of(spoilt(b"1"), spoilt(b"2"), spoilt(b"1")) == {
        "dead letters: not_avro": 2,
        "provisional customers": 0,
    }


@pytest.mark.parametrize(
    ("answered_after", "horizon_after", "result"),
    [
        (timedelta(hours=4), timedelta(hours=9), "met"),
        (timedelta(hours=4, milliseconds=1), timedelta(hours=9), "breached"),
        (None, timedelta(hours=4) - timedelta.resolution, "running"),
        (None, timedelta(hours=4), "breached"),
    ],
)
def test_first_response_is_due_after_four_hours(
    answered_after: timedelta | None, horizon_after: timedelta, result: str
) -> None:
    asked_at = ago(days=3)
    said = [message("customer", asked_at), message("automatic", asked_at + timedelta(minutes=1))]
    if answered_after is not None:
        said.append(message("agent", asked_at + answered_after))
    assert f"timers: first_response, {result}" in timers(*said, horizon=asked_at + horizon_after)


def test_nobody_waits_for_a_first_response_after_an_agent_wrote_first() -> None:
    said = [message("agent", ago(days=3)), message("customer", ago(days=1))]
    assert timers(*said) == {"timers: first_response, not_applicable", "timers: resolution, running"}


def test_a_thread_without_a_customers_message_has_no_timer() -> None:
    assert timers(message("agent", ago(days=3)), ticket("resolved", ago(days=2))) == set()


@pytest.mark.parametrize(
    ("steps", "result"),
    [
        ([("resolved", 48.0)], "met"),
        ([("resolved", 48.001)], "breached"),
        ([("resolved", 5.0), ("closed", 90.0)], "met"),
        ([("resolved", 5.0), ("customer", 6.0)], "breached"),
        ([("resolved", 5.0), ("open", 6.0), ("resolved", 47.0)], "met"),
        ([("resolved", 5.0), ("waiting_customer", 6.0), ("closed", 49.0)], "breached"),
    ],
)
def test_resolution_is_the_start_of_the_present_solved_stretch(steps: list[tuple[str, float]], result: str) -> None:
    asked_at = ago(days=30)
    said = [message("customer", asked_at)]
    for step, hours in steps:
        at = asked_at + timedelta(hours=hours)
        said.append(message("customer", at) if step == "customer" else ticket(step, at))
    assert f"timers: resolution, {result}" in timers(*said)


def test_a_solved_case_is_open_when_the_customer_writes_again() -> None:
    said = [message("customer", ago(days=9)), ticket("resolved", ago(days=8))]
    assert figures_of(*said)["cases: resolved"] == 1
    assert figures_of(*said, message("customer", ago(days=7)))["cases: open"] == 1


def test_an_order_is_delivered_when_its_last_parcel_is() -> None:
    promised_at = ago(days=2)
    begun = [
        order("created", ago(days=6), promised_at=promised_at),
        order("shipped", ago(days=5), followers=("parcel:1",)),
        scan("delivered", ago(days=3), "parcel:1"),
        scan("in_transit", ago(days=4), "parcel:2", leader=ORDER),
    ]
    assert figures_of(*begun)["orders: shop, shipped"] == 1
    assert "timers: delivery, breached" in timers(*begun)
    assert "timers: delivery, running" in timers(*begun, horizon=ago(days=2.5))
    in_time = [*begun, scan("delivered", promised_at, "parcel:2")]
    assert figures_of(*in_time)["orders: shop, delivered"] == 1
    assert "timers: delivery, met" in timers(*in_time)
    late = [*begun, scan("delivered", promised_at + timedelta(seconds=1), "parcel:2")]
    assert "timers: delivery, breached" in timers(*late)
    assert figures_of(*late, order("returned", ago(days=1)))["orders: shop, returned"] == 1
    assert "timers: delivery, cancelled" in timers(begun[0], order("cancelled", ago(days=5)))


def test_the_newest_state_by_event_time_holds_whatever_came_first() -> None:
    def step(status: str, at: datetime) -> Planned:
        return told(Return, at, "return:shop:1", kind="return", status=status)

    steps = [step("refunded", ago(days=1)), step("requested", ago(days=5)), step("received", ago(days=2))]
    claims = [told(Claim, ago(days=day), "claim:shop:1", status=status) for status, day in (("won", 1), ("opened", 9))]
    found = figures_of(*steps, *claims)
    assert found["returns: return, refunded"] == 1
    assert found["claims: won"] == 1


def test_a_review_counts_as_it_was_changed_last_and_two_of_five_are_low() -> None:
    def review(score: int, at: datetime, id: str) -> Planned:
        return told(Review, at, f"review:shop:{id}", review_id=id, score=score)

    found = figures_of(review(1, ago(days=9), "1"), review(3, ago(days=8), "1"), review(2, ago(days=8), "2"))
    assert (found["reviews: low"], found["reviews: other"]) == (1, 1)


def test_payments_are_summed_by_kind_method_and_currency() -> None:
    def pay(id: int, kind: str, minor: int) -> Planned:
        return told(
            Payment, ago(days=1), f"payment:shop:{id}", kind=kind, method="card", currency="EUR", amount_minor=minor
        )

    found = figures_of(pay(1, "payment", 700), pay(2, "payment", 50), pay(3, "refund", 20))
    assert found["payments: payment, card, EUR"] == 750
    assert found["payments: refund, card, EUR"] == 20


def test_a_customer_is_provisional_until_anything_of_the_matter_names_one() -> None:
    guest = [order("created", ago(days=3)), scan("delivered", ago(days=2), "parcel:1", leader=ORDER)]
    stranger = scan("delivered", ago(days=2), "parcel:9")
    assert figures_of(*guest, stranger)["provisional customers"] == 2
    writes = message("customer", ago(days=1), leader=ORDER, customer="customer:shop:a")
    assert figures_of(*guest, stranger, writes)["provisional customers"] == 1


@pytest.mark.parametrize("days", [90, 120])
def test_the_pipelines_rules_say_the_same_of_a_whole_market(days: int) -> None:
    horizon = START + timedelta(days=days)
    run = market_run()
    found = figures(map(line_of, run), horizon)
    expected = folded.figures(folded.fold_market(run, horizon))
    assert {name: found[name] for name in expected} == dict(expected)
    assert {name for name in found if name.split(":")[0] in ("timers", "cases", "orders")} <= expected.keys()


def test_compare_shows_what_is_missing_and_what_is_too_much(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    with Truth(path) as truth:
        truth.append([order("created", ago(days=2), customer="customer:shop:a")])

    def query(statement: str) -> list[tuple[Any, ...]]:
        if "current_place" in statement:
            return [(0,)]
        if "FROM current_order " in statement and "status" in statement:
            return [("shop", "created", 1)]
        return [("undecodable", 3)] if "dead_letter" in statement else []

    assert [different for different in compare(path, query, NOW) if different.expected != different.found] == [
        ("dead letters: undecodable", 0, 3),
        ("events: order", 1, 0),
    ]


def test_lines_read_back_as_they_were_written(tmp_path: Path) -> None:
    path, run = tmp_path / "truth.jsonl", market_run()[:2000]
    with Truth(path) as truth:
        truth.append(run)
    assert list(read_lines(path)) == [line_of(planned) for planned in run]
    with Truth(path) as truth:
        assert truth.count == len(run)


def test_there_are_no_lines_before_the_first_start(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "truth.jsonl")) == []
