"""The market is a function of its seed, and looks like one that a seller would know."""

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import islice, pairwise

import pytest

from connectors.simulator import texts
from connectors.simulator.catalogue import ACCOUNTS
from connectors.simulator.market import Market
from streams import codec
from streams.domain.events import Claim, Event, Message, MessageText, Order, Parcel, Payment, Return, Review, Ticket
from streams.domain.ids import check_id
from streams.errors import BadInput
from tests.simulator.market_runs import START, by_id, market_run, only

DIGEST = """
import hashlib
from itertools import islice
from tests.simulator.market_runs import START
from connectors.simulator.market import Market
print(hashlib.sha256(b"".join(p.record for p in islice(Market(seed=5, start_at=START), 2000))).hexdigest())
"""


def test_same_seed_gives_the_same_bytes_in_every_process() -> None:
    def digest(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    here = b"".join(planned.record for planned in islice(Market(seed=5, start_at=START), 2000))
    assert digest("1") == digest("2") == hashlib.sha256(here).hexdigest()


def test_another_seed_gives_another_market() -> None:
    one, other = (list(islice(Market(seed=seed, start_at=START), 100)) for seed in (1, 2))
    assert one != other


def test_reading_in_slices_gives_the_same_sequence() -> None:
    market = Market(seed=3, start_at=START)
    whole, going_on = list(islice(market, 3000)), iter(market)
    slices = [planned for size in (1, 999, 0, 2000) for planned in islice(going_on, size)]
    assert slices == whole
    assert list(islice(market, 1234, 3000)) == whole[1234:]


def test_publication_is_in_order_and_never_before_the_event() -> None:
    run = market_run()
    assert all(one.publish_at <= other.publish_at for one, other in pairwise(run))
    for planned in run:
        if isinstance(planned.body, Event) and planned.refused is None:
            assert planned.body.event_at <= planned.body.ingested_at == planned.publish_at


def test_every_record_can_be_read_and_spoilt_ones_are_refused_as_they_say() -> None:
    for planned in market_run(days=40):
        if planned.refused is None:
            assert codec.decode(planned.record) == planned.body
            assert planned.key == codec.decode(planned.record).about
        else:
            with pytest.raises(BadInput) as refusal:
                check_id(codec.decode(planned.record).about)
            assert refusal.value.code == planned.refused


def test_every_account_is_known() -> None:
    found = {planned.body.account for planned in market_run() if isinstance(planned.body, Event)}
    assert found == set(ACCOUNTS)


def test_an_event_id_always_says_the_same() -> None:
    said: dict[str, bytes] = {}
    for planned in market_run(days=60):
        if planned.refused is None and isinstance(planned.body, Event):
            core = repr((planned.noun, planned.body.event_at, planned.body.about, planned.body.leader)).encode()
            assert said.setdefault(planned.body.event_id, core) == core


# Parcels


def test_scans_of_a_parcel_make_a_journey() -> None:
    for scans in by_id(only(market_run(), Parcel)).values():
        statuses = [scan.status for scan in scans if scan.status is not None]
        if not statuses:
            continue
        assert statuses[0] == "label_created"
        if "delivered" in statuses:
            assert statuses.index("picked_up") < statuses.index("out_for_delivery") < statuses.index("delivered")
            assert statuses[-1] == "delivered"


def test_customs_releases_what_it_held_and_only_across_a_border() -> None:
    for scans in by_id(only(market_run(), Parcel)).values():
        statuses = [scan.status for scan in scans]
        if "customs_released" in statuses:
            assert statuses.index("customs_held") < statuses.index("customs_released")
            assert len({scan.country for scan in scans if scan.country}) > 1


# Conversations


def test_agents_answer_only_what_was_asked() -> None:
    for messages in by_id(only(market_run(), Message)).values():
        asked = set()
        for message in messages:
            if message.author == "customer":
                asked.add(message.message_id)
            elif message.in_reply_to is not None:
                assert message.in_reply_to in asked


def test_every_text_belongs_to_a_message_or_review_and_all_languages_are_written() -> None:
    run = market_run()
    known = {event.event_id for kind in (Message, Review) for event in only(run, kind)}
    written = only(run, MessageText)
    # A text may be published just before the end, its message just after.
    assert sum(text.text_of not in known for text in written) <= 3
    found = {language for text in written for language, good in texts.REVIEWS["good"].items() if text.text == good}
    assert found == {"en", "de", "fr", "es", "it", "zh", "ja"}
    assert not any("{" in text.text for text in written)


# Money


def test_payments_add_up_to_the_order_and_refunds_stay_within() -> None:
    run = market_run()
    totals = {order.about: (order.total_minor, order.currency) for order in only(run, Order) if order.total_minor}
    paid: Counter[str] = Counter()
    refunded: Counter[str] = Counter()
    for payment in only(run, Payment):
        assert payment.leader is not None
        assert payment.amount_minor > 0
        (paid if payment.kind == "payment" else refunded)[payment.leader] += payment.amount_minor
        if payment.leader in totals:
            assert payment.currency == totals[payment.leader][1]
    approved = {order.about for order in only(run, Order) if order.status == "approved"} & totals.keys()
    # Payments of the last hours may not be published yet.
    assert sum(paid[order] != totals[order][0] for order in approved) <= 3
    assert all(refunded[order] <= paid[order] for order in refunded)


def test_an_order_total_is_its_lines_and_their_freight() -> None:
    digits = {"EUR": 2, "USD": 2, "GBP": 2, "JPY": 0}
    for order in only(market_run(), Order):
        if order.lines:
            assert order.currency is not None
            total = sum(line.quantity * line.unit_price + (line.freight or 0) for line in order.lines)
            assert order.total_minor == total * 10 ** digits[order.currency]


# Shares


def share(part: int, whole: int) -> float:
    return part / whole


def test_shares_are_those_of_a_seller() -> None:
    run = market_run()
    orders = by_id(only(run, Order))
    count = len(orders)
    settled = {id for id, events in orders.items() if events[0].event_at < START + timedelta(days=90)}
    promised = {id: events[0].promised_at for id, events in orders.items()}
    arrived: dict[str, list[bool]] = defaultdict(list)
    for scans in by_id(only(run, Parcel)).values():
        order = next((scan.leader for scan in scans if scan.leader), None)
        if order in settled and (due := promised[order]) is not None:
            arrived[order].append(any(scan.status == "delivered" and scan.event_at <= due for scan in scans))
    late = sum(not all(parcels) for parcels in arrived.values())
    threads = {message.about for message in only(run, Message) if message.author == "customer"}
    returns = {event.about for event in only(run, Return) if event.kind != "cancellation"}
    reviews = only(run, Review)
    assert 40 * 0.85 < count / 120 < 40 * 1.25
    assert 0.05 < share(late, len(arrived)) < 0.18
    assert 0.15 < share(len(threads), count) < 0.25
    assert 0.04 < share(len(returns), count) < 0.12
    assert 0.02 < share(len(by_id(only(run, Claim))), count) < 0.06
    assert 0.07 < share(len(by_id(reviews)), count) < 0.2
    assert 0.08 < share(sum(review.score <= 2 for review in reviews), len(reviews)) < 0.3
    assert 0.01 < share(sum(any(e.status == "cancelled" for e in es) for es in orders.values()), count) < 0.06


def test_first_answers_are_mostly_in_time_and_now_and_then_late() -> None:
    in_time = asked = 0
    for messages in by_id(only(market_run(), Message)).values():
        if messages[0].author != "customer" or messages[0].event_at > START + timedelta(days=115):
            continue
        asked += 1
        answer = next((message.event_at for message in messages if message.author == "agent"), None)
        in_time += answer is not None and answer - messages[0].event_at <= timedelta(hours=4)
    assert 0.75 < share(in_time, asked) < 0.95


def test_one_carrier_loses_more_than_it_should() -> None:
    lost: Counter[str] = Counter()
    parcels: Counter[str] = Counter()
    for scans in by_id(only(market_run(), Parcel)).values():
        carrier = scans[0].carrier
        assert carrier is not None
        parcels[carrier] += 1
        lost[carrier] += any(scan.status == "lost" for scan in scans)
    worst = max(parcels, key=lambda carrier: share(lost[carrier], parcels[carrier]))
    assert worst == "yunexpress"
    assert share(sum(lost.values()), sum(parcels.values())) < 0.03


def test_people_buy_in_the_evening_and_sleep_at_night() -> None:
    hours = Counter(
        (order.placed_at + timedelta(hours=1)).hour
        for order in only(market_run(), Order)
        if order.placed_at is not None and order.marketplace == "amazon-de"
    )
    assert sum(hours[hour] for hour in (1, 2, 3, 4)) * 4 < sum(hours[hour] for hour in (18, 19, 20, 21))


def test_some_customers_come_back() -> None:
    bought = Counter(order.customer for order in only(market_run(), Order) if order.status == "created")
    del bought[None]
    again = sum(count - 1 for count in bought.values())
    assert 0.2 < share(again, sum(bought.values())) < 0.5


# Oddities


def test_every_oddity_occurs() -> None:
    run = market_run()
    good = [planned for planned in run if planned.refused is None and isinstance(planned.body, Event)]
    orders, threads = by_id(only(run, Order)), by_id([*only(run, Message), *only(run, Ticket)])
    published: dict[str, int] = {}
    newest: dict[str, Event] = {}
    repeated = disordered = 0
    for place, planned in enumerate(good):
        assert isinstance(planned.body, Event)
        repeated += planned.body.event_id in published
        published.setdefault(planned.body.event_id, place)
        former = newest.get(planned.body.about)
        disordered += former is not None and former.event_at > planned.body.event_at
        newest[planned.body.about] = planned.body
    parcels = by_id(only(run, Parcel))
    followers = {follower for order in only(run, Order) for follower in order.followers}
    first_words = {id: min(published[event.event_id] for event in events) for id, events in orders.items()}
    early = sum(
        published[scan.event_id] < first_words.get(leader, len(run))
        for scans in parcels.values()
        if (leader := next((scan.leader for scan in scans if scan.leader), None))
        for scan in scans[:2]
    )
    changes = [{event.customer for event in events if event.customer} for events in orders.values()]
    learning = sum(
        events[0].leader is None and any(event.leader for event in events)
        for thread in threads.values()
        if (events := sorted(thread, key=lambda event: event.event_at))
    )
    refused = Counter(planned.refused for planned in run if planned.refused)
    statuses = Counter(scan.status for scans in parcels.values() for scan in scans)
    found = {
        "the same event twice": repeated,
        "published in another order than it happened": disordered,
        "a scan before its order": early,
        "a thread that learns its order": learning,
        "a thread without an order": sum(not any(event.leader for event in events) for events in threads.values()),
        "an order of nobody": sum(not customers for customers in changes),
        "an order that changes its customer": sum(len(customers) > 1 for customers in changes),
        "a guest who registers": sum(
            events[0].customer is None and bool(customers)
            for events, customers in zip(orders.values(), changes, strict=True)
        ),
        "a parcel of nobody": sum(
            id not in followers and not any(scan.leader for scan in scans) for id, scans in parcels.items()
        ),
        "an order in several parcels": sum(len(order.followers) > 1 for order in only(run, Order)),
        "an agent writes first": sum(messages[0].author == "agent" for messages in by_id(only(run, Message)).values()),
        **{f"refused: {code}": refused[code] for code in ("not_avro", "unknown_schema", "undecodable", "wrong_id")},
        **{
            f"scan: {status}": statuses[status]
            for status in ("customs_held", "delivery_failed", "returning", "returned", "lost", "damaged")
        },
    }
    assert {name for name, count in found.items() if not count} == set()
