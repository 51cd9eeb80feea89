"""What stands between two parts of the pipeline and disturbs what they say to each other, on asyncio.

`Relay` passes bytes on, whatever they mean. `Gate` stands behind a relay in front of ClickHouse and knows its requests.
Must not know why or when something is disturbed.
"""

import asyncio
from collections.abc import Coroutine
from random import Random
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import aiohttp
from aiohttp import web

from streams.embedded.ports import free_port

CHUNK = 1 << 16
DELAY_S = (0.05, 0.4)
"""Of each chunk, where a link is slow."""
CUT_SHARE = 0.1
"""Of answers, that are cut in their midst where a link breaks."""
MAX_REQUEST_BYTES = 64 << 20
TOO_MANY_PARTS = 252
"""ClickHouse's code."""

Weather: TypeAlias = Literal["fair", "refuse", "slow", "silent", "cut"]


class Relay:
    """Listens on `port` of loopback and passes connections on to `target`, another port, as the weather allows."""

    def __init__(self) -> None:
        self.port = free_port()
        self.target = 0
        self._weather: Weather = "fair"
        self._randomness = Random()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up()

    async def turn(self, weather: Weather, seed: int = 0) -> None:
        """From now on disturb connections in this way. `seed`: of what is left to chance."""
        self._weather, self._randomness = weather, Random(seed)
        if weather == "silent":
            self._flows.clear()
        else:
            self._flows.set()
        if weather == "refuse":
            await self._hang_up()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=CHUNK)

    async def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ends = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=CHUNK)
            ends.append(far_writer)
            await _first(self._pass_on(reader, far_writer), self._answer(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or this relay hangs up: the other side is to see it
        finally:
            for end in ends:
                end.transport.abort()
            self._connections.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._hold()
            writer.write(chunk)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._hold()
            if self._weather == "cut" and self._randomness.random() < CUT_SHARE:
                writer.write(chunk[: len(chunk) // 2])
                await writer.drain()
                return
            writer.write(chunk)
            await writer.drain()

    async def _hold(self) -> None:
        await self._flows.wait()
        if self._weather == "slow":
            await asyncio.sleep(self._randomness.uniform(*DELAY_S))


async def _first(*works: Coroutine[Any, Any, None]) -> None:
    """Return when one of them has returned; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class Gate:
    """An HTTP server in front of ClickHouse, which listens on the port `target`.

    `full`: inserts are answered with "too many parts" and do not get through. From `hold` to `release` they get
    through and are not answered; `held` is set when there is one.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.target = 0
        self.full = False
        self.held = asyncio.Event()
        self._answers = asyncio.Event()
        self._answers.set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._session = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=MAX_REQUEST_BYTES)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def hold(self) -> None:
        """Answer no insert from now on."""
        self.held.clear()
        self._answers.clear()

    def release(self) -> None:
        """Answer inserts, also those held."""
        self._answers.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        inserts = "INSERT" in request.query.get("query", "") or body.lstrip()[:6].upper() == b"INSERT"
        if inserts and self.full:
            return web.Response(
                status=500,
                headers={"X-ClickHouse-Exception-Code": str(TOO_MANY_PARTS)},
                text=f"Code: {TOO_MANY_PARTS}. DB::Exception: Too many parts in all partitions. (TOO_MANY_PARTS)",
            )
        url = f"http://127.0.0.1:{self.target}{request.raw_path}"
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_ONE_HOP}
        try:
            async with self._session.request(request.method, url, headers=headers, data=body) as answer:
                content = await answer.read()
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # nobody gets it
        if inserts and not self._answers.is_set():
            self.held.set()
            await self._answers.wait()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_ONE_HOP}
        return web.Response(status=answer.status, headers=kept, body=content)


_OF_ONE_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection", "keep-alive", "expect"})
