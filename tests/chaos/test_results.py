"""Results accumulate, so that a hundred rounds can be played in several goes."""

from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.results import Result, add_result, read_results, summary, unplayed


def result(seed: int, *differences: str) -> Result:
    return Result(
        seed=seed,
        seconds=60.0,
        at=datetime(2026, 3, 2, tzinfo=UTC),
        faults=10,
        missed=("kill nobody",),
        events=8000,
        facts=4000,
        dead_letters=2,
        fenced=1,
        restarts=3,
        differences=differences,
        duration_s=90.0,
        memory_bytes=1 << 30,
    )


def test_what_was_played_is_not_played_again(tmp_path: Path) -> None:
    file = tmp_path / "deeper" / "results.jsonl"
    assert read_results(file) == []
    for seed in (1, 3):
        add_result(file, result(seed))
    assert read_results(file) == [result(1), result(3)]
    assert unplayed(5, read_results(file)) == [2, 4, 5]


def test_a_line_that_was_cut_off_counts_as_not_played(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for seed in (1, 2):
        add_result(file, result(seed))
    file.write_bytes(file.read_bytes()[:-10])
    assert unplayed(2, read_results(file)) == [2]
    add_result(file, result(3))
    assert read_results(file) == [result(1), result(3)]


def test_a_summary_counts_all_rounds_and_shows_those_with_differences() -> None:
    text = summary([result(2, "an event is lost"), result(1)])
    assert text.startswith("2 rounds, 1 with differences")
    assert f"{18:>10,} faults" in text
    assert "seed 2:" in text
    assert "seed 1:" not in text
