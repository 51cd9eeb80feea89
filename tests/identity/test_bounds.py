"""No input ends a task: what is too much or makes no sense is refused or set aside, and the rest goes on."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from random import Random
from typing import Any

import msgspec
import pytest

from streams import avro, codec
from streams.agents import casework, correlate
from streams.delivery.agent import Send
from streams.delivery.local import Local
from streams.domain import identity, matter
from streams.domain.events import (
    AccountClock,
    Claim,
    DeadLetter,
    Move,
    OrderLine,
    Parcel,
    Payment,
    Reference,
    ResponseTargets,
    SourceEvent,
    Tick,
)
from streams.domain.facts import MatterKey
from streams.domain.fold import fold
from tests.identity import made
from tests.identity.made import CUSTOMER, NOW, ORDER, asked, common, matters, order, pipeline


def run(events: Iterable[SourceEvent | Send]) -> Local:
    """The events through correlate and casework, each worked off before the next."""
    return made.run(pipeline(), events)


def refused(local: Local) -> list[str]:
    letters = [codec.decode(record.value) for record in local.records("dead_letter")]
    assert all(isinstance(letter, DeadLetter) for letter in letters)
    return [letter.reason for letter in letters]


def orders_known(local: Local) -> set[str]:
    facts = [codec.decode(record.value) for record in local.records("matter_fact")]
    return {fact.about for fact in facts if fact.key.kind == "order" and not fact.withdrawn}


def tick(now: datetime) -> list[Send]:
    entry = codec.encode(Tick(now=now, accounts=(AccountClock(account="a", heard_until=now, live=True),)))
    return [Send("timeline", b"", entry, partition=partition) for partition in range(2)]


REFUSED: dict[str, tuple[str, Callable[[], SourceEvent]]] = {
    "a long account": ("too_long", lambda: msgspec.structs.replace(asked("thread:a:1"), account="x" * 70_000)),
    "a long marketplace": ("too_long", lambda: msgspec.structs.replace(order("2"), marketplace="x" * 2_200)),
    "an instant of another age": (
        "out_of_range",
        lambda: asked("thread:a:1", event_at=datetime(9999, 12, 31, 23, tzinfo=UTC)),
    ),
    "a promise of another age": ("out_of_range", lambda: order("2", promised_at=datetime(2, 1, 1, tzinfo=UTC))),
    "an id with a NUL": ("wrong_id", lambda: order("2", customer="customer:a:x\0y")),
    "an id with a line break": ("wrong_id", lambda: order("2", about="order:a:1\n")),
    "an id of many bytes": ("wrong_id", lambda: order("2", about="order:a:" + "é" * 200)),
    "an order about a thread": ("wrong_id", lambda: order("2", about="thread:a:2")),
    "an id that follows itself": ("wrong_leader", lambda: order("2", leader=ORDER)),
    "a follower of a higher kind": ("wrong_leader", lambda: asked("thread:a:1", followers=("order:a:2",))),
    "too many followers": (
        "too_many_followers",
        lambda: order("2", followers=tuple(f"parcel:{n}" for n in range(identity.MAX_FOLLOWERS + 1))),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_a_dead_letter_and_the_rest_goes_on(what: str) -> None:
    reason, make = REFUSED[what]
    local = run([make(), order("1", about="order:a:9")])
    assert refused(local) == [reason]
    assert orders_known(local) == {"order:a:9"}


def test_an_event_larger_than_any_connector_publishes_is_a_dead_letter() -> None:
    lines = tuple(
        OrderLine(line_id=str(n), sku="s" * 90, quantity=1, unit_price=Decimal("1.000000")) for n in range(12_000)
    )
    assert refused(run([order(lines=lines)])) == ["too_large"]


@pytest.mark.parametrize("size", [12, 900_000])
def test_an_amount_of_absurd_length_is_refused_before_it_is_read(size: int) -> None:
    price = Decimal("1.000000")
    line = OrderLine(line_id="1", sku="s", quantity=1, unit_price=price)
    good, written = codec.encode(order(lines=(line,))), b"\x06\x0f\x42\x40"
    assert good.count(written) == 1
    record = good.replace(written, avro.number(size) + b"\x01" * size)
    assert refused(run([Send("order", ORDER.encode(), record)])) == ["undecodable"]


def test_a_sum_of_more_digits_than_a_fact_holds_sets_its_matter_aside() -> None:
    line = OrderLine(line_id="1", sku="s", quantity=10, unit_price=Decimal(10**17).quantize(Decimal("0.000001")))
    local = run([order(lines=(line,))])
    facts = [codec.decode(record.value) for record in local.records("matter_fact")]
    assert [(fact.state.reason, fact.state.event_count) for fact in facts] == [("fold_failed", 1)]
    assert "no decimal of 24 digits" in facts[0].state.detail
    assert refused(local) == []


def test_a_full_matter_refuses_more_and_other_matters_go_on() -> None:
    scans = [
        Parcel(change="checkpoint", status="in_transit", **common("parcel:1", str(n)))
        for n in range(matter.MAX_EVENTS + 1)
    ]
    local = run([*scans, Parcel(change="checkpoint", status="delivered", **common("parcel:1", "last")), order()])
    assert refused(local) == ["matter_full"]
    assert orders_known(local) == {ORDER}


def test_a_matter_on_which_the_rules_fail_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(casework, "fold", fail)
    monkeypatch.setattr(matter, "MAX_EVENTS", 5)
    local = run([asked("thread:a:1", str(n)) for n in range(9)])
    assert refused(local) == ["matter_full"] * 3
    (aside,) = matters(local).values()
    assert aside.quarantine is not None
    assert aside.quarantine.reason == "fold_failed"


def test_what_moves_into_a_full_matter_arrives_without_its_events_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matter, "MAX_SIZE", 2_000)
    scans = [
        Parcel(change="checkpoint", status="in_transit", **common(f"parcel:{p}", str(n)))
        for p in range(6)
        for n in range(8)
    ]
    local = run([*scans, order(followers=tuple(f"parcel:{p}" for p in range(6)))])
    full = matters(local)[ORDER]
    assert full.quarantine is not None
    assert sum(resident.past.dropped for resident in full.residents.values()) > 0
    assert not any(resident.under_way for resident in full.residents.values())
    assert sum(resident.past.size for resident in full.residents.values()) < 3 * matter.MAX_SIZE
    assert refused(local) == []


def test_too_many_accounts_to_wait_for_set_a_matter_aside() -> None:
    threads = [
        msgspec.structs.replace(asked(f"thread:a:{n}", leader=ORDER), account=f"desk-{n}")
        for n in range(matter.MAX_WAKES + 1)
    ]
    local = run([order(), *threads])
    quarantine = matters(local)[ORDER].quarantine
    assert quarantine is not None
    assert "accounts" in quarantine.detail


def test_a_quarantine_is_lifted_when_its_cause_moves_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matter, "MAX_EVENTS", 5)
    scans = [Parcel(change="checkpoint", status="in_transit", **common("parcel:1", str(n))) for n in range(5)]
    link = Parcel(change="shipment", **common("parcel:1", "link", leader=ORDER))
    relink = Parcel(
        change="shipment", **common("parcel:1", "relink", leader="order:a:2", event_at=NOW + timedelta(hours=1))
    )
    paid = Payment(kind="payment", method="card", currency="EUR", amount_minor=1, **common("payment:a:1", leader=ORDER))
    local = run([order(), *scans, link, relink, paid])
    assert matters(local)[ORDER].quarantine is None
    assert refused(local) == []
    assert orders_known(local) == {ORDER}
    said = [codec.decode(r.value) for r in local.records("matter_fact")]
    about_it = [f for f in said if f.key == MatterKey(kind="quarantine", item=CUSTOMER)]
    assert [(f.revision, f.withdrawn) for f in about_it] == [(1, False), (2, True)]


@pytest.mark.parametrize("sequence", list(permutations(range(3))), ids=str)
def test_the_nearest_word_about_a_customer_wins_in_every_order(sequence: tuple[int, ...]) -> None:
    thread, claim = "thread:a:1", "claim:a:1"
    events: list[SourceEvent] = [
        asked(thread, "link", leader=ORDER),
        Claim(
            status="opened", **common(claim, leader=thread, customer="customer:a:2", event_at=NOW + timedelta(hours=5))
        ),
        asked(thread, "word", customer="customer:a:1", event_at=NOW + timedelta(hours=1)),
    ]
    for seed in range(5):
        local = Local([correlate.AGENT, casework.agent("g1")], partitions=3, randomness=Random(seed))
        for position in sequence:
            event = events[position]
            local.publish(Send(event.NAME, event.about.encode(), codec.encode(event)))
        local.run()
        (found,) = (m for m in matters(local).values() if m.history)
        assert found.customer == "customer:a:1"


def threads_of_strangers(count: int) -> list[SourceEvent]:
    """Threads about one order, which is not known itself; each names another customer than the one before."""
    return [
        asked(f"thread:a:{n}", leader=ORDER, customer=f"customer:a:{n % 7}", event_at=NOW + timedelta(seconds=n))
        for n in range(count)
    ]


@pytest.mark.parametrize("backwards", [False, True])
def test_followers_that_name_different_customers_cost_as_many_records_each_as_few_do(backwards: bool) -> None:
    def records(count: int) -> int:
        events = threads_of_strangers(count)
        local = run(events[::-1] if backwards else events)
        return sum(len(local.records(topic)) for topic in ("timeline", "place_message", "place"))

    assert records(80) - records(40) == 2 * (records(40) - records(20))


def test_an_order_that_followers_name_several_customers_of_belongs_to_nobody_until_it_says_itself() -> None:
    local = run(threads_of_strangers(2))
    assert {matter.customer for matter in matters(local).values()} == {f"provisional:{ORDER}"}
    made.run(local, [order()])
    assert {matter.customer for matter in matters(local).values() if matter.residents} == {CUSTOMER}


def test_an_order_belongs_to_the_customer_on_whom_its_followers_agree_again() -> None:
    first, second = threads_of_strangers(2)
    corrected = asked("thread:a:1", "2", customer=first.customer, event_at=NOW + timedelta(hours=1))
    local = run([first, second, corrected])
    assert {matter.customer for matter in matters(local).values() if matter.residents} == {first.customer}


def test_a_correction_by_new_rules_has_their_cause_though_time_touches_first(monkeypatch: pytest.MonkeyPatch) -> None:
    local = run([asked("thread:a:1", customer=CUSTOMER)])
    monkeypatch.setattr(casework, "FOLD_VERSION", 2)

    def changed(*arguments: Any) -> Any:
        folded = fold(*arguments)
        for (_, key), state in folded.facts.items():
            if isinstance(key, MatterKey) and key.kind == "case":
                folded.facts["thread:a:1", key] = msgspec.structs.replace(state, channel="new")
        return folded

    monkeypatch.setattr(casework, "fold", changed)
    for send in tick(NOW + timedelta(hours=5)):
        local.publish(send)
    local.run()
    said = [codec.decode(r.value) for r in local.records("matter_fact")]
    assert [f.cause for f in said if f.key.kind == "case"] == ["events", "software"]
    timers = [codec.decode(r.value) for r in local.records("timer_fact")]
    assert [t.cause for t in timers if t.key.timer == "first_response"] == ["events", "time"]


def reference(name: str, first_response_s: int) -> list[Send]:
    entry = Reference(
        name=name,
        version=2,
        effective_at=NOW,
        published_at=NOW,
        published_by="a test",
        reason="to see",
        body=ResponseTargets(first_response_s=first_response_s, resolution_s=60),
    )
    return [Send("timeline", b"", codec.encode(entry), partition=partition) for partition in range(2)]


def test_an_absurd_target_is_refused_and_an_unknown_reference_is_passed_over() -> None:
    local = run([*reference("response_targets", 10**15), *reference("of_a_later_version", 60), asked("thread:a:1")])
    assert refused(local) == ["wrong_target"] * 2
    assert matters(local)["thread:a:1"].quarantine is None


def test_two_events_of_one_id_and_instant_leave_the_same_whichever_came_first() -> None:
    one, other = order(total_minor=1), order(total_minor=2)
    said = []
    for events in ((one, other), (other, one)):
        facts = [codec.decode(r.value) for r in run(events).records("matter_fact")]
        said.append([f.state.total_minor for f in facts if f.key.kind == "order"][-1])
    assert said[0] == said[1]


def test_a_key_that_is_no_text_is_a_dead_letter() -> None:
    entry = codec.encode(order())
    local = run([Send("timeline", b"\xff", entry, ((correlate.MATTER_HEADER, b"order:a:1"),), partition=0), order("2")])
    assert refused(local) == ["wrong_key"]


@pytest.mark.parametrize(
    ("entry", "headers", "reason"),
    [
        (order("1"), (("matter", b"\xff"),), "no_matter"),
        (Move(step="moved", id=ORDER, number=1, matter=ORDER, past=b"no past"), (), "wrong_past"),
        (Move(step="out", id=ORDER, number=1, matter=ORDER), (), "wrong_move"),
    ],
    ids=["header", "past", "nowhere"],
)
def test_a_damaged_entry_of_a_timeline_is_a_dead_letter(
    entry: Any, headers: tuple[tuple[str, bytes], ...], reason: str
) -> None:
    local = run([Send("timeline", CUSTOMER.encode(), codec.encode(entry), headers)])
    assert refused(local) == [reason]
