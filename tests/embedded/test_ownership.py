"""A directory has one owner; what its files say counts only while there is one, and only if it makes sense."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.embedded import stack
from streams.embedded.ownership import LOCK, Owned, give_up, is_owned, own, owner
from streams.errors import Refused
from streams.settings import load

SLOW_END = """
import signal, sys, time
from pathlib import Path
from streams.embedded.ownership import give_up, own

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
lock = own(Path(sys.argv[1]))
print("owned", flush=True)
signal.sigwait({signal.SIGTERM})
give_up(lock)
time.sleep(0.5)
"""
"""A program that owns a directory, and has something left to do when it has given it up."""
GARBAGE = [b"", b"\n", b"abc", b"-1", b"0", b"1", b"00", b"12 13", b"\xff\xfe", b"9" * 5000, "٣٣".encode()]


def test_an_owner_is_known_until_it_gives_the_directory_up(tmp_path: Path) -> None:
    assert (owner(tmp_path), is_owned(tmp_path)) == (None, False)
    lock = own(tmp_path)
    assert (owner(tmp_path), is_owned(tmp_path)) == (os.getpid(), True)
    with pytest.raises(Owned, match=rf"{tmp_path} \(process {os.getpid()}\)"):
        own(tmp_path)
    give_up(lock)
    assert (owner(tmp_path), is_owned(tmp_path)) == (None, False)


@pytest.mark.parametrize("content", GARBAGE)
def test_nothing_is_killed_when_the_lock_names_no_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK).write_bytes(content)
    assert not stack.down(tmp_path)
    lock = own(tmp_path)
    (tmp_path / LOCK).write_bytes(content)
    assert (owner(tmp_path), is_owned(tmp_path)) == (None, True)
    with pytest.raises(Refused, match=rf"{tmp_path / LOCK} does not say which process"):
        stack.down(tmp_path)
    give_up(lock)


def test_down_returns_when_the_owner_has_ended_and_not_when_it_gives_the_directory_up(tmp_path: Path) -> None:
    owning = subprocess.Popen([sys.executable, "-c", SLOW_END, str(tmp_path)], stdout=subprocess.PIPE)
    assert owning.stdout is not None
    assert owning.stdout.readline() == b"owned\n"
    assert stack.down(tmp_path)
    assert owning.poll() == 0
    owning.stdout.close()


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff", b'{"started_at": 1, "processes": []}'])
def test_a_status_file_that_makes_no_sense_counts_as_a_start_that_has_just_begun(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "status.json").write_bytes(content)
    assert stack.status(tmp_path) is None
    lock = own(tmp_path)
    seen = stack.status(tmp_path)
    assert seen is not None
    assert [(each.name, each.state, each.pid) for each in seen.processes] == [("supervisor", "starting", os.getpid())]
    give_up(lock)


def test_the_status_of_a_killed_stack_is_not_that_of_its_successor(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(
        '{"started_at": "2026-01-01T00:00:00+00:00", "processes": ['
        '{"name": "supervisor", "state": null, "pid": 2}, {"name": "kafka", "state": "ready", "pid": 3}]}'
    )
    lock = own(tmp_path)
    seen = stack.status(tmp_path)
    assert seen is not None
    assert [(each.name, each.pid) for each in seen.processes] == [("supervisor", os.getpid())]
    give_up(lock)


def test_where_the_servers_are_counts_only_while_somebody_owns_the_directory(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"bootstrap_servers": "127.0.0.1:1", "pid": 3}')
    environment = {"AFTERSALES_DIRECTORY": str(tmp_path)}
    assert load(environment).bootstrap_servers == ""
    lock = own(tmp_path)
    assert load(environment).bootstrap_servers == "127.0.0.1:1"
    give_up(lock)
    assert load(environment).bootstrap_servers == ""


@pytest.mark.parametrize("content", [b"", b"3", b"null", b"[1]", b"{", b"\xff", b'{"bootstrap_servers": 3}'])
def test_a_stack_file_that_makes_no_sense_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stack.json").write_bytes(content)
    lock = own(tmp_path)
    assert load({"AFTERSALES_DIRECTORY": str(tmp_path)}).bootstrap_servers == ""
    give_up(lock)


@pytest.mark.parametrize("content", [b"", b"[1]", b"3", b"\xff", b'{"kafka": -1, "clickhouse": 65536}'])
def test_ports_that_make_no_sense_are_chosen_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ports.json").write_bytes(content)
    ports = stack.choose_ports(tmp_path, {"kafka": 0, "clickhouse": 0})
    assert set(ports) == {"kafka", "kafka-controller", "clickhouse"}
    assert all(1024 < port < 65536 for port in ports.values())
    assert stack.choose_ports(tmp_path, {"kafka": 0, "clickhouse": 0}) == ports


def test_more_copies_than_the_one_node_can_keep_are_refused(tmp_path: Path) -> None:
    import asyncio

    settings = load({"AFTERSALES_DIRECTORY": str(tmp_path), "AFTERSALES_REPLICATION_FACTOR": "3"})
    with pytest.raises(Refused, match=r"replication_factor 3: .*one node.*AFTERSALES_REPLICATION_FACTOR"):
        asyncio.run(stack.Stack(settings).start())
    assert not is_owned(tmp_path)
