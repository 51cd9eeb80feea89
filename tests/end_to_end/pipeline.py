"""The whole pipeline of one installation as processes, on the engines that tests share; and what it has come to.

with running(stack, settings) as pipeline:
    pipeline.run_import(manifest)
    pipeline.drain()
    assert differences(pipeline.outcome(), other) == []
"""

import asyncio
import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from connectors.files import ImportReport, run_import
from streams.audit import Audit, audit, read_all
from streams.cli.children import environment
from streams.cli.pipeline import prepare, worker_child
from streams.clickhouse import connect, database_name
from streams.delivery.names import changelog_name
from streams.embedded import stack as embedded
from streams.embedded.supervisor import Child
from streams.progress import Progress
from streams.settings import PREFIX, Settings
from streams.workers import WORKERS
from tests.engines import RunningStack

T = TypeVar("T")

PARTITIONS = 3
DRAIN_S = 120.0
APPEAR_S = 60.0
"""Longest wait for something that the pipeline is to do by itself."""
POLL_S = 0.05
PATIENCE_S = 3600.0
"""A test says itself how long it waits for a worker that can't work."""

Table: TypeAlias = tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]
"""Names of columns, and rows in a fixed order."""
Outcome: TypeAlias = Mapping[str, Table]
"""What each view holds."""

ONE_OF_EACH: Mapping[str, int] = dict.fromkeys(WORKERS, 1)

BY_THE_WAY = frozenset({"revision"})
"""Columns that tell on which way a fact came about."""
BY_NOW = frozenset({"age_hours_p50", "age_hours_max"})
"""Columns that change as time passes."""
NEAR = 1e-9
"""Share by which two floating-point figures of the same facts may differ."""


def settled(settings: Settings) -> Settings:
    """Settings with which each step is worth a test: a worker that is killed comes back under its static name at once,
    one that is held for a while stays.
    """
    return msgspec.structs.replace(
        settings, partitions=PARTITIONS, static_membership=True, session_timeout_s=60.0, heartbeat_interval_s=0.5
    )


class Pipeline:
    """All workers of one installation.

    `entries` replaces the module that runs as a worker, by its name; `counts` says how many there are of each worker,
    and `settings_of` which have settings of their own, all of a worker or a single one. The first of a kind goes by the
    worker's name too: `casework` is `casework-1`.
    """

    def __init__(
        self,
        stack: RunningStack,
        settings: Settings,
        entries: Mapping[str, str] | None = None,
        *,
        counts: Mapping[str, int] = ONE_OF_EACH,
        settings_of: Mapping[str, Settings] | None = None,
    ) -> None:
        self.stack, self.settings = stack, settings
        self._entries, self._settings_of = entries or {}, settings_of or {}
        self.names = [f"{worker}-{number}" for worker, count in counts.items() for number in range(1, count + 1)]

    def start(self) -> None:
        """Make topics and tables, start all workers, and return when they are ready."""
        self.prepare()
        self.add(*self.names)

    def prepare(self) -> None:
        """Make topics and tables."""
        self.stack.run(prepare(self.settings))

    def stop(self) -> None:
        """Stop the workers; topics and tables stay."""
        self.remove(*self.names)

    def add(self, *names: str) -> None:
        """Start workers such as `casework-4`, and return when they are ready."""
        self.stack.run(self.stack.stack.add(*map(self._child, names)))

    def remove(self, *names: str) -> None:
        """Stop workers in good order, and let none take their place."""
        self.stack.run(self.stack.stack.remove(*names))

    def _child(self, name: str) -> Child:
        worker, _, number = name.rpartition("-")
        command = worker_child(self.stack.stack, worker, int(number)).command
        if worker in self._entries:
            command = (sys.executable, "-m", self._entries[worker])
        # Whole, for the stack's own settings name another installation.
        settings = self._settings_of.get(name) or self._settings_of.get(worker, self.settings)
        given = {
            **environment(settings),
            PREFIX + "WORKER_NAME": name,
            PREFIX + "STATIC_MEMBERSHIP": str(settings.static_membership).lower(),
        }
        child = self.stack.stack.worker(name, command, given)
        return dataclasses.replace(child, patience_s=PATIENCE_S)

    def kill(self, name: str) -> int:
        """SIGKILL a worker (or `kafka`, `clickhouse`); returns the process id that it had."""
        pid = self.pid(name)
        assert pid is not None, f"{name} has no process to be killed"
        os.killpg(pid, signal.SIGKILL)
        return pid

    def pid(self, name: str) -> int | None:
        """Process id of a worker or an engine; None while it has no process."""
        return self.stack.pid(_child_name(name))

    def wait_until_back(self, name: str, former: int) -> None:
        """Return when a worker or an engine is ready that had the process id `former`; the supervisor sees to it."""
        deadline = time.monotonic() + APPEAR_S
        while True:
            running = embedded.status(self.stack.directory)
            assert running is not None
            (process,) = (process for process in running.processes if process.name == _child_name(name))
            if process.state == "ready" and process.pid != former:
                return
            assert time.monotonic() < deadline, f"{process} is not back"
            time.sleep(POLL_S)

    def run_import(self, manifest: Path, **options: Any) -> ImportReport:
        """Import in this process."""
        return asyncio.run(run_import(self.settings, manifest, **options))

    def begin_command(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `aftersales ARGUMENTS` in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "streams.cli.main", *arguments],
            env={**environment(self.settings), "COLUMNS": "250"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def command(self, *arguments: str) -> str:
        """What `aftersales ARGUMENTS` prints; it must succeed."""
        with self.begin_command(*arguments) as process:
            out, err = process.communicate(timeout=APPEAR_S)
        assert process.returncode == 0, err
        return out

    def drain(self) -> None:
        """Return when no step has anything left to do."""

        async def drain() -> None:
            async with Progress(self.settings) as progress:
                await progress.wait_until_drained(DRAIN_S)

        asyncio.run(drain())

    def audit(self) -> Audit:
        """The audit of the topics as they are now."""
        return asyncio.run(audit(self.settings))

    def read(self, *nouns: str) -> list[Any]:
        """All records of some topics."""

        async def read() -> list[Any]:
            return [record async for record in read_all(self.settings, nouns)]

        return asyncio.run(read())

    def state_entries(self, agent: str) -> dict[bytes, bytes]:
        """What an agent keeps, by key, as it stands in its changelog."""

        async def read() -> dict[bytes, bytes]:
            name = changelog_name(self.settings.namespace, agent)
            places = [TopicPartition(name, partition) for partition in range(self.settings.partitions)]
            entries: dict[bytes, bytes] = {}
            async with AIOKafkaConsumer(
                **self.settings.kafka_options(), isolation_level="read_committed", auto_offset_reset="earliest"
            ) as consumer:
                consumer.assign(places)
                ends = await consumer.end_offsets(places)
                while any([await consumer.position(place) < end for place, end in ends.items()]):
                    for records in (await consumer.getmany(timeout_ms=500)).values():
                        entries |= {record.key: record.value for record in records}
            return {key: entry for key, entry in entries.items() if entry is not None}

        return asyncio.run(read())

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement in ClickHouse."""
        with connect(self.settings) as client:
            return [tuple(row) for row in client.query(statement).result_rows]

    def wait_until(self, look: Callable[[], T], expected: T) -> None:
        """Return when a look finds what is expected; fails with what the last look found."""
        deadline = time.monotonic() + APPEAR_S
        while (found := look()) != expected:
            assert time.monotonic() < deadline, f"found to the last: {found}, not: {expected}"
            time.sleep(POLL_S)

    def outcome(self, *, but: frozenset[str] = BY_THE_WAY | BY_NOW, views: str = "%") -> Outcome:
        """All that the views of present facts and of KPIs hold, without the columns `but`.

        `views`: of those views alone whose names are like this.
        """
        found: dict[str, Table] = {}
        with connect(self.settings) as client:
            names = client.query(
                "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE {views:String} AND"
                " (name LIKE 'kpi\\_%' OR name LIKE 'current\\_%' OR name = 'quarantine') ORDER BY name",
                parameters={"views": views},
            ).result_rows
            for (view,) in names:
                answer = client.query(f"SELECT * FROM {view}")
                kept = [at for at, name in enumerate(answer.column_names) if name not in but]
                rows = (tuple(_figure(row[at]) for at in kept) for row in answer.result_rows)
                found[view] = tuple(answer.column_names[at] for at in kept), tuple(sorted(rows, key=repr))
        return found


def _child_name(name: str) -> str:
    return f"{name}-1" if name in WORKERS else name


class Figure(float):
    """A floating-point number of a view: equal to what differs in the last digits only.

    Sums and means depend on the order in which ClickHouse happens to add. Rounded they would differ now and then, for a
    mean of few seconds in days often lies in the very middle between two rounded ones.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isclose(self, other, rel_tol=NEAR)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # what is nearly equal can't share a hash


def _figure(value: Any) -> Any:
    return Figure(value) if isinstance(value, float) else value


@contextmanager
def running(stack: RunningStack, settings: Settings, entries: Mapping[str, str] | None = None) -> Iterator[Pipeline]:
    """A pipeline that runs as long as the block lasts, in a namespace and a database of its own."""
    pipeline = Pipeline(stack, settings, entries)
    pipeline.start()
    try:
        yield pipeline
    finally:
        pipeline.stop()
        with connect(pipeline.settings, database=False) as client:
            client.command(f"DROP DATABASE {database_name(pipeline.settings)}")


def differences(found: Outcome, expected: Outcome, shown: int = 5) -> list[str]:
    """Rows that only one of two outcomes has, the first few of each view."""
    lines = []
    for view in sorted(found.keys() | expected.keys()):
        here, there = found.get(view, ((), ())), expected.get(view, ((), ()))
        if here == there:
            continue
        for word, rows in (("only found", _beyond(here, there)), ("only expected", _beyond(there, here))):
            lines += [f"{view}: {word}: {row}" for row in rows[:shown]]
    return lines


def _beyond(table: Table, other: Table) -> Sequence[Any]:
    left = list(other[1])
    beyond = []
    for row in table[1]:
        if row in left:
            left.remove(row)
        else:
            beyond.append(dict(zip(table[0], row, strict=True)))
    return beyond
