"""The HTTP endpoint of a worker: `/metrics` for Prometheus, `/healthz` for whoever restarts it.

On loopback unless told otherwise. It answers on the event loop of the worker, so that what it shows fits together, and
a worker whose loop hangs does not answer. Must not know what is measured.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from streams.errors import Refused
from streams.readiness import Readiness
from streams.settings import Settings

log = logging.getLogger(__name__)

HEAD_BYTES = 8 << 10
"""Largest request."""
PATIENCE_S = 5.0
"""Longest wait for a request to be whole, and for its answer to be taken."""
CONNECTIONS = 16
"""At once; for a further one the oldest is closed, so that nobody is kept out by those who say nothing."""


@asynccontextmanager
async def serve(
    settings: Settings,
    registry: CollectorRegistry,
    readiness: Readiness,
    look: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[None]:
    """Answer while the block runs, if `metrics_port` is set. Raises Refused when the port can't be had.

    `look` is awaited before each reading of the metrics; None: all metrics stand ready.
    """
    if not settings.metrics_port:
        yield
        return
    endpoint = _Endpoint(settings.metrics_token, registry, readiness, look)
    try:
        server = await asyncio.start_server(
            endpoint.answer, settings.metrics_host, settings.metrics_port, limit=HEAD_BYTES
        )
    except OSError as error:
        raise Refused(
            f"metrics_port {settings.metrics_port} on {settings.metrics_host} can't be listened on "
            f"({error.strerror or error}): choose another port or host, or 0 for no endpoint"
        ) from None
    try:
        yield
    finally:
        server.close()


class _Endpoint:
    """Answers one request per connection."""

    def __init__(
        self,
        token: str,
        registry: CollectorRegistry,
        readiness: Readiness,
        look: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._authorization = f"bearer {token}".encode() if token else b""
        self._registry, self._readiness, self._look = registry, readiness, look
        self._connections: dict[asyncio.StreamWriter, None] = {}
        """The oldest first."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request, write its answer, close."""
        if len(self._connections) >= CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.transport.abort()
        self._connections[writer] = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a request was not answered: %r", error)
        finally:
            self._connections.pop(writer, None)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        request, *fields = head.split(b"\r\n")
        method, _, target = request.partition(b" ")
        path = target.partition(b" ")[0].partition(b"?")[0]
        if method != b"GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "only GET\n")
        if path == b"/healthz":
            reason = self._readiness.reason
            status = HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE
            return _response(status, f"{reason or 'ready'}\n")
        if path != b"/metrics":
            return _response(HTTPStatus.NOT_FOUND, "there are /metrics and /healthz\n")
        if not self._is_allowed(fields):
            return _response(HTTPStatus.UNAUTHORIZED, "metrics_token is not in the header Authorization: Bearer …\n")
        try:
            if self._look is not None:
                await self._look()
            metrics = generate_latest(self._registry).decode()
        except Exception:  # of whatever kind: whoever asks is told, and the work that is measured goes on
            log.exception("the metrics can't be read")
            return _response(HTTPStatus.INTERNAL_SERVER_ERROR, "the metrics can't be read: see the log\n")
        return _response(HTTPStatus.OK, metrics, CONTENT_TYPE_PLAIN_0_0_4)

    def _is_allowed(self, fields: list[bytes]) -> bool:
        if not self._authorization:
            return True
        given = {name.strip().lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
        scheme, _, token = given.get(b"authorization", b"").partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + token.strip(), self._authorization)


def _response(status: HTTPStatus, body: str, content_type: str = "text/plain; charset=utf-8") -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + content
