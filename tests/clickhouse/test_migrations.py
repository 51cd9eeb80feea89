"""Migrations, comments, retention, and what people are told when ClickHouse refuses."""

from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest

from streams import clickhouse
from streams.codec import STATES
from streams.domain.matter import EXCESSES
from streams.embedded.ports import free_port
from streams.errors import Refused
from streams.rows import COLUMNS
from streams.settings import Settings, SettingsError
from tests.clickhouse.made import ask, order, place, store
from tests.engines import RunningStack

pytestmark = pytest.mark.engines

COMPUTED = {"stored_at", "earliness"}


def with_dsn(settings: Settings, **parts: str) -> Settings:
    """The same settings with other parts of the DSN."""
    dsn = urlunsplit(urlsplit(settings.clickhouse_dsn)._replace(**parts))
    return msgspec.structs.replace(settings, clickhouse_dsn=dsn)


def test_a_new_database_gets_all_migrations_and_a_migrated_one_none(settings: Settings, own_client: Any) -> None:
    assert clickhouse.migrate(settings) == []
    files = sorted(clickhouse.MIGRATIONS.glob("*.sql"))
    assert ask(own_client, "SELECT version FROM migration ORDER BY version") == [
        (int(file.name[:4]),) for file in files
    ]


def test_an_interrupted_migration_is_begun_again(settings: Settings, own_client: Any) -> None:
    store(own_client, [place("order:shop-de:1", "customer:shop-de:c")])
    own_client.command("TRUNCATE TABLE migration")
    own_client.command("DROP VIEW kpi_orders")
    assert len(clickhouse.migrate(settings)) == len(list(clickhouse.MIGRATIONS.glob("*.sql")))
    assert ask(own_client, "SELECT count() FROM place") == [(1,)]
    assert ask(own_client, "SELECT * FROM kpi_orders") == []


def test_a_database_of_a_newer_version_is_refused(settings: Settings, own_client: Any) -> None:
    own_client.command("INSERT INTO migration (version, md5, script) VALUES (9999, '', '')")
    with pytest.raises(Refused, match="does not fit this version"):
        clickhouse.migrate(settings)


def test_every_table_view_and_column_has_a_comment(client: Any) -> None:
    assert ask(client, "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = ''") == []
    assert (
        ask(client, "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = ''") == []
    )


def test_every_reason_of_a_quarantine_is_named_where_it_is_read(client: Any) -> None:
    for table in ("quarantine", "quarantine_fact"):
        ((comment,),) = ask(
            client,
            "SELECT comment FROM system.columns WHERE database = currentDatabase() AND name = 'reason'"
            f" AND table = '{table}'",
        )
        assert all(f"`{reason}`" in comment for reason in EXCESSES | {"fold_failed"})


def test_tables_have_the_columns_that_the_sink_writes(client: Any) -> None:
    columns = defaultdict(set)
    for table, name in ask(
        client,
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND default_kind != 'ALIAS'",
    ):
        columns[table].add(name)
    for table, names in COLUMNS.items():
        assert columns[table] - COMPUTED == set(names), table


def test_current_views_show_every_field_of_a_state(client: Any) -> None:
    columns = defaultdict(set)
    for table, name in ask(client, "SELECT table, name FROM system.columns WHERE database = currentDatabase()"):
        columns[table].add(name)
    for kind, state in STATES.items():
        view = "quarantine" if kind == "quarantine" else f"current_{kind}"
        assert columns[view] >= {"about", "customer", "matter", *state.__struct_fields__}, view


def test_a_nullable_column_is_one_that_the_struct_may_leave_out(client: Any) -> None:
    types = {
        (table, name): kind
        for table, name, kind in ask(
            client, "SELECT table, name, type FROM system.columns WHERE database = currentDatabase()"
        )
    }
    for kind, state in STATES.items():
        for field in msgspec.structs.fields(state):
            nullable = "Nullable" in types[f"{kind}_fact", field.name]
            assert nullable == (field.default is None), (kind, field.name)


def test_the_current_generation_is_seeded_once(settings: Settings, own_client: Any) -> None:
    assert clickhouse.current_generation(own_client) == settings.generation
    clickhouse.migrate(msgspec.structs.replace(settings, generation="g2"))
    assert clickhouse.current_generation(own_client) == settings.generation


def retention(client: Any) -> dict[str, str]:
    """Tables that drop rows, and the end of their rule."""
    rows = ask(
        client,
        "SELECT name, extract(engine_full, 'TTL (.*) SETTINGS') FROM system.tables"
        " WHERE database = currentDatabase() AND engine_full LIKE '%TTL%'",
    )
    return dict(rows)


def test_texts_and_dead_letters_are_dropped_after_thirty_days_and_nothing_else(client: Any) -> None:
    rule = "toDateTime(stored_at) + toIntervalDay(30)"
    assert retention(client) == dict.fromkeys(("message_text", "dead_letter", "dead_letter_replay"), rule)


def test_retention_follows_the_setting_forth_and_back(settings: Settings, own_client: Any) -> None:
    changed = msgspec.structs.replace(settings, retention_days="event=400, message_text=0")
    clickhouse.migrate(changed)
    assert set(retention(own_client)) == {"event", "dead_letter", "dead_letter_replay"}
    clickhouse.migrate(settings)
    assert set(retention(own_client)) == {"message_text", "dead_letter", "dead_letter_replay"}


def test_retention_counts_from_storing_so_that_old_data_stays(settings: Settings, own_client: Any) -> None:
    clickhouse.migrate(msgspec.structs.replace(settings, retention_days="order_fact=1"))
    store(own_client, [order("1", "2010-01-01 00:00")])
    own_client.command("OPTIMIZE TABLE order_fact FINAL")
    assert ask(own_client, "SELECT count() FROM order_fact") == [(1,)]
    own_client.command(
        "ALTER TABLE order_fact UPDATE stored_at = stored_at - INTERVAL 2 DAY WHERE 1 SETTINGS mutations_sync = 2"
    )
    own_client.command("OPTIMIZE TABLE order_fact FINAL")
    assert ask(own_client, "SELECT count() FROM order_fact") == [(0,)]


@pytest.mark.parametrize("wrong", ["place=30", "nothing=1"])
def test_retention_of_a_table_that_has_none_is_refused(settings: Settings, own_client: Any, wrong: str) -> None:
    with pytest.raises(Refused, match="retention_days names"):
        clickhouse.migrate(msgspec.structs.replace(settings, retention_days=wrong))


@pytest.mark.parametrize("wrong", ["event", "event=", "event=x", "=3", "event=-1"])
def test_retention_of_a_wrong_form_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="table=days"):
        Settings(retention_days=wrong).retention()


def test_a_database_that_is_not_there_names_the_command_that_makes_it(settings: Settings) -> None:
    with pytest.raises(Refused, match=r"no database .* run `aftersales migrate`"):
        clickhouse.connect(settings)


def test_a_wrong_password_is_refused_and_not_shown(settings: Settings) -> None:
    server = urlsplit(settings.clickhouse_dsn)
    wrong = with_dsn(settings, netloc=f"default:s3cret@{server.hostname}:{server.port}")
    with pytest.raises(Refused, match="does not let user default in") as refused:
        clickhouse.connect(wrong)
    assert "s3cret" not in str(refused.value)


def test_a_server_that_is_not_there_is_refused(settings: Settings) -> None:
    with pytest.raises(Refused, match=r"does not answer: .*refused"):
        clickhouse.connect(with_dsn(settings, netloc=f"default:x@127.0.0.1:{free_port()}"))


@pytest.mark.parametrize("dsn", ["clickhouse://localhost:9000/x", "http://", "localhost:8123", "http://h:port/x"])
def test_a_dsn_of_another_form_is_refused(dsn: str) -> None:
    with pytest.raises(SettingsError, match="clickhouse_dsn must look like"):
        clickhouse.database_name(Settings(clickhouse_dsn=dsn))


def test_the_database_is_named_by_the_dsn() -> None:
    assert clickhouse.database_name(Settings(clickhouse_dsn="http://h:8123/shop")) == "shop"
    assert clickhouse.database_name(Settings(clickhouse_dsn="http://h:8123")) == "aftersales"


def test_a_reader_may_query_every_view_and_write_nothing(
    settings: Settings, own_client: Any, stack: RunningStack
) -> None:
    server = urlsplit(settings.clickhouse_dsn)
    password = next(stack.directory.rglob("reader.password")).read_text().strip()
    reading = with_dsn(settings, netloc=f"reader:{password}@{server.hostname}:{server.port}")
    with clickhouse.connect(reading) as reader:
        views = ask(reader, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'")
        assert len(views) > 30
        for (view,) in views:
            reader.query(f"SELECT * FROM {view}")
        assert ("kpi_orders",) in ask(reader, "SHOW TABLES LIKE 'kpi_%'")
    with pytest.raises(Refused, match="may not do this"):
        clickhouse.migrate(reading)
