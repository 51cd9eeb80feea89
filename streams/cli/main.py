"""The command line: `aftersales`. Thin: each command reads settings, calls one function and prints what it gives.

Exit status: 0 done, 1 done but something is wrong, 2 refused (with one sentence on standard error), 130 Ctrl-C.
Modules are imported inside the commands: a worker must not pay for what only other commands need.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter

from streams.errors import Refused, Transient
from streams.settings import Settings, load
from streams.workers import WORKERS

REFUSED, INTERRUPTED = 2, 130

RUN = Group("Run", sort_key=1)
FEED = Group("Feed", sort_key=2)
LOOK = Group("Look", sort_key=3)
KEEP = Group("Keep in order", sort_key=4)

app = App(
    name="aftersales",
    help=(
        "After-sales events of many marketplaces, from sources through Kafka to KPIs in ClickHouse.\n\n"
        "Start with `aftersales demo`. Servers are taken from the settings (AFTERSALES_* in the environment, or "
        "aftersales.yaml), else from the embedded stack that runs in the directory `.aftersales`."
    ),
    version_flags=["--version"],
)
topics = App(name="topics", help="The topics in Kafka.", group=KEEP)
dlq = App(name="dlq", help="Dead letters: input that could not be processed.", group=LOOK)
quarantine = App(name="quarantine", help="Matters that the rules failed on.", group=LOOK)
for part in (topics, dlq, quarantine):
    app.command(part)

Directory = Annotated[
    str | None, Parameter(name=["--directory", "-d"], help="Directory of the embedded stack. Default: .aftersales")
]


def settings_of(directory: str | None = None, **overrides: str | int | None) -> Settings:
    """The settings of a command, with the options that were given."""
    return load(None, directory=directory, **overrides)


# ---- run


@app.command(group=RUN)
def demo(
    *,
    seconds: Annotated[float | None, Parameter(help="Stop making events after so long, drain, check, and end.")] = None,
    seed: Annotated[int, Parameter(help="Seed of the simulated market.")] = 7,
    days: Annotated[int, Parameter(help="Days of history before the market goes on live.")] = 90,
    directory: Directory = None,
) -> int:
    """Start everything on this machine, play a simulated market, and show its KPIs.

    Without `--seconds` it goes on until Ctrl-C; the next start continues where it stopped. With `--seconds` it checks
    itself at the end: every event is on a timeline or a dead letter, nothing is there twice, and ClickHouse holds what
    the market knows to be true.

    Examples:

        aftersales demo

        aftersales demo --seconds 60 --directory /tmp/market
    """
    from streams.cli.demo import run_demo

    return run_demo(settings_of(directory), seconds=seconds, seed=seed, days=days)


@app.command(group=RUN)
def up(
    *,
    directory: Directory = None,
    kafka_port: Annotated[int | None, Parameter(help="Default: a free port.")] = None,
    clickhouse_port: Annotated[int | None, Parameter(help="Default: a free port.")] = None,
    engines_only: Annotated[bool, Parameter(negative="", help="Start Kafka and ClickHouse, but no workers.")] = False,
    detach: Annotated[bool, Parameter(negative="", help="Return when it runs; `aftersales down` stops it.")] = False,
) -> int:
    """Start the embedded stack: Kafka, ClickHouse, topics, tables and all workers. Ctrl-C stops it.

    Examples:

        aftersales up --detach

        AFTERSALES_KAFKA_PORT=9092 aftersales up
    """
    from streams.cli import stack

    settings = settings_of(directory, kafka_port=kafka_port, clickhouse_port=clickhouse_port)
    return stack.up(settings, engines_only=engines_only, detach=detach)


@app.command(group=RUN)
def down(*, directory: Directory = None) -> int:
    """Stop the embedded stack that runs in a directory. Its data stays."""
    from streams.cli import stack

    return stack.down(settings_of(directory))


@app.command(group=RUN)
def status(*, directory: Directory = None) -> int:
    """Show which processes of the embedded stack run, on which ports, and how much memory they take."""
    from streams.cli import stack

    return stack.status(settings_of(directory))


@app.command(group=RUN)
def worker(name: Literal["correlate", "casework", "triage", "sink", "clock"], /) -> int:
    """Run one worker until SIGTERM or Ctrl-C. The same command runs in production.

    Several of the same name share the work; of `clock` one is enough, and a second one takes over.

    Examples:

        aftersales worker casework

        AFTERSALES_BOOTSTRAP_SERVERS=kafka:9092 AFTERSALES_WORKER_NAME=casework-2 aftersales worker casework
    """
    from streams.workers import run

    assert name in WORKERS
    run(name, settings_of())
    return 0


# ---- feed


@app.command(name="import", group=FEED)
def import_(
    manifest: Path,
    /,
    *,
    live: Annotated[bool, Parameter(negative="", help="The data goes up to the present: timers run on.")] = False,
    base: Annotated[Path | None, Parameter(help="Folder of the files. Default: the manifest's own.")] = None,
    again: Annotated[bool, Parameter(negative="", help="Read files again that were read to their end.")] = False,
    directory: Directory = None,
) -> int:
    """Import files (CSV, CSV.gz, JSONL) by the mappings of a manifest.

    May be interrupted and started again: it goes on where it was. A row that can't be read becomes a dead letter with
    file, line and reason, and the rest goes on. A manifest is explained in docs/import.md.

    Examples:

        aftersales import shop.yaml

        aftersales import shop.yaml --base /data/exports --live
    """
    from streams.cli.importing import run

    return run(settings_of(directory), manifest, live=live, base=base, again=again)


# ---- look


@app.command(group=LOOK)
def sql(
    statement: Annotated[str, Parameter(help="One statement; `-` reads it from standard input.")],
    /,
    *,
    format: Annotated[Literal["table", "csv", "json"], Parameter(help="How to print the rows.")] = "table",
    directory: Directory = None,
) -> int:
    """Ask ClickHouse.

    Examples:

        aftersales sql "SHOW TABLES LIKE 'kpi_%'"

        aftersales sql "SELECT * FROM current_order LIMIT 5" --format json
    """
    from streams.cli import query

    return query.sql(settings_of(directory), sys.stdin.read() if statement == "-" else statement, format)


@app.command(group=LOOK)
def kpi(*, directory: Directory = None) -> int:
    """Show the KPIs of all marketplaces."""
    from streams.cli import query

    return query.kpi(settings_of(directory))


@app.command(group=LOOK)
def timeline(
    id: Annotated[str, Parameter(help="A customer, or any id: order:…, parcel:…, thread:…")],
    /,
    *,
    directory: Directory = None,
) -> int:
    """Show all that is known about a customer or an id, in order, with the facts drawn from it.

    Example:

        aftersales timeline order:amazon-de:302-0000001-0000001
    """
    from streams.cli import timeline as page

    return page.show(settings_of(directory), id)


@dlq.command(name="list")
def dlq_list(
    *,
    reason: Annotated[str | None, Parameter(help="Only dead letters with this reason code.")] = None,
    limit: int = 20,
    directory: Directory = None,
) -> int:
    """List dead letters, newest first, and how many there are of each reason."""
    from streams.cli import dead_letters

    return dead_letters.list_(settings_of(directory), reason, limit)


@dlq.command(name="show")
def dlq_show(id: str, /, *, directory: Directory = None) -> int:
    """Show one dead letter whole: what is wrong, where it came from, and its first bytes.

    The beginning of an id is enough, if only one begins so.
    """
    from streams.cli import dead_letters

    return dead_letters.show(settings_of(directory), id)


@quarantine.command(name="list")
def quarantine_list(*, directory: Directory = None) -> int:
    """List matters in quarantine: they keep their events and state nothing until the rules are mended."""
    from streams.cli import query

    return query.quarantine(settings_of(directory))


@app.command(group=LOOK)
def scenario(file: Path, /) -> int:
    """Run a written story through the rules, without Kafka, and compare what it expects.

    The format is explained in tests/README.md.

    Example:

        aftersales scenario tests/scenarios/first_response.yaml
    """
    from streams.cli.stories import run

    return run(file)


# ---- keep in order


@topics.command(name="apply")
def topics_apply(
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what differs.")] = False,
    quiet: Annotated[bool, Parameter(negative="", help="Print nothing when all is well.")] = False,
    directory: Directory = None,
) -> int:
    """Make the broker agree with schemas/topics.yaml, and report what differed."""
    from streams.topics import apply

    report = asyncio.run(apply(settings_of(directory), dry_run=dry_run))
    for finding in report.findings:
        if not quiet or finding in report.remaining:
            done = " (mended)" if report.applied and finding not in report.remaining else ""
            print(f"{finding}{done}", file=sys.stderr if finding in report.remaining else sys.stdout)
    if not report.findings and not quiet:
        print("the topics are as schemas/topics.yaml says")
    return REFUSED if report.applied and report.remaining else int(bool(report.remaining))


@app.command(group=KEEP)
def migrate(
    *,
    quiet: Annotated[bool, Parameter(negative="", help="Print nothing when all is well.")] = False,
    directory: Directory = None,
) -> int:
    """Create or bring up to date the database in ClickHouse, and set the retention of its tables."""
    from streams.clickhouse import migrate as run

    applied = run(settings_of(directory))
    if not quiet:
        print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")
    return 0


@app.command(group=KEEP)
def doctor(*, directory: Directory = None) -> int:
    """Check every dependency and setting, and say what to do. Exit status 1 if something has to be done."""
    from streams.cli.doctor import examine

    return examine(settings_of(directory))


def main() -> None:
    """The entry point."""
    try:
        status = app(sys.argv[1:], result_action="return_value", exit_on_error=True, print_error=True)
    except (Refused, Transient) as error:
        print(f"aftersales: {error}", file=sys.stderr)
        status = REFUSED
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has seen enough.
        sys.stderr.close()
        status = 0
    raise SystemExit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
