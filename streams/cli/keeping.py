"""`topics apply` and `migrate`: Kafka and ClickHouse brought to what this version needs."""

import asyncio

from streams.errors import Refused
from streams.settings import Settings


def apply_topics(settings: Settings, *, dry_run: bool, quiet: bool) -> int:
    """Mend, or with `dry_run` only say, in what the broker differs from the file.

    Exit status 1 when something still differs that a person has to mend. Raises Refused when a topic is split wrongly:
    then nothing is changed.
    """
    from streams.topics import apply

    report = asyncio.run(apply(settings, dry_run=dry_run))
    split = [finding for finding in report.remaining if finding.what == "partitions"]
    others = f" (and {len(split) - 1} more topics likewise)" if len(split) > 1 else ""
    if split and not dry_run:
        raise Refused(f"{split[0]}{others}")
    for finding in report.findings:
        if finding in split:
            continue
        if finding in report.remaining:
            print(finding)
        elif not quiet:
            print(f"created {finding.topic}" if finding.what == "missing" else f"{finding}: set")
    if split:
        print(f"{split[0]}{others}")
    if not report.findings and not quiet:
        print("the topics are as schemas/topics.yaml says")
    return int(bool(report.remaining))


def migrate_database(settings: Settings, *, quiet: bool) -> int:
    """Apply what the database has not seen, and print it. Raises Refused."""
    from streams.clickhouse import migrate

    applied = migrate(settings)
    if not quiet:
        print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")
    return 0
