"""The embedded ClickHouse: one chdb directory, served to everyone else by ClickHouse's HTTP protocol on loopback.

    python -m streams.embedded.clickhouse FOLDER PORT

FOLDER holds `default.password` and `reader.password` (made if missing) and the engine's `data`. Must not know the
pipeline's tables. Not supported, and answered with NOT_IMPLEMENTED: external tables, the native protocol's block
compression, sessions by GET.

What the engine leaves to a server and this module adds: users, sessions, settings and parameters of a request, the
header block of an empty Native result, which the engine does not send, and errors as codes and statuses.
"""

import asyncio
import base64
import binascii
import gzip
import hmac
import io
import json
import os
import re
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar
from urllib.parse import parse_qsl

import chdb
import lz4.frame
import zstandard
from aiohttp import BodyPartReader, web

from streams.embedded import permissions
from streams.embedded.files import keep_secret
from streams.embedded.statements import Insert, NotAllowed, Statement, read_statement

READER = "reader"
"""The user who may only read tables; `default` may do everything."""
MAX_BODY_BYTES = 256 << 20
"""Of a request, as sent and when decompressed."""
MAX_URL_BYTES = 1 << 20
"""As ClickHouse's `http_max_uri_size`: clients put parameters into the URL."""
THREADS = 8
"""Statements of the owner carried out at once; further ones wait."""
READER_THREADS = 3
"""The same for `reader`, apart from the owner's, whom it can't keep waiting."""
GONE_S = 0.5
"""Between two looks whether the client of a reader's statement is still there."""
MAX_SESSIONS = 256
SESSION_S = 60.0
"""Life of a session without requests, unless the client asks for another."""
LONGEST_SESSION_S = 3600.0
CHUNK_BYTES = 4 << 20
COMPRESS_FROM_BYTES = 1024
STOP_S = 1.0
"""From SIGTERM on, for requests that are being answered."""

CONTROLS = frozenset(
    {
        "buffer_size", "cancel_http_readonly_queries_on_client_close", "client_protocol_version", "compress",
        "database", "decompress", "default_format", "enable_http_compression", "http_headers_progress_interval_ms",
        "password", "query", "query_id", "quota_key", "role", "send_progress_in_http_headers", "session_check",
        "session_id", "session_timeout", "user", "wait_end_of_query",
    }
)  # fmt: skip
"""Request parameters for the server, not settings of the engine. Those that only tune a server are ignored."""

STATUSES = {
    62: 400, 36: 400, 43: 400, 53: 400, 27: 400, 26: 400, 6: 400, 41: 400, 386: 400, 42: 400, 456: 400, 457: 400,
    46: 404, 47: 404, 50: 404, 60: 404, 63: 404, 73: 404, 81: 404, 115: 404,
    48: 501, 159: 408, 164: 403, 373: 423, 497: 403, 516: 403, 202: 503,
}  # fmt: skip
"""HTTP status of an error code; 500 for all others."""

CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
}
BINARY = "application/octet-stream"

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    "gzip": lambda data: gzip.compress(data, 1),
    "deflate": lambda data: zlib.compress(data, 1),
}
"""In the order in which they are preferred."""

WITHOUT_RESULT = frozenset(
    {
        "ALTER", "ATTACH", "CREATE", "DELETE", "DETACH", "DROP", "EXCHANGE", "GRANT", "INSERT", "KILL", "OPTIMIZE",
        "RENAME", "REVOKE", "SET", "SYSTEM", "TRUNCATE", "UPDATE", "USE",
    }
)  # fmt: skip
"""First words of statements that are never carried out a second time to learn the columns of an empty result."""

P = ParamSpec("P")
T = TypeVar("T")

_SETTING = re.compile(r"[A-Za-z_]\w*")
_ERROR = re.compile(r"Code: (\d+)\..*", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A request, taken apart."""

    user: str
    sql: bytes
    data: bytes
    """What follows `sql`: with an INSERT, more of its data."""
    database: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    default_format: str
    only_reading: bool
    """Asked by GET."""
    mark: str = field(default_factory=lambda: f"{READER}-{uuid.uuid4().hex}")
    """By which the engine can be told which statement to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A result: its bytes, its format (None when the statement has no result), and what it took."""

    body: bytes
    format: str | None
    summary: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Session:
    handle: "Handle"
    expires_at: float
    lasts_s: float
    busy: bool = True


class Engine:
    """The engine's directory: hands out handles, and knows its formats and functions."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder)
        # Kept open: the engine lives as long as one handle does.
        first = self._first = self.open()
        self.timezone = first.rows("SELECT timezone()")[0][0]
        self.version = first.rows("SELECT version()")[0][0]
        self.formats = frozenset(name for (name,) in first.rows("SELECT name FROM system.formats"))
        self.catalogue = permissions.Catalogue.of(
            ((name, alias_to, is_aggregate, categories) for name, alias_to, is_aggregate, categories in
             first.rows(permissions.FUNCTIONS_QUERY)),
            (name for (name,) in first.rows(permissions.COMBINATORS_QUERY)),
        )  # fmt: skip

    def open(self) -> "Handle":
        """A new handle: settings and database of its own. Takes about 0.2 ms."""
        return Handle(chdb.connect(self._path))

    def close(self) -> None:
        """Write what is not yet written and end."""
        self._first.close()


UNKNOWN_STATUS_OF_INSERT = 319


class Handle:
    """A connection to the engine, used by one thread at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._database = "default"
        self._before: dict[str, str] = {}
        """Settings as they were before requests of a session changed them for themselves: SQL literals."""

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a small result."""
        lines = self._bytes(self._connection.query(sql, "JSONCompactEachRow")).splitlines()
        return [json.loads(line) for line in lines]

    def use(self, database: str) -> None:
        """Look up unqualified names in `database`; empty: where they were looked up before."""
        if database and database != self._database:
            self._connection.query(f"USE {_identifier(database)}")
            self._database = database

    def set(self, settings: Mapping[str, str]) -> None:
        """Set settings for good."""
        if settings:
            self._connection.query("SET " + ", ".join(f"{name} = {_literal(text)}" for name, text in settings.items()))

    def set_for_request(self, settings: Mapping[str, str]) -> None:
        """Set settings for the next statement; those of the request before that are not given again go back."""
        gone = [name for name in self._before if name not in settings]
        for name in gone:
            self._connection.query(f"SET {name} = {self._before.pop(name)}")
        new = [name for name in settings if name not in self._before]
        if new:
            names = ", ".join(map(_literal, new))
            for name, value, changed in self.rows(
                f"SELECT name, value, changed FROM system.settings WHERE name IN ({names})"  # noqa: S608 - quoted
            ):
                self._before[name] = _literal(value) if changed else "DEFAULT"
        self.set(settings)

    def insert(self, insert: Insert, data: bytes) -> Answer:
        failed = self._failed_inserts()
        with self._connection.send_insert(insert.head, insert.format) as inserter:
            for part in (insert.data, data):
                for start in range(0, len(part), CHUNK_BYTES):
                    inserter.append(part[start : start + CHUNK_BYTES])
            result = inserter.finish()
        # A streamed insert that fails as it writes (a full disk) says that all its rows were written.
        if self._failed_inserts() != failed:
            # Which error was this one's is not known for sure when others fail beside it: its code asks for repetition.
            said = f"Code: {UNKNOWN_STATUS_OF_INSERT}. DB::Exception: An insert failed: {self._newest_errors()}"
            raise chdb.ChdbError(f"{said} (UNKNOWN_STATUS_OF_INSERT)")
        rows, size = str(result.rows_written), str(result.bytes_written)
        return Answer(body=b"", format=None, summary={"written_rows": rows, "written_bytes": size})

    def _failed_inserts(self) -> int:
        """How many there were, of all handles: one that fails beside this one makes this one be repeated too."""
        rows = self.rows("SELECT value FROM system.events WHERE event = 'FailedInsertQuery'")
        return int(rows[0][0]) if rows else 0

    def _newest_errors(self) -> str:
        """What the engine has found wrong within the last two seconds, for people."""
        rows = self.rows(
            "SELECT name, code, last_error_message FROM system.errors WHERE last_error_time >= now() - 2"
            " ORDER BY last_error_time"
        )
        return "; ".join(f"{message} ({name}, {code})" for name, code, message in rows)

    def run(self, statement: Statement, default_format: str, *, in_no_other: bool = False) -> Answer:
        """Carry out a statement that brings no data.

        `in_no_other`: the statement must be one that can name its format, and an unseen other one is a syntax error.
        """
        asked = statement.format or default_format

        def query(format_: str) -> Any:
            named = f"{statement.text}\nFORMAT {format_}" if in_no_other else statement.text
            return self._connection.query(named, format_)

        # Tab-separated without names, no rows and no result look the same; the names tell them apart.
        plain = asked in ("TabSeparated", "TSV")
        result = query("TabSeparatedWithNames" if plain else asked)
        body = self._bytes(result)
        format_: str | None = asked
        if plain:
            format_ = "TabSeparated" if body else None
            body = body.partition(b"\n")[2]
        elif asked == "Native" and not body:
            described = statement.verb not in WITHOUT_RESULT
            body = _native_header(self._bytes(query("RowBinaryWithNamesAndTypes"))) if described else b""
        if statement.verb == "USE":
            self._database = ""
        summary = {
            "read_rows": str(result.rows_read()),
            "read_bytes": str(result.bytes_read()),
            "elapsed_ns": str(int(result.elapsed() * 1e9)),
        }
        return Answer(body=body, format=format_, summary=summary)

    def syntax_tree(self, text: str) -> list[str]:
        """The statement as the engine parses it, one node a line. A format that it names is not used."""
        return self._bytes(self._connection.query(f"EXPLAIN AST {text}", "TSVRaw")).decode().splitlines()

    @staticmethod
    def _bytes(result: Any) -> bytes:
        return bytes(result.bytes() or b"")


class Server:
    """Answers HTTP requests from one engine."""

    def __init__(self, engine: Engine, passwords: Mapping[str, str]) -> None:
        self._engine = engine
        self._passwords = passwords
        self._sessions: dict[tuple[str, str], Session] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="statement")
        self._reader_threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="reader")

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/ping", self._ping)
        application.router.add_route("*", "/", self._answer)
        return application

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _answer(self, request: web.Request) -> web.Response:
        arguments = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        query_id = arguments.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Server-Display-Name": "embedded",
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        try:
            user = self._authenticate(request, arguments)
            query = await self._read(request, arguments, user)
            if not query.sql.strip():
                return web.Response(text="Ok.\n", headers=headers)
            encoding = _accepted(request) if arguments.get("enable_http_compression") == "1" else None
            answer = await self._carry_out(query, arguments, request)
        except (NotAllowed, chdb.ChdbError, RuntimeError) as error:
            code, text = _explain(error)
            headers["X-ClickHouse-Exception-Code"] = str(code)
            text = f"{text} (version {self._engine.version})\n" if "(version " not in text else f"{text}\n"
            return web.Response(status=STATUSES.get(code, 500), text=text, headers=headers)
        headers["X-ClickHouse-Summary"] = json.dumps(answer.summary)
        headers["Content-Type"] = CONTENT_TYPES.get(answer.format or "TabSeparated", BINARY)
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
        body = answer.body
        if encoding and len(body) >= COMPRESS_FROM_BYTES:
            headers["Content-Encoding"] = encoding
            body = await self._in_thread(user, COMPRESSIONS[encoding], body)
        return web.Response(body=body, headers=headers)

    def _authenticate(self, request: web.Request, arguments: Mapping[str, str]) -> str:
        user = request.headers.get("X-ClickHouse-User") or arguments.get("user") or "default"
        password = request.headers.get("X-ClickHouse-Key") or arguments.get("password") or ""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                password = ""
        expected = self._passwords.get(user, "")
        if not expected or not hmac.compare_digest(password.encode(), expected.encode()):
            raise NotAllowed(
                516,
                "AUTHENTICATION_FAILED",
                f"{user}: Authentication failed: password is incorrect, or there is no user",
            )
        return user

    async def _read(self, request: web.Request, arguments: dict[str, str], user: str) -> Query:
        if arguments.get("decompress") == "1" or arguments.get("compress") == "1":
            _not_implemented("Block compression of the native protocol; use HTTP compression")
        body = b""
        if request.content_type.startswith("multipart/"):
            parts = await request.multipart()
            while (part := await parts.next()) is not None:
                if not isinstance(part, BodyPartReader) or part.filename is not None or part.name is None:
                    _not_implemented("External tables")
                arguments[part.name] = (await part.read(decode=True)).decode()
        else:
            encoding = request.headers.get("Content-Encoding", "").lower()
            body = await self._in_thread(user, _decompress, await request.read(), encoding)
        sql = arguments.get("query", "").encode()
        return Query(
            user=user,
            sql=sql or body,
            data=body if sql else b"",
            database=arguments.get("database") or request.headers.get("X-ClickHouse-Database") or "",
            settings={
                name: text for name, text in arguments.items() if name not in CONTROLS and not name.startswith("param_")
            },
            parameters={name: text for name, text in arguments.items() if name.startswith("param_")},
            default_format=arguments.get("default_format")
            or request.headers.get("X-ClickHouse-Format")
            or "TabSeparated",
            only_reading=request.method == "GET",
        )

    async def _carry_out(self, query: Query, arguments: Mapping[str, str], request: web.Request) -> Answer:
        name = arguments.get("session_id")
        if not name:
            return await self._while_wanted(request, query, partial(self._in_new_handle, query))
        if query.only_reading:
            _not_implemented("A session by GET; use POST")
        session = self._session(query.user, name, _session_life(arguments))
        change = session.handle.set_for_request
        try:
            return await self._while_wanted(
                request, query, partial(_execute, session.handle, change, query, self._engine)
            )
        finally:
            session.busy = False
            session.expires_at = time.monotonic() + session.lasts_s

    async def _while_wanted(self, request: web.Request, query: Query, work: Callable[[], Answer]) -> Answer:
        """The result of `work`, done in a thread. A statement of the reader ends soon after its client is gone.

        The owner's go on: they may change something, and a client that comes again would find half of it.
        """
        if query.user != READER:
            return await self._in_thread(query.user, work)
        job = self._reader_threads.submit(work)
        result = asyncio.wrap_future(job)
        try:
            while not (await asyncio.wait({result}, timeout=GONE_S))[0]:
                if (request.transport is None or request.transport.is_closing()) and not job.cancel():
                    await self._in_thread("default", self._kill, query.mark)
        finally:
            # At a stop nobody waits for it any longer.
            result.cancel()
        if job.cancelled():
            raise NotAllowed(394, "QUERY_WAS_CANCELLED", "Query was cancelled: its client is gone")
        return result.result()

    def _kill(self, mark: str) -> None:
        """Tell the engine to end the statements whose mark begins so."""
        handle = self._engine.open()
        try:
            handle.rows(f"KILL QUERY WHERE startsWith(Settings['log_comment'], {_literal(mark)}) ASYNC")
        finally:
            handle.close()

    def _in_new_handle(self, query: Query) -> Answer:
        handle = self._engine.open()
        try:
            return _execute(handle, handle.set, query, self._engine)
        finally:
            handle.close()

    def _session(self, user: str, name: str, lasts_s: float) -> Session:
        """The session of this name, which nobody else uses until it is no longer busy."""
        now = time.monotonic()
        for key, session in list(self._sessions.items()):
            if session.expires_at < now and not session.busy:
                del self._sessions[key]
                session.handle.close()
        session_or_none = self._sessions.get((user, name))
        if session_or_none is None:
            if len(self._sessions) >= MAX_SESSIONS:
                raise NotAllowed(202, "TOO_MANY_SIMULTANEOUS_QUERIES", f"Too many sessions (at most {MAX_SESSIONS})")
            session = Session(handle=self._engine.open(), expires_at=now + lasts_s, lasts_s=lasts_s)
            self._sessions[user, name] = session
            return session
        if session_or_none.busy:
            raise NotAllowed(373, "SESSION_IS_LOCKED", f"Session {name} is locked by a concurrent client")
        session_or_none.busy, session_or_none.lasts_s = True, lasts_s
        return session_or_none

    async def _in_thread(self, user: str, function: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        threads = self._reader_threads if user == READER else self._threads
        return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)

    def close(self) -> None:
        """Wait for what is being carried out, but for what the reader has asked, and close the engine."""
        self._reader_threads.shutdown(wait=False, cancel_futures=True)
        self._kill(READER)
        self._reader_threads.shutdown()
        self._threads.shutdown()
        for session in self._sessions.values():
            session.handle.close()
        self._engine.close()


def _execute(handle: Handle, change: Callable[[Mapping[str, str]], None], query: Query, engine: Engine) -> Answer:
    """Carry out a request with a handle that nobody else uses; `change` sets the request's settings in it.

    Raises NotAllowed or the engine's error.
    """
    reader = query.user == READER
    try:
        read = read_statement(query.sql, engine.formats)
        if isinstance(read, Statement) and query.data:
            read = read_statement(query.sql + b"\n" + query.data, engine.formats)
    except UnicodeDecodeError:
        raise NotAllowed(62, "SYNTAX_ERROR", "The statement is not UTF-8") from None
    for name in (*query.settings, *query.parameters):
        if not _SETTING.fullmatch(name):
            raise NotAllowed(115, "UNKNOWN_SETTING", f"Setting {name!r} is no name")
    settings = query.settings
    if reader:
        permissions.check_settings(settings)
        settings = permissions.limited(settings) | {"log_comment": query.mark}
    handle.use(permissions.check_database(query.database) if reader else query.database)
    change(settings)
    handle.set(query.parameters)
    if reader or query.only_reading:
        handle.set({"readonly": "2"})
    if isinstance(read, Insert):
        if reader or query.only_reading:
            raise NotAllowed(164, "READONLY", f"{query.user}: Cannot execute query in readonly mode")
        return handle.insert(read, query.data)
    if not reader:
        return handle.run(read, query.default_format)
    permissions.check_format(read.format or query.default_format)
    permissions.check_reading(handle.syntax_tree(read.text), read.words, engine.catalogue)
    return handle.run(read, query.default_format, in_no_other=True)


def _decompress(body: bytes, encoding: str) -> bytes:
    """The body as it was before compression. Raises NotAllowed when that is too large or the body is damaged."""
    if encoding in ("", "identity") or not body:
        return body
    data: bytes
    try:
        match encoding:
            case "lz4":
                data = lz4.frame.LZ4FrameDecompressor().decompress(body, MAX_BODY_BYTES + 1)
            case "zstd":
                source = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True)
                data = source.read(MAX_BODY_BYTES + 1)
            case "gzip":
                data = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_BODY_BYTES + 1)
            case "deflate":
                data = zlib.decompressobj().decompress(body, MAX_BODY_BYTES + 1)
            case _:
                _not_implemented(f"Content-Encoding {encoding}")
    except (RuntimeError, OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise NotAllowed(354, "CANNOT_DECOMPRESS", f"The body is no {encoding}: {error}") from None
    if len(data) > MAX_BODY_BYTES:
        raise NotAllowed(307, "TOO_MANY_BYTES", f"The body is larger than {MAX_BODY_BYTES} bytes")
    return data


def _accepted(request: web.Request) -> str | None:
    """The best compression that the client takes."""
    names = {each.partition(";")[0].strip() for each in request.headers.get("Accept-Encoding", "").split(",")}
    return next((name for name in COMPRESSIONS if name in names), None)


def _session_life(arguments: Mapping[str, str]) -> float:
    try:
        return min(float(arguments.get("session_timeout", SESSION_S)), LONGEST_SESSION_S)
    except ValueError:
        raise NotAllowed(36, "BAD_ARGUMENTS", "session_timeout is no number of seconds") from None


def _explain(error: Exception) -> tuple[int, str]:
    """Code and text of an error of the engine or of this module; whatever else it is, is a bug and raised again."""
    match = _ERROR.search(str(error))
    if match is None:
        raise error
    return int(match[1]), match[0].strip()


def _not_implemented(what: str) -> NoReturn:
    raise NotAllowed(48, "NOT_IMPLEMENTED", f"{what}: not supported by the embedded ClickHouse")


def _native_header(header: bytes) -> bytes:
    """A block without rows: each column's name and type, in turn. RowBinary's `header` puts all names before types."""
    count, position = _read_length(header, 0)
    texts = []
    for _ in range(2 * count):
        length, start = _read_length(header, position)
        texts.append(header[position : start + length])
        position = start + length
    if not count:
        return b""
    pairs = zip(texts[:count], texts[count:], strict=True)
    return header[: _read_length(header, 0)[1]] + b"\0" + b"".join(name + type_ for name, type_ in pairs)


def _read_length(data: bytes, position: int) -> tuple[int, int]:
    """A length in the engine's variable encoding, and the position behind it."""
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, position


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _identifier(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def main() -> None:
    """Serve FOLDER at PORT until SIGTERM."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    passwords = {user: keep_secret(folder / f"{user}.password") for user in ("default", READER)}
    # A relative path: the engine gives a meaning of its own to some characters that may be in the folder's.
    os.chdir(folder)
    server = Server(Engine(Path("data")), passwords)

    async def close(_: web.Application) -> None:
        server.close()

    application = server.application()
    application.on_cleanup.append(close)
    web.run_app(
        application,
        host="127.0.0.1",
        port=port,
        print=None,
        access_log=None,
        shutdown_timeout=STOP_S,
        auto_decompress=False,
        max_line_size=MAX_URL_BYTES,
    )


if __name__ == "__main__":
    main()
