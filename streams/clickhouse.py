"""ClickHouse: the client, the errors people see, migrations and retention.

Must not know what is stored: tables, views and their meaning stand in deploy/clickhouse/.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from streams.errors import Refused, Transient
from streams.settings import Settings, SettingsError, require

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MIGRATIONS: Final = Path(__file__).parents[1] / "deploy" / "clickhouse"
DATABASE: Final = "aftersales"
"""When the DSN names none."""
CONNECT_S: Final = 5
ANSWER_S: Final = 300
"""Longest silence within an answer."""

DEFAULT_RETENTION: Final[Mapping[str, int]] = {"message_text": 30, "dead_letter": 30, "dead_letter_replay": 30}
"""Days, by table. Every other table keeps its rows."""
KEPT: Final = frozenset({"place"})
"""Tables that have no retention: without its place, an id has no customer."""
_SAID: Final = re.compile(
    r"DB::Exception: (.*?)\.?(?: Expected one of:.*| In scope .*)?\s*(?:\([A-Z_]+\)|$)", re.DOTALL
)
_TTL: Final = re.compile(r"\bTTL toDateTime\(stored_at\) \+ toIntervalDay\((\d+)\)")

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
WRONG_PASSWORD: Final = frozenset({192, 193, 194, 516})
ACCESS_DENIED: Final = frozenset({164, 497})
UNKNOWN_TABLE: Final = 60
UNKNOWN_DATABASE: Final = 81
TRANSIENT_CODES: Final = frozenset({3, 159, 201, 202, 203, 209, 210, 236, 241, 242, 243, 252, 319, 394, 425, 439, 999})
"""Time-outs, too many queries or parts, memory, disk, network, Keeper: https://github.com/ClickHouse/ClickHouse
src/Common/ErrorCodes.cpp (read 2026-11)."""


def connect(settings: Settings, *, database: bool = True) -> "Client":
    """A client that may be used by several threads. `database` False: of no database of ours.

    Instants come back aware, in UTC. Raises SettingsError for a wrong DSN, Refused when ClickHouse is not there, does
    not know the user, or lacks the database.
    """
    import clickhouse_connect  # takes 0.3 s; most commands need no ClickHouse

    dsn = _parse(settings)
    host = dsn.hostname or "localhost"
    with refusals(settings):
        return clickhouse_connect.get_client(
            # The DSN is taken apart here: the client itself would speak plain HTTP to `https://`.
            interface=dsn.scheme,
            host=host,
            port=dsn.port or (8443 if dsn.scheme == "https" else 8123),
            username=unquote(dsn.username or "default"),
            password=unquote(dsn.password or ""),
            database=database_name(settings) if database else "default",
            compress=host not in LOOPBACK,
            connect_timeout=CONNECT_S,
            send_receive_timeout=ANSWER_S,
            tz_mode="aware",
            # Statements of one session exclude each other; nothing here needs one.
            autogenerate_session_id=False,
        )


def database_name(settings: Settings) -> str:
    """The database that the DSN names, else `aftersales`."""
    return unquote(_parse(settings).path.strip("/")) or DATABASE


def migrate(settings: Settings) -> list[str]:
    """Bring the database to what this version needs; the names of the migrations that were applied now.

    Creates the database, applies the files of `deploy/clickhouse/` that it has not seen, in order, seeds the current
    generation if there is none, and sets the retention. Every step may be repeated. Raises Refused when ClickHouse
    refuses, when the database was migrated by a newer version, or when an applied file was changed.
    """
    from clickhouse_migrations.connection import ClickhouseConnectConnection
    from clickhouse_migrations.exceptions import MigrationException
    from clickhouse_migrations.migration import MigrationStorage
    from clickhouse_migrations.migrator import Migrator

    name = database_name(settings)
    retention = {**DEFAULT_RETENTION, **settings.retention()}
    with refusals(settings), connect(settings, database=False) as server:
        server.command(
            "CREATE DATABASE IF NOT EXISTS {name:Identifier} COMMENT 'What the after-sales pipeline knows.'",
            parameters={"name": name},
        )
    with refusals(settings), connect(settings) as client:
        migrator = Migrator(ClickhouseConnectConnection(client), migrations_table="migration")
        storage = MigrationStorage(MIGRATIONS)
        try:
            migrator.init_schema()
            applied = migrator.apply_migration(storage.migrations(), multi_statement=True)
        except MigrationException as error:
            raise Refused(f"database {name} does not fit this version of aftersales: {error}") from None
        if current_generation(client) is None:
            client.command(
                "INSERT INTO setting (name, value) VALUES ('generation', {generation:String})",
                parameters={"generation": settings.generation},
            )
        apply_retention(client, retention)
        files = storage.migration_filenames()
        return [Path(files[migration.version]).stem for migration in applied]


def current_generation(client: "Client") -> str | None:
    """The generation of facts that views read. None: none is set yet."""
    rows = client.query("SELECT value FROM setting FINAL WHERE name = 'generation'").result_rows
    return str(rows[0][0]) if rows else None


def apply_retention(client: "Client", days: Mapping[str, int]) -> None:
    """Let each table drop rows `days` after they were stored (0 or not named: never).

    Counted from `stored_at`, never from event time: an import of old data must not vanish. Raises Refused for a name
    that is no table with a retention.
    """
    found = client.query(
        "SELECT c.table, t.engine_full FROM system.tables AS t INNER JOIN system.columns AS c"
        " ON c.database = t.database AND c.table = t.name"
        " WHERE t.database = currentDatabase() AND c.name = 'stored_at'"
    ).result_rows
    tables = {str(table): str(engine) for table, engine in found}
    unknown = set(days) - (set(tables) - KEPT)
    if unknown:
        raise Refused(
            f"retention_days names {', '.join(sorted(unknown))}; tables with a retention are"
            f" {', '.join(sorted(set(tables) - KEPT))}"
        )
    for table, engine in sorted(tables.items()):
        ttl = _TTL.search(engine)
        before, after = int(ttl[1]) if ttl else 0, days.get(table, 0)
        if before == after:
            continue
        change = f"MODIFY TTL toDateTime(stored_at) + toIntervalDay({after})" if after else "REMOVE TTL"
        client.command(f"ALTER TABLE {table} {change}")


@contextmanager
def refusals(settings: Settings) -> Iterator[None]:
    """For commands: what ClickHouse refuses, or that it does not answer, as Refused with a clear sentence."""
    try:
        with errors(settings):
            yield
    except Transient as error:
        raise Refused(str(error)) from error


@contextmanager
def errors(settings: Settings) -> Iterator[None]:
    """For processes: faults that may pass as Transient, what an operator must mend as Refused, bugs as they are."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    try:
        yield
    except ClickHouseError as error:
        translated = _translate(settings, error)
        if translated is None:
            raise
        raise translated from error


def reason_of(error: Exception) -> str:
    """What the server says, in one line, without what the client and the parser add."""
    said = str(error)
    found = _SAID.search(said)
    return " ".join((found[1] if found else said).split()).rstrip(".")


def _translate(settings: Settings, error: Exception) -> Refused | Transient | None:
    from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, StreamFailureError

    dsn = _parse(settings)
    where, user = f"ClickHouse at {dsn.hostname}:{dsn.port}", unquote(dsn.username or "default")
    code: int | None = getattr(error, "code", None)
    # Of a connection that failed only the innermost reason: the rest is the client's own URL and counters.
    cause = getattr(error.__cause__, "reason", error.__cause__)
    said = (str(cause).rpartition(": ")[2] if code is None and cause else reason_of(error))[:500]
    if code in WRONG_PASSWORD:
        return Refused(f"{where} does not let user {user} in: check user and password in clickhouse_dsn")
    if code in ACCESS_DENIED:
        return Refused(f"{where}: user {user} may not do this: {said}")
    if code == UNKNOWN_DATABASE:
        return Refused(f"{where} has no database {database_name(settings)}: run `aftersales migrate`")
    if code == UNKNOWN_TABLE:
        return Refused(f"{where}: a table is missing: run `aftersales migrate` ({said})")
    # Their subclasses are mistakes of the caller.
    if code is None and type(error) in (DatabaseError, OperationalError, StreamFailureError):
        return Transient(f"{where} does not answer: {said}; is it running? (`aftersales up`, or set clickhouse_dsn)")
    if code in TRANSIENT_CODES:
        return Transient(f"{where}: {said}")
    return None


def _parse(settings: Settings) -> SplitResult:
    dsn = urlsplit(require(settings.clickhouse_dsn, "clickhouse_dsn"))
    try:
        port_is_fine = dsn.port is None or dsn.port > 0
    except ValueError:
        port_is_fine = False
    if dsn.scheme not in ("http", "https") or not dsn.hostname or not port_is_fine:
        raise SettingsError("clickhouse_dsn must look like http[s]://user:password@host:port/database")
    return dsn
