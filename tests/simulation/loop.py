"""An event loop whose time is virtual, and whose callbacks belong to simulated processes.

Nothing waits: when nothing is ready, time moves on to the next timer. A callback runs only if the process that it
belongs to runs: of a dead one it is dropped, of a stopped one it is kept until it goes on. Must not know what
processes do.
"""

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, Protocol

START_S = 1_000.0
"""Virtual time at the beginning; above 0, for a time of 0 is often taken for none."""
GRAIN_S = 1e-6
"""Waiting takes a little longer than asked for: what then reads the time finds that it is over."""


class Deadlock(RuntimeError):
    """Nothing is ready, and no timer will make it so."""


class Owner(Protocol):
    """A simulated process."""

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether a callback of this process may run now; one that may run later is kept."""
        ...

    def own(self, task: "asyncio.Task[Any]") -> None:
        """Take note of a task of this process."""
        ...


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)
"""The process that the running code belongs to; None: the world around them."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs in virtual time, in the order in which things were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = START_S
        self._selector = _NoSelector(self)
        self._clock_resolution = GRAIN_S / 2
        self.set_exception_handler(self._take_error)
        self._error: BaseException | None = None

    def run_forever(self) -> None:
        """As usual. Raises what a callback of the world raised; errors of processes are their own affair."""
        super().run_forever()
        if self._error is not None:
            raise self._error

    def _take_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        handle = context.get("handle")
        if isinstance(handle, _Owned) and handle._context.get(OWNER) is None:
            self._error = self._error or context["exception"]
            self.stop()

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def move_on(self, delay_s: float) -> None:
        """Let time pass."""
        self._now_s += delay_s

    def admit(self, handle: asyncio.Handle) -> None:
        """Let a callback that was kept run with the next ones."""
        self._ready.append(handle)  # type: ignore[attr-defined]

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        """As usual, and its owner takes note of it."""
        task = super().create_task(coro, **options)
        context = options.get("context")
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            owner.own(task)
        return task

    def call_at(  # type: ignore[override]  # whoever calls back knows its arguments
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As usual."""
        timer = _OwnedTimer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _call_soon(self, callback: Callable[..., Any], args: Any, context: Context | None) -> asyncio.Handle:
        handle = _OwnedHandle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _process_events(self, event_list: Any) -> None:
        """There are none: nothing is outside."""

    def _write_to_self(self) -> None:
        """Nothing waits that would have to be woken."""


class _Owned:
    """Asks the owner before it runs."""

    _context: Context

    def _run(self) -> None:
        owner = self._context.get(OWNER)
        if owner is None or owner.admits(self):  # type: ignore[arg-type]
            super()._run()  # type: ignore[misc]


class _OwnedHandle(_Owned, events.Handle):
    __slots__ = ()


class _OwnedTimer(_Owned, events.TimerHandle):
    __slots__ = ()


class _NoSelector:
    """What the loop asks to wait: time moves on instead.

    Working takes time too, the more the longer it goes on: somebody who asks again and again for what has not come yet
    would ask for ever.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout_s: float | None) -> list[Any]:
        if timeout_s is None:
            raise Deadlock("nothing is left to do, and something is still waited for")
        self._turns = 0 if timeout_s > 0 else self._turns + 1
        self._loop.move_on(timeout_s + GRAIN_S * max(1, self._turns))
        return []

    def close(self) -> None:
        pass
