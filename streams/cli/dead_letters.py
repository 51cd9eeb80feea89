"""`dlq list`, `dlq show` and `dlq replay`."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from streams.cli.progress import bar_of
from streams.cli.query import ask, print_table, text
from streams.cli.screen import harmless, on_one_line
from streams.cli.stack import command
from streams.errors import Refused
from streams.settings import Settings

MAX_RAW = 4_000
"""Characters of the raw bytes that are printed."""
SHORT = 8
"""Characters of an id that tell one dead letter from another."""


def list_(settings: Settings, reason: str | None, limit: int) -> int:
    """Print how many dead letters there are of each reason, and the newest."""
    _, counts = ask(
        settings,
        """
        SELECT reason, agent, countIf(dead_letter_id NOT IN (SELECT dead_letter_id FROM dead_letter_replay)) AS opened,
            count() - opened AS brought_back
        FROM dead_letter FINAL GROUP BY ALL ORDER BY opened DESC, brought_back DESC, reason, agent
        """,
    )
    if not counts:
        print("no dead letters")
        return 0
    print_table(("reason", "refused by", "open", "brought back"), counts)
    _, rows = ask(
        settings,
        """
        SELECT dead_letter_id, stored_at, reason, agent,
            coalesce(concat(origin_file, ':', toString(origin_line)),
                concat(origin_topic, '/', toString(origin_partition), '@', toString(origin_offset)), '') AS origin,
            detail, dead_letter_id IN (SELECT dead_letter_id FROM dead_letter_replay) AS brought_back
        FROM dead_letter FINAL
        WHERE {reason:String} = '' OR reason = {reason:String}
        ORDER BY stored_at DESC, dead_letter_id LIMIT {limit:UInt32}
        """,
        {"reason": reason or "", "limit": limit},
    )
    print()
    for id, stored_at, code, agent, origin, detail, brought_back in rows:
        mark = "  brought back" if brought_back else ""
        print(on_one_line(f"{id[:SHORT]}  {text(stored_at)}  {code} ({agent})  {origin}{mark}"))
        print(on_one_line(f"{'':{SHORT}}  {detail}"))
    if not rows:
        print(on_one_line(f"none of reason {reason}"))
        return 0
    print(f"\none of them whole: {command(settings, 'dlq', 'show', rows[0][0][:SHORT])}")
    return 0


def show(settings: Settings, id: str) -> int:
    """Print one dead letter whole. Raises Refused when none or several begin with `id`."""
    names, rows = ask(
        settings,
        "SELECT * FROM dead_letter FINAL WHERE startsWith(dead_letter_id, {id:String}) LIMIT 2",
        {"id": id},
    )
    if not rows:
        raise Refused(f"no dead letter begins with {id!r}: see `aftersales dlq list`")
    if len(rows) > 1:
        raise Refused(f"several dead letters begin with {id!r}: give more of the id")
    for name, value in zip(names, rows[0], strict=True):
        if name != "raw" and value is not None:
            print(on_one_line(f"{name:18}{text(value)}"))
    raw = dict(zip(names, rows[0], strict=True))["raw"]
    print("raw:")
    print(harmless(text(raw)[:MAX_RAW]))
    return 0


WHY: Mapping[str, str] = {
    "of a file": "lines of files: import the file again, which brings in what is not there yet",
    "gone": "their origin is no longer there, retention has removed it: bring it in from the source again",
    "changed": "another record stands where they came from, the topic was made anew: bring it in from the source again",
    "unreadable": "this version can't read them either: install the one that wrote them, or mend the source",
    "still refused": "this version would refuse them again",
    "out of date": "what ids tell each other: `aftersales state rebuild correlate` has all of them say it again",
    "misplaced": "their kind of record does not belong on any topic that a step reads",
}
"""What an outcome means for those that are left."""


def replay(settings: Settings, *, reason: str | None, agent: str | None, topic: str | None, dry_run: bool) -> int:
    """Bring back letters, with progress, and say what became of them. Exit status 1 when some are left.

    Raises Refused, Transient.
    """
    from streams.operations.letters import Choice, Report
    from streams.operations.replay import replay as bring_back

    if agent == "sink":
        raise Refused(
            "what the sink refused stands where it was, and only ClickHouse knows of it: set the offsets of the "
            f"consumer group {settings.namespace}-sink back to its origin (`dlq list`), with all sinks stopped; a row "
            "that is stored twice is one row"
        )
    choice = Choice(reason=reason, agent=agent, topic=topic)
    try:
        with bar_of("dead letters") as tell:
            report: Report = asyncio.run(bring_back(settings, choice, tell=tell, dry_run=dry_run))
    except KeyboardInterrupt:
        print("stopped; what was brought back is marked, and the same command goes on from there")
        raise
    if not report.counts:
        print("nothing to bring back: no dead letters" + (" of this choice" if choice != Choice() else ""))
        return 0
    outcomes = Counter[tuple[str, str, str]](report.counts)
    rows = [(code, by, outcome, count) for (by, code, outcome), count in sorted(outcomes.items())]
    print_table(("reason", "refused by", "would be" if dry_run else "outcome", "dead letters"), rows)
    for outcome, named in report.examples.items():
        if outcome in WHY:
            print(f"\n{report.count(outcome):,} left, {outcome}: {WHY[outcome]}")
            for line in named:
                print(on_one_line(f"  {line}"))
    return int(report.left > 0)
