"""Laws of the fold: order and repetition of events change nothing, and facts stand still between due instants."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.conversations import SOLVED, Solution, case_of
from streams.domain.events import Message, SourceEvent, Ticket
from streams.domain.facts import CaseState, MatterKey, TimerKey, TimerState
from streams.domain.fold import fold
from streams.domain.history import History, add_event
from streams.domain.reference import SHIPPED
from tests.domain.histories import (
    LONG_AFTER,
    NEVER,
    START,
    THREAD,
    at,
    conversations,
    folded,
    history_of,
    message,
    stories,
)

HORIZONS = st.integers(-1, 120).map(at)


@given(stories(), st.randoms(use_true_random=False), HORIZONS)
def test_the_fold_of_shuffled_and_repeated_events_is_the_same(
    events: Sequence[SourceEvent], randomness: Random, horizon: datetime
) -> None:
    again = [*events, *randomness.choices(events, k=3)]
    randomness.shuffle(again)
    first, second = folded(events, horizon), folded(again, horizon)
    assert first.facts == second.facts
    assert sorted(first.wakes) == sorted(second.wakes)


@given(stories())
def test_the_fold_leaves_its_history_alone(events: Sequence[SourceEvent]) -> None:
    history = history_of(events)
    before = {id: list(said) for id, said in history.items()}
    fold(history, SHIPPED, lambda _: LONG_AFTER)
    assert {id: list(said) for id, said in history.items()} == before


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 9)), max_size=12))
def test_add_event_keeps_order_and_each_event_once(said: list[tuple[int, int, int]]) -> None:
    """Copies of an event may differ in when they were ingested; the earliest is kept."""
    events: tuple[SourceEvent, ...] = ()
    copies: dict[str, list[SourceEvent]] = {}
    for number, hours, delay in said:
        event = message_of(number, hours=number % 4 if hours else 0, delay=delay)
        copies.setdefault(event.event_id, []).append(event)
        events = add_event(events, event)
    assert [event.order_key for event in events] == sorted(event.order_key for event in events)
    assert len({event.event_id for event in events}) == len(events) == len(copies)
    for event in events:
        assert event.ingested_at == min(copy.ingested_at for copy in copies[event.event_id])


def message_of(number: int, hours: int, delay: int) -> SourceEvent:
    event = message(number, hours, "customer" if number % 2 else "agent")
    return msgspec.structs.replace(event, ingested_at=event.ingested_at + timedelta(minutes=delay))


@settings(max_examples=200)
@given(stories(), st.fixed_dictionaries({name: st.integers(0, 130) for name in ("shop", "carrier-a", "carrier-b")}))
def test_facts_stand_still_until_the_next_wake(events: Sequence[SourceEvent], hours: dict[str, int]) -> None:
    """Between the horizon and the next wake of every account nothing changes; at a wake something does."""
    horizons = {account: at(hour) for account, hour in hours.items()}
    now = folded(events, horizons.__getitem__)
    wakes = {account: min((w.at for w in now.wakes if w.account == account), default=None) for account in horizons}
    for account, wake in wakes.items():
        assert wake is None or wake > horizons[account]
        moment_before = {**horizons, account: (wake or LONG_AFTER) - timedelta(microseconds=1)}
        assert folded(events, moment_before.__getitem__) == now
        if wake is not None:
            assert folded(events, {**horizons, account: wake}.__getitem__).facts != now.facts


@given(stories())
def test_waking_again_and_again_ends_at_the_facts_of_all_time(events: Sequence[SourceEvent]) -> None:
    horizons = dict.fromkeys(("shop", "carrier-a", "carrier-b"), NEVER)
    for _ in range(len(events) + 3):
        now = folded(events, horizons.__getitem__)
        if not now.wakes:
            break
        wake = min(now.wakes, key=lambda wake: wake.at)
        horizons[wake.account] = wake.at
    assert not now.wakes
    assert now.facts == folded(events, LONG_AFTER).facts


# ---- a conversation, recomputed naively


def solved_since(events: Sequence[SourceEvent]) -> SourceEvent | None:
    """The event that began the present solved stretch: the first solving one after the last that opened."""
    after_opening: list[SourceEvent] = []
    for event in events:
        if isinstance(event, Message) and event.author == "customer":
            after_opening = []
        elif isinstance(event, Ticket) and event.status not in (None, "unknown"):
            after_opening = [*after_opening, event] if event.status in SOLVED else []
    return after_opening[0] if after_opening else None


@given(conversations())
def test_solution_agrees_with_a_naive_recomputation(events: list[SourceEvent]) -> None:
    (sorted_events,) = history_of(events).values()
    solution = Solution(sorted_events)
    by = solved_since(sorted_events)
    assert (solution.since, solution.by) == ((by.event_at, by.event_id) if by else (None, None))
    reopenings = [
        position
        for position in range(1, len(sorted_events) + 1)
        if solved_since(sorted_events[: position - 1]) and not solved_since(sorted_events[:position])
    ]
    assert solution.reopen_count == len(reopenings)
    stretch = sorted_events[sorted_events.index(by) :] if by else ()
    resolved = [e.event_at for e in stretch if isinstance(e, Ticket) and e.status == "resolved"]
    closed = [e.event_at for e in stretch if isinstance(e, Ticket) and e.status == "closed"]
    assert solution.resolved_at == (resolved[0] if resolved else None)
    assert solution.last_resolved_at == (resolved[-1] if resolved else None)
    assert solution.closed_at == (closed[-1] if closed else None)
    ever = [e.event_at for e in sorted_events if isinstance(e, Ticket) and e.status == "resolved"]
    assert solution.first_resolved_at == (ever[0] if ever else None)


@given(conversations(), HORIZONS)
def test_timers_and_the_case_agree(events: list[SourceEvent], horizon: datetime) -> None:
    found = folded(events, horizon).facts
    case = found[THREAD, MatterKey(kind="case", item=case_of(THREAD))]
    assert isinstance(case, CaseState)
    for name, stop in (("first_response", case.first_response_at), ("resolution", None)):
        timer = found.get((THREAD, TimerKey(case_id=case_of(THREAD), timer=name)))
        if not case.customer_message_count:
            assert timer is None
            continue
        assert isinstance(timer, TimerState)
        assert timer.started_at == case.opened_at >= START
        if timer.result == "not_applicable":
            assert timer.due_at is timer.stopped_at is None
            continue
        assert timer.due_at is not None
        if name == "first_response":
            assert timer.stopped_at == stop
        in_time = timer.stopped_at is not None and timer.stopped_at <= timer.due_at
        assert (timer.result == "met") == in_time
        assert (timer.result == "running") == (timer.stopped_at is None and horizon < timer.due_at)


def test_the_history_of_no_events_says_nothing() -> None:
    empty: History = {}
    assert fold(empty, SHIPPED, lambda _: LONG_AFTER).facts == {}
