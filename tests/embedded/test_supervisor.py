"""The supervisor, with small processes in the place of engines."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.embedded import supervisor
from streams.embedded.supervisor import Child, Supervisor
from streams.errors import Refused

DEADLINE_S = 30.0
READY = "import os, pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); "


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_S", 0.02)


def child(name: str, folder: Path, code: str, **more: Any) -> Child:
    """A Python process that is ready when it has made a file."""
    file = folder / name

    async def ready() -> bool:
        return file.exists()

    def prepare() -> None:
        file.unlink(missing_ok=True)

    command = (sys.executable, "-c", code, str(file))
    return Child(name=name, command=command, ready=ready, prepare=prepare, **{"patience_s": 0.0, **more})


def supervise(folder: Path, work: Callable[[Supervisor], Awaitable[None]]) -> None:
    """Do `work` with a supervisor that logs to `folder`; all its children are gone afterwards."""

    async def run() -> None:
        children = Supervisor(folder)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await work(children)
        finally:
            await children.stop()

    asyncio.run(run())
    assert processes(folder) == []


def processes(folder: Path) -> list[str]:
    """Names of the children that run: the last argument of each is a file in `folder`."""
    lines = (process.cmdline() for process in psutil.Process().children())
    return [Path(line[-1]).name for line in lines if line and line[-1].startswith(str(folder))]


async def eventually(fact: Callable[[], bool]) -> None:
    """Wait until `fact` is true; the deadline is that of `supervise`."""
    while not fact():  # noqa: ASYNC110 - a fact about processes is no event
        await asyncio.sleep(0.01)


def test_a_child_that_ends_is_started_again(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, READY + "signal.pause()"))
        first = children.pid("a")
        assert first is not None
        os.kill(first, 9)
        await eventually(lambda: children.states()[0][1:] == ("ready", children.pid("a"), 1))
        assert children.pid("a") != first

    supervise(tmp_path, work)


def test_a_child_that_keeps_ending_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, READY + "print('the cause', flush=True); signal.pause()"))
        for restarts in range(supervisor.QUICK_FAILURES):
            await eventually(lambda: children.states() == [("a", "ready", children.pid("a"), restarts)])  # noqa: B023
            os.kill(children.pid("a") or 0, 9)
        with pytest.raises(
            Refused, match=rf"(?s)^a ended with status -9, 5 times in a row.*{tmp_path}/a.log .*the cause"
        ):
            await children.wait()
        assert children.states() == [("a", "given up", None, 4)]

    supervise(tmp_path, work)


def test_a_child_that_keeps_ending_is_started_again_as_long_as_patience_lasts(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, READY + "signal.pause()", patience_s=DEADLINE_S))
        for restarts in range(supervisor.QUICK_FAILURES + 1):
            await eventually(lambda: children.states() == [("a", "ready", children.pid("a"), restarts)])  # noqa: B023
            os.kill(children.pid("a") or 0, 9)
        await eventually(lambda: children.states()[0][1] == "ready")

    supervise(tmp_path, work)


def test_a_start_fails_when_one_child_never_gets_ready_and_stops_the_others(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        good = child("good", tmp_path, READY + "signal.pause()")
        bad = child("bad", tmp_path, "print('no luck')")
        with pytest.raises(Refused, match=r"(?s)^bad ended with status 0 before it was ready\. .*no luck"):
            await children.start(good, bad, attempts=1)
        assert children.states() == []
        assert processes(tmp_path) == []

    supervise(tmp_path, work)


def test_a_child_that_hangs_before_it_is_ready_is_killed_and_started_again(tmp_path: Path) -> None:
    once = tmp_path / "once"
    code = (
        f"import pathlib, signal, sys; once = pathlib.Path({str(once)!r})\n"
        "if once.exists(): pathlib.Path(sys.argv[1]).touch()\n"
        "once.touch(); signal.pause()"
    )

    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, code, ready_within_s=1.0))
        assert children.states() == [("a", "ready", children.pid("a"), 1)]

    supervise(tmp_path, work)


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "\nwhile True: signal.pause()"

    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, code, grace_s=0.1))

    supervise(tmp_path, work)


def test_cancelling_a_wait_leaves_the_children_alone(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, READY + "signal.pause()"))
        before = children.states()
        waiting = asyncio.create_task(children.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert children.states() == before
        assert processes(tmp_path) == ["a"]

    supervise(tmp_path, work)


SLOW_TO_END = (
    "import pathlib, signal, sys, time\n"
    "def end(*_): pathlib.Path(sys.argv[1] + '.ends').touch(); time.sleep(0.5); sys.exit()\n"
    "signal.signal(signal.SIGTERM, end)\n" + READY + "\nwhile True: signal.pause()"
)


def test_a_stop_asked_for_twice_ends_when_no_process_is_left(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, SLOW_TO_END))
        first = asyncio.create_task(children.stop())
        await eventually((tmp_path / "a.ends").exists)
        await children.stop()
        assert processes(tmp_path) == []
        await first

    supervise(tmp_path, work)


def test_a_stop_after_one_that_was_cut_short_ends_when_no_process_is_left(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, SLOW_TO_END))
        first = asyncio.create_task(children.stop())
        await eventually((tmp_path / "a.ends").exists)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert processes(tmp_path) == ["a"]
        await children.stop()
        assert processes(tmp_path) == []

    supervise(tmp_path, work)


def test_a_wait_goes_on_when_some_are_removed(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(*(child(name, tmp_path, READY + "signal.pause()") for name in "ab"))
        waiting = asyncio.create_task(children.wait())
        await asyncio.sleep(0)
        await children.remove("a")
        assert not waiting.done()
        for restarts in range(supervisor.QUICK_FAILURES):
            await eventually(lambda: children.states() == [("b", "ready", children.pid("b"), restarts)])  # noqa: B023
            os.kill(children.pid("b") or 0, 9)
        with pytest.raises(Refused, match=r"^b ended with status -9"):
            await waiting

    supervise(tmp_path, work)


def test_children_stop_in_the_reverse_order_of_their_start(tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import signal, sys\n"
        f"def end(*_): print(sys.argv[1][-1], file=open({str(order)!r}, 'a'), flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n" + READY + "\nwhile True: signal.pause()"
    )

    async def work(children: Supervisor) -> None:
        for name in "abc":
            await children.start(child(name, tmp_path, code))

    supervise(tmp_path, work)
    assert order.read_text().split() == ["c", "b", "a"]


def test_a_child_is_not_started_again_while_one_it_stands_on_is_down(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n"

    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, wait + READY + "signal.pause()"))
        await children.start(child("b", tmp_path, READY + "signal.pause()"))
        gate.unlink()
        for name in "ab":
            os.kill(children.pid(name) or 0, 9)
        await eventually(lambda: [state for _, state, _, _ in children.states()] == ["starting", "pausing"])
        # Time enough for a start.
        await children.start(child("c", tmp_path, READY + "signal.pause()"))
        assert children.states()[1] == ("b", "pausing", None, 0)
        gate.touch()
        await eventually(lambda: [state for _, state, _, _ in children.states()] == ["ready"] * 3)
        assert [restarts for *_, restarts in children.states()] == [1, 1, 0]

    supervise(tmp_path, work)


def test_children_that_are_removed_are_gone_and_the_others_stay(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(*(child(name, tmp_path, READY + "signal.pause()") for name in "abc"))
        stays = children.pid("b")
        with pytest.raises(KeyError):
            await children.remove("a", "z")
        await children.remove("a", "c")
        assert children.states() == [("b", "ready", stays, 0)]
        assert processes(tmp_path) == ["b"]
        await children.start(child("a", tmp_path, READY + "signal.pause()"))

    supervise(tmp_path, work)


def test_a_restart_asked_for_is_no_failure(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, READY + "signal.pause()"))
        for _ in range(supervisor.QUICK_FAILURES + 1):
            before = children.pid("a")
            await children.restart("a")
            assert children.pid("a") not in (None, before)
        assert children.states() == [("a", "ready", children.pid("a"), 0)]

    supervise(tmp_path, work)


def test_a_large_log_is_put_aside_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 10)
    (tmp_path / "a.log").write_text("much more than ten bytes")
    (tmp_path / "a.log.1").write_text("older")

    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, "print('new', flush=True); " + READY + "signal.pause()"))

    supervise(tmp_path, work)
    assert (tmp_path / "a.log").read_text() == "new\n"
    assert (tmp_path / "a.log.1").read_text() == "much more than ten bytes"


def test_cancelling_a_start_leaves_no_process(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        starting = asyncio.create_task(children.start(child("a", tmp_path, "import signal; signal.pause()")))
        await eventually(lambda: bool(children.states()) and children.pid("a") is not None)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert processes(tmp_path) == []

    supervise(tmp_path, work)


def test_a_child_is_in_a_process_group_of_its_own(tmp_path: Path) -> None:
    async def work(children: Supervisor) -> None:
        await children.start(child("a", tmp_path, READY + "signal.pause()"))
        pid = children.pid("a")
        assert pid is not None
        assert os.getpgid(pid) == pid

    supervise(tmp_path, work)
