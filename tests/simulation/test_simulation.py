"""Rounds of the simulation, and that they would find what they look for."""

import os
import subprocess
import sys
import time
from itertools import count

import pytest

from tests.simulation.__main__ import Tally, told
from tests.simulation.mutants import FORCED, MUTANTS, planted
from tests.simulation.round import play

SUITE_S = 60.0
"""How long rounds are played here; `make simulation` plays as long as it is told to."""
LEAST_ROUNDS = 10
"""Played however slow the machine is."""
HUNT_S = 120.0
"""Within which a planted bug must be found."""
FOUND = {"fence_after_restore": 2, "fetch_survives_a_seek": 3, "offsets_before_rows": 10}
"""From which seed on planted bugs are looked for, so that they are found soon; the others: 0."""


def test_whatever_befalls_the_processes_the_outcome_is_the_fold(capsys: pytest.CaptureFixture[str]) -> None:
    """Facts, state, places, rows and dead letters, after kills, stops, lost answers and rebalances at every step."""
    tally, until = Tally(), time.monotonic() + SUITE_S
    for seed in count():
        outcome = play(seed)
        assert not outcome.differences, told(outcome)
        tally.add(outcome)
        if time.monotonic() > until and tally.rounds >= LEAST_ROUNDS:
            break
    with capsys.disabled():
        print(f"\nsimulation: {tally}")
    assert tally.crash_points > 0


def test_one_seed_is_one_run() -> None:
    first, again = play(7), play(7)
    assert first == again
    assert first.crash_points
    assert play(8).digest != first.digest


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_seed_is_the_same_run_in_another_process(hash_seed: str) -> None:
    code = "from tests.simulation.round import play; print(play(7).digest)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.strip() == play(7).digest


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    began, first = time.monotonic(), FOUND.get(name, 0)
    with planted(name):
        for seed in count(first):
            outcome = play(seed, FORCED.get(name))
            took_s = time.monotonic() - began
            if outcome.differences:
                break
            assert took_s < HUNT_S, f"not found in {seed - first + 1} rounds"
    with capsys.disabled():
        print(f"\n{name}: found in round {seed - first + 1}, after {took_s:.1f} s: {outcome.differences[0]}")
