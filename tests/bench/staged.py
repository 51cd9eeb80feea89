"""Job 2, in a process of its own: `tests.bench.stages`. Here its figures become a table like the others."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from streams.errors import Refused
from tests.bench.results import Cell, Report, Spread, Table, at_most

QUICK = ("--events", "2000", "--rounds", "1")
ABOVE = ("pipeline", "above fold and model")


class Measured(msgspec.Struct, frozen=True):
    """What `tests.bench.stages` saves, as far as it is needed."""

    events: int
    cpu_us: dict[str, dict[str, tuple[float, float, float]]]
    """By stage and step: minimum, median, maximum per event."""


def run(*, quick: bool) -> Report:
    """Run the job. Raises Refused when it fails."""
    with TemporaryDirectory(prefix="aftersales-bench-") as folder:
        file = Path(folder) / "stages.json"
        command = (sys.executable, "-m", "tests.bench.stages", "--json", str(file), *(QUICK if quick else ()))
        status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
        if status:
            raise Refused(f"`{' '.join(command[1:3])}` ended with status {status}: run it by itself")
        return report(msgspec.json.decode(file.read_bytes(), type=Measured), quick)


def report(measured: Measured, quick: bool) -> Report:
    """The figures as a table, and the aim."""
    spreads = {
        (stage, step): Spread(minimum=figures[0], median=figures[1], maximum=figures[2])
        for stage, steps in measured.cpu_us.items()
        for step, figures in steps.items()
    }
    rows: list[tuple[Cell, ...]] = [(stage, step, figures) for (stage, step), figures in spreads.items()]
    table = Table(
        title=f"Where the time goes, {measured.events:,} events of the simulated market (minimum / median / maximum)",
        columns=("stage", "step", "CPU µs per event"),
        rows=tuple(rows),
    )
    above = spreads.get(ABOVE)
    aim = at_most("whole pipeline above the pure fold, CPU µs per event", None if above is None else above.median, 80)
    return Report(job="stages", quick=quick, tables=(table,), aims=(aim,))
