"""Ctrl-C and `down` end everything, at whatever moment."""

import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Running, processes_of, run, wait_until

pytestmark = pytest.mark.engines

MEMORY_MIB = 1.2 * 1024
"""What the whole stack may take."""

Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts commands, and ends those that a failed test has left."""
    started: list[Running] = []

    def start(*arguments: str | Path, **options: dict[str, str]) -> Running:
        started.append(Running(*arguments, **options))
        return started[-1]

    yield start
    for running in started:
        running.kill()


def assert_nothing_is_left(directory: Path) -> None:
    wait_until(lambda: not processes_of(directory), f"still running: {processes_of(directory)}")
    assert run("status", "-d", directory).status == 1


@pytest.mark.parametrize(
    ("arguments", "moment"),
    [
        (("up",), "starting Kafka"),
        (("up",), "creating topics"),
        (("demo", "--seconds", "1000"), "starting correlate"),
        (("demo", "--seconds", "1000"), "ready"),
    ],
)
def test_ctrl_c_before_the_end_leaves_nothing(
    arguments: tuple[str, ...], moment: str, start: Start, tmp_path: Path
) -> None:
    starting = start(*arguments, "-d", tmp_path)
    starting.wait_for_line(moment)
    # Somewhere within what comes next, differently each time.
    number = random.Random().randrange(3)
    wait_until(lambda: len(processes_of(tmp_path)) > number or starting.process.poll() is not None, moment)
    assert starting.end(signal.SIGINT) == 130, starting.output
    assert "Traceback" not in starting.output
    assert "invariants" not in starting.output
    assert_nothing_is_left(tmp_path)


def test_ctrl_c_again_and_again_ends_a_running_stack_in_order(start: Start, tmp_path: Path) -> None:
    running = start("up", "--engines-only", "-d", tmp_path)
    running.wait_for_line("running; Ctrl-C stops it")
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGINT)
    assert running.end(signal.SIGINT) == 0
    assert "stopped; the data is kept" in running.output
    assert_nothing_is_left(tmp_path)


def test_a_detached_start_is_not_fooled_by_what_a_killed_one_left(start: Start, tmp_path: Path) -> None:
    killed = start("up", "--engines-only", "-d", tmp_path)
    killed.wait_for_line("running; Ctrl-C stops it")
    killed.kill()
    wait_until(lambda: not processes_of(tmp_path), "children outlive their supervisor")
    assert (tmp_path / "run" / "stack.ready").exists()
    try:
        assert run("up", "--engines-only", "--detach", "-d", tmp_path).status == 0
        assert run("sql", "SELECT 1", "-d", tmp_path).status in (0, 2)  # it serves; a database may not be there
        assert run("status", "-d", tmp_path).status == 0
    finally:
        assert run("down", "-d", tmp_path).status == 0
    assert_nothing_is_left(tmp_path)


def test_a_demo_is_stopped_by_down_and_continues_without_java_on_the_path(start: Start, tmp_path: Path) -> None:
    nothing = tmp_path / "no programs"
    nothing.mkdir()
    stack = tmp_path / "stack"
    demo = start("demo", "--days", "3", "-d", stack, environment={"PATH": str(nothing)})
    demo.wait_for_line("first KPI row")
    demo.wait_for_line("orders")
    assert run("status", "-d", stack).status == 0
    assert run("down", "-d", stack).status == 0
    assert demo.end() == 0, demo.output
    assert f"aftersales up -d {stack}" in demo.output
    assert_nothing_is_left(stack)

    refused = run("demo", "--days", "3", "--seed", "8", "-d", stack)
    assert "was started with seed 7" in refused.refusal
    assert refused.out == ""

    again = run("demo", "--days", "3", "--seconds", "0", "-d", stack)
    assert again.status == 0, again
    assert "all invariants hold" in again.out
    memory = re.search(r"memory of the whole stack \(PSS\): ([\d,]+) MiB$", again.out, flags=re.MULTILINE)
    assert memory
    assert int(memory[1].replace(",", "")) < MEMORY_MIB
    assert_nothing_is_left(stack)
