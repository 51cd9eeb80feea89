"""Real engines for tests: one embedded stack for the whole run, and settings that keep tests apart from each other."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest

from streams.embedded.stack import Stack
from streams.settings import Settings

T = TypeVar("T")

START_S = 120.0
"""Longest time for a start, jars to be fetched included."""


class RunningStack:
    """A stack for code without an event loop: it lives in a thread of its own, which its processes are bound to."""

    def __init__(self, settings: Settings, detours: Mapping[str, int] | None = None) -> None:
        self.stack = Stack(settings, detours=detours)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack", daemon=True)
        self._thread.start()
        try:
            self.run(self.stack.start())
        except BaseException:
            self._end()
            raise

    @property
    def settings(self) -> Settings:
        """Settings that point at the engines."""
        return self.stack.settings

    @property
    def directory(self) -> Path:
        return self.stack.directory

    def pid(self, name: str) -> int | None:
        """Process id of a child (`kafka`, `clickhouse`), None while it has no process."""
        return self.stack.pid(name)

    def restart(self, name: str) -> None:
        """Stop and start one child, and wait until it is ready."""
        self.run(self.stack.restart(name))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out a coroutine of the stack, e.g. `stack.run(stack.stack.add(child))`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def stop(self) -> None:
        """Stop everything; no process is left."""
        try:
            self.run(self.stack.stop())
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


StartStack = Callable[..., RunningStack]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Kafka and ClickHouse, shared by all tests of a run: name topics and tables after `settings.namespace`."""
    running = RunningStack(Settings(directory=str(tmp_path_factory.mktemp("stack"))))
    yield running
    running.stop()


def apart(stack: RunningStack) -> Settings:
    """Settings of the shared engines, with a namespace and a ClickHouse database that nobody else has.

    The database does not exist yet.
    """
    namespace = f"test_{uuid.uuid4().hex[:12]}"
    dsn = urlunsplit(urlsplit(stack.settings.clickhouse_dsn)._replace(path=f"/{namespace}"))
    return msgspec.structs.replace(stack.settings, namespace=namespace, clickhouse_dsn=dsn)


@pytest.fixture
def settings(stack: RunningStack) -> Settings:
    """Settings of one test, as `apart`."""
    return apart(stack)


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Starts stacks of a test's own, in `tmp_path` unless told otherwise, and stops those that still run at its end."""
    started: list[RunningStack] = []

    def start(**settings: Any) -> RunningStack:
        running = RunningStack(Settings(**{"directory": str(tmp_path / "stack"), **settings}))
        started.append(running)
        return running

    yield start
    for running in started:
        if running.stack.running:
            running.stop()
