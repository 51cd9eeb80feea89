"""A rebuilt state knows what was stated of quarantines, though today's rules would have said otherwise."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.agents import casework
from streams.agents.casework import Kept
from streams.delivery.agent import Send
from streams.delivery.local import Local
from streams.delivery.task import Task
from streams.domain.events import AccountClock, Tick
from streams.domain.fold import fold
from streams.domain.history import Folded, History
from streams.operations.statements import Statements, in_line, residents_of
from tests.identity.made import CUSTOMER, NOW, ORDER, facts, matters, order, pipeline, run
from tests.operations.made import retry


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the rules fail on every matter, or be right again."""

    def fail(failing: bool) -> None:
        def rules(history: History, *rest: Any) -> Folded:
            if failing and history:
                raise ZeroDivisionError("a bug")
            return fold(history, *rest)

        monkeypatch.setattr(casework, "fold", rules)

    return fail


def rebuild(local: Local) -> None:
    """State of casework from the only timeline partition."""
    task = Task(casework.agent("g1"), 0, {}, {})
    for commit in task.process(local.records("timeline")):
        task.apply(commit)
    said = Statements("g1", residents_of(task.entries), lambda customer: True)
    for record in [*local.records("timer_fact"), *local.records("matter_fact")]:
        said.add(codec.decode(record.value))
    local.replace_state("casework", 0, in_line(task.entries, said))


def tick(minutes: int) -> Send:
    now = NOW + timedelta(minutes=minutes)
    entry = Tick(now=now, accounts=(AccountClock(account="a", heard_until=now, live=True),))
    return Send("timeline", b"", codec.encode(entry), partition=0)


def kept(local: Local) -> Any:
    return {key: value.matter for key, value in local.state("casework").items() if isinstance(value, Kept)}


def test_a_matter_that_was_in_quarantine_goes_on_counting_though_the_rules_no_longer_fail(fail: Any) -> None:
    local = run(pipeline(1), [order()])
    fail(True)
    run(local, [order("2")])
    fail(False)
    run(local, [retry(ORDER, CUSTOMER)])
    before = kept(local)
    rebuild(local)
    assert kept(local) == before
    fail(True)
    run(local, [order("3")])
    assert facts(local, "quarantine") == [(ORDER, 1, False), (ORDER, 2, True), (ORDER, 3, False)]


def test_a_matter_in_quarantine_stays_there_until_it_is_retried_though_the_rules_no_longer_fail(fail: Any) -> None:
    fail(True)
    local = run(pipeline(1), [order()])
    fail(False)
    before = matters(local)[ORDER]
    rebuild(local)
    after = matters(local)[ORDER]
    assert (after.quarantine, after.quarantine_revisions) == (before.quarantine, before.quarantine_revisions)
    assert after.wakes == ()
    run(local, [tick(1), retry(ORDER, CUSTOMER)])
    assert facts(local, "quarantine") == [(ORDER, 1, False), (ORDER, 2, True)]
    assert facts(local, "order") == [(ORDER, 1, False)]


def test_a_matter_on_which_only_todays_rules_fail_is_set_aside_by_the_next_tick_and_says_so(fail: Any) -> None:
    local = run(pipeline(1), [tick(1), order()])
    fail(True)
    rebuild(local)
    assert matters(local)[ORDER].quarantine is None
    assert facts(local, "quarantine") == []
    run(local, [tick(2)])
    assert matters(local)[ORDER].quarantine is not None
    assert facts(local, "quarantine") == [(ORDER, 1, False)]


def test_a_matter_on_which_only_todays_rules_fail_is_archived_if_its_account_is_never_heard(fail: Any) -> None:
    local = run(pipeline(1), [order()])
    fail(True)
    rebuild(local)
    assert matters(local)[ORDER].quarantine is None
    archiving = Tick(now=NOW + timedelta(days=9), archive_until=NOW)
    run(local, [Send("timeline", b"", codec.encode(archiving), partition=0)])
    assert matters(local)[ORDER].residents[ORDER].past.archived
    assert facts(local, "quarantine") == []


def test_a_place_that_everything_has_left_goes_on_counting_its_quarantines(fail: Any) -> None:
    fail(True)
    local = run(pipeline(1), [order()])
    run(local, [order("2", customer="customer:a:d", event_at=NOW + timedelta(hours=1))])
    fail(False)
    rebuild(local)
    left = kept(local)[casework.place_key(CUSTOMER, ORDER)]
    assert (left.quarantine, left.quarantine_revisions, left.residents) == (None, 2, {})


def test_statements_of_another_generation_do_not_count() -> None:
    local = run(pipeline(1), [order()])
    said = Statements("g2", {ORDER}, lambda customer: True)
    for record in local.records("matter_fact"):
        said.add(codec.decode(record.value))
    assert not said.of(ORDER)
    fact = codec.decode(local.records("matter_fact")[0].value)
    said.add(msgspec.structs.replace(fact, generation="g2"))
    assert said.of(ORDER)
