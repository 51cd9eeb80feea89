"""`aftersales import`: files of rows into events, by a declared mapping.

All is checked before the first record is published: manifest, files, columns, look-ups. Then, file by file: publish,
wait for the acknowledgement, save the cursor. A run that was stopped or killed goes on from its cursor; what it
published after the cursor is published again under the same ids. Must not know what the events are for.
"""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, TypeAlias

from connectors.core import Raw, dead_row, raw_of
from connectors.cursors import end_positions, read_newest
from connectors.lookups import FoundLookup, read_lookup
from connectors.manifest import Manifest, Source, read_manifest
from connectors.mapping import Contents, Program, check_manifest, compile_source
from connectors.publisher import READ_THROUGH, RECORD_BYTES, SOURCES, Publisher
from connectors.tables import MEND, BadRow, Row, Table, digest_of, fitting_delimiter, open_table
from streams import codec
from streams.domain.events import Cursor, ReadThrough
from streams.errors import BadInput, Refused
from streams.settings import Settings

SLICE_ROWS = 200
"""Rows between two looks at what else is to be done: sending, Ctrl-C, progress."""
SAVE_ROWS = 10_000
"""Rows between two saved cursors: at most so many are published again after a kill."""
BAD_ROWS_IN_SUCCESSION = 1000
"""With so many, the file is not what the manifest takes it for, and is refused."""
PROGRESS_S = 0.5

CURSOR, DEAD_LETTER = "cursor", "dead_letter"


@dataclass(kw_only=True, slots=True)
class FileReport:
    """What became of one file; while it is being read, how far it is."""

    file: str
    rows: int = 0
    """Rows read, bad ones and those of an earlier run included."""
    resumed_after: int = 0
    """Rows that an earlier run had done."""
    events: int = 0
    """Events and texts published by this run."""
    bad_rows: int = 0
    """Rows that this run wrote to the dead-letter topic."""
    elapsed_s: float = 0.0
    state: str = "waiting"
    """`waiting`, `reading`, `done`, `stopped`, or `unchanged`: imported before with the same content and mapping."""

    @property
    def events_per_s(self) -> float:
        """Rate of this run."""
        return self.events / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import did."""

    account: str
    files: tuple[FileReport, ...]
    through_at: datetime | None
    """Newest event time in what was read; None if it was stopped before the end, or if nothing has changed."""

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before its end: the same command goes on from there."""
        return any(file.state in ("waiting", "stopped") for file in self.files)

    @property
    def events(self) -> int:
        return sum(file.events for file in self.files)

    @property
    def bad_rows(self) -> int:
        return sum(file.bad_rows for file in self.files)


Progress: TypeAlias = Callable[[FileReport], None]
"""Called at most every `PROGRESS_S`, and at the end of each file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One file, ready to be read."""

    source: Source
    table: Table
    program: Program
    file_sha256: str
    mapping_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An import that has been checked wholly."""

    manifest: Manifest
    steps: tuple[Step, ...]
    lookups: Mapping[str, FoundLookup]


def plan_import(manifest_path: Path, base: Path, secret_of: Callable[[], bytes]) -> Plan:
    """Checks the manifest against its files, which lie in `base`. Raises Refused; publishes nothing.

    `secret_of` gives the key of pseudonyms; asked after the manifest, which is the likelier mistake.
    """
    manifest = read_manifest(manifest_path)
    check_manifest(manifest)
    secret = secret_of()
    tables = {
        file: open_table(base / file, delimiter)
        for file, delimiter in {
            **{lookup.file: lookup.delimiter for lookup in manifest.lookups},
            **{source.file: source.delimiter for source in manifest.sources},
        }.items()
    }
    digests = {file: digest_of(table.path) for file, table in tables.items()}
    for table in tables.values():
        _check_delimiter(table)
    lookups = {lookup.name: read_lookup(manifest, lookup, tables[lookup.file]) for lookup in manifest.lookups}
    for lookup in manifest.lookups:
        if digest_of(tables[lookup.file].path) != digests[lookup.file]:
            raise _changed(tables[lookup.file])
    steps = tuple(
        Step(
            source=source,
            table=tables[source.file],
            program=compile_source(manifest, source, tables[source.file].columns, lookups, secret),
            file_sha256=digests[source.file],
            mapping_sha256=_mapping_digest(manifest, source, digests),
        )
        for source in manifest.sources
    )
    return Plan(manifest=manifest, steps=steps, lookups=lookups)


async def run_import(
    settings: Settings,
    manifest_path: Path,
    *,
    base: Path | None = None,
    live: bool = False,
    again: bool = False,
    progress: Progress = lambda report: None,
) -> ImportReport:
    """Imports the files of a manifest; their paths start from `base`, else from the manifest's folder.

    `live`: the account is followed from now on, its horizon is the present. `again`: also files that were imported
    before and have not changed. SIGINT and SIGTERM stop it behind the current rows, with the cursor saved.

    Raises Refused (wrong manifest, unreadable file, too many bad rows) and Transient (Kafka).
    """
    plan = plan_import(manifest_path, base or manifest_path.parent, settings.pseudonym_secret)
    async with Publisher(settings) as publisher:
        account = plan.manifest.account
        keys = [_cursor_key(account, step) for step in plan.steps]
        saved = await read_newest(settings, publisher.partitions(CURSOR)[0], keys)
        cursors = {key: codec.decode(record) for key, record in saved.items()}
        with _stop_requests() as stop:
            run = Import(publisher, plan, progress, stop)
            for step in plan.steps:
                await run.read_file(step, None if again else cursors.get(_cursor_key(account, step)))
        if not run.stopped:
            await _announce(settings, publisher, plan, run.newest, live=live)
            await run.finish()
        return run.report()


class Outlet(Protocol):
    """What an import writes to: a `Publisher`, or something that keeps what it is given."""

    async def publish(self, noun: str, key: str, record: bytes) -> None:
        """Takes a record."""

    async def flush(self) -> None:
        """Returns when all that was taken is safe."""


class Import:
    """A running import: reads files in order and publishes what they say."""

    def __init__(self, publisher: Outlet, plan: Plan, progress: Progress, stop: asyncio.Event) -> None:
        self._publisher, self._plan, self._progress, self._stop = publisher, plan, progress, stop
        self._account = plan.manifest.account
        self._reports = {step.source.file: FileReport(file=step.source.file) for step in plan.steps}
        self._lookups_told = False
        self.newest: datetime | None = None
        """Newest event time of the files read, at most the present; of unchanged files it has been announced before."""

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def report(self) -> ImportReport:
        """What has been done so far."""
        return ImportReport(
            account=self._account,
            files=tuple(self._reports.values()),
            through_at=None if self.stopped else self.newest,
        )

    async def read_file(self, step: Step, cursor: Cursor | None) -> None:
        """Publishes the rows of a file behind the cursor. Raises Refused; what was read before it is published."""
        report = self._reports[step.source.file]
        done = 0
        if cursor and (cursor.file_sha256, cursor.mapping_sha256) == (step.file_sha256, step.mapping_sha256):
            if cursor.finished:
                report.state = "unchanged"
                return
            done = cursor.row
        if self.stopped:
            return
        report.state, report.resumed_after = "reading", done
        reader = RowReader(self._account, step, done, report)
        await self._tell_bad_lookups()
        try:
            await self._read(step, reader, report)
        except Refused:
            await self._save(step, reader.row - reader.bad_in_succession)
            raise
        if not self.stopped:
            await self._check_unchanged(step)
        await self._save(step, reader.row)
        # Of what lies ahead nobody can have heard all: no timer is decided by it.
        heard = (self.newest, min(reader.newest, datetime.now(UTC)) if reader.newest else None)
        self.newest = max(filter(None, heard), default=None)
        report.state = "stopped" if self.stopped else "done"
        self._progress(report)

    async def _read(self, step: Step, reader: "RowReader", report: FileReport) -> None:
        started = told = monotonic()
        publish = self._publisher.publish
        for row in step.table.rows():
            for noun, key, record in reader.read(row):
                await publish(noun, key, record)
            if reader.row % SLICE_ROWS:
                continue
            await asyncio.sleep(0)
            now = monotonic()
            report.elapsed_s = now - started
            if now - told >= PROGRESS_S:
                told = now
                self._progress(report)
            if self.stopped:
                break
            if reader.row % SAVE_ROWS == 0 and reader.row > report.resumed_after:
                await self._save(step, reader.row)
        report.elapsed_s = monotonic() - started

    async def _check_unchanged(self, step: Step) -> None:
        """Raises Refused if other rows may have been read than those of the file that was looked at."""
        if await asyncio.to_thread(digest_of, step.table.path) == step.file_sha256:
            return
        await self._save(step, 0)
        raise _changed(step.table)

    async def _save(self, step: Step, row: int, *, finished: bool = False) -> None:
        """Effect first, position last."""
        await self._publisher.flush()
        cursor = Cursor(
            source=_cursor_key(self._account, step),
            file_sha256=step.file_sha256,
            mapping_sha256=step.mapping_sha256,
            row=row,
            finished=finished,
        )
        await self._publisher.publish(CURSOR, cursor.source, codec.encode(cursor))
        await self._publisher.flush()

    async def finish(self) -> None:
        """Marks the files as done. Only after `read_through`: a finished file is not read for its event times again."""
        for step in self._plan.steps:
            report = self._reports[step.source.file]
            if report.state == "done":
                await self._save(step, report.rows, finished=True)

    async def _tell_bad_lookups(self) -> None:
        if self._lookups_told:
            return
        self._lookups_told = True
        files = {lookup.name: lookup.file for lookup in self._plan.manifest.lookups}
        for name, lookup in self._plan.lookups.items():
            for bad in lookup.bad:
                letter = dead_row(self._account, Path(files[name]).name, bad.line, bad.raw, bad.error)
                await self._publisher.publish(DEAD_LETTER, letter.dead_letter_id, codec.encode(letter))


class RowReader:
    """Turns the rows of one file into records: events, texts, dead letters. Pure but for the time of intake."""

    def __init__(self, account: str, step: Step, done: int, report: FileReport) -> None:
        self._account, self._program, self._done, self._report = account, step.program, done, report
        self._file = step.table.path.name
        self._contents = Contents()
        self.row = 0
        self.bad_in_succession = 0
        self.newest: datetime | None = None

    def read(self, row: Row | BadRow) -> list[tuple[str, str, bytes]]:
        """Records of the next row: topic, key, bytes. None for rows that an earlier run has done.

        Raises Refused after too many bad rows in succession.
        """
        self.row += 1
        self._report.rows = self.row
        try:
            if isinstance(row, BadRow):
                raise row.error
            values = self._program.values(row, self.row, self._contents)
            events = self._program.events(values, datetime.now(UTC))
            records = self._encode(events) if self.row > self._done else []
        except BadInput as error:
            return self._refuse(row, error)
        self.bad_in_succession = 0
        for event in events:
            if self.newest is None or event.event_at > self.newest:
                self.newest = event.event_at
        self._report.events += len(records)
        return records

    def _encode(self, events: list[Any]) -> list[tuple[str, str, bytes]]:
        records = [(event.NAME, event.about, codec.encode(event)) for event in events]
        for noun, _, record in records:
            if len(record) > RECORD_BYTES:
                raise BadInput("record_too_large", f"a {noun} of {len(record)} bytes; at most {RECORD_BYTES}; {MEND}")
        return records

    def _refuse(self, row: Row | BadRow, error: BadInput) -> list[tuple[str, str, bytes]]:
        self.bad_in_succession += 1
        if self.bad_in_succession >= BAD_ROWS_IN_SUCCESSION:
            raise Refused(
                f"{self._file}: {self.bad_in_succession} bad rows in succession, up to line {row.line}: {error}. "
                "Mend the file or its mapping and import it again"
            )
        if self.row <= self._done:
            return []
        self._report.bad_rows += 1
        raw: Raw = row.raw if isinstance(row, BadRow) else raw_of(row.raw)
        letter = dead_row(self._account, self._file, row.line, raw, error)
        return [(DEAD_LETTER, letter.dead_letter_id, codec.encode(letter))]


async def _announce(
    settings: Settings, publisher: Publisher, plan: Plan, newest: datetime | None, *, live: bool
) -> None:
    """Says how far the account has been read, if that is news; never less far, nor less live, than before."""
    account = plan.manifest.account
    said = await read_newest(settings, publisher.partitions(READ_THROUGH)[0], [account])
    before: ReadThrough | None = codec.decode(said[account]) if account in said else None
    becomes_live = live and not (before and before.live)
    if newest is None and not (before and becomes_live):
        return
    through_at = max(at for at in (newest, before.through_at if before else None) if at is not None)
    live_from = before.live_from if before else None
    if becomes_live:
        live_from = datetime.now(UTC)
    # Not only what this run has published: what earlier runs have is to be passed as well.
    nouns = {node.value["event"] for step in plan.steps for node in step.source.events} & SOURCES
    positions = await end_positions(settings, {noun: publisher.partitions(noun) for noun in nouns})
    await publisher.read_through(account, through_at, live or bool(before and before.live), live_from, positions)


def _changed(table: Table) -> Refused:
    return Refused(f"{table.path} has changed while it was being read: import it again when it is complete")


def _cursor_key(account: str, step: Step) -> str:
    return f"{account}/{step.source.file}"


def _mapping_digest(manifest: Manifest, source: Source, digests: Mapping[str, str]) -> str:
    """Changes with everything but the file's own rows that its events depend on."""
    joined = {name for name, _ in source.join}
    lookups = [lookup for lookup in manifest.lookups if lookup.name in joined]
    whole = [
        manifest.account,
        manifest.marketplace,
        manifest.zone.key,
        source.node.value,
        *((lookup.name, lookup.node.value, digests[lookup.file]) for lookup in lookups),
    ]
    return sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _check_delimiter(table: Table) -> None:
    fitting = fitting_delimiter(table)
    if fitting is not None:
        raise Refused(
            f"{table.path}: only one column is found by the delimiter {table.delimiter!r}; {fitting!r} would fit: "
            f"set `delimiter: {json.dumps(fitting)}` in the manifest"
        )


@contextmanager
def _stop_requests() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, as long as the block lasts. In a thread that is not the main one: never."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in signals:
            loop.add_signal_handler(number, stop.set)
    except (ValueError, RuntimeError):
        signals = ()
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
