"""The breaker of one topic: outcomes and instants in, what may be read out."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker

CLOSED = Breaker(limit=3)


def after(breaker: Breaker, *commits: str, now: float = 0.0) -> Breaker:
    """After commits such as `xx.x`: `x` was refused, `.` accepted."""
    for commit in commits:
        breaker = breaker.after(len(commit), [nth for nth, outcome in enumerate(commit) if outcome == "x"], now)
    return breaker


@pytest.mark.parametrize("commits", [["xxx"], ["x", "xx"], ["x.", "xxx"], ["...xxx"], ["xxxxxx"], ["", "xxx", ""]])
def test_so_many_refused_records_in_a_row_open_it(commits: Sequence[str]) -> None:
    assert after(CLOSED, *commits).is_open


@pytest.mark.parametrize("commits", [["xx"], ["xx", ".xx"], ["xx.", "xx"], ["xxx."], ["x.x", "x"], ["", ""]])
def test_an_accepted_record_between_them_keeps_it_closed(commits: Sequence[str]) -> None:
    assert not after(CLOSED, *commits).is_open


def test_without_a_limit_it_never_opens() -> None:
    assert not after(Breaker(limit=0), "x" * 10_000).is_open


def test_the_first_probe_is_due_after_the_first_pause() -> None:
    opened = after(CLOSED, "xxx", now=100.0)
    assert not opened.probes(100.0 + FIRST_PAUSE_S - 0.001)
    assert opened.probes(100.0 + FIRST_PAUSE_S)


def test_while_a_record_is_being_tried_no_other_is() -> None:
    trying = after(CLOSED, "xxx").trying(FIRST_PAUSE_S)
    assert trying.is_open
    assert not trying.probes(FIRST_PAUSE_S)


def test_a_probe_of_which_nothing_came_is_repeated_after_a_pause() -> None:
    assert after(CLOSED, "xxx").trying(FIRST_PAUSE_S).probes(2 * FIRST_PAUSE_S)


def test_an_accepted_probe_closes_it_and_all_is_as_at_the_beginning() -> None:
    assert after(after(CLOSED, "xxx").trying(FIRST_PAUSE_S), ".") == CLOSED


def test_refused_probes_come_ever_more_rarely_up_to_the_longest_pause() -> None:
    breaker, pauses, now = after(CLOSED, "xxx"), [], 0.0
    for _ in range(8):
        assert breaker.probe_at is not None
        pauses.append(breaker.probe_at - now)
        now = breaker.probe_at
        breaker = after(breaker.trying(now), "x", now=now)
        assert breaker.is_open
    assert pauses[:4] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S, 8 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S


@pytest.mark.parametrize("commit", ["x" * 50, "....", "x.x"])
def test_what_was_under_way_when_it_opened_changes_nothing(commit: str) -> None:
    opened = after(CLOSED, "xxx")
    assert after(opened, commit, now=1.0) == opened


@given(st.lists(st.text("x.", max_size=6), max_size=20))
def test_how_records_are_split_into_commits_makes_no_difference_while_it_is_closed(commits: list[str]) -> None:
    breaker = Breaker(limit=10_000)
    assert after(breaker, *commits) == after(breaker, *"".join(commits))
