"""What stands between two parts disturbs them as it says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.chaos import proxy
from tests.chaos.proxy import Gate, Relay

DEADLINE_S = 20.0
NOTHING_S = 0.2
"""Within this time nothing may come."""


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await work()

    asyncio.run(bounded())


@asynccontextmanager
async def relay_to_an_echo() -> AsyncIterator[Relay]:
    """A relay in front of a server that answers each line with itself."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Relay() as relay:
        relay.target = server.sockets[0].getsockname()[1]
        yield relay


async def ask(relay: Relay, line: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(line)
    answer = await reader.read(len(line))
    writer.close()
    return answer


def test_a_fair_link_passes_everything_on() -> None:
    async def work() -> None:
        async with relay_to_an_echo() as relay:
            assert await asyncio.gather(*(ask(relay, b"%d\n" % n) for n in range(10))) == [
                b"%d\n" % n for n in range(10)
            ]

    run(work)


def test_a_link_that_refuses_hangs_up_and_comes_back_on_the_same_port() -> None:
    async def work() -> None:
        async with relay_to_an_echo() as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"one\n")
            assert await reader.readline() == b"one\n"
            await relay.turn("refuse")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            with pytest.raises(ConnectionRefusedError):
                await ask(relay, b"two\n")
            await relay.turn("fair")
            assert await ask(relay, b"three\n") == b"three\n"

    run(work)


def test_over_a_silent_link_nothing_comes_until_it_is_over() -> None:
    async def work() -> None:
        async with relay_to_an_echo() as relay:
            await relay.turn("silent")
            answer = asyncio.create_task(ask(relay, b"one\n"))
            done, _ = await asyncio.wait([answer], timeout=NOTHING_S)
            assert not done
            await relay.turn("fair")
            assert await answer == b"one\n"

    run(work)


def test_an_answer_is_cut_in_its_midst(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with relay_to_an_echo() as relay:
            await relay.turn("cut")
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"eight by\n")
            got = b""
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)) as failure:
                got = await reader.readexactly(9)
            if isinstance(failure.value, asyncio.IncompleteReadError):
                got = failure.value.partial
            assert len(got) < 9

    monkeypatch.setattr(proxy, "CUT_SHARE", 1.0)
    run(work)


@asynccontextmanager
async def gate_to_a_server() -> AsyncIterator[tuple[Gate, list[str]]]:
    """A gate in front of an HTTP server, and the queries that got through."""
    got: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        got.append(request.query.get("query", "") or (await request.text()))
        return web.Response(text="done", headers={"X-ClickHouse-Summary": "{}"})

    application = web.Application()
    application.router.add_route("*", "/", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Gate() as gate:
            gate.target = runner.addresses[0][1]
            yield gate, got
    finally:
        await runner.cleanup()


INSERT = "INSERT INTO event FORMAT Native"


def test_a_full_clickhouse_takes_no_insert_and_answers_questions() -> None:
    async def work() -> None:
        async with gate_to_a_server() as (gate, got), aiohttp.ClientSession() as session:
            gate.full = True
            url = f"http://127.0.0.1:{gate.port}/"
            async with session.post(url, params={"query": INSERT}, data=b"rows") as answer:
                assert answer.headers["X-ClickHouse-Exception-Code"] == "252"
            async with session.post(url, data="SELECT 1") as answer:
                assert (await answer.text(), answer.headers["X-ClickHouse-Summary"]) == ("done", "{}")
            assert got == ["SELECT 1"]

    run(work)


def test_an_insert_that_is_held_gets_through_and_is_answered_when_it_is_released() -> None:
    async def work() -> None:
        async with gate_to_a_server() as (gate, got), aiohttp.ClientSession() as session:
            gate.hold()
            asking = asyncio.create_task(
                session.post(f"http://127.0.0.1:{gate.port}/", params={"query": INSERT}, data=b"rows").__aenter__()
            )
            await gate.held.wait()
            assert got == [INSERT]
            done, _ = await asyncio.wait([asking], timeout=NOTHING_S)
            assert not done
            gate.release()
            assert await (await asking).text() == "done"

    run(work)
