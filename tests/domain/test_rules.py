"""The rules of docs/facts.md, one by one."""

import ast
import re
from decimal import Decimal
from pathlib import Path

import pytest

from streams.domain import fold as fold_module
from streams.domain.conversations import case_of
from streams.domain.events import Claim, OrderLine, Return, ReturnLine, Review
from streams.domain.facts import MatterKey
from tests.domain.histories import (
    ORDER,
    RETURN,
    THREAD,
    at,
    envelope,
    fact,
    facts,
    message,
    order,
    parcel,
    payment,
    ticket,
    timer,
)


def line(line_id: str, price: str, quantity: int = 1, **more: str) -> OrderLine:
    return OrderLine(line_id=line_id, sku=f"sku-{line_id}", quantity=quantity, unit_price=Decimal(price), **more)  # type: ignore[arg-type]


# ---- orders


def test_o1_the_newest_word_wins_field_by_field() -> None:
    said = [
        order(1, 0, status="created", destination_country="DE", total_minor=100, currency="EUR"),
        order(2, 2, total_minor=90, currency="EUR"),
        order(3, 1, status="approved", destination_country="FR", total_minor=95),
    ]
    state = fact(said, "order")
    assert (state.status, state.destination_country, state.total_minor) == ("approved", "FR", 90)
    assert state.approved_at == at(1)


def test_o1_an_order_was_placed_when_it_says_so_else_at_its_first_event() -> None:
    assert fact([order(1, 5, placed_at=at(2)), order(2, 6, placed_at=at(3))], "order").placed_at == at(2)
    assert fact([order(1, 5), order(2, 4)], "order").placed_at == at(4)


def test_o2_an_order_is_delivered_when_the_last_of_its_parcels_is() -> None:
    shipped = [order(1, 0, status="shipped"), parcel(2, 3, "delivered", leader=ORDER)]
    under_way = parcel(3, 4, "in_transit", id="parcel:P2", leader=ORDER)
    arrived = parcel(4, 9, "delivered", id="parcel:P2")
    assert fact(shipped, "order").delivered_at == at(3)
    assert fact([*shipped, under_way], "order").delivered_at is None
    state = fact([*shipped, under_way, arrived], "order")
    assert (state.status, state.delivered_at, state.parcel_count) == ("delivered", at(9), 2)


def test_o2_a_word_of_the_marketplace_after_the_delivery_wins() -> None:
    said = [order(1, 0, status="shipped"), parcel(2, 3, "delivered"), order(3, 5, status="returned")]
    state = fact(said, "order")
    assert (state.status, state.delivered_at) == ("returned", at(3))


@pytest.mark.parametrize(
    ("parcel_says", "return_says", "back"),
    [
        ({"leader": RETURN}, {}, True),
        ({}, {"followers": ("parcel:P1",)}, True),
        ({"leader": ORDER}, {"followers": ("parcel:P1",)}, True),
        ({"leader": ORDER}, {}, False),
        ({}, {}, False),
    ],
)
def test_o2_a_parcel_that_follows_a_return_delivers_no_order(
    parcel_says: dict[str, str], return_says: dict[str, tuple[str, ...]], back: bool
) -> None:
    said = [
        order(1, 0, status="shipped"),
        parcel(2, 1, **parcel_says),
        Return(kind="return", **envelope(3, RETURN, 2, **return_says)),
        parcel(4, 3, "delivered"),
    ]
    assert fact(said, "order").delivered_at == (None if back else at(3))


def test_o3_a_line_stated_again_replaces_the_former_one() -> None:
    said = [
        order(1, 0, lines=(line("1", "4.90", 2, freight=Decimal("1.50")), line("2", "25.00")), currency="EUR"),  # type: ignore[arg-type]
        order(2, 1, lines=(line("1", "4.90"),)),
    ]
    state = fact(said, "order")
    assert (state.line_count, state.goods_total, state.freight_total) == (2, Decimal("29.90"), Decimal(0))
    first = fact(said, "order_line", "1")
    assert (first.quantity, first.line_at, first.currency) == (1, at(1), "EUR")


@pytest.mark.parametrize(("hours", "result"), [(48, "met"), (48.001, "breached"), (10, "met")])
def test_o4_a_delivery_is_in_time_up_to_the_promised_instant(hours: float, result: str) -> None:
    said = [order(1, 0, promised_at=at(48)), parcel(2, hours, "delivered", leader=ORDER)]
    state = timer(said, "delivery")
    assert state is not None
    assert (state.result, state.due_at, state.stopped_at, state.started_at) == (result, at(48), at(hours), at(0))


def test_o4_without_a_delivery_the_timer_runs_until_the_promise_and_is_then_breached() -> None:
    said = [order(1, 0, promised_at=at(48))]
    results = [getattr(timer(said, "delivery", at(hours)), "result", None) for hours in (47.999, 48)]
    assert results == ["running", "breached"]


def test_o4_the_newest_promise_of_the_order_wins_over_those_of_its_parcels() -> None:
    slow = parcel(2, 1, leader=ORDER, promised_at=at(70))
    slower = parcel(3, 2, id="parcel:P2", leader=ORDER, promised_at=at(60))
    due = [
        getattr(timer(said, "delivery"), "due_at", None)
        for said in ([order(1, 0), slow, slower], [slower, slow, order(1, 0)])
    ]
    assert due == [at(60), at(60)]
    assert getattr(timer([order(1, 0, promised_at=at(48)), slow], "delivery"), "due_at", None) == at(48)
    assert timer([order(1, 0)], "delivery") is None


@pytest.mark.parametrize("status", ["cancelled", "unavailable"])
def test_o4_what_will_not_be_delivered_is_not_late(status: str) -> None:
    state = timer([order(1, 0, promised_at=at(48)), order(2, 1, status=status)], "delivery")
    assert state is not None
    assert (state.result, state.stopped_at) == ("cancelled", None)


def test_o4_an_order_is_cancelled_since_the_present_cancellation() -> None:
    words = ["cancelled", "processing", "cancelled", "cancelled"]
    state = fact([order(number, number, status=word) for number, word in enumerate(words)], "order")
    assert state.cancelled_at == at(2)


def test_o5_the_delivery_timer_belongs_to_the_account_that_was_heard_last_of_a_parcel() -> None:
    said = [
        order(1, 0, promised_at=at(48)),
        parcel(2, 3, "in_transit", leader=ORDER, account="carrier-b"),
        parcel(3, 2, "in_transit", id="parcel:P2", leader=ORDER, account="carrier-a"),
    ]
    accounts = [getattr(timer(events, "delivery"), "account", None) for events in (said, said[::-1], said[:1])]
    assert accounts == ["carrier-b", "carrier-b", "shop"]


# ---- parcels


def test_p1_a_scan_counts_by_its_own_time() -> None:
    state = fact([parcel(1, 5, "out_for_delivery"), parcel(2, 3, "in_transit")], "parcel")
    assert (state.status, state.last_scan_at, state.scan_count) == ("out_for_delivery", at(5), 2)


@pytest.mark.parametrize(
    ("later", "status"),
    [("in_transit", "delivered"), ("lost", "delivered"), ("unknown", "delivered"), ("returning", "returning")],
)
def test_p2_delivered_stays_delivered_unless_it_goes_back(later: str, status: str) -> None:
    state = fact([parcel(1, 5, "delivered"), parcel(2, 6, later)], "parcel")
    assert (state.status, state.delivered_at) == (status, at(5))


def test_p3_a_parcel_is_shipped_when_it_is_picked_up_else_at_its_first_scan_in_the_carriers_hands() -> None:
    scans = [parcel(1, 1, "label_created"), parcel(2, 2, "in_transit")]
    assert fact(scans, "parcel").shipped_at == at(2)
    assert fact([*scans, parcel(3, 3, "picked_up")], "parcel").shipped_at == at(3)
    assert fact(scans[:1], "parcel").shipped_at is None


# ---- returns, claims, reviews, payments


def test_r1_a_return_has_its_newest_state_and_the_first_instant_of_each() -> None:
    words = ["requested", "received", "refunded", "received", "closed"]
    said = [Return(kind="return", status=word, **envelope(n, RETURN, n)) for n, word in enumerate(words)]
    state = fact(said, "return")
    assert (state.status, state.requested_at, state.received_at) == ("closed", at(0), at(1))
    assert (state.refunded_at, state.closed_at) == (at(2), at(4))
    assert fact(said[:-1], "return").closed_at is None


def test_r2_a_line_of_a_return_stated_again_replaces_the_former_one() -> None:
    def stated(number: int, quantity: int) -> Return:
        lines = (ReturnLine(line_id="1", sku="case", quantity=quantity, unit_price=Decimal("25.00")),)
        return Return(kind="return", lines=lines, **envelope(number, RETURN, number))

    state = fact([stated(1, 2), stated(2, 1)], "return")
    assert (state.line_count, state.goods_total) == (1, Decimal("25.00"))


def test_l1_a_claim_has_its_newest_state_and_limit_and_its_first_answer_and_decision() -> None:
    def claim(number: int, status: str, respond_by: float | None = None) -> Claim:
        limit = at(respond_by) if respond_by else None
        return Claim(status=status, respond_by_at=limit, **envelope(number, "claim:shop:L1", number))

    said = [
        claim(1, "opened", 48),
        claim(2, "responded"),
        claim(3, "escalated", 72),
        claim(4, "responded"),
        claim(5, "won"),
    ]
    state = fact(said, "claim")
    assert (state.status, state.opened_at, state.respond_by_at) == ("won", at(1), at(72))
    assert (state.responded_at, state.decided_at) == (at(2), at(5))
    assert fact(said[:4], "claim").decided_at is None


def test_reviews_and_payments_are_their_newest_version() -> None:
    reviews = [Review(review_id="V1", score=score, **envelope(score, "review:shop:V1", -score)) for score in (1, 4)]
    assert fact(reviews, "review").score == 1
    assert fact([payment(1, 0), payment(2, 1, amount_minor=500)], "payment").amount_minor == 500


# ---- conversations


def test_c1_a_case_is_opened_by_the_customers_first_message() -> None:
    said = [ticket(1, 0, "new"), message(2, 1, "agent"), message(3, 2, "customer"), message(4, 3, "customer")]
    state = fact(said, "case", case_of(THREAD))
    assert (state.opened_at, state.opened_by) == (at(2), "customer")


def test_c1_where_no_customer_wrote_the_first_message_opens_the_case_else_the_first_event() -> None:
    agent = fact([ticket(1, 0, "new"), message(2, 1, "agent")], "case")
    assert (agent.opened_at, agent.opened_by) == (at(1), "agent")
    desk = fact([ticket(1, 0, "new")], "case")
    assert (desk.opened_at, desk.opened_by, desk.status) == (at(0), "unknown", "new")


@pytest.mark.parametrize("author", ["automatic", "bot", "internal", "third_party", "unknown"])
def test_c2_only_a_public_message_of_a_human_agent_is_an_answer(author: str) -> None:
    state = fact([message(1, 0, "customer"), message(2, 1, author), message(3, 2, "agent")], "case")
    assert (state.first_response_at, state.agent_message_count, state.customer_message_count) == (at(2), 1, 1)


def test_c3_the_newest_state_of_the_desk_holds_and_without_one_the_case_is_open() -> None:
    asked = message(1, 0, "customer")
    assert fact([asked], "case").status == "open"
    state = fact(
        [asked, ticket(2, 3, "waiting_customer", team="b"), ticket(3, 2, "open", team="a", assignee="lee")], "case"
    )
    assert (state.status, state.team, state.assignee, state.first_assigned_at) == (
        "waiting_customer",
        "b",
        "lee",
        at(2),
    )


@pytest.mark.parametrize(
    "reopener", [message(3, 9, "customer"), ticket(3, 9, "open"), ticket(3, 9, "waiting_third_party")]
)
def test_c4_a_customers_message_or_the_desk_opens_a_solved_case_again(reopener: object) -> None:
    said = [message(1, 0, "customer"), ticket(2, 5, "resolved"), reopener]
    state = fact(said, "case")  # type: ignore[arg-type]
    assert (state.reopen_count, state.resolved_at, state.first_resolved_at) == (1, None, at(5))
    assert state.status in ("open", "waiting_third_party")


@pytest.mark.parametrize("author", ["agent", "automatic", "bot", "internal", "third_party"])
def test_c4_nobody_elses_message_opens_a_solved_case_again(author: str) -> None:
    state = fact([message(1, 0, "customer"), ticket(2, 5, "resolved"), message(3, 9, author)], "case")
    assert (state.status, state.reopen_count, state.resolved_at) == ("resolved", 0, at(5))


def test_c5_a_solved_case_knows_the_first_and_the_last_time_it_was_resolved_and_when_it_was_closed() -> None:
    words = ["resolved", "resolved", "closed", "closed"]
    state = fact([message(1, 0, "customer"), *(ticket(n, n, word) for n, word in enumerate(words, 2))], "case")
    assert (state.resolved_at, state.last_resolved_at, state.closed_at) == (at(2), at(3), at(5))


def test_c6_what_the_desk_reports_of_itself_is_kept_and_decides_nothing() -> None:
    said = [
        message(1, 0, "customer"),
        ticket(2, 5, None, reported_resolved_at=at(1), reported_sla_met=True, reported_reopen_count=7),
    ]
    state = fact(said, "case")
    assert (state.reported_resolved_at, state.reported_sla_met, state.reported_reopen_count) == (at(1), True, 7)
    assert (state.status, state.resolved_at, state.reopen_count) == ("open", None, 0)
    assert getattr(timer(said, "resolution"), "result", None) == "breached"


# ---- timers


def test_t1_timers_start_with_the_customers_first_message_and_without_one_there_are_none() -> None:
    said = [ticket(1, 0, "new"), message(2, 2, "customer"), message(3, 3, "customer")]
    for name in ("first_response", "resolution"):
        state = timer(said, name)
        assert state is not None
        assert state.started_at == at(2)
        assert timer([ticket(1, 0, "resolved"), message(2, 1, "agent")], name) is None


@pytest.mark.parametrize(("hours", "result"), [(0, "met"), (4, "met"), (4.0003, "breached")])
def test_t2_an_answer_at_the_due_instant_is_in_time(hours: float, result: str) -> None:
    asked, answer = message(1, 0, "customer"), message(2, hours, "agent")
    state = timer([asked, answer], "first_response")
    assert state is not None
    assert (state.result, state.elapsed_s) == (result, hours * 3600)
    assert state.explained_by == (asked.event_id, answer.event_id)


def test_t2_where_an_agent_wrote_first_there_is_no_first_response() -> None:
    opened, asked = message(1, 0, "agent"), message(2, 1, "customer")
    state = timer([opened, asked, message(3, 9, "agent")], "first_response")
    assert state is not None
    assert (state.result, state.due_at, state.stopped_at) == ("not_applicable", None, None)
    assert state.explained_by == (opened.event_id, asked.event_id)


def test_t3_the_resolution_stops_where_the_present_solved_stretch_began() -> None:
    said = [
        message(1, 0, "customer"),
        ticket(2, 5, "resolved"),
        message(3, 6, "customer"),
        ticket(4, 20, "resolved"),
        ticket(5, 60, "closed"),
    ]
    state = timer(said, "resolution")
    assert state is not None
    assert (state.result, state.stopped_at, state.elapsed_s) == ("met", at(20), 20 * 3600)


def test_t3_a_reopened_case_is_not_solved() -> None:
    said = [message(1, 0, "customer"), ticket(2, 5, "resolved"), message(3, 6, "customer")]
    assert [getattr(timer(said, "resolution", at(h)), "result", None) for h in (47, 48)] == ["running", "breached"]


def test_t4_targets_are_those_of_the_mission_from_reference_data() -> None:
    asked = [message(1, 0, "customer")]
    first_response, resolution = timer(asked, "first_response"), timer(asked, "resolution")
    assert first_response is not None
    assert resolution is not None
    assert (first_response.target_s, first_response.due_at) == (4 * 3600, at(4))
    assert (resolution.target_s, resolution.due_at) == (48 * 3600, at(48))
    assert first_response.policy_version == resolution.policy_version == 1


def test_t5_a_timer_runs_until_its_account_is_heard_up_to_the_due_instant() -> None:
    asked = [message(1, 0, "customer")]
    results = [getattr(timer(asked, "first_response", at(h)), "result", None) for h in (-1, 3.9999, 4)]
    assert results == ["running", "running", "breached"]


def test_a_matter_states_each_of_its_things() -> None:
    said = [order(1, 0), parcel(2, 1), message(3, 2, "customer"), Return(kind="return", **envelope(4, RETURN, 3))]
    kinds = {key.kind for _, key in facts(said) if isinstance(key, MatterKey)}
    assert kinds == {"order", "parcel", "case", "return"}


# ---- the page

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "facts.md", DOCS / "business_time.md"
DOMAIN = Path(fold_module.__file__).parent


def rules_of(text: str, pattern: str) -> set[str]:
    return {letter.upper() + number for letter, number in re.findall(pattern, text)}


def test_every_rule_of_the_page_has_a_test_and_every_test_a_rule() -> None:
    tested = rules_of(Path(__file__).read_text(), r"\ndef test_([a-z])(\d)_")
    assert tested == rules_of(PAGES[0].read_text(), r"\n- \*\*([A-Z])-(\d)\*\*")


def test_the_page_has_every_rule_that_the_code_names() -> None:
    stated = rules_of("".join(page.read_text() for page in PAGES), r"\n- \*\*([A-Z])-(\d)\*\*")
    for module in DOMAIN.glob("*.py"):
        named = rules_of(ast.get_docstring(ast.parse(module.read_text())) or "", r"\b([A-Z])-(\d)\b")
        assert named <= stated, module.name
