"""`import MANIFEST`: a progress line around the file import, and its outcome."""

import asyncio
from pathlib import Path

from connectors.files import FileReport, ImportReport, run_import
from streams.cli.screen import harmless, on_one_line
from streams.cli.stack import command
from streams.settings import Settings


def run(settings: Settings, manifest: Path, *, live: bool, base: Path | None, again: bool) -> int:
    """Import, and say what was done.

    Exit status 0 when every row became events, 1 when rows became dead letters, 130 when it was stopped before its
    end. Raises Refused, Transient.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.completed:,} rows"),
        TextColumn("{task.fields[events]:,} events"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TextColumn("[red]{task.fields[bad]}[/]"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    lines: dict[str, TaskID] = {}

    def progress(report: FileReport) -> None:
        bar.start()
        if report.file not in lines:
            lines[report.file] = bar.add_task(on_one_line(report.file), total=None, events=0, rate=0, bad="")
        bar.update(
            lines[report.file],
            completed=report.rows,
            events=report.events,
            rate=report.events_per_s,
            bad=_letters(report.bad_rows) if report.bad_rows else "",
        )
        if report.state != "reading":
            bar.stop_task(lines[report.file])

    try:
        report = asyncio.run(run_import(settings, manifest, base=base, live=live, again=again, progress=progress))
    finally:
        if lines:
            bar.stop()
    for line in describe(report, command(settings, "dlq", "list")):
        print(harmless(line))
    if report.stopped:
        # --again would begin anew, as it did the first time.
        print(f"stopped before the end; the same command{' without --again' if again else ''} goes on from there")
        return 130
    return int(bool(report.bad_rows))


def describe(report: ImportReport, list_letters: str) -> list[str]:
    """The outcome, a line per file and one for all. `list_letters`: the command that lists dead letters."""
    lines = []
    for file in report.files:
        if file.state == "unchanged":
            lines.append(f"{file.file}: imported before with the same content and mapping; --again reads it once more")
            continue
        resumed = f", {file.resumed_after:,} of them by an earlier run" if file.resumed_after else ""
        bad = f", {_letters(file.bad_rows)} (see `{list_letters}`)" if file.bad_rows else ""
        lines.append(f"{file.file}: {file.rows:,} rows{resumed}, {file.events:,} events published{bad}")
    through = f"; read through {report.through_at:%Y-%m-%d %H:%M:%S} UTC" if report.through_at else ""
    lines.append(f"account {report.account}: {report.events:,} events{through}")
    return lines


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'s' if count != 1 else ''}"
