"""State that was made anew at any moment goes on as if nothing had happened: decided without Kafka."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.agents import casework, correlate
from streams.delivery import local as local_module
from streams.delivery.agent import Send
from streams.delivery.local import Local
from streams.delivery.recovery import REBUILDING
from streams.delivery.task import Task
from streams.domain.events import Place, SourceEvent
from streams.domain.facts import OrderState, ParcelState
from streams.domain.fold import fold
from streams.domain.history import Folded, History
from streams.domain.ids import provisional
from streams.operations import rebuild as rebuild_module
from streams.operations import statements as statements_module
from streams.operations.identities import Correlation
from streams.operations.statements import Statements, in_line, residents_of
from streams.partitions import partition_of
from tests.identity.stories import ACCOUNT, START, Story, random_story, record_of
from tests.identity.test_interleavings import expected, last_facts, matters, tick

SEEDS = 150


def hearsay_story(randomness: Random) -> Story:
    """Orders that rarely say whose they are, so that it is learnt from what follows them, over one id or two; and ids
    that change whom they follow, by their own word or the order's.
    """
    story = Story()
    orders = [f"order:{ACCOUNT}:{number}" for number in range(3)]
    parcels = [f"parcel:{number}" for number in range(2)]
    thread = f"thread:{ACCOUNT}:0"

    def customer(likely: float) -> str | None:
        return f"customer:{ACCOUNT}:{randomness.randint(0, 2)}" if randomness.random() < likely else None

    for _ in range(randomness.randint(4, 16)):
        at = randomness.randint(0, 50)
        match randomness.randint(0, 3):
            case 0:
                followers = randomness.choice([(), (), (thread,), parcels, parcels[:1]])
                story.add(randomness.choice(orders), at, customer=customer(0.2), followers=followers)
            case 1:
                story.add(randomness.choice(parcels), at, leader=randomness.choice([None, *orders]))
            case 2:
                claim = f"claim:{ACCOUNT}:{randomness.randint(0, 2)}"
                story.add(claim, at, leader=randomness.choice([None, *parcels]), customer=customer(0.5))
            case _:
                story.add(thread, at, leader=randomness.choice([None, *orders]), customer=customer(0.5))
    return story


def claimed_story(randomness: Random) -> Story:
    """An order learns whose it is from a thread, which another order then claims."""
    story, thread = Story(), f"thread:{ACCOUNT}:{randomness.randint(0, 9)}"
    first, second = f"order:{ACCOUNT}:1", f"order:{ACCOUNT}:2"
    story.add(thread, 1, leader=first)
    story.add(thread, 2, customer=f"customer:{ACCOUNT}:1")
    story.add(first, 3)
    story.add(second, 5, followers=[thread])
    return story


class Run:
    """A story in the middle of which something happens."""

    def __init__(
        self,
        seed: int,
        monkeypatch: pytest.MonkeyPatch,
        *,
        tell: Callable[[Random], Story] | None = None,
        archive_after: timedelta | None = None,
    ) -> None:
        self._casework, self._archive_after = casework.agent("g1"), archive_after
        self.randomness = Random(seed)
        self.partitions = self.randomness.randint(1, 3)
        tell = tell or self.randomness.choice((random_story, hearsay_story))
        self.story = tell(self.randomness)
        self.local = Local(
            [correlate.AGENT, self._casework],
            partitions=self.partitions,
            randomness=self.randomness,
            crash_rate=0.05,
            encode_dead_letter=codec.encode,
        )
        self._middle = self.randomness.randint(1, len(self.story.events))
        self._monkeypatch = monkeypatch

    def begin(self) -> None:
        """The first part of the story, stopped at any moment: events and messages are unread."""
        for event in self.story.events[: self._middle]:
            self._publish(event)
        until = START + timedelta(hours=self.randomness.uniform(0, 60))
        for send in tick(until, self.partitions, self._archive_after):
            self.local.publish(send)
        with self._monkeypatch.context() as patched, suppress(RuntimeError):
            patched.setattr(local_module, "STEPS", self.randomness.randint(1, 20))
            self.local.run()

    def end(self) -> None:
        """The rest of it, and of time."""
        for event in self.story.events[self._middle :]:
            self._publish(event)
            if self.randomness.random() < 0.3:
                self.local.run()
        self.local.run()
        self.pass_time(START + timedelta(days=30), self._archive_after)

    def pass_time(self, until: datetime, archive_after: timedelta | None) -> None:
        """A tick, and all that it is followed by."""
        for send in tick(until, self.partitions, archive_after):
            self.local.publish(send)
        self.local.run()

    def _publish(self, event: SourceEvent) -> None:
        """Now and then twice; what a rebuild sends is there once."""
        for _ in range(self.randomness.choices((1, 2), (9, 1))[0]):
            self.local.publish(record_of(event))

    def rebuild_casework(self) -> None:
        """What `state rebuild casework` does, in every partition."""
        for partition in range(self.partitions):
            position = self.local.positions("casework", partition).get("timeline", 0)
            records = [
                record
                for record in self.local.records("timeline")
                if record.partition == partition and record.offset < position
            ]
            task = Task(self._casework, partition, {}, {})
            for commit in task.process(records):
                task.apply(commit)

            def is_here(customer: str, here: int = partition) -> bool:
                return partition_of(customer.encode(), self.partitions) == here

            said = Statements("g1", residents_of(task.entries), is_here)
            for topic in ("timer_fact", "matter_fact"):
                for record in self.local.records(topic):
                    said.add(codec.decode(record.value))
            self.local.replace_state("casework", partition, in_line(task.entries, said))

    def rebuild_correlate(self, *, likely: float = 1.0) -> None:
        """What `state rebuild correlate` does; a partition is left as it is if it is not likely enough."""
        correlation = Correlation(self.partitions)
        for partition in range(self.partitions):
            positions = self.local.positions("correlate", partition)
            for topic in correlate.SOURCES:
                records = [r for r in self.local.records(topic) if r.partition == partition]
                correlation.take(partition, [r for r in records if r.offset < positions.get(topic, 0)])
        places: dict[str, Place] = {}
        for record in self.local.records("place"):
            place = codec.decode(record.value)
            if place.id not in places or places[place.id].revision <= place.revision:
                places[place.id] = place
        for partition in range(self.partitions):
            if self.randomness.random() >= likely:
                continue
            taken_up = list(correlation.take_up(partition, places))
            self.local.replace_state("correlate", partition, {id.key: id.entry for id in taken_up})
            for id in taken_up:
                for send in id.sends:
                    self.local.publish(send)

    def check(self) -> None:
        """All that is true of a story that ran undisturbed."""
        expectation = expected(self.story)
        lies = {}
        for matter in matters(self.local):
            for id, resident in matter.residents.items():
                assert not resident.under_way, f"a move of {id} never ended"
                assert not resident.arrived, f"an arrival of {id} was never announced"
                assert id not in lies, f"{id} lies at two places"
                customer = expectation.customers[matter.head] or provisional(matter.head)
                assert matter.customer == customer, f"{id} lies at {matter.customer}, not at {customer}"
                lies[id] = matter.head, {event.event_id for event in resident.past.events}
        assert lies == {
            id: (expectation.heads[id], {event.event_id for event in events})
            for id, events in expectation.events.items()
        }
        assert last_facts(self.local) == expectation.facts
        assert not self.local.records("dead_letter")


def setting(days: int) -> timedelta | None:
    """As a setting: 0 is never."""
    return timedelta(days=days) if days else None


def state_of(local: Local) -> Mapping[bytes, Any]:
    return local.state("casework")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_state_of_casework_that_is_rebuilt_at_any_moment_is_the_one_that_was_there(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(seed, monkeypatch)
    run.begin()
    before = state_of(run.local)
    run.rebuild_casework()
    assert state_of(run.local) == before
    run.end()
    run.check()


@pytest.mark.parametrize("seed", range(30))
def test_a_rebuilt_state_has_archived_what_was_archived_under_settings_of_former_days(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(110_000 + seed, monkeypatch, archive_after=setting(seed))
    run.begin()
    run.end()
    for day in range(31, 40):
        run.pass_time(START + timedelta(days=day), setting(run.randomness.randint(0, 40)))
    run.local.publish(record_of(run.story.events[0]))
    before = state_of(run.local)
    run.rebuild_casework()
    assert state_of(run.local) == before


@pytest.mark.parametrize("seed", range(30))
def test_archived_matters_are_archived_in_a_rebuilt_state_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(90_000 + seed, monkeypatch, archive_after=timedelta(days=1))
    run.begin()
    run.end()
    before = state_of(run.local)
    assert not any(matter.history for matter in matters(run.local))
    run.rebuild_casework()
    assert state_of(run.local) == before


def other_rules(history: History, *rest: Any) -> Folded:
    """Rules that say less of parcels, more of orders, and something else of their totals."""
    folded = fold(history, *rest)
    for key, state in list(folded.facts.items()):
        if isinstance(state, ParcelState):
            del folded.facts[key]
        if isinstance(state, OrderState):
            folded.facts[key] = msgspec.structs.replace(state, buyer="somebody")
    return folded


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_a_rebuild_by_other_rules_no_revision_is_used_twice_and_the_last_facts_are_theirs(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(20_000 + seed, monkeypatch)
    run.begin()
    monkeypatch.setattr(casework, "fold", other_rules)
    for module in (casework, statements_module):
        monkeypatch.setattr(module, "FOLD_VERSION", 2)
    run.rebuild_casework()
    run.end()
    for event in run.story.events:  # every matter is touched once more
        run.local.publish(record_of(event))
    run.local.run()
    facts = last_facts(run.local)
    orders = {id for id, events in expected(run.story).events.items() if id.startswith("order:") and events}
    assert {about for about, _ in facts if about.startswith("order:")} == orders
    assert {state.buyer for state in facts.values() if isinstance(state, OrderState)} <= {"somebody"}
    assert not any(about.startswith("parcel:") for about, _ in facts)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_state_of_correlate_that_is_rebuilt_at_any_moment_leads_to_the_same_places(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(40_000 + seed, monkeypatch)
    run.begin()
    run.rebuild_correlate()
    run.end()
    run.check()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_some_partitions_of_correlate_can_be_rebuilt_without_the_others(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(80_000 + seed, monkeypatch)
    run.begin()
    run.rebuild_correlate(likely=0.5)
    run.end()
    run.check()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_former_leader_keeps_no_word_though_a_rebuild_overtook_the_message_of_the_new_one(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(100_000 + seed, monkeypatch, tell=claimed_story)
    run.begin()
    run.rebuild_correlate(likely=0.7)
    run.end()
    run.check()


def test_a_state_is_marked_before_it_is_written_until_all_of_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_module, "CHUNK_ENTRIES", 2)
    changes: dict[bytes, bytes | None] = {b"%d" % number: None if number == 3 else b"entry" for number in range(5)}
    sends = {b"1": [Send("place_message", b"1", b"said")]}
    commits = list(rebuild_module.commits(changes, sends))
    assert commits[0].changes == {REBUILDING: REBUILDING}
    assert not any(REBUILDING in commit.changes for commit in commits[1:-1])
    assert commits[-1].changes[REBUILDING] is None
    written: dict[bytes, bytes | None] = {}
    for commit in commits:
        written |= commit.changes
    assert written == changes | {REBUILDING: None}
    assert [send for commit in commits for send in commit.sends] == sends[b"1"]


@pytest.mark.parametrize("seed", range(40))
def test_both_rebuilt_and_rebuilt_again_lead_to_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(60_000 + seed, monkeypatch)
    run.begin()
    for _ in range(2):
        run.rebuild_correlate()
        run.rebuild_casework()
    run.end()
    run.check()
