"""The market's time in real time: monotone, and fixed for what has been published."""

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from connectors.simulator.pace import Pace
from streams.domain.events import Event, Order
from tests.simulator.market_runs import START, market_run

LIVE = START + timedelta(days=20)
HOUR = timedelta(hours=1)


def test_history_keeps_its_instants() -> None:
    pace = Pace.going_live(LIVE, 240)
    for planned in market_run(days=20):
        assert pace.place(planned).publish_at == planned.publish_at
        if isinstance(planned.body, Event):
            assert pace.place(planned).body == planned.body


def test_live_time_runs_faster() -> None:
    pace = Pace.going_live(LIVE, 240)
    assert pace.to_real(LIVE + timedelta(hours=24)) == LIVE + timedelta(minutes=6)
    assert pace.to_market(LIVE + timedelta(minutes=6)) == LIVE + timedelta(hours=24)


def test_promises_made_live_are_kept_or_broken_at_the_same_pace() -> None:
    pace = Pace.going_live(LIVE, 240)
    placed = next(
        planned
        for planned in market_run(days=25)
        if isinstance(planned.body, Order) and planned.body.lines and planned.body.event_at > LIVE
    )
    order, planned_order = pace.place(placed).body, placed.body
    assert isinstance(order, Order)
    assert isinstance(planned_order, Order)
    assert order.placed_at == order.event_at == pace.to_real(planned_order.event_at)
    assert order.promised_at is not None
    assert planned_order.promised_at is not None
    assert order.promised_at == pace.to_real(planned_order.promised_at)
    assert order.lines[0].ship_by_at == order.placed_at + timedelta(days=2) / 240


@given(
    pauses=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=4),
    instants=st.lists(st.integers(-(10**6), 10**8), min_size=2, max_size=20),
    speed=st.sampled_from([1.0, 7.0, 240.0, 900.0]),
)
def test_order_is_kept_and_a_pause_changes_nothing_before_it(
    pauses: list[tuple[int, int]], instants: list[int], speed: float
) -> None:
    pace, real_at = Pace.going_live(LIVE, speed), LIVE
    market = [LIVE + timedelta(seconds=second) for second in sorted(set(instants))]
    for followed_s, paused_s in pauses:
        real_at += timedelta(seconds=followed_s)
        later = pace.held(real_at, real_at + timedelta(seconds=paused_s))
        assert all(later.to_real(at) == pace.to_real(at) for at in market if pace.to_real(at) <= real_at)
        pace, real_at = later, real_at + timedelta(seconds=paused_s)
        placed = [pace.to_real(at) for at in market]
        assert all(one < other for one, other in pairwise(placed))


def test_what_was_said_before_a_pause_is_said_the_same_afterwards() -> None:
    pace = Pace.going_live(LIVE, 240)
    published_until = LIVE + timedelta(minutes=10)
    later = pace.held(published_until, published_until + 5 * HOUR)

    def said(pace: Pace, until: datetime) -> list[bytes]:
        placed = (pace.place(planned) for planned in market_run(days=40))
        return [planned.record for planned in placed if planned.publish_at <= until]

    assert said(later, published_until) == said(pace, published_until)
