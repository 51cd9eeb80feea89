"""Feeding: history, then live; a restart goes on with the same sequence."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from connectors.simulator.catalogue import ACCOUNTS
from connectors.simulator.feed import BLOCK, CATCH_UP, Course, Feeder, Plan, open_course
from connectors.simulator.planned import Planned
from connectors.simulator.truth import Truth, read_lines
from streams import codec
from streams.domain.events import Event
from streams.errors import BadInput, Refused
from tests.simulator.market_runs import START, Broker, Present

PLAN = Plan(seed=4, history_days=4, orders_per_day=30)
HOUR = timedelta(hours=1)


def run(folder: Path, broker: Broker, present: Present, until_s: float, truth: Truth | None = None) -> Course:
    """One start of the simulator, to its end."""
    with truth or Truth(folder / "truth.jsonl") as open_truth:
        course = open_course(folder, PLAN, present.now())
        feeder = Feeder(broker, open_truth, course, folder, now=present.now, rest=present.rest, stop=asyncio.Event())
        asyncio.run(feeder.run(until_s, lambda published, reached: None))
    return course


def readable(written: list[tuple[str, str, bytes]]) -> Iterator[Event]:
    """The events of those records that hold one."""
    for _, _, record in written:
        with suppress(BadInput):
            yield codec.decode(record)


def expected(course: Course, count: int) -> list[bytes]:
    return [course.pace.place(planned).record for planned in islice(course.market, count)]


def test_history_is_published_before_any_account_is_said_to_be_heard(tmp_path: Path) -> None:
    broker = Broker()
    course = run(tmp_path, broker, Present(START), 0)
    assert course.live_at == START
    assert len(broker.written) > 500
    assert [record for _, _, record in broker.written] == expected(course, len(broker.written))
    assert broker.heard == [(account, START, True, START) for account in ACCOUNTS]
    assert next(islice(course.market, len(broker.written), None)).publish_at > START


def test_history_starts_as_long_ago_as_was_asked_for(tmp_path: Path) -> None:
    broker = Broker()
    run(tmp_path, broker, Present(START), 0)
    oldest = codec.decode(broker.written[0][2]).event_at
    assert timedelta(days=PLAN.history_days) - oldest.resolution >= START - oldest > timedelta(days=3)


def test_live_events_are_published_at_their_time(tmp_path: Path) -> None:
    broker, present = Broker(), Present(START)
    run(tmp_path, broker, present, 0)
    before = len(broker.written)
    run(tmp_path, broker, present, 600)
    assert len(broker.written) - before > 200
    assert all(START < event.ingested_at <= present.at for event in readable(broker.written[before:]))
    assert {through_at for _, through_at, _, _ in broker.heard} >= {START, present.at}


def test_a_restart_goes_on_with_the_same_sequence(tmp_path: Path) -> None:
    pieces, whole = Broker(), Broker()
    (tmp_path / "pieces").mkdir()
    (tmp_path / "whole").mkdir()
    present = Present(START)
    for seconds in (0, 100, 7, 300):
        run(tmp_path / "pieces", pieces, present, seconds)
    run(tmp_path / "whole", whole, Present(START), 407)
    assert pieces.written == whole.written


class CrashingTruth(Truth):
    """The process dies after the broker has acknowledged a block, before it is remembered."""

    def append(self, published: Sequence[Planned]) -> None:
        raise KeyboardInterrupt


def test_a_crash_before_the_memory_repeats_the_same_records(tmp_path: Path) -> None:
    broker, present = Broker(), Present(START)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, broker, present, 0, CrashingTruth(tmp_path / "truth.jsonl"))
    first = list(broker.written)
    assert len(first) > 0
    present.at += 30 * HOUR
    run(tmp_path, broker, present, 0)
    assert broker.written[len(first) : 2 * len(first)] == first


def test_after_a_long_pause_the_market_has_stood_still(tmp_path: Path) -> None:
    broker, present = Broker(), Present(START)
    run(tmp_path, broker, present, 60)
    before, left_at = len(broker.written), present.at
    present.at += 100 * HOUR
    run(tmp_path, broker, present, 0)
    caught_up = broker.written[before:]
    per_hour = PLAN.orders_per_day * 15 * PLAN.speed / 24
    assert per_hour / 2 < len(caught_up) < per_hour * 2
    assert all(
        left_at - HOUR < event.ingested_at <= left_at + timedelta(minutes=2)
        or event.ingested_at >= present.at - CATCH_UP
        for event in readable(caught_up)
    )


def test_the_truth_counts_what_was_published(tmp_path: Path) -> None:
    broker = Broker()
    run(tmp_path, broker, Present(START), 120)
    assert len(list(read_lines(tmp_path / "truth.jsonl"))) == len(broker.written)


def test_a_line_cut_off_by_a_crash_is_published_again(tmp_path: Path) -> None:
    broker, present = Broker(), Present(START)
    run(tmp_path, broker, present, 0)
    file = tmp_path / "truth.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    again = Broker()
    run(tmp_path, again, present, 0)
    assert again.written == broker.written[-1:]


def test_a_second_feeder_is_refused(tmp_path: Path) -> None:
    with Truth(tmp_path / "truth.jsonl"), pytest.raises(Refused, match="in use"):
        run(tmp_path, Broker(), Present(START), 0)


def test_another_plan_is_refused(tmp_path: Path) -> None:
    open_course(tmp_path, PLAN, START)
    with pytest.raises(Refused, match="seed 4"):
        open_course(tmp_path, Plan(seed=5), START)


def test_a_set_stop_ends_the_feed_within_a_block(tmp_path: Path) -> None:
    broker, stop = Broker(), asyncio.Event()
    course = open_course(tmp_path, Plan(seed=1, history_days=30), START)
    with Truth(tmp_path / "truth.jsonl") as truth:
        feeder = Feeder(broker, truth, course, tmp_path, now=lambda: START, rest=Present(START).rest, stop=stop)
        asyncio.run(feeder.run(None, lambda published, reached: stop.set()))
    assert len(broker.written) == BLOCK
    assert broker.heard == []
