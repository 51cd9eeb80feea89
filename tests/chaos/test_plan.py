"""Plans of chaos: pure, so that a seed repeats what went wrong."""

from collections import Counter

from tests.chaos.plan import (
    FREEZE_S,
    KAFKA_LINKS,
    LINKS,
    NAMES,
    POISONS,
    REFUSE_S,
    SILENT_S,
    TOGETHER_S,
    TRANSACTION_TIMEOUTS_S,
    UNSTORED,
    draw,
)
from tests.chaos.scene import DEADLINE_S, SESSION_TIMEOUT_S

SEEDS = range(200)


def test_a_seed_gives_the_same_plan_again() -> None:
    assert [draw(seed, 60) for seed in SEEDS] == [draw(seed, 60) for seed in SEEDS]
    assert len({str(draw(seed, 60)) for seed in SEEDS}) == len(SEEDS)


def test_every_kind_of_fault_comes_up_and_for_everybody() -> None:
    faults = [fault for seed in SEEDS for fault in draw(seed, 60).faults]
    targets = Counter((fault.kind, fault.target) for fault in faults)
    for name in (*NAMES, "kafka", "clickhouse"):
        assert targets["kill", name], name
    for name in NAMES:
        assert targets["freeze", name], name
    for link in LINKS:
        assert all(targets[kind, link] for kind in ("refuse", "slow", "silent", "cut")), link
    for poison in POISONS:
        assert targets["poison", poison], poison
    for target in UNSTORED:
        assert targets["kill_unstored", target], target
    for kind in ("too_many_parts", "jump", "rehome"):
        assert any(fault.kind == kind for fault in faults), kind
    assert {draw(seed, 60).static_membership for seed in SEEDS} == {False, True}


def test_kafka_goes_away_for_some_workers_alone_beyond_their_session_and_for_everybody() -> None:
    disturbed: dict[tuple[int, float, str], set[str]] = {}
    for seed in SEEDS:
        for fault in draw(seed, 60).faults:
            if fault.kind in ("refuse", "silent"):
                disturbed.setdefault((seed, fault.at_s, fault.kind), set()).add(fault.target)
    for kind in ("refuse", "silent"):
        links = [targets for (_, _, each), targets in disturbed.items() if each == kind]
        assert {"firsts"} in links
        assert set(KAFKA_LINKS) in links
    assert SESSION_TIMEOUT_S < min(SILENT_S[1], REFUSE_S[1]) < DEADLINE_S


def test_faults_begin_within_the_round_and_none_outlasts_it_for_long() -> None:
    for seed in SEEDS:
        for seconds in (10, 60):
            for fault in draw(seed, seconds).faults:
                assert 0 < fault.at_s < seconds + TOGETHER_S
                assert fault.lasts_s <= max(seconds / 2, FREEZE_S[1])


def test_who_is_frozen_sleeps_beyond_its_session_and_wakes_up_before_its_deadline() -> None:
    assert SESSION_TIMEOUT_S < FREEZE_S[0] < FREEZE_S[1] < DEADLINE_S


def test_who_is_frozen_wakes_up_after_its_transaction_has_timed_out_in_some_rounds_and_before_that_in_others() -> None:
    shorter, longer = TRANSACTION_TIMEOUTS_S
    assert shorter < FREEZE_S[0] < FREEZE_S[1] < longer
    assert {draw(seed, 60).transaction_timeout_s for seed in SEEDS} == {shorter, longer}
