"""A matter in quarantine is retried by an entry on its timeline."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from streams import codec
from streams.agents import casework
from streams.delivery.agent import Send
from streams.domain import matter as matter_module
from streams.domain.events import Move
from streams.domain.fold import fold
from streams.domain.history import Folded, History
from tests.identity.made import CUSTOMER, NOW, ORDER, asked, facts, letters, matters, order, pipeline, run, scan
from tests.operations.made import retry

THREAD = "thread:a:1"


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the rules fail, or with an empty text be right again."""

    def set_cause(why: str) -> None:
        def failing(history: History, *rest: Any) -> Folded:
            if why and history:
                raise ZeroDivisionError(why)
            return fold(history, *rest)

        monkeypatch.setattr(casework, "fold", failing)

    return set_cause


def quarantine_details(local: Any) -> list[str]:
    said = [codec.decode(record.value) for record in local.records("matter_fact")]
    return [fact.state.detail for fact in said if fact.key.kind == "quarantine"]


def test_a_matter_that_is_retried_after_the_fix_states_its_facts_and_its_quarantine_is_withdrawn(
    fail: Callable[[str], None],
) -> None:
    local = run(pipeline(), [asked(THREAD, "1", customer=CUSTOMER)])
    fail("a bug")
    run(local, [asked(THREAD, "2"), asked(THREAD, "3")])
    assert matters(local)[THREAD].quarantine is not None
    assert facts(local, "case") == [(THREAD, 1, False)]
    fail("")
    run(local, [retry(THREAD, CUSTOMER)])
    assert matters(local)[THREAD].quarantine is None
    assert facts(local, "quarantine") == [(THREAD, 1, False), (THREAD, 2, True)]
    assert facts(local, "case") == [(THREAD, 1, False), (THREAD, 2, False)]
    assert not letters(local)


def test_timers_of_a_matter_that_was_retried_run_on(fail: Callable[[str], None]) -> None:
    fail("a bug")
    local = run(pipeline(), [asked(THREAD, customer=CUSTOMER)])
    assert not matters(local)[THREAD].wakes
    fail("")
    run(local, [retry(THREAD, CUSTOMER)])
    assert matters(local)[THREAD].wakes == (("a", NOW + timedelta(hours=4)),)


def test_a_matter_on_which_the_rules_fail_again_stays_set_aside_and_says_so_only_for_another_cause(
    fail: Callable[[str], None],
) -> None:
    fail("a bug")
    local = run(pipeline(), [order()])
    run(local, [retry(ORDER, CUSTOMER)])
    assert quarantine_details(local) == ["ZeroDivisionError: a bug"]
    fail("another bug")
    run(local, [retry(ORDER, CUSTOMER), retry(ORDER, CUSTOMER)])
    assert quarantine_details(local) == ["ZeroDivisionError: a bug", "ZeroDivisionError: another bug"]
    assert facts(local, "quarantine") == [(ORDER, 1, False), (ORDER, 2, False)]


@pytest.mark.parametrize("was_aside", [False, True])
def test_a_place_that_is_left_as_the_rules_fail_there_is_not_set_aside(
    was_aside: bool, fail: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail("a bug" if was_aside else "")
    local = run(pipeline(), [order()])
    fail("")
    run(local, [retry(ORDER, CUSTOMER)])
    fail("another bug")
    monkeypatch.setattr(casework, "FOLD_VERSION", 2)  # so that the departure is preceded by a fold
    run(local, [order("2", customer="customer:a:d", event_at=NOW + timedelta(hours=1))])
    aside = [value.matter for value in local.state("casework").values() if value.matter.quarantine]
    assert [matter.customer for matter in aside] == ["customer:a:d"]
    said = [codec.decode(record.value).state for record in local.records("matter_fact")]
    assert [state.customer for state in said if state.KIND == "quarantine"][2 * was_aside :] == ["customer:a:d"]


@pytest.mark.parametrize(
    ("head", "customer"), [("order:a:2", CUSTOMER), (ORDER, "customer:a:nobody"), (ORDER, CUSTOMER)]
)
def test_a_retry_of_a_matter_that_is_unknown_or_in_no_quarantine_changes_nothing(head: str, customer: str) -> None:
    local = run(pipeline(), [order()])
    before = local.state("casework"), len(local.records("matter_fact"))
    run(local, [retry(head, customer)])
    assert (local.state("casework"), len(local.records("matter_fact"))) == before
    assert not letters(local)


def test_a_matter_that_is_still_too_large_stays_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matter_module, "MAX_EVENTS", 3)
    local = run(pipeline(), [scan(number) for number in range(4)])
    run(local, [retry("parcel:1", "provisional:parcel:1")])
    assert matters(local)["parcel:1"].quarantine is not None
    assert facts(local, "quarantine") == [("parcel:1", 1, False)]
    monkeypatch.setattr(matter_module, "MAX_EVENTS", 4)
    run(local, [retry("parcel:1", "provisional:parcel:1")])
    assert matters(local)["parcel:1"].quarantine is None
    assert facts(local, "parcel") == [("parcel:1", revision, False) for revision in (1, 2, 3, 4)]


def test_a_matter_that_is_retried_while_a_part_of_it_is_under_way_states_nothing_until_it_is_here(
    fail: Callable[[str], None],
) -> None:
    fail("a bug")
    local = run(pipeline(), [order()])
    announced = Move(step="in", id="parcel:1", number=1, matter=ORDER)
    run(local, [Send("timeline", CUSTOMER.encode(), codec.encode(announced))])
    fail("")
    run(local, [retry(ORDER, CUSTOMER)])
    assert matters(local)[ORDER].quarantine is None
    assert facts(local, "order") == []
    past = msgspec.msgpack.encode(matter_module.Past())
    arrived = Move(step="moved", id="parcel:1", number=1, matter=ORDER, past=past)
    run(local, [Send("timeline", CUSTOMER.encode(), codec.encode(arrived))])
    assert facts(local, "order") == [(ORDER, 1, False)]


def test_a_matter_that_has_moved_away_since_it_was_asked_for_is_left_as_it_is(fail: Callable[[str], None]) -> None:
    fail("a bug")
    local = run(pipeline(), [order()])
    moved = order("2", customer="customer:a:d", event_at=NOW + timedelta(hours=1))
    run(local, [moved, retry(ORDER, CUSTOMER)])
    aside = {value.matter.customer: value.matter.quarantine for value in local.state("casework").values()}
    assert aside[CUSTOMER] is None
    assert aside["customer:a:d"] is not None
