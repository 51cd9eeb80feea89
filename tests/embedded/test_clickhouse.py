"""The embedded ClickHouse, seen through the clients that use it."""

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
import requests
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_migrations.connection import ClickhouseConnectConnection
from clickhouse_migrations.migration import MigrationStorage
from clickhouse_migrations.migrator import Migrator

from streams.embedded.clickhouse import READER_THREADS, THREADS
from streams.embedded.permissions import READER_LIMITS
from streams.settings import Settings
from tests.engines import RunningStack

pytestmark = pytest.mark.engines

SECONDS = 30


@pytest.fixture
def database(settings: Settings) -> Iterator[str]:
    """A new database, dropped afterwards."""
    url = urlsplit(settings.clickhouse_dsn)
    name = url.path[1:]
    ask(settings, f"CREATE DATABASE {name}")
    yield name
    ask(settings, f"DROP DATABASE {name}")


@pytest.fixture
def client(settings: Settings, database: str) -> Iterator[Any]:
    client = clickhouse_connect.get_client(dsn=settings.clickhouse_dsn, tz_mode="aware")
    yield client
    client.close()


@pytest.fixture
def events(client: Any) -> str:
    client.command(
        "CREATE TABLE event"
        " (id UInt64, at DateTime64(3, 'UTC'), amount Decimal(18, 2), tags Array(String), note String)"
        " ENGINE = ReplacingMergeTree ORDER BY id"
    )
    return "event"


def ask(settings: Settings, sql: str, **arguments: str) -> str:
    """What curl would show for a statement sent by POST."""
    response = post(settings, sql, **arguments)
    response.raise_for_status()
    return response.text


def post(settings: Settings, sql: str, user: str = "", password: str = "", **arguments: str) -> requests.Response:
    """Send a statement by POST, as the settings' user unless told otherwise; `arguments` go into the URL."""
    url = urlsplit(settings.clickhouse_dsn)
    who = (user or url.username or "", password or url.password or "")
    return requests.post(f"http://{url.hostname}:{url.port}/", data=sql, params=arguments, auth=who, timeout=SECONDS)


def get(settings: Settings, sql: str) -> requests.Response:
    url = urlsplit(settings.clickhouse_dsn)
    who = (url.username or "", url.password or "")
    return requests.get(f"http://{url.hostname}:{url.port}/", params={"query": sql}, auth=who, timeout=SECONDS)


ROWS = [
    [1, datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), Decimal("12.30"), ["a", "b'"], "tab\there"],
    [2, datetime(2026, 1, 3, tzinfo=UTC), Decimal("-0.01"), [], "Grüße 你好 \\n"],
]


def test_rows_come_back_as_they_were_inserted(client: Any, events: str) -> None:
    summary = client.insert(events, ROWS, column_names=["id", "at", "amount", "tags", "note"])
    assert summary.written_rows == 2
    assert [list(row) for row in client.query("SELECT * FROM event ORDER BY id").result_rows] == ROWS


def test_an_empty_result_has_its_columns(client: Any, events: str) -> None:
    result = client.query("SELECT id, at, tags FROM event WHERE id = 99")
    assert result.result_rows == []
    assert result.column_names == ("id", "at", "tags")
    assert [type_.name for type_ in result.column_types] == ["UInt64", "DateTime64(3, 'UTC')", "Array(String)"]
    assert client.query("SELECT id FROM event LIMIT 0").column_names == ("id",)


@pytest.mark.parametrize(
    "text", ["plain", "it's", "tab\tand\nbreak", "back\\slash", "Grüße", "'; DROP TABLE event", "long" * 20000]
)
def test_a_parameter_arrives_as_it_was_given(client: Any, text: str) -> None:
    assert client.query("SELECT {text:String}", parameters={"text": text}).result_rows == [(text,)]


def test_parameters_may_be_lists_and_names(client: Any, events: str) -> None:
    client.insert(events, ROWS, column_names=["id", "at", "amount", "tags", "note"])
    found = client.query(
        "SELECT count() FROM {table:Identifier} WHERE id IN {ids:Array(UInt64)}",
        parameters={"table": "event", "ids": [1, 7]},
    )
    assert found.result_rows == [(1,)]


def test_settings_count_for_one_request(client: Any) -> None:
    asked = "SELECT getSetting('max_block_size')"
    before = client.query(asked).result_rows
    assert client.query(asked, settings={"max_block_size": 1234}).result_rows == [(1234,)]
    assert client.query(asked).result_rows == before


def test_settings_of_a_session_outlast_those_of_a_request(client: Any) -> None:
    asked = "SELECT getSetting('max_block_size')"
    client.command("SET max_block_size = 777")
    assert client.query(asked, settings={"max_block_size": 1234}).result_rows == [(1234,)]
    assert client.query(asked).result_rows == [(777,)]


def test_large_results_are_compressed_and_whole(client: Any) -> None:
    rows = client.query("SELECT number, toString(number) FROM numbers(200000)").result_columns
    assert sum(rows[0]) == 199999 * 100000
    assert client.query_arrow("SELECT number FROM numbers(100000)").num_rows == 100000
    assert client.query_df("SELECT number AS n FROM numbers(1000)")["n"].sum() == 499500


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELECT no_such_column", 47, 404),
        ("SELECT * FROM no_such_table", 60, 404),
        ("SELEKT 1", 62, 400),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT 1 INTO OUTFILE '/dev/null'", 48, 501),
        ("SELECT 1 /* */ into -- x\n outfile '/dev/null'", 48, 501),
        ("SELECT throwIf(1)", 395, 500),
    ],
)
def test_an_error_has_its_code_and_status(settings: Settings, sql: str, code: int, status: int) -> None:
    response = post(settings, sql)
    assert (response.headers.get("X-ClickHouse-Exception-Code"), response.status_code) == (str(code), status)
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")


def test_the_client_raises_the_code(client: Any) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as caught:
        client.query("SELECT * FROM no_such_table")
    assert caught.value.code == 60


def test_a_database_that_is_not_there_is_the_servers_usual_error(settings: Settings) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_DATABASE"):
        clickhouse_connect.get_client(dsn=settings.clickhouse_dsn)


def test_a_bad_row_leaves_nothing_behind(settings: Settings, client: Any, events: str, database: str) -> None:
    response = post(settings, 'INSERT INTO event (id) FORMAT JSONEachRow\n{"id": 1}\n{"id": "x"}', database=database)
    assert response.headers["X-ClickHouse-Exception-Code"] == "27"
    assert client.query("SELECT count() FROM event").result_rows == [(0,)]


def test_an_insert_that_fails_as_it_is_written_is_refused(client: Any) -> None:
    client.command("CREATE TABLE narrow (id UInt64) ENGINE = MergeTree PARTITION BY id ORDER BY id")
    with pytest.raises(DatabaseError) as caught:
        client.insert("narrow", [[number] for number in range(101)], column_names=["id"])
    assert caught.value.code == 319  # to be repeated
    assert "TOO_MANY_PARTS" in str(caught.value)  # more than 100 partitions in one insert
    assert client.query("SELECT count() FROM narrow").result_rows == [(0,)]
    assert client.insert("narrow", [[1]], column_names=["id"]).written_rows == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO event (id, note) VALUES (1, 'a;b'), (2, 'FORMAT x')",
        "INSERT INTO event (id, note) FORMAT Values (1, 'a;b'), (2, 'FORMAT x')",
        "insert into event (id, note) format values\n(1, 'a;b'), (2, 'FORMAT x')",
        "-- one\nINSERT /* two */ INTO event (id, note) FORMAT CSV\n1,a;b\n2,FORMAT x\n",
        'insert into event (id, note) format JSONEachRow {"id": 1, "note": "a;b"} {"id": 2, "note": "FORMAT x"}',
        "INSERT INTO event (id, note) SELECT number + 1, if(number = 0, 'a;b', 'FORMAT x') FROM numbers(2)",
        "WITH 2 AS n INSERT INTO event (id, note) SELECT number + 1, if(number = 0, 'a;b', 'FORMAT x') FROM numbers(n)",
        "INSERT INTO event (id, note) SETTINGS async_insert = 0 FORMAT TSV\n1\ta;b\n2\tFORMAT x\n",
    ],
)
def test_every_form_of_insert_inserts(settings: Settings, events: str, database: str, statement: str) -> None:
    ask(settings, statement, database=database)
    assert ask(settings, "SELECT id, note FROM event ORDER BY id", database=database) == "1\ta;b\n2\tFORMAT x\n"


def test_data_may_be_apart_from_the_statement_and_compressed(settings: Settings, events: str, database: str) -> None:
    url = urlsplit(settings.clickhouse_dsn)
    response = requests.post(
        f"http://{url.hostname}:{url.port}/",
        params={"query": "INSERT INTO event (id) FORMAT CSV", "database": database},
        data=gzip.compress(b"5\n6\n"),
        headers={"Content-Encoding": "gzip"},
        auth=(url.username or "", url.password or ""),
        timeout=SECONDS,
    )
    assert (response.status_code, json.loads(response.headers["X-ClickHouse-Summary"])["written_rows"]) == (200, "2")
    assert ask(settings, "SELECT sum(id) FROM event", database=database) == "11\n"


def test_a_body_that_is_too_large_when_decompressed_is_refused(settings: Settings) -> None:
    url = urlsplit(settings.clickhouse_dsn)
    response = requests.post(
        f"http://{url.hostname}:{url.port}/",
        data=gzip.compress(b" " * ((256 << 20) + 1), 1),
        headers={"Content-Encoding": "gzip"},
        auth=(url.username or "", url.password or ""),
        timeout=SECONDS,
    )
    assert response.headers["X-ClickHouse-Exception-Code"] == "307"


def test_the_format_may_be_named_in_the_statement_or_beside_it(settings: Settings) -> None:
    assert ask(settings, "SELECT 1 AS format FORMAT JSONEachRow") == '{"format":1}\n'
    assert ask(settings, "SELECT 1 AS a ORDER BY a FORMAT CSV SETTINGS max_threads = 1;") == "1\n"
    assert ask(settings, "SELECT 1 AS a", default_format="CSVWithNames") == '"a"\n1\n'


def test_get_reads_and_does_not_write(settings: Settings, database: str) -> None:
    assert get(settings, "SELECT 1").text == "1\n"
    response = get(settings, f"CREATE TABLE {database}.t (a UInt8) ENGINE = Memory")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (403, "164")
    assert get(settings, f"INSERT INTO {database}.t VALUES (1)").headers["X-ClickHouse-Exception-Code"] == "164"


@pytest.mark.parametrize(("user", "password"), [("default", "wrong"), ("nobody", "x"), ("default", " ")])
def test_a_wrong_password_is_refused(settings: Settings, user: str, password: str) -> None:
    response = post(settings, "SELECT 1", user, password)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (403, "516")


def test_migrations_are_applied_once(settings: Settings, client: Any, tmp_path: Path) -> None:
    (tmp_path / "001_first.sql").write_text("CREATE TABLE a (x UInt8) ENGINE = MergeTree ORDER BY x;\nSELECT ';';")
    (tmp_path / "002_second.sql").write_text("ALTER TABLE a ADD COLUMN y String; CREATE VIEW v AS SELECT * FROM a;")
    migrations = MigrationStorage(tmp_path).migrations()
    for expected in (2, 0):
        migrator = Migrator(ClickhouseConnectConnection(client))
        migrator.init_schema()
        assert len(migrator.apply_migration(migrations, multi_statement=True)) == expected
    assert client.query("SELECT * FROM v").column_names == ("x", "y")


@pytest.fixture
def reader(stack: RunningStack, settings: Settings) -> Settings:
    """Settings by which `reader` asks, in a database with one table."""
    url = urlsplit(stack.stack.dsn("reader"))
    name = urlsplit(settings.clickhouse_dsn).path
    return Settings(clickhouse_dsn=url._replace(path=name).geturl())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*), sum(id), uniqExactIf(id, id > 1), quantile(0.5)(id) FROM event",
        "WITH e AS (SELECT * FROM event FINAL) SELECT e.id, row_number() OVER (PARTITION BY id ORDER BY at) FROM e",
        "SELECT toStartOfHour(at), arrayMap(x -> upper(x), tags), id::String, * EXCEPT (note) FROM event",
        "SELECT a.id FROM event AS a LEFT JOIN event b USING (id) WHERE a.id IN (SELECT id FROM event) LIMIT 1 BY id",
        "SELECT 1 UNION ALL SELECT 2 INTERSECT SELECT 2",
        "SELECT name FROM system.tables WHERE database = currentDatabase()",
        "SELECT * FROM values('a UInt8', 1, 2) ORDER BY a DESC",
        "SELECT 'file(url(s3(', \"note\", formatReadableSize(1) FROM event",
        "SHOW TABLES",
        "DESCRIBE TABLE event",
        "EXPLAIN SELECT * FROM event",
        "SELECT table_name FROM information_schema.tables LIMIT 1",
        "SELECT version(), timezone(), now()",
        "SELECT format('{} of {}', toString(id), note) FROM event",
        "SELECT 1 AS format -- FORMAT CSV",
        "SELECT 1 AS a FORMAT JSONEachRow",
        "SELECT 1 AS a FORMAT csv",
        "SELECT id FROM event FORMAT Native",
        "SELECT id FROM event FORMAT Parquet",
    ],
)
def test_the_reader_may_read(reader: Settings, events: str, database: str, sql: str) -> None:
    ask(reader, sql, database=database)


def test_the_readers_own_client_works(reader: Settings, client: Any, events: str) -> None:
    client.insert(events, ROWS, column_names=["id", "at", "amount", "tags", "note"])
    reading = clickhouse_connect.get_client(dsn=reader.clickhouse_dsn)
    assert reading.query("SELECT count() FROM event WHERE id > {id:UInt64}", parameters={"id": 1}).result_rows == [(1,)]
    assert reading.query("SELECT id FROM event WHERE 0").column_names == ("id",)
    reading.close()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO event (id) VALUES (1)",
        "INSERT INTO event (id) SELECT 1",
        "CREATE TABLE x (a UInt8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE x (a UInt8)",
        "DROP TABLE event",
        "ALTER TABLE event DELETE WHERE 1",
        "SET max_threads = 1",
        "SET readonly = 0",
        "USE default",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
        "SELECT * FROM file('/etc/hostname', 'LineAsString')",
        "SELECT file('/etc/hostname')",
        "SELECT `file`('/etc/hostname')",
        "SELECT /**/ file /**/ ('/etc/hostname')",
        "SELECT arrayMap(file, ['/etc/hostname'])",
        "SELECT * APPLY (file) FROM (SELECT '/etc/hostname')",
        "SELECT * APPLY (x -> file(x)) FROM (SELECT '/etc/hostname')",
        "WITH (x -> file(x)) AS f SELECT f('/etc/hostname')",
        "SELECT * REPLACE (file('/etc/hostname') AS x) FROM (SELECT 1 AS x)",
        "SELECT number FROM numbers(3) ORDER BY number WITH FILL INTERPOLATE (number AS length(file('/etc/hostname')))",
        "SELECT sum(number) OVER (ORDER BY file('/etc/hostname')) FROM numbers(3)",
        "SELECT number FROM numbers(3) LIMIT length(file('/etc/hostname'))",
        "SELECT number FROM numbers(length(file('/etc/hostname')))",
        "SELECT 1 IN (SELECT * FROM file('/etc/hostname', 'LineAsString'))",
        "SELECT 1 IN file('/etc/hostname', 'LineAsString')",
        "SELECT * FROM (EXPLAIN SELECT file('/etc/hostname'))",
        "EXPLAIN SELECT file('/etc/hostname')",
        "DESCRIBE TABLE file('/etc/hostname', 'LineAsString')",
        "SHOW TABLES WHERE file('/etc/hostname') != ''",
        "SHOW COLUMNS FROM event WHERE file('/etc/hostname') != ''",
        "SELECT * FROM default.`/etc/hostname`",
        "SELECT 1 IN (default.`/etc/hostname`)",
        "SELECT * FROM view(SELECT * FROM default.`/etc/hostname`)",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM executable('x.sh', 'CSV', 'a String')",
        "SELECT * FROM merge('system', '.*')",
        "SELECT * FROM format(CSV, 'x')",
        "SELECT * FROM view(SELECT * FROM format(CSV, 'x'))",
        "SELECT * FROM numbers(1) AS a, format(CSV, 'x') AS b",
        "DESCRIBE TABLE format(CSV, 'x')",
        "SELECT 1 AS a FORMAT Protobuf",
        "SELECT 1 AS a FORMAT protobuf",
        "SELECT 1 AS a FORMAT `Protobuf`",
        "SELECT 1 AS a FORMAT CapnProto",
        "SELECT 1 AS a FORMAT Npy",
        "SELECT 1 AS a FORMAT Template",
        "SELECT 1 AS a FORMAT JSON FORMAT CSV",
        "EXPLAIN SELECT 1 AS a FORMAT protobuf",
        "EXPLAIN (SELECT 1 AS a FORMAT `Protobuf`)",
        "SELECT * FROM sqlite('/tmp/x', 'y')",
        "SELECT * FROM filesystem('/etc')",
        "SELECT * FROM system.processes",
        "SELECT * FROM `system`.`named_collections`",
        "SELECT 1 WHERE 1 IN system.processes",
        "SELECT hasColumnInTable('127.0.0.1', 'u', 'p', 'd', 't', 'c')",
        "SELECT dictGet('d', 'a', 1)",
        "SELECT AIGenerate('x', 'y')",
        "SELECT getServerSetting('x')",
        "SELECT 1 SETTINGS additional_result_filter = 'file(''/etc/hostname'') = 1'",
        "SELECT 1 INTO OUTFILE '/dev/null'",
        "SELECT 1; SELECT 2",
        "SHOW CREATE TABLE event",
        "EXISTS TABLE default.`/etc/hostname`",
        "CHECK TABLE event",
    ],
)
def test_the_reader_is_refused_what_reaches_beyond_tables(
    reader: Settings, events: str, database: str, sql: str
) -> None:
    response = post(reader, sql, database=database)
    assert response.status_code in (400, 403, 501), response.text
    assert response.headers["X-ClickHouse-Exception-Code"] in ("62", "164", "497", "48"), response.text


@pytest.mark.parametrize(
    "arguments",
    [
        {"database": "default"},
        {"database": "system"},
        {"readonly": "0"},
        {"additional_result_filter": "1 = 1"},
        {"dialect": "prql"},
        {"allow_introspection_functions": "1"},
        {"param_t": "/etc/hostname", "param_d": "default"},
    ],
)
def test_the_reader_is_refused_by_arguments_too(reader: Settings, arguments: dict[str, str]) -> None:
    sql = "SELECT * FROM {d:Identifier}.{t:Identifier}" if "param_t" in arguments else "SELECT 1"
    response = post(reader, sql, **arguments)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (403, "497"), response.text


def test_a_format_beside_the_statement_is_refused_to_the_reader_too(reader: Settings) -> None:
    for name in ("Protobuf", "protobuf", "Npy", "JSON FORMAT CSV", "Nothing"):
        response = post(reader, "SELECT 1 AS a", default_format=name)
        assert response.headers["X-ClickHouse-Exception-Code"] == "497", response.text
    assert ask(reader, "SELECT 1 AS a", default_format="JSONEachRow") == '{"a":1}\n'


def test_the_readers_statements_leave_no_file(reader: Settings, stack: RunningStack) -> None:
    def files() -> set[Path]:
        return set(Path("/tmp").glob("*")) | set((stack.directory / "clickhouse").glob("*"))

    before = files()
    for name in ("Protobuf", "protobuf", "`Protobuf`", "ProtobufSingle"):
        post(reader, f"SELECT 1 AS a FORMAT {name}")
        post(reader, f"EXPLAIN SELECT 1 AS a FORMAT {name}")
        post(reader, "SELECT 1 AS a", default_format=name)
    assert not [path for path in files() - before if "proto" in path.name.lower()]


ENDLESS = "SELECT count() FROM system.numbers"


LIMITS = {name: str(limit) for name, limit in READER_LIMITS.items()}


@pytest.mark.parametrize(
    ("asked", "got"),
    [("0", LIMITS["max_execution_time"]), ("2", "2"), ("1.5", "1.5"), ("99999", LIMITS["max_execution_time"])],
)
def test_the_reader_may_only_lower_its_limits(reader: Settings, asked: str, got: str) -> None:
    shown = "SELECT value FROM system.settings WHERE name = 'max_execution_time'"
    assert ask(reader, shown, max_execution_time=asked) == f"{got}\n"


@pytest.mark.parametrize("asked", ["-1", "inf", "nan", "x", "", "1e9", "1'"])
def test_a_limit_that_is_no_number_is_refused(reader: Settings, asked: str) -> None:
    response = post(reader, "SELECT 1", max_execution_time=asked)
    assert response.headers["X-ClickHouse-Exception-Code"] == "36", response.text


@pytest.mark.parametrize("mode", ["throw", "break"])
def test_a_query_of_the_reader_ends_at_its_limit(reader: Settings, mode: str) -> None:
    post(reader, ENDLESS, max_execution_time="1", timeout_overflow_mode=mode)
    for sql in (
        "SELECT groupArray(number) FROM system.numbers",
        "SELECT number, repeat('x', 1000) FROM numbers(100000000)",
    ):
        response = post(reader, sql, max_memory_usage="50000000", max_result_bytes="50000000")
        assert response.headers["X-ClickHouse-Exception-Code"] in ("241", "396"), response.text


def test_endless_queries_of_the_reader_leave_room_for_the_owner_and_end_with_their_clients(
    reader: Settings, settings: Settings
) -> None:
    url = urlsplit(reader.clickhouse_dsn)
    request = f"POST /?user={url.username}&password={url.password} HTTP/1.1\r\nHost: x\r\nContent-Length: "
    clients = []
    try:
        for _ in range(2 * THREADS):
            clients.append(socket.create_connection((url.hostname or "", url.port or 0), SECONDS))
            clients[-1].sendall(f"{request}{len(ENDLESS)}\r\n\r\n{ENDLESS}".encode())
        running = f"SELECT count() FROM system.processes WHERE query LIKE '{ENDLESS}%'"
        eventually(lambda: ask(settings, running) == f"{READER_THREADS}\n")
    finally:
        for client in clients:
            client.close()
    eventually(lambda: ask(settings, running) == "0\n")
    assert ask(reader, "SELECT 1") == "1\n"


def eventually(fact: Callable[[], bool]) -> None:
    """Wait until `fact` is true: sooner than a query of the reader ends by itself."""
    deadline = time.monotonic() + READER_LIMITS["max_execution_time"] / 2
    while not fact():
        assert time.monotonic() < deadline, "did not become true"
        time.sleep(0.05)


def test_without_a_database_the_reader_finds_no_files(reader: Settings) -> None:
    assert post(reader, "SELECT * FROM `/etc/hostname`").headers["X-ClickHouse-Exception-Code"] == "60"
    assert ask(reader, "SELECT 1") == "1\n"


def test_the_passwords_are_for_the_owner_alone(stack: RunningStack) -> None:
    for name in ("clickhouse/default.password", "clickhouse/reader.password", "stack.json", "pseudonym.key"):
        assert (stack.directory / name).stat().st_mode & 0o777 == 0o600
