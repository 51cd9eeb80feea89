"""The endpoint of a worker: what it answers, and to whom."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import psutil
import pytest
from prometheus_client import Gauge

from streams import endpoint
from streams.embedded.ports import free_port
from streams.endpoint import serve
from streams.errors import Refused
from streams.metrics import new_registry
from streams.readiness import Readiness
from streams.settings import Settings, SettingsError, load
from tests.metrics.scrape import Answer, get

T = TypeVar("T")

TOKEN = "a token of some length"


def during(question: Callable[[int], T], *, readiness: Readiness | None = None, look: Any = None, **given: Any) -> T:
    """The answer to a question that is asked while an endpoint serves."""
    settings = Settings(metrics_port=free_port(), **given)
    readiness = readiness or Readiness()
    registry = new_registry(readiness)
    Gauge("aftersales_made", "For the test.", registry=registry).set(7)

    async def ask() -> T:
        async with serve(settings, registry, readiness, look):
            return await asyncio.to_thread(question, settings.metrics_port)

    return asyncio.run(ask())


def test_metrics_are_answered_as_prometheus_reads_them() -> None:
    answer = during(get)
    assert answer.status == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    assert answer.value("made") == 7
    assert "process_resident_memory_bytes" in answer.body


def test_each_step_is_looked_at_before_metrics_are_read() -> None:
    looks = []

    async def look() -> None:
        looks.append(1)

    def twice(port: int) -> None:
        get(port)
        get(port)
        get(port, "/healthz")

    during(twice, look=look)
    assert len(looks) == 2


def test_a_process_that_is_at_work_is_healthy() -> None:
    readiness = Readiness()
    readiness.ready()
    answer = during(lambda port: get(port, "/healthz"), readiness=readiness)
    assert (answer.status, answer.body) == (200, "ready\n")
    assert during(get, readiness=readiness).value("ready") == 1


def test_a_process_that_is_not_at_work_says_why() -> None:
    readiness = Readiness()
    readiness.not_ready("casework: restore")
    answer = during(lambda port: get(port, "/healthz"), readiness=readiness)
    assert (answer.status, answer.body) == (503, "casework: restore\n")
    assert during(get, readiness=readiness).value("ready") == 0


def test_a_process_is_not_ready_until_it_says_so() -> None:
    assert during(lambda port: get(port, "/healthz")).status == 503


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405)])
def test_nothing_else_is_answered(method: str, path: str, status: int) -> None:
    assert during(lambda port: get(port, path, method=method)).status == status


def test_a_query_behind_the_path_changes_nothing() -> None:
    assert during(lambda port: get(port, "/metrics?name[]=x")).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer {TOKEN}"}, 200),
    ],
)
def test_a_token_is_asked_for_where_one_is_set(headers: dict[str, str], status: int) -> None:
    assert during(lambda port: get(port, headers=headers), metrics_token=TOKEN).status == status


def test_health_needs_no_token() -> None:
    readiness = Readiness()
    readiness.ready()
    assert during(lambda port: get(port, "/healthz"), readiness=readiness, metrics_token=TOKEN).status == 200


def test_an_address_beyond_loopback_is_refused_without_a_token() -> None:
    given = {"AFTERSALES_METRICS_HOST": "0.0.0.0", "AFTERSALES_METRICS_PORT": "9100"}
    with pytest.raises(SettingsError, match="METRICS_TOKEN"):
        load(given)
    assert load(given | {"AFTERSALES_METRICS_TOKEN": TOKEN}).metrics_host == "0.0.0.0"


def test_a_port_that_is_taken_is_refused_by_its_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def start() -> None:
            readiness = Readiness()
            async with serve(Settings(metrics_port=port), new_registry(readiness), readiness):
                pass

        with pytest.raises(Refused, match=f"metrics_port {port} on 127.0.0.1 can't be listened on"):
            asyncio.run(start())


def test_without_a_port_nothing_listens() -> None:
    def listening() -> int:
        return sum(connection.status == psutil.CONN_LISTEN for connection in psutil.Process().net_connections("tcp"))

    async def start(settings: Settings) -> int:
        readiness = Readiness()
        async with serve(settings, new_registry(readiness), readiness):
            return listening()

    before = listening()
    assert asyncio.run(start(Settings())) == before
    assert asyncio.run(start(Settings(metrics_port=free_port()))) == before + 1


def test_a_request_without_end_is_not_kept() -> None:
    def flood(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            try:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nX: " + bytes(4 * endpoint.HEAD_BYTES))
                return connection.recv(100)
            except ConnectionError:
                return b""

    assert during(flood) == b""


def test_a_client_that_says_nothing_is_left_and_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE_S", 0.2)

    def wait(port: int) -> tuple[Answer, bytes]:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            return get(port), silent.recv(100)

    answer, heard = during(wait)
    assert answer.status == 200
    assert heard == b""


def test_those_who_say_nothing_keep_nobody_out_and_the_oldest_is_closed() -> None:
    def ask(port: int) -> tuple[Answer, bytes]:
        with ExitStack() as silent:
            oldest, *_ = [
                silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=endpoint.PATIENCE_S / 2))
                for _ in range(endpoint.CONNECTIONS)
            ]
            answer = get(port, "/healthz")
            try:
                return answer, oldest.recv(100)
            except ConnectionError:
                return answer, b""

    answer, heard = during(ask)
    assert answer.status == 503
    assert heard == b""


def test_who_asks_for_metrics_that_cannot_be_read_is_told_and_others_are_answered() -> None:
    async def look() -> None:
        raise ZeroDivisionError("a bug")

    metrics, health = during(lambda port: (get(port), get(port, "/healthz")), look=look)
    assert (metrics.status, health.status) == (500, 503)


def test_a_token_that_was_read_with_the_end_of_its_line_is_the_token() -> None:
    given = {"AFTERSALES_METRICS_PORT": "9100", "AFTERSALES_METRICS_TOKEN": f"{TOKEN}\n"}
    assert load(given).metrics_token == TOKEN
    with pytest.raises(SettingsError, match="METRICS_TOKEN"):
        load(given | {"AFTERSALES_METRICS_TOKEN": "\n", "AFTERSALES_METRICS_HOST": "0.0.0.0"})
