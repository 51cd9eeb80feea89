"""The commands: their arguments and help. Thin: each reads the settings and calls one function.

Modules are imported inside the commands: a worker must not pay for what only other commands need.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter, validators

from streams.settings import Settings, load
from streams.workers import WORKERS

RUN = Group("Run", sort_key=1)
FEED = Group("Feed", sort_key=2)
LOOK = Group("Look", sort_key=3)
KEEP = Group("Keep in order", sort_key=4)

app = App(
    name="aftersales",
    help=(
        "After-sales events of many marketplaces, from sources through Kafka to KPIs in ClickHouse.\n\n"
        "Start with `aftersales demo`. Servers are taken from the settings (AFTERSALES_* in the environment, or "
        "aftersales.yaml), else from the embedded stack that runs in the directory `.aftersales`.\n\n"
        "Exit status: 0 done; 1 done, but something is wrong; 2 refused; 130 ended by Ctrl-C."
    ),
    help_format="markdown",
    version=version("aftersales"),
    version_flags=["--version"],
)
topics = App(name="topics", help="Create and check the topics in Kafka.", group=KEEP)
dlq = App(name="dlq", help="Look at dead letters, input that could not be processed, and bring them back.", group=LOOK)
quarantine = App(name="quarantine", help="Look at matters that the rules failed on, and retry them.", group=LOOK)
matter = App(name="matter", help="Bring archived matters back.", group=LOOK)
state = App(name="state", help="Mend the state that steps keep.", group=KEEP)
for part in (topics, dlq, quarantine, matter, state):
    app.command(part)

Directory = Annotated[
    str | None, Parameter(name=["--directory", "-d"], help="Directory of the embedded stack. Default: .aftersales")
]
Port = Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65535), help="Default: a free port.")]
DryRun = Annotated[bool, Parameter(negative="", help="Only say what would be done.")]
Quiet = Annotated[bool, Parameter(negative="", help="Print nothing when all is well.")]


def settings_of(directory: str | None = None, **overrides: str | int | None) -> Settings:
    """The settings of a command, with the options that were given."""
    return load(None, directory=directory, **overrides)


# ---- run


@app.command(group=RUN)
def demo(
    *,
    seconds: Annotated[
        float | None,
        Parameter(validator=validators.Number(gte=0), help="Stop making events after so long, drain, check, and end."),
    ] = None,
    seed: Annotated[int, Parameter(help="Seed of the simulated market.")] = 7,
    days: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=730), help="Days of history before it goes on live.")
    ] = 90,
    directory: Directory = None,
) -> int:
    """Start everything on this machine, play a simulated market, and show its KPIs.

    Without `--seconds` it goes on until Ctrl-C; the next start continues where it stopped. With `--seconds` it checks
    itself at the end: every event is on a timeline or a dead letter, nothing is there twice, and ClickHouse holds what
    the market knows to be true.

    For example:

        aftersales demo
        aftersales demo --seconds 60 --directory /tmp/market
    """
    from streams.cli.demo import run_demo

    return run_demo(settings_of(directory), seconds=seconds, seed=seed, days=days)


@app.command(group=RUN)
def up(
    *,
    directory: Directory = None,
    kafka_port: Port = None,
    clickhouse_port: Port = None,
    engines_only: Annotated[bool, Parameter(negative="", help="Start Kafka and ClickHouse, but no workers.")] = False,
    detach: Annotated[bool, Parameter(negative="", help="Return when it runs; `aftersales down` stops it.")] = False,
) -> int:
    """Start the embedded stack: Kafka, ClickHouse, topics, tables and all workers. Ctrl-C stops it.

    For example:

        aftersales up --detach
        aftersales up --kafka-port 9092 --directory /var/lib/aftersales
    """
    from streams.cli import stack

    settings = settings_of(directory, kafka_port=kafka_port, clickhouse_port=clickhouse_port)
    return stack.up(settings, engines_only=engines_only, detach=detach)


@app.command(group=RUN)
def down(*, directory: Directory = None) -> int:
    """Stop the embedded stack that runs in a directory, whoever started it. Its data stays.

    For example:

        aftersales down --directory /tmp/market
    """
    from streams.cli import stack

    return stack.down(settings_of(directory))


@app.command(group=RUN)
def status(*, directory: Directory = None) -> int:
    """Show which processes of the embedded stack run, on which ports, and how much memory they take.

    Exit status 1 when none runs, or not all are ready.

    For example:

        aftersales status --directory /tmp/market
    """
    from streams.cli import stack

    return stack.status(settings_of(directory))


@app.command(group=LOOK)
def metrics(
    process: Annotated[
        str | None, Parameter(help="Name of one worker, as `aftersales status` shows it. Default: all of them.")
    ] = None,
    /,
    *,
    directory: Directory = None,
) -> int:
    """Print the metrics of the workers of the embedded stack, as Prometheus reads them.

    What each means, and which to raise an alert on, stands in docs/metrics.md. Elsewhere a worker answers on its
    `metrics_port`: curl http://127.0.0.1:9100/metrics

    For example:

        aftersales metrics casework
        aftersales metrics | grep lag_records
    """
    from streams.cli import metrics

    return metrics.show(settings_of(directory), process)


@app.command(group=RUN)
def worker(
    name: Annotated[
        Literal["correlate", "casework", "triage", "sink", "clock"],
        Parameter(help="; ".join(f"{name}: {purpose.replace(';', ',')}" for name, purpose in WORKERS.items()) + "."),
    ],
    /,
) -> int:
    """Run one worker until SIGTERM or Ctrl-C. The same command runs in production.

    Several of the same name share the work, each under a AFTERSALES_WORKER_NAME of its own; of `clock` one is enough,
    and a second one takes over.

    For example:

        aftersales worker casework
        AFTERSALES_BOOTSTRAP_SERVERS=kafka:9092 AFTERSALES_WORKER_NAME=casework-2 aftersales worker casework
    """
    from streams.workers import run

    run(name, settings_of())
    return 0


# ---- feed


@app.command(name="import", group=FEED)
def import_(
    manifest: Annotated[Path, Parameter(help="A YAML file: docs/import.md explains it.")],
    /,
    *,
    live: Annotated[bool, Parameter(negative="", help="The data goes up to the present: timers run on.")] = False,
    base: Annotated[Path | None, Parameter(help="Folder of the files. Default: the manifest's own.")] = None,
    again: Annotated[bool, Parameter(negative="", help="Read files again that were read to their end.")] = False,
    directory: Directory = None,
) -> int:
    """Import files (CSV, CSV.gz, JSONL) by the mappings of a manifest.

    May be interrupted and started again: it goes on where it was. A row that can't be read becomes a dead letter with
    file, line and reason, and the rest goes on; exit status 1 then.

    For example:

        aftersales import shop.yaml
        aftersales import shop.yaml --base /data/exports --live
    """
    from streams.cli.importing import run

    return run(settings_of(directory), manifest, live=live, base=base, again=again)


# ---- look


@app.command(group=LOOK)
def sql(
    statement: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="One statement; `-` reads it from standard input.")
    ],
    /,
    *,
    format: Annotated[Literal["table", "csv", "json"], Parameter(help="How to print the rows.")] = "table",
    directory: Directory = None,
) -> int:
    """Ask ClickHouse.

    For example:

        aftersales sql "SHOW TABLES LIKE 'kpi_%'"
        aftersales sql "SELECT * FROM current_order LIMIT 5" --format json
        aftersales sql - --format csv < report.sql > report.csv
    """
    from streams.cli import query

    return query.sql(settings_of(directory), statement, format)


@app.command(group=LOOK)
def kpi(*, directory: Directory = None) -> int:
    """Show the KPIs of all marketplaces.

    For example:

        aftersales kpi --directory /tmp/market
    """
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

    For example:

        aftersales timeline order:amazon-de:302-0000001-0000001
    """
    from streams.cli import timeline as page

    return page.show(settings_of(directory), id)


@dlq.command(name="list")
def dlq_list(
    *,
    reason: Annotated[str | None, Parameter(help="Only dead letters with this reason code.")] = None,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=10_000), help="Show so many.")] = 20,
    directory: Directory = None,
) -> int:
    """List dead letters, newest first, and how many there are of each reason.

    For example:

        aftersales dlq list
        aftersales dlq list --reason missing_value --limit 100
    """
    from streams.cli import dead_letters

    return dead_letters.list_(settings_of(directory), reason, limit)


@dlq.command(name="show")
def dlq_show(
    id: Annotated[str, Parameter(help="Its id, or the beginning of it.")], /, *, directory: Directory = None
) -> int:
    """Show one dead letter whole: what is wrong, where it came from, and its first bytes.

    For example:

        aftersales dlq show 3fd08c1e
    """
    from streams.cli import dead_letters

    return dead_letters.show(settings_of(directory), id)


@dlq.command(name="replay")
def dlq_replay(
    *,
    reason: Annotated[str | None, Parameter(help="Only dead letters with this reason code.")] = None,
    agent: Annotated[
        Literal["triage", "correlate", "casework", "import", "sink"] | None,
        Parameter(help="Only what this step has refused."),
    ] = None,
    topic: Annotated[str | None, Parameter(help="Only what came from this topic, e.g. `order`.")] = None,
    dry_run: DryRun = False,
    directory: Directory = None,
) -> int:
    """Bring back what was refused, after the fix: each record is published again as it was, in its order, once.

    May be interrupted and repeated: what was brought back is marked. What is refused again becomes a new dead letter.
    Exit status 1 when some can't be brought back; it says which and why.

    For example:

        aftersales dlq replay --dry-run
        aftersales dlq replay --reason unknown_schema
        aftersales dlq replay --agent casework --reason matter_full
    """
    from streams.cli import dead_letters

    return dead_letters.replay(settings_of(directory), reason=reason, agent=agent, topic=topic, dry_run=dry_run)


@quarantine.command(name="list")
def quarantine_list(*, directory: Directory = None) -> int:
    """List matters in quarantine: they keep their events and state nothing until the rules are mended.

    For example:

        aftersales quarantine list
    """
    from streams.cli import quarantine as page

    return page.list_(settings_of(directory))


@quarantine.command(name="retry")
def quarantine_retry(
    *matters: Annotated[str, Parameter(help="Heads of the matters, as `quarantine list` names them.")],
    all: Annotated[bool, Parameter(negative="", help="All that are in quarantine.")] = False,
    dry_run: DryRun = False,
    directory: Directory = None,
) -> int:
    """Run the rules again on matters in quarantine, after they were mended; those they still fail on stay set aside.

    Casework does it, so it must run; this command waits for what comes of it. May be repeated. Exit status 1 when one
    stays set aside. Events that were refused meanwhile as `matter_full` come back with `aftersales dlq replay`.

    For example:

        aftersales quarantine retry order:amazon-de:302-0000001-0000001
        aftersales quarantine retry --all
    """
    from streams.cli import quarantine as page

    return page.retry(settings_of(directory), matters, every=all, dry_run=dry_run)


@matter.command(name="recall")
def matter_recall(
    first: Annotated[str, Parameter(help="An id of the matter.")],
    /,
    *more: Annotated[str, Parameter(help="Further ones.")],
    dry_run: DryRun = False,
    directory: Directory = None,
) -> int:
    """Bring archived matters back: casework gets the events and facts again that ClickHouse has of them.

    A matter in which nothing runs is archived when nothing has come for `archive_after_days`; news of it is refused as
    `too_late`. After this command, `aftersales dlq replay --reason too_late` brings the news in. May be repeated.

    Exit status 1 when casework refuses a past, which lacks something, sets the matter aside, or does not answer.

    For example:

        aftersales matter recall order:amazon-de:302-0000001-0000001
    """
    from streams.cli import matters as page

    return page.recall(settings_of(directory), [first, *more], dry_run=dry_run)


@app.command(group=LOOK)
def scenario(file: Annotated[Path, Parameter(help="A YAML file: tests/README.md explains it.")], /) -> int:
    """Run written stories through the rules, without Kafka, and compare what they expect.

    Exit status 1 when something came out otherwise.

    For example:

        aftersales scenario tests/scenarios/first_response.yaml
    """
    from streams.cli.stories import run

    return run(file)


# ---- keep in order


@topics.command(name="apply")
def topics_apply(
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what differs; exit status 1 if it does.")] = False,
    quiet: Quiet = False,
    directory: Directory = None,
) -> int:
    """Make the broker agree with schemas/topics.yaml, and report what differed. May be repeated.

    For example:

        aftersales topics apply --dry-run
        AFTERSALES_BOOTSTRAP_SERVERS=kafka:9092 AFTERSALES_REPLICATION_FACTOR=3 aftersales topics apply
    """
    from streams.cli.keeping import apply_topics

    return apply_topics(settings_of(directory), dry_run=dry_run, quiet=quiet)


@app.command(group=KEEP)
def migrate(*, quiet: Quiet = False, directory: Directory = None) -> int:
    """Create or bring up to date the database in ClickHouse, and set the retention of its tables. May be repeated.

    For example:

        AFTERSALES_CLICKHOUSE_DSN=https://user:password@clickhouse:8443/aftersales aftersales migrate
    """
    from streams.cli.keeping import migrate_database

    return migrate_database(settings_of(directory), quiet=quiet)


@state.command(name="rebuild")
def state_rebuild(
    step: Annotated[Literal["casework", "correlate"], Parameter(help="Whose state.")],
    /,
    *,
    partition: Annotated[
        int | None, Parameter(validator=validators.Number(gte=0), help="Only this one. Default: all.")
    ] = None,
    dry_run: DryRun = False,
    directory: Directory = None,
) -> int:
    """Make the state of a step anew from the log, when an entry of its changelog can't be read.

    All workers of the step must be stopped. What was stated and where things live stays as it is: afterwards the step
    goes on where it was. May be interrupted and repeated; until it has come to its end, workers refuse the state. It is
    refused when retention has removed the beginning of the log.

    For example:

        aftersales state rebuild casework --dry-run
        aftersales state rebuild casework --partition 3
        aftersales state rebuild correlate
    """
    from streams.cli import state as page

    return page.rebuild(settings_of(directory), step, partition=partition, dry_run=dry_run)


@app.command(group=KEEP)
def refold(
    *,
    report: Annotated[bool, Parameter(negative="", help="Say what would change; nothing is changed.")] = False,
    limit: Annotated[
        int | None, Parameter(validator=validators.Number(gte=1), help="Look at so many matters. Default: all.")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="Print it as JSON.")] = False,
    directory: Directory = None,
) -> int:
    """Say what the rules of this version would state otherwise than what was stated, before casework does.

    Reads what casework keeps, beside running workers. Exit status 1 when something would change.

    For example:

        aftersales refold --report
        aftersales refold --report --limit 10000 --json
    """
    from streams.cli import state as page

    return page.refold(settings_of(directory), report=report, limit=limit, as_json=json)


@app.command(group=KEEP)
def doctor(*, directory: Directory = None) -> int:
    """Check every dependency and setting, and say what to do. Exit status 1 if something has to be done.

    For example:

        aftersales doctor --directory /tmp/market
    """
    from streams.cli.doctor import examine

    return examine(settings_of(directory))
