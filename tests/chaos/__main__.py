"""Rounds of chaos, from the command line.

    python -m tests.chaos --seed 7              one round
    python -m tests.chaos --rounds 100          seeds 1 to 100, those that are not in the file of results yet
    python -m tests.chaos --seed 7 --show       what would go wrong

Exit status 1 when a round found a difference, 130 when it was told to stop; the next call with the same file goes on.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.plan import draw
from tests.chaos.results import Result, add_result, read_results, summary, unplayed
from tests.chaos.round import play, why_ended

SECONDS = 60.0
PLACE = Path(".chaos")
INTERRUPTED = 130
SHOWN, SHOWN_CHARACTERS = 8, 1000
"""Lines of each kind about a round with differences, and how long they may be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays what is asked for. Returns the exit status."""
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="chaos", description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="play the round of this seed, whether it was played before or not")
    parser.add_argument("--rounds", type=int, default=1, help="play seeds 1 to ROUNDS that have no result yet")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of a round ({SECONDS:g})")
    parser.add_argument("--place", type=Path, default=PLACE, help=f"folder of results and of failed rounds ({PLACE})")
    parser.add_argument("--show", action="store_true", help="print the plan and end")
    given = parser.parse_args(arguments)
    if given.show:
        print(draw(given.seed or 1, given.seconds))
        return 0
    file = given.place / f"results-{given.seconds:g}s.jsonl"
    known = {result.seed: result for result in read_results(file)}
    seeds = [given.seed] if given.seed is not None else unplayed(given.rounds, known.values())
    try:
        for seed in seeds:
            known[seed] = _play(seed, given.seconds, given.place, file)
    except KeyboardInterrupt:
        print(f"stopped; what was played so far is in {file}, the same command goes on")
        return INTERRUPTED
    if given.seed is not None:
        return 0 if known[given.seed].good else 1
    print(summary(known.values()))
    return 0 if all(result.good for result in known.values()) else 1


def _play(seed: int, seconds: float, place: Path, file: Path) -> Result:
    place.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"round-{seed}-", dir=place.absolute()))
    result = play(draw(seed, seconds), directory)
    add_result(file, result)
    print(result, flush=True)
    for difference in result.differences[:SHOWN]:
        print(f"    {difference[:SHOWN_CHARACTERS]}")
    if not result.good:
        for words, times in why_ended(directory).most_common(SHOWN):
            print(f"    {times} × {words[:SHOWN_CHARACTERS]}")
        print(f"    kept: {directory}; again: make chaos SEED={seed} SECONDS={seconds:g}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
