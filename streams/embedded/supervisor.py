"""Keeps child processes running: starts them, waits until they are ready, starts them again, stops them in order.

Must not know what the children do. No child outlives this process, however it ends: the kernel kills them with it.
That bond is to the thread that started a child, so a supervisor lives in one thread, which lasts as long as it does.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streams.errors import Refused

QUICK_FAILURES = 5
"""A child that ends this often in a row, each time sooner than STEADY_S after it was started, is given up, at once if
it has never been ready, else when its patience is at an end too: what it needs may be away for a while."""
STEADY_S = 20.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
POLL_S = 0.03
"""Between two questions whether a child is ready."""
LOG_BYTES = 10 << 20
"""A log that is larger at a start of its child is put aside, in the place of the one put aside before."""
QUOTED_LINES = 8
TAIL_BYTES = 8 << 10

State = Literal["starting", "ready", "pausing", "stopped", "given up"]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's own."""
    folder: Path | None = None
    """Working directory; None: this process's own."""
    ready: Callable[[], Awaitable[bool]]
    """Asked again and again from the start on; must answer False when it can't tell."""
    ready_within_s: float = 60.0
    """Not ready by then: killed and started again."""
    patience_s: float = 120.0
    """How long one that was ready before is started again and again, though it ends sooner than STEADY_S each time."""
    grace_s: float = 2.5
    """From SIGTERM to SIGKILL when it is to stop."""
    prepare: Callable[[], None] = lambda: None
    """Called before each start, e.g. to remove what a former life left."""


class Supervisor:
    """Children of one owner. `changed` is called whenever a child's state or process id has changed."""

    def __init__(self, logs: Path, *, changed: Callable[[], None] = lambda: None) -> None:
        self._logs = logs
        self._changed = changed
        self._layers: list[list[_Supervised]] = []

    async def start(self, *children: Child, attempts: int = QUICK_FAILURES) -> None:
        """Start children side by side and wait until all are ready. They stop together, after those started later.

        They stand on those started earlier: one that ends is not started again while one of those is not ready.

        Raises Refused, with the last lines of its log, when one fails `attempts` times before it is ready.
        """
        earlier = [supervised for layer in self._layers for supervised in layer]
        layer = [_Supervised(child, self._logs / f"{child.name}.log", self._changed, earlier) for child in children]
        self._layers.append(layer)
        for supervised in layer:
            supervised.begin(attempts)
        first = asyncio.gather(*(supervised.first_ready for supervised in layer))
        try:
            await first
        except BaseException:
            await self._stop_layer(layer)
            raise

    async def wait(self) -> None:
        """Wait until one of the children started so far is given up: raises Refused then.

        Returns when all of them have been stopped. Being cancelled ends the waiting and nothing else.
        """
        tasks = [supervised.task for layer in self._layers for supervised in layer]
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled():
                    task.result()

    async def restart(self, name: str) -> None:
        """Stop one child in its own time, start it again, and return when it is ready."""
        await self._find(name).restart()

    async def remove(self, *names: str) -> None:
        """Stop these children side by side and forget them. Raises KeyError, and stops none, when one is unknown."""
        leaving = [self._find(name) for name in names]
        await asyncio.gather(*(supervised.stop() for supervised in leaving))
        for layer in self._layers:
            layer[:] = [supervised for supervised in layer if supervised not in leaving]
        self._changed()

    async def stop(self) -> None:
        """Stop all children, the last started first. Returns when none is left."""
        while self._layers:
            await self._stop_layer(self._layers[-1])

    def pid(self, name: str) -> int | None:
        """The process id of a child, or None while it has no process."""
        return self._find(name).pid

    def states(self) -> list[tuple[str, State, int | None, int]]:
        """Name, state, process id and number of restarts of each child, in the order of their start."""
        return [(each.child.name, each.state, each.pid, each.restarts) for layer in self._layers for each in layer]

    def _find(self, name: str) -> "_Supervised":
        for layer in self._layers:
            for supervised in layer:
                if supervised.child.name == name:
                    return supervised
        raise KeyError(name)

    async def _stop_layer(self, layer: list["_Supervised"]) -> None:
        await asyncio.gather(*(supervised.stop() for supervised in layer))
        if layer in self._layers:
            self._layers.remove(layer)
        self._changed()


class _Supervised:
    """One child with its process, which changes, and the task that looks after it, which does not.

    The task ends without ending the process, which is left to `stop`: an end that a cancellation can't cut short.
    """

    def __init__(self, child: Child, log: Path, changed: Callable[[], None], earlier: Sequence["_Supervised"]) -> None:
        self.child = child
        self.state: State = "starting"
        self.restarts = 0
        self._log = log
        self._changed = changed
        self._earlier = earlier
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._asked_to_restart = False

    def begin(self, attempts: int) -> None:
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run(attempts), name=f"supervise {self.child.name}")
        self.task.add_done_callback(self._ended)

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def restart(self) -> None:
        self._asked_to_restart = True
        self._ready.clear()
        await self._end_process()
        await self._until_ready_or_over()
        if self.task.done():
            self.task.result()

    async def _until_ready_or_over(self) -> None:
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self.task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()

    async def stop(self) -> None:
        """No process is left when it returns, also if it was called before, or was cancelled then."""
        self.task.cancel()
        await asyncio.wait({self.task})
        await self._end_process()

    async def _run(self, attempts: int) -> None:
        failures, failing_since = 0, time.monotonic()
        while True:
            started_at = time.monotonic()
            self._asked_to_restart = False
            await self._start_process()
            fault = await self._until_ready(started_at)
            if fault is None:
                self._now("ready")
                self._ready.set()
                if not self.first_ready.done():
                    self.first_ready.set_result(None)
                fault = f"ended with status {await self._exit_status()}"
            self._ready.clear()
            if self._asked_to_restart:
                self._now("starting")
                continue
            steady = time.monotonic() - started_at >= STEADY_S
            failures = 1 if steady else failures + 1
            if failures == 1:
                failing_since = time.monotonic()
            if self._is_hopeless(failures, attempts, time.monotonic() - failing_since):
                self._now("given up")
                raise Refused(self._explain(fault, failures))
            self._now("pausing")
            await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S))
            # Until those are back it could only fail, and would be given up for a fault that is not its own.
            for earlier in self._earlier:
                await earlier._until_ready_or_over()
            self.restarts += 1
            self._now("starting")

    def _is_hopeless(self, failures: int, attempts: int, failing_s: float) -> bool:
        if not self.first_ready.done():
            return failures >= attempts
        return failures >= QUICK_FAILURES and failing_s >= self.child.patience_s

    async def _start_process(self) -> None:
        self.child.prepare()
        _put_aside(self._log)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.child.command,
                env={**os.environ, **self.child.environment},
                cwd=self.child.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own: Ctrl-C in the terminal reaches the supervisor only, which stops in order.
                process_group=0,
                preexec_fn=bind_to_parent(os.getpid()),
            )
        self._changed()

    async def _until_ready(self, started_at: float) -> str | None:
        """None when the child is ready, else what went wrong; its process is gone then."""
        deadline = started_at + self.child.ready_within_s
        exited = asyncio.create_task(self._exit_status())
        try:
            while not exited.done():
                if await self.child.ready():
                    return None
                if time.monotonic() > deadline:
                    await self._kill()
                    return f"was not ready within {self.child.ready_within_s:g} s"
                await asyncio.wait({exited}, timeout=POLL_S)
            return f"ended with status {exited.result()} before it was ready"
        finally:
            exited.cancel()

    async def _exit_status(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def _end_process(self) -> None:
        if self.pid is None:
            return
        _signal_group(self.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.child.grace_s):
                await self._exit_status()
        except TimeoutError:
            await self._kill()

    async def _kill(self) -> None:
        if self.pid is not None:
            _signal_group(self.pid, signal.SIGKILL)
            await self._exit_status()

    def _now(self, state: State) -> None:
        self.state = state
        self._changed()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if self.state != "given up":
            self.state = "stopped"
        if self.first_ready.done():
            return
        if error is None:
            self.first_ready.cancel()
        else:
            self.first_ready.set_exception(error)

    def _explain(self, fault: str, failures: int) -> str:
        times = "" if failures == 1 else f", {failures} times in a row"
        lines = "".join(f"\n  {line}" for line in _last_lines(self._log)) or " (empty)"
        return f"{self.child.name} {fault}{times}. Its log {self._log} ends with:{lines}"


@contextlib.contextmanager
def signals_cancel_this_task() -> Iterator[None]:
    """Within: SIGINT and SIGTERM cancel the current task, once. Further ones change nothing: a stop is bounded."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    asked = False

    def cancel() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def bind_to_parent(parent: int) -> Callable[[], None]:
    """A function for the new process, between fork and exec: be killed as soon as the parent ends."""

    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the bond was made
            os._exit(1)

    return bind


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _put_aside(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return list(deque((line for line in text.splitlines() if line.strip()), QUOTED_LINES))
