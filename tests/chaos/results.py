"""What came of rounds, in a file that grows by a line of JSON for each: a call that was stopped can be gone on with."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a round; one line of the file of results."""

    seed: int
    seconds: float
    at: datetime
    faults: int
    missed: tuple[str, ...]
    """Faults that found nobody to happen to."""
    events: int
    facts: int
    dead_letters: int
    fenced: int
    """Processes that were refused because another had taken over."""
    restarts: int
    differences: tuple[str, ...]
    duration_s: float
    memory_bytes: int
    """Of the whole tree of processes, when all had been healed."""
    kept: str = ""
    """Where the stack's directory is kept, of a round that found a difference."""

    @property
    def good(self) -> bool:
        """Whether nothing made a difference."""
        return not self.differences

    def __str__(self) -> str:
        missed = f" ({len(self.missed)} found nobody)" if self.missed else ""
        return (
            f"seed {self.seed}: {self.faults} faults{missed}, {self.fenced} fenced, {self.restarts} restarts, "
            f"{self.events:,} events, {self.facts:,} facts, {self.dead_letters} dead letters, "
            f"{len(self.differences)} differences, {self.duration_s:.0f} s, {self.memory_bytes >> 20:,} MiB"
        )


def add_result(file: Path, result: Result) -> None:
    """Append a result, in place of a last line that was cut off."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = b"".join(_lines(file))
    with file.open("ab") as results:
        results.truncate(len(whole))
        results.write(msgspec.json.encode(result) + b"\n")


def read_results(file: Path) -> list[Result]:
    """The rounds played so far, less one whose line was cut off."""
    return [msgspec.json.decode(line, type=Result) for line in _lines(file)]


def _lines(file: Path) -> list[bytes]:
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [line for line in lines if line.endswith(b"\n")]


def unplayed(rounds: int, known: Iterable[Result]) -> list[int]:
    """Seeds from 1 to `rounds` that have no result yet."""
    played = {result.seed for result in known}
    return [seed for seed in range(1, rounds + 1) if seed not in played]


def summary(results: Iterable[Result]) -> str:
    """A table of all rounds."""
    results = sorted(results, key=lambda result: result.seed)
    bad = [result for result in results if not result.good]
    lines = [
        f"{len(results)} rounds, {len(bad)} with differences",
        f"{sum(result.faults - len(result.missed) for result in results):>10,} faults",
        f"{sum(result.fenced for result in results):>10,} processes fenced",
        f"{sum(result.restarts for result in results):>10,} restarts",
        f"{sum(result.events for result in results):>10,} events",
        f"{sum(result.facts for result in results):>10,} facts",
        f"{sum(result.dead_letters for result in results):>10,} dead letters",
        f"{sum(result.duration_s for result in results):>10,.0f} s",
        f"{max((result.memory_bytes for result in results), default=0) >> 20:>10,} MiB at most",
    ]
    return "\n".join((*lines, *(f"  {result}" for result in bad)))
