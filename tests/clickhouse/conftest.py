"""Migrated databases: one that tests share, emptied after each, and one of a test's own."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest

from streams.clickhouse import connect, database_name, migrate
from streams.settings import Settings
from tests.engines import RunningStack


@pytest.fixture(scope="session")
def migrated(stack: RunningStack) -> Settings:
    """Settings of the database that tests share."""
    dsn = urlunsplit(urlsplit(stack.settings.clickhouse_dsn)._replace(path="/test_shared"))
    settings = msgspec.structs.replace(stack.settings, clickhouse_dsn=dsn)
    migrate(settings)
    return settings


@pytest.fixture
def client(migrated: Settings) -> Iterator[Any]:
    """A client of the shared database, in which nothing is stored."""
    with connect(migrated) as client:
        yield client
        filled = client.query(
            "SELECT name FROM system.tables"
            " WHERE database = currentDatabase() AND total_rows > 0 AND name != 'migration'"
        )
        for (table,) in filled.result_rows:
            client.command(f"TRUNCATE TABLE {table}")
    migrate(migrated)


@pytest.fixture
def own_client(settings: Settings) -> Iterator[Any]:
    """A client of the test's own database, migrated, for tests that change it or fill it from Kafka."""
    migrate(settings)
    with connect(settings) as client:
        yield client
        client.command("DROP DATABASE {name:Identifier}", parameters={"name": database_name(settings)})
