"""The world of one round: simulated processes, what may befall them, and a trace of what happened. One seed, one world.

Wherever a process sends something, has an effect, or is answered, it may be killed, stopped for a while or lose its
connection. Must not know what is sent, nor what processes do.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any

from streams.delivery.watch import Watch
from streams.timepieces import Timepieces
from tests.simulation.loop import OWNER, VirtualLoop

WALL_S = 1_775_000_000.0
"""The wall clock at virtual time 0: after all that the stories tell."""
TRACED = 400
"""Last lines of the trace that are kept."""
AWAITS = 100
"""How often a coroutine may await something while it is closed."""
TASKS = 200
"""Tasks of a process after which ended ones are forgotten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dangers:
    """How likely each fault is at one point, and how long things take (seconds)."""

    kill: float = 0.002
    stop: float = 0.002
    cut: float = 0.004
    """A connection breaks: what was asked has happened or has not, and the answer is lost."""
    slow: float = 0.02
    """A trip takes up to `slow_s` instead of up to `trip_s`."""
    lag: float = 0.05
    """The same for what the broker does after it has answered."""
    trip_s: float = 0.02
    slow_s: float = 1.5
    stops_s: tuple[float, ...] = (0.3, 2.0, 5.0)
    """How long a process may be stopped, each up to twice as long: briefly, beyond the session time-out, beyond the
    transaction time-out."""
    lurk: float = 0.5
    """How many of the stopped wake up instead while others take over what was theirs."""
    ambush: tuple[str, str] | None = None
    """Where most are stopped, and at which request of another process of their step they wake up."""


NO_DANGERS = Dangers(kill=0, stop=0, cut=0, slow=0, lag=0)


LURKS_S = 1.5
"""Shortest time after which a stopped process can have lost what was its own."""
LURKED_S = 8.0
"""Longest time that it waits for others to take over."""
WAKES, AMBUSHED = 0.1, 0.5
"""How likely it wakes up at one request of another process of its step, and at one that it is in ambush for."""
AMBUSH = 0.1
"""How likely a process is stopped where an ambush is laid."""


class World:
    """Everything that is the same for all processes of a round."""

    def __init__(self, seed: int, dangers: Dangers) -> None:
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.dangers = dangers
        self.processes: list[Process] = []
        self.lurking: dict[Process, None] = {}
        """Stopped processes that wait for others to take over."""
        self.faults: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        """Why processes ended by themselves."""
        self.trace: list[str] = []
        self._digest = blake2b(digest_size=16)

    def later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Call back after a while, whatever happens to processes meanwhile."""
        self.loop.call_later(delay_s, callback, *args, context=Context())

    def trip_s(self) -> float:
        """How long something is under way."""
        return self._duration_s(self.dangers.slow)

    def lag_s(self) -> float:
        """How long the broker takes for something that nobody waits for."""
        return self._duration_s(self.dangers.lag)

    def _duration_s(self, slow: float) -> float:
        longest_s = self.dangers.slow_s if self.happens(slow) else self.dangers.trip_s
        return self.random.uniform(0, longest_s)

    def happens(self, rate: float) -> bool:
        """Whether something of this probability happens now."""
        return self.random.random() < rate

    def note(self, what: str) -> None:
        """One line of the trace."""
        line = f"{self.loop.time():.6f} {what}"
        self._digest.update(line.encode() + b"\n")
        self.trace.append(line)
        if len(self.trace) > 2 * TRACED:
            del self.trace[:TRACED]

    @property
    def digest(self) -> str:
        """Hash of the whole trace."""
        return self._digest.hexdigest()

    def strike(self, process: "Process", where: str, weight: float = 1.0) -> bool:
        """A point at which something may befall a process. True: its connection breaks."""
        dangers = self.dangers
        roll = self.random.random() / weight
        if not process.alive or process.stopped:
            return False
        if dangers.ambush and where == dangers.ambush[0] and self.happens(AMBUSH):
            self.faults["stop"] += 1
            process.stop(LURKED_S, where, lurks=True)
        elif roll < dangers.kill:
            self.faults["kill"] += 1
            process.kill(f"killed {where}")
        elif roll < dangers.kill + dangers.stop:
            self.faults["stop"] += 1
            duration_s = self.random.choice(dangers.stops_s) * self.random.uniform(1, 2)
            process.stop(duration_s, where, lurks=self.happens(dangers.lurk))
        elif roll < dangers.kill + dangers.stop + dangers.cut:
            self.faults["cut"] += 1
            self.note(f"{process.name} cut {where}")
            return True
        return False

    def overhear(self, process: "Process", request: str) -> None:
        """A process asks for something: one of its step that lurks may wake up just now."""
        chance = AMBUSHED if self.dangers.ambush and request == self.dangers.ambush[1] else WAKES
        for other in [*self.lurking]:
            if other.step == process.step and other.stopped_for_s > LURKS_S and self.happens(chance):
                other.go_on()

    def heal(self) -> None:
        """No faults from now on, and whoever is stopped goes on."""
        self.dangers = NO_DANGERS
        for process in self.processes:
            process.go_on()

    def close(self) -> None:
        """Forget all processes without a word: nothing of them may run any more, not even while they are collected."""
        for process in self.processes:
            process.alive = False
        for process in self.processes:
            process.bury()
        self.loop.close()


class Process:
    """A simulated process: all tasks that were begun in its context."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.alive, self.stopped = True, False
        self.stopping = asyncio.Event()
        """Set: told to end in good order."""
        self.ended: Callable[[Process], None] = lambda process: None
        """Called when it has ended, however it did."""
        self.connections: list[Any] = []
        self.buried: list[Callable[[], None]] = []
        self._context = Context()
        self._context.run(OWNER.set, self)
        self._tasks: list[asyncio.Task[Any]] = []
        self._kept: list[asyncio.Handle] = []
        self._remembered = TASKS
        self._stopped_s = 0.0
        world.processes.append(self)

    def start(self, main: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin; with `main` all of the process ends."""
        task: asyncio.Task[None] = self.world.loop.create_task(main, context=self._context)
        task.add_done_callback(self._end, context=self._context)
        self.world.note(f"{self.name} starts")
        return task

    def _end(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        said = "at its end" if error is None else type(error).__name__
        self.world.ends[said] += 1
        self.kill(f"{said}: {error}" if error is not None else said)

    def kill(self, why: str) -> None:
        """End at once: nothing of it ever runs again."""
        if self.alive:
            self.world.note(f"{self.name} ends: {why}")
            self.alive = False
            self._kept.clear()
            self.world.lurking.pop(self, None)
            self.world.later(0, self.ended, self)

    @property
    def step(self) -> str:
        """The first part of its name: what it shares its group with."""
        return self.name.partition("-")[0]

    @property
    def stopped_for_s(self) -> float:
        """How long it has been stopped."""
        return self.world.loop.time() - self._stopped_s if self.stopped else 0.0

    def stop(self, duration_s: float, where: str, *, lurks: bool = False) -> None:
        """Let nothing of it run for a while; with `lurks`, until others take over what was its own."""
        self.world.note(f"{self.name} {'lurks' if lurks else 'stopped'} {where}")
        self.stopped, self._stopped_s = True, self.world.loop.time()
        if lurks:
            self.world.lurking[self] = None
        self.world.later(max(duration_s, LURKED_S) if lurks else duration_s, self._go_on_from, self._stopped_s)

    def _go_on_from(self, stopped_s: float) -> None:
        if self._stopped_s == stopped_s:
            self.go_on()

    def go_on(self) -> None:
        """Run what was kept meanwhile."""
        if self.stopped and self.alive:
            self.world.note(f"{self.name} goes on")
            kept, self._kept = self._kept, []
            for handle in kept:
                self.world.loop.admit(handle)
        self.stopped = False
        self.world.lurking.pop(self, None)

    def admits(self, handle: asyncio.Handle) -> bool:
        """As `Owner` says."""
        if self.alive and self.stopped:
            self._kept.append(handle)
        return self.alive and not self.stopped

    def own(self, task: "asyncio.Task[Any]") -> None:
        """As `Owner` says. A dead process's tasks are kept: collected, they would run their `finally`."""
        self._tasks.append(task)
        if len(self._tasks) > self._remembered:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._remembered = len(self._tasks) + TASKS

    def bury(self) -> None:
        """Close what never ended, whatever it says to that."""
        for close in self.buried:
            close()
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        self._tasks.clear()

    def timepieces(self) -> Timepieces:
        """Its clocks. Reading the monotonic one costs time now and then, as work does."""
        loop, spent = self.world.loop, [0.0]

        def monotonic() -> float:
            if self.world.happens(0.05):
                spent[0] += self.world.random.uniform(0, 0.5)
            return loop.time() + spent[0]

        return Timepieces(wall=lambda: WALL_S + loop.time(), boot=loop.time, monotonic=monotonic)


def _close(coroutine: Any) -> None:
    for _ in range(AWAITS):
        try:
            coroutine.close()
            return
        except RuntimeError:
            continue  # it awaited something on its way out
        except BaseException:  # nobody is left to hear it
            return


class SimulatedWatch(Watch):
    """Ends a simulated process whose step takes too long."""

    def __init__(self, process: Process, limit_s: float) -> None:
        self._process, self._limit_s = process, limit_s
        self._loop = process.world.loop
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def begin(self, step: str, limit_s: float | None = None) -> None:
        self.end(step)
        limit_s = self._limit_s if limit_s is None else limit_s
        self._timers[step] = self._loop.call_later(limit_s, self._overrun, step)

    def end(self, step: str) -> None:
        if (timer := self._timers.pop(step, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        for step in [*self._timers]:
            self.end(step)

    def _overrun(self, step: str) -> None:
        self._process.world.ends["Watch"] += 1
        self._process.kill(f"{step} took too long")
