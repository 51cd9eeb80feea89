"""`python -m tests.bench JOB [--quick] [--json FILE]`: measure, print tables and aims, save them as JSON."""

import argparse
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from rich.console import Console
from rich.table import Table as Screen

from streams.embedded.files import write_file
from streams.errors import Refused
from tests.bench import delay, delivery, growth, staged, views
from tests.bench.results import Report, text_of

REFUSED, INTERRUPTED = 2, 130
WIDTH = 160

JOBS: Mapping[str, Callable[..., Report]] = {
    "delivery": delivery.run,
    "stages": staged.run,
    "delay": delay.run,
    "growth": growth.run,
    "views": views.run,
}


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What is saved of a run."""

    began_at: datetime
    machine: str
    load: float
    """Processes that wanted to run when it began, of the last minute; above a few tenths, figures count by their ratios
    only."""
    reports: tuple[Report, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run jobs; returns the exit status. An aim that is not met is no failure: it is a result."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure the pipeline. Each job starts engines of its own and removes all that it made.",
        epilog="examples:\n  python -m tests.bench delivery --quick\n  python -m tests.bench all --json bench.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("jobs", nargs="+", choices=[*JOBS, "all"], metavar="JOB", help=f"{', '.join(JOBS)}, or all")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that all works; no figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the results here")
    given = parser.parse_args(arguments)
    jobs = [*JOBS] if "all" in given.jobs else [*dict.fromkeys(given.jobs)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Clients warn while the leaders of new topics are not known yet; what can't be done, they raise.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # Into a file or a pipe tables go whole.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    if given.json:
        try:
            given.json.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"the results can't be saved in {given.json}: {error.strerror}; name another file")
    saved = Saved(began_at=datetime.now(UTC), machine=machine(), load=os.getloadavg()[0])
    console.print(f"{saved.machine}; load when it began: {saved.load:.1f}")
    try:
        for job in jobs:
            report = JOBS[job](quick=given.quick)
            show(report, console)
            saved = msgspec.structs.replace(saved, reports=(*saved.reports, report))
            if given.json:
                write_file(given.json, msgspec.json.format(msgspec.json.encode(saved)))
    except Refused as refusal:
        print(f"bench: {refusal}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("bench: interrupted; what was started is ended", file=sys.stderr)
        return INTERRUPTED
    return 0


def machine() -> str:
    """What the figures were taken on."""
    memory = psutil.virtual_memory().total / 2**30
    kind = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {kind}"


def show(report: Report, console: Console) -> None:
    """Print a report."""
    for table in report.tables:
        screen = Screen(title=table.title, title_justify="left")
        for at, name in enumerate(table.columns):
            screen.add_column(name, justify="right" if at else "left")
        for row in table.rows:
            screen.add_row(*map(text_of, row))
        console.print(screen)
    for aim in report.aims:
        console.print(
            f"{'met    ' if aim.met else 'NOT met'}  {aim.what}: {text_of(aim.found)}, {aim.direction} {aim.bound:g}"
        )
    for note in report.notes:
        console.print(f"note: {note}")


if __name__ == "__main__":
    sys.exit(main())
