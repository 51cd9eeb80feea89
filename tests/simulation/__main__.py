"""Rounds of the simulation from a terminal: `python -m tests.simulation --seconds 60`, or one again with `--seed`."""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import count

from tests.simulation.mutants import MUTANTS, planted
from tests.simulation.round import Outcome, play

INTERRUPTED = 130
PROGRESS_S = 5.0
EXAMPLES = """
examples:
  python -m tests.simulation --seconds 60        rounds of seeds 0, 1, 2, … for a minute
  python -m tests.simulation --seed 4711         one round again, with its trace
  python -m tests.simulation --mutant no_fence   until a planted bug is found
"""


class Tally:
    """What some rounds did."""

    def __init__(self) -> None:
        self.rounds = self.crash_points = self.events = 0
        self.faults: Counter[str] = Counter()
        self._began = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count one round."""
        self.rounds += 1
        self.crash_points += outcome.crash_points
        self.events += outcome.events
        self.faults.update(outcome.faults)

    def __str__(self) -> str:
        took_s = time.monotonic() - self._began
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.rounds} rounds, {self.events} events, {self.crash_points} crash points in {took_s:.0f} s "
            f"({self.crash_points / max(took_s, 1e-9) * 60:.0f} a minute): {faults or 'none'}"
        )


def run(seeds: Iterable[int], seconds: float, show: Callable[[str], None] = lambda line: None) -> Iterator[Outcome]:
    """Play rounds until the time is over; yields those with differences. `show` is given a line now and then."""
    tally, began, shown = Tally(), time.monotonic(), 0.0
    for seed in seeds:
        outcome = play(seed)
        tally.add(outcome)
        if outcome.differences:
            yield outcome
        elapsed = time.monotonic() - began
        if elapsed > seconds:
            break
        if elapsed - shown > PROGRESS_S:
            show(f"{tally}")
            shown = elapsed
    show(f"{tally}")


def told(outcome: Outcome) -> str:
    """A round with differences, for a person."""
    lines = [f"seed {outcome.seed}: {len(outcome.differences)} differences, {outcome.crash_points} crash points"]
    return "\n  ".join([*lines, *outcome.differences, f"again: make simulation SEED={outcome.seed}"])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="The pipeline in one process over a simulated Kafka and ClickHouse, with faults at every step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play rounds (default: 60)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first round (default: 0)")
    parser.add_argument("--seed", type=int, help="play this one round only, and show the end of its trace")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant this bug, and stop when it is found")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what processes of a round say of their faults is no news
    try:
        with planted(given.mutant) if given.mutant else nullcontext():
            if given.seed is not None:
                return _again(given.seed)
            return _rounds(given.first, given.seconds, stop=given.mutant is not None)
    except KeyboardInterrupt:
        return INTERRUPTED


def _again(seed: int) -> int:
    outcome = play(seed)
    print("\n".join(outcome.trace))
    print(f"{outcome.events} events, faults {outcome.faults}, ends {outcome.ends}, trace {outcome.digest}")
    print(told(outcome) if outcome.differences else f"seed {seed}: no differences")
    return 1 if outcome.differences else 0


def _rounds(first: int, seconds: float, *, stop: bool) -> int:
    failed = 0
    for outcome in run(count(first), seconds, lambda line: print(line, file=sys.stderr, flush=True)):
        failed += 1
        print(told(outcome), flush=True)
        if stop:
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
