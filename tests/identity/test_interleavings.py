"""Whatever the order in which things arrive, what is known lies where it belongs and the last facts are the fold."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations
from random import Random
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.agents import casework, correlate
from streams.agents.casework import Kept
from streams.delivery.agent import Send
from streams.delivery.local import Local
from streams.domain.events import AccountClock, Event, Place, SourceEvent, Tick
from streams.domain.history import FactKey
from streams.domain.ids import is_provisional, provisional
from streams.domain.matter import Matter
from tests.identity.stories import ACCOUNT, START, Story, random_story, record_of
from tests.oracle import Expected, expect

SEEDS = 400


def tick(now: datetime, partitions: int, archive_after: timedelta | None = None) -> list[Send]:
    """The same instant for every partition, with the account heard up to then."""
    heard = AccountClock(account=ACCOUNT, heard_until=now, live=True)
    archive_until = None if archive_after is None else now - archive_after
    entry = codec.encode(Tick(now=now, accounts=(heard,), archive_until=archive_until))
    return [Send("timeline", b"", entry, partition=partition) for partition in range(partitions)]


def run(events: Sequence[SourceEvent], randomness: Random, *, ticks: int = 0, faults: bool = True) -> Local:
    """The story through correlate and casework, one interleaving per seed, with ticks at random instants before."""
    partitions = randomness.randint(1, 4)
    local = Local(
        [correlate.AGENT, casework.agent("g1")],
        partitions=partitions,
        randomness=randomness,
        crash_rate=0.05 if faults else 0.0,
        duplicate_rate=0.1 if faults else 0.0,
        encode_dead_letter=msgspec.json.encode,
    )
    sends: list[list[Send]] = [[record_of(event)] for event in events]
    instants = sorted(START + timedelta(hours=randomness.uniform(0, 120)) for _ in range(ticks))
    for instant in instants:
        sends.insert(randomness.randint(0, len(sends)), tick(instant, partitions))
    for group in sends:
        for send in group:
            local.publish(send)
        if randomness.random() < 0.3:
            local.run()
    local.run()
    for send in tick(START + timedelta(days=30), partitions):
        local.publish(send)
    local.run()
    return local


def matters(local: Local) -> list[Matter]:
    return [value.matter for value in local.state("casework").values() if isinstance(value, Kept)]


def last_facts(local: Local) -> dict[FactKey, Any]:
    """The highest revision of each fact that was not withdrawn. Revisions are contiguous and none is used twice."""
    revisions: dict[FactKey, dict[int, Any]] = defaultdict(dict)
    for topic in ("timer_fact", "matter_fact"):
        for record in local.records(topic):
            fact = codec.decode(record.value)
            said = revisions[fact.about, fact.key]
            assert fact.revision not in said, f"revision {fact.revision} of {fact.about} {fact.key} was used twice"
            said[fact.revision] = fact
    for key, said in revisions.items():
        assert sorted(said) == list(range(1, len(said) + 1)), f"revisions of {key} have holes: {sorted(said)}"
    newest = {key: said[max(said)] for key, said in revisions.items()}
    return {key: fact.state for key, fact in newest.items() if not fact.withdrawn}


def expected(story: Story) -> Expected:
    """What must come out of a story whose accounts have been heard until all is over."""
    return expect(story.events, lambda _: START + timedelta(days=30))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_event_lies_once_in_the_matter_of_its_customer_and_the_last_facts_are_the_fold(seed: int) -> None:
    randomness = Random(seed)
    story = random_story(randomness)
    local = run(story.events, randomness, ticks=randomness.randint(0, 3))
    expectation = expected(story)
    found: dict[str, set[str]] = {}
    for matter in matters(local):
        assert not matter.quarantine, matter
        for id, resident in matter.residents.items():
            assert not resident.under_way, f"a move of {id} never ended"
            assert not resident.arrived, f"an arrival of {id} was never announced"
            if resident.past.events:
                assert id not in found, f"{id} lies at two places"
                found[id] = {event.event_id for event in resident.past.events}
                assert matter.head == expectation.heads[id], f"{id} lies in a wrong matter"
                customer = expectation.customers[matter.head] or provisional(matter.head)
                assert matter.customer == customer, f"{id} lies at {matter.customer}, not at {customer}"
    assert found == {id: {event.event_id for event in events} for id, events in expectation.events.items()}
    assert last_facts(local) == expectation.facts
    assert not local.records("dead_letter")


@pytest.mark.parametrize("seed", range(100))
def test_places_told_to_the_outside_are_where_things_lie(seed: int) -> None:
    randomness = Random(10_000 + seed)
    story = random_story(randomness)
    local = run(story.events, randomness)
    places: dict[str, Place] = {}
    for record in local.records("place"):
        place = codec.decode(record.value)
        if place.id not in places or places[place.id].revision <= place.revision:
            places[place.id] = place
    lies = {id: (m.customer, m.head) for m in matters(local) for id, r in m.residents.items() if r.past.events}
    assert {id: (place.customer, place.matter) for id, place in places.items()} == lies
    assert all(place.provisional == is_provisional(place.customer) for place in places.values())


def parcel_story() -> Story:
    """A scan that knows only the parcel, its shipment, its order, and an order that changes its customer."""
    story = Story()
    order, parcel = f"order:{ACCOUNT}:1", "parcel:1"
    story.add(parcel, 5)
    story.add(parcel, 2, leader=order)
    story.add(order, 1, customer=f"customer:{ACCOUNT}:guest")
    story.add(order, 9, customer=f"customer:{ACCOUNT}:1")
    return story


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=lambda order: "".join(map(str, order)))
def test_scan_shipment_order_and_rehoming_give_the_same_in_every_order(order: tuple[int, ...]) -> None:
    story = parcel_story()
    events = [story.events[position] for position in order]
    for seed in range(6):
        local = run(events, Random(seed), faults=seed % 2 == 1)
        (matter,) = (matter for matter in matters(local) if matter.history)
        assert matter.customer == f"customer:{ACCOUNT}:1"
        assert set(matter.history) == {f"order:{ACCOUNT}:1", "parcel:1"}
        assert last_facts(local) == expected(story).facts


@pytest.mark.parametrize("seed", range(60))
def test_ticks_once_an_hour_or_one_at_the_end_give_the_same_facts(seed: int) -> None:
    story = random_story(Random(20_000 + seed))
    sparse = run(story.events, Random(seed), ticks=0)
    dense = run(story.events, Random(seed), ticks=40)
    assert last_facts(sparse) == last_facts(dense)


def test_a_timer_is_breached_by_a_tick_and_corrected_by_an_answer_that_is_learnt_late() -> None:
    story = Story()
    thread = f"thread:{ACCOUNT}:1"
    story.add(thread, 0, customer=f"customer:{ACCOUNT}:1")
    story.add(thread, 1)
    story.add(thread, 3)  # the third event is the agent's
    asked, _, answer = story.events
    local = Local([correlate.AGENT, casework.agent("g1")])
    local.publish(record_of(asked))
    local.run()
    for send in tick(START + timedelta(hours=5), 1):
        local.publish(send)
    local.run()
    local.publish(record_of(answer))
    local.run()
    said = [codec.decode(record.value) for record in local.records("timer_fact")]
    first_response = [(f.revision, f.state.result, f.cause) for f in said if f.key.timer == "first_response"]
    assert first_response == [(1, "running", "events"), (2, "breached", "time"), (3, "met", "events")]


def test_events_that_come_back_after_a_rehoming_are_one_event() -> None:
    story = parcel_story()
    local = run([*story.events, *story.events], Random(1), faults=False)
    assert last_facts(local) == expected(story).facts
    events: list[Event] = [event for matter in matters(local) for past in matter.history.values() for event in past]
    assert len(events) == 4
