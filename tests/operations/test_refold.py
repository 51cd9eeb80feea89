"""What new rules would change is said before they do: decided without Kafka."""

from datetime import datetime
from random import Random
from typing import Any

import msgspec
import pytest

from streams.agents import casework
from streams.delivery.local import Local
from streams.domain.facts import OrderState, ParcelState, ReviewState
from streams.domain.fold import fold
from streams.domain.history import Folded, History
from streams.operations import refold
from streams.operations.refold import Report, look_at
from tests.identity.made import NOW
from tests.identity.stories import random_story
from tests.identity.test_interleavings import matters, run


def report_of(local: Local, limit: int | None = None) -> Report:
    """As the command does it, with the state of all partitions as if of one: in the end their clocks agree."""
    found = Report()
    look_at(dict(local.state("casework")), found, limit)
    return found


def told(seed: int) -> Local:
    randomness = Random(seed)
    return run(random_story(randomness).events, randomness, ticks=2)


def rules(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Rules that say something else: `change` may alter the facts."""

    def changed(history: History, *rest: Any) -> Folded:
        folded = fold(history, *rest)
        change(folded.facts)
        return folded

    monkeypatch.setattr(refold, "fold", changed)


@pytest.mark.parametrize("seed", range(30))
def test_the_same_rules_say_the_same_of_everything(seed: int) -> None:
    local = told(seed)
    found = report_of(local)
    assert found.says_the_same
    assert (found.changed, found.kinds) == (0, {})
    assert found.matters + found.passed_over == len(matters(local))


def test_a_field_that_new_rules_say_otherwise_is_counted_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(facts: dict[Any, Any]) -> None:
        for key, state in facts.items():
            if isinstance(state, OrderState):
                facts[key] = msgspec.structs.replace(state, buyer="somebody", status="unknown")

    local = told(1)
    rules(monkeypatch, change)
    found = report_of(local)
    count = found.kinds["order"].counts["corrected"]
    assert count > 0
    assert found.changed == count
    assert found.kinds["order"].fields == {"buyer": count, "status": count}
    example = found.kinds["order"].examples["corrected"][0]
    assert example.startswith("order:")
    assert example.endswith("-> status=unknown, buyer=somebody")
    assert not found.says_the_same


def test_facts_that_new_rules_no_longer_say_or_say_for_the_first_time_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    review = ReviewState(
        account="a", marketplace="", review_id="1", score=1, score_max=5, has_text=False, reviewed_at=NOW
    )

    def change(facts: dict[Any, Any]) -> None:
        for key, state in list(facts.items()):
            if isinstance(state, ParcelState):
                del facts[key]
                facts[key[0], msgspec.structs.replace(key[1], kind="review")] = review

    local = told(1)
    rules(monkeypatch, change)
    found = report_of(local)
    parcels, reviews = found.kinds["parcel"].counts, found.kinds["review"].counts
    assert parcels["withdrawn"] == reviews["stated"] > 0
    assert set(found.kinds) == {"parcel", "review"}


def test_matters_on_which_new_rules_fail_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(facts: dict[Any, Any]) -> None:
        raise ZeroDivisionError("a bug")

    local = told(1)
    rules(monkeypatch, change)
    found = report_of(local)
    assert found.set_aside == found.matters > 0
    assert "ZeroDivisionError('a bug')" in found.failures[0]
    assert not found.says_the_same


def test_no_more_matters_are_looked_at_than_told() -> None:
    assert report_of(told(1), limit=1).matters == 1


def test_a_timer_is_measured_by_the_clocks_that_casework_keeps() -> None:
    local = told(7)
    values = dict(local.state("casework"))
    clocks = values[casework.CLOCKS_KEY]
    assert isinstance(clocks, casework.Clocks)
    earlier = {account: datetime.fromtimestamp(0, NOW.tzinfo) for account in clocks.horizons}
    values[casework.CLOCKS_KEY] = msgspec.structs.replace(clocks, horizons=earlier)
    found = Report()
    look_at(values, found, None)
    assert {name for name in found.kinds if name.startswith("timer")}
