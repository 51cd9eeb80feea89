"""A matter in which nothing runs and nothing comes is archived: it keeps hashes of its events, and knows them again."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from random import Random

import msgspec
import pytest

from streams import codec
from streams.agents import casework, correlate
from streams.delivery.agent import Send
from streams.delivery.local import Local
from streams.domain.events import Recall, RecalledPast, SourceEvent
from streams.domain.facts import QuarantineState
from streams.domain.history import FactKey
from streams.domain.matter import Past, Stated
from tests.identity.stories import ACCOUNT, START, Story, random_story, record_of
from tests.identity.test_interleavings import last_facts, matters, tick
from tests.oracle import expect

ARCHIVE_AFTER = timedelta(days=100)
ARCHIVED = START + timedelta(days=200)
ORDER, PARCEL, THREAD = f"order:{ACCOUNT}:1", "parcel:1", f"thread:{ACCOUNT}:1"
ANNA, BEN = f"customer:{ACCOUNT}:1", f"customer:{ACCOUNT}:2"


def run(story: Story, randomness: Random, *, faults: bool = False) -> Local:
    """The story, until all of it is archived."""
    local = Local(
        [correlate.AGENT, casework.agent("g1")],
        partitions=randomness.randint(1, 4),
        randomness=randomness,
        crash_rate=0.05 if faults else 0.0,
    )
    publish(local, story.events)
    pass_time(local)
    return local


def publish(local: Local, events: Iterable[SourceEvent]) -> None:
    for event in events:
        local.publish(record_of(event))
    local.run()


def pass_time(local: Local, until: datetime = ARCHIVED, archive_after: timedelta | None = ARCHIVE_AFTER) -> None:
    for send in tick(until, local.partitions, archive_after):
        local.publish(send)
    local.run()


def statements(local: Local) -> int:
    return len(local.records("timer_fact")) + len(local.records("matter_fact"))


def reasons(local: Local) -> list[str]:
    return [msgspec.json.decode(record.value)["reason"] for record in local.records("dead_letter")]


def recall(local: Local, events: Iterable[SourceEvent]) -> None:
    """Give all archived matters their past again: events as they came, and of each fact what was stated last."""
    stated: dict[str, dict[FactKey, Stated]] = defaultdict(dict)
    for topic in ("timer_fact", "matter_fact"):
        for record in local.records(topic):
            fact = codec.decode(record.value)
            if isinstance(fact.state, QuarantineState):
                continue  # it belongs to a place, not to an id
            said = Stated(fact.key, fact.revision, fact.withdrawn, fact.state)
            known = stated[fact.about].get((fact.about, fact.key), said)
            stated[fact.about][fact.about, fact.key] = max(known, said, key=lambda one: one.revision)
    events_of = expect(events, lambda _: ARCHIVED).events
    for matter in matters(local):
        pasts = tuple(
            RecalledPast(id=id, past=casework.encode_past(Past(events_of.get(id, ()), 0, tuple(stated[id].values()))))
            for id, resident in matter.residents.items()
            if resident.past.archived
        )
        entry = Recall(matter=matter.head, asked_at=ARCHIVED, by="lee", pasts=pasts)
        local.publish(Send("timeline", matter.customer.encode(), codec.encode(entry)))
    local.run()


@pytest.mark.parametrize("seed", range(150))
def test_what_was_archived_and_comes_again_changes_nothing(seed: int) -> None:
    randomness = Random(seed)
    story = random_story(randomness)
    local = run(story, randomness, faults=True)
    before = statements(local)
    assert not [id for matter in matters(local) for id, known in matter.residents.items() if known.past.events]
    assert not [matter for matter in matters(local) if matter.wakes]
    again = list(story.events)
    randomness.shuffle(again)
    publish(local, again)
    pass_time(local)
    assert statements(local) == before
    assert reasons(local) == []
    assert last_facts(local) == expect(story.events, lambda _: ARCHIVED).facts


def sold() -> Story:
    """An order of Anna's, and its parcel."""
    story = Story()
    story.add(ORDER, 1, customer=ANNA, followers=[PARCEL])
    story.add(PARCEL, 2)
    story.add(PARCEL, 3)  # delivered
    return story


def test_news_of_an_archived_id_is_too_late_and_changes_nothing() -> None:
    story = sold()
    local = run(story, Random(1))
    facts = last_facts(local)
    story.add(PARCEL, 5000)
    publish(local, story.events[-1:])
    assert reasons(local) == ["too_late"]
    assert last_facts(local) == facts


def test_a_conversation_that_comes_later_is_followed_without_what_was_archived() -> None:
    story = sold()
    local = run(story, Random(1))
    archived = last_facts(local)
    count = len(story.events)
    story.add(THREAD, 5000, leader=ORDER)
    publish(local, story.events[count:])
    (matter,) = matters(local)
    assert matter.customer == ANNA
    assert set(matter.history) == {THREAD}
    facts = last_facts(local)
    assert archived.items() <= facts.items()
    assert {about for about, _ in facts.keys() - archived.keys()} == {THREAD}


def test_an_archived_order_that_changes_its_customer_waits_in_quarantine_until_it_is_recalled() -> None:
    story = sold()
    local = run(story, Random(1))
    count = len(story.events)
    story.add(ORDER, 5000, customer=BEN)
    publish(local, story.events[count:])
    matter = next(matter for matter in matters(local) if matter.residents)
    assert matter.customer == BEN
    assert matter.quarantine is not None
    assert matter.quarantine.reason == "too_late"
    recall(local, story.events[:count])
    assert last_facts(local) == expect(story.events, lambda _: ARCHIVED).facts
    assert reasons(local) == []


def test_what_was_recalled_is_archived_again_when_nothing_comes_for_as_long_once_more() -> None:
    story = sold()
    local = run(story, Random(1))
    recall(local, story.events)
    for at, archived in ((ARCHIVED + ARCHIVE_AFTER - timedelta(seconds=1), False), (ARCHIVED + ARCHIVE_AFTER, True)):
        pass_time(local, at)
        (matter,) = matters(local)
        assert all(bool(resident.past.archived) is archived for resident in matter.residents.values())


def test_a_past_that_lacks_an_event_is_refused() -> None:
    story = sold()
    local = run(story, Random(1))
    before = matters(local)
    recall(local, [])
    assert reasons(local) == ["incomplete_past"]
    assert matters(local) == before


def test_what_is_not_archived_is_recalled_without_effect() -> None:
    story = sold()
    local = run(story, Random(1))
    recall(local, story.events)
    before, count = matters(local), statements(local)
    recall(local, story.events)
    local.publish(
        Send("timeline", BEN.encode(), codec.encode(Recall(matter=ORDER, asked_at=START, by="lee", pasts=())))
    )
    local.run()
    assert (matters(local), statements(local), reasons(local)) == (before, count, [])


@pytest.mark.parametrize("seed", range(150))
def test_what_is_recalled_goes_on_as_if_it_had_never_been_archived(seed: int) -> None:
    randomness = Random(seed)
    story = random_story(randomness)
    count = randomness.randint(1, len(story.events))
    first, rest = Story(story.events[:count]), story.events[count:]
    local = run(first, randomness, faults=True)
    recall(local, first.events)
    publish(local, rest)
    pass_time(local, ARCHIVED + timedelta(hours=1))
    assert reasons(local) == []
    assert last_facts(local) == expect(story.events, lambda _: ARCHIVED).facts


@pytest.mark.parametrize("seed", range(150))
def test_nothing_that_came_too_late_is_lost_once_it_is_recalled_and_brought_in_again(seed: int) -> None:
    randomness = Random(seed)
    story = random_story(randomness)
    count = randomness.randint(1, len(story.events))
    first, rest = story.events[:count], story.events[count:]
    local = run(Story(first), randomness, faults=True)
    publish(local, rest)
    recall(local, first)
    publish(local, rest)
    pass_time(local, ARCHIVED + timedelta(hours=1))
    assert set(reasons(local)) <= {"too_late"}
    assert not [matter for matter in matters(local) if matter.quarantine]
    assert last_facts(local) == expect(story.events, lambda _: ARCHIVED).facts


def test_an_order_that_comes_when_its_parcel_was_archived_states_nothing_until_that_is_recalled() -> None:
    story = Story()
    story.add(PARCEL, 1)
    story.add(PARCEL, 2)
    story.add(PARCEL, 3)  # delivered
    local = run(story, Random(1))
    scans = list(story.events)
    story.add(ORDER, 0, customer=ANNA, followers=[PARCEL])
    publish(local, story.events[len(scans) :])
    (aside,) = (matter for matter in matters(local) if matter.residents)
    assert aside.quarantine is not None
    assert aside.quarantine.reason == "too_late"
    recall(local, scans)
    assert last_facts(local) == expect(story.events, lambda _: ARCHIVED).facts


def test_a_recall_that_knows_less_than_was_stated_is_refused() -> None:
    story = sold()
    local = run(story, Random(1))
    (matter,) = matters(local)
    past = casework.encode_past(Past(expect(story.events, lambda _: ARCHIVED).events[PARCEL]))
    entry = Recall(matter=ORDER, asked_at=ARCHIVED, by="lee", pasts=(RecalledPast(id=PARCEL, past=past),))
    local.publish(Send("timeline", matter.customer.encode(), codec.encode(entry)))
    local.run()
    assert reasons(local) == ["incomplete_past"]


@pytest.mark.parametrize(
    ("after", "archived"), [(None, False), (2 * ARCHIVE_AFTER, False), (ARCHIVE_AFTER, True)], ids=str
)
def test_the_tick_says_what_is_archived(after: timedelta | None, archived: bool) -> None:
    local = Local([correlate.AGENT, casework.agent("g1")])
    publish(local, sold().events)
    pass_time(local, archive_after=after)
    (matter,) = matters(local)
    assert all(bool(known.past.archived) is archived for known in matter.residents.values())


def test_a_matter_that_was_archived_stays_so_though_later_ticks_say_less() -> None:
    local = run(sold(), Random(1))
    before = matters(local)
    pass_time(local, ARCHIVED + timedelta(days=1), 2 * ARCHIVE_AFTER)
    assert matters(local) == before


def test_what_was_recalled_and_moves_is_archived_no_sooner_than_had_it_stayed() -> None:
    story = sold()
    local = run(story, Random(1))
    recall(local, story.events)
    story.add(ORDER, 4, customer=BEN)
    publish(local, story.events[-1:])
    pass_time(local, ARCHIVED + ARCHIVE_AFTER - timedelta(days=1))
    (matter,) = (matter for matter in matters(local) if matter.residents)
    assert matter.customer == BEN
    assert set(matter.history) == {ORDER, PARCEL}
    pass_time(local, ARCHIVED + ARCHIVE_AFTER)
    assert not [matter for matter in matters(local) if matter.history]
