"""`state rebuild` and `refold`: what steps keep, made anew or looked at with today's rules."""

import asyncio

import msgspec

from streams.cli.progress import bar_of
from streams.cli.query import print_table
from streams.cli.screen import on_one_line
from streams.errors import Refused
from streams.operations.refold import Report
from streams.settings import Settings

SHOWN = 10
"""Entries that can't be read, by partition."""


def rebuild(settings: Settings, step: str, *, partition: int | None, dry_run: bool) -> int:
    """Rebuild a step's state and say what came of it. Raises Refused, Transient."""
    from streams.operations import rebuild as operation
    from streams.workers import AGENTS

    try:
        with bar_of("records") as tell:
            rebuilt = asyncio.run(
                operation.rebuild(settings, AGENTS[step](settings), partition=partition, tell=tell, dry_run=dry_run)
            )
    except KeyboardInterrupt:
        if not dry_run:
            print("stopped; a state that is half written is refused by its workers until the command is run to its end")
        raise
    print_table(
        ("partition", "entries", "unreadable before", "others that differ"),
        [(found.partition, found.entries, len(found.unreadable), found.differing) for found in rebuilt],
    )
    for found in rebuilt:
        for entry in found.unreadable[:SHOWN]:
            print(on_one_line(f"partition {found.partition}, offset {entry.offset}, {entry.key!r}: {entry.error}"))
    if dry_run:
        print(f"nothing was written; `aftersales state rebuild {step}` does")
    else:
        print(f"the state of {step} is whole: start its workers")
    return 0


def refold(settings: Settings, *, report: bool, limit: int | None, as_json: bool) -> int:
    """Report what the rules would change. Exit status 1 when something. Raises Refused, Transient."""
    from streams.operations import refold as operation

    if not report:
        raise Refused(
            "casework applies new rules by itself, to each matter when it is next touched: "
            "`aftersales refold --report` says what that will change"
        )
    with bar_of("partitions") as tell:
        found = asyncio.run(operation.report(settings, limit=limit, tell=tell))
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        _print(found)
    return int(not found.says_the_same)


def _print(report: Report) -> None:
    looked = f"{report.matters:,} matters, {report.passed_over:,} passed over (in quarantine, archived, on the way)"
    if report.says_the_same:
        print(f"version {report.fold_version} of the rules says the same of {looked}")
        return
    print(f"version {report.fold_version} of the rules would change {report.changed:,} of {looked}")
    kinds = sorted(report.kinds.items())
    rows = [(name, what, count) for name, kind in kinds for what, count in sorted(kind.counts.items())]
    print_table(("fact", "would be", "facts"), rows)
    for name, kind in kinds:
        if kind.fields:
            fields = ", ".join(f"{field} ({count:,})" for field, count in kind.fields.most_common())
            print(on_one_line(f"{name}: {fields}"))
        for examples in kind.examples.values():
            for example in examples:
                print(on_one_line(f"  {example}"))
    if report.set_aside:
        print(f"{report.set_aside:,} would be set aside, for the rules fail on them:")
        for failure in report.failures:
            print(on_one_line(f"  {failure}"))
