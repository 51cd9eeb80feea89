"""The commands against a running stack, as a newcomer uses them."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.terminal import COMMAND, LONGEST_S, ROOT, Ended, blocks, clean_environment, processes_of, run, wait_until

pytestmark = pytest.mark.engines

BAD_ROW = "1003,02.03.2026,cora@example.com,2026-03-07 18:00:00,LAMP-7,1,29.90\n"


@dataclass(frozen=True, slots=True)
class Here:
    """A stack that runs in the background."""

    directory: Path
    started: Ended

    def run(self, *arguments: str | Path, stdin: str = "", **settings: str) -> Ended:
        """Run a command against it."""
        return run(*arguments, "-d", self.directory, stdin=stdin, **settings)

    @property
    def places(self) -> dict[str, str]:
        """Where its servers are."""
        places: dict[str, str] = json.loads((self.directory / "stack.json").read_text())
        return places

    def dsn(self, *, user: str = "default", password: str | None = None, database: str = "aftersales") -> str:
        """The address of ClickHouse for a user."""
        if password is None:
            password = (self.directory / "clickhouse" / f"{user}.password").read_text().strip()
        return f"http://{user}:{password}@127.0.0.1:{urlsplit(self.places['clickhouse_dsn']).port}/{database}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """A stack, started in the background and stopped by `down`, which leaves nothing."""
    directory = tmp_path_factory.mktemp("cli") / "stack"
    yield Here(directory, run("up", "--detach", "-d", directory))
    stopped = run("down", "-d", directory)
    assert (stopped.status, stopped.out) == (0, "stopped; the data is kept\n")
    assert processes_of(directory) == []
    assert run("status", "-d", directory).status == 1


@pytest.fixture(scope="module")
def shop(here: Here, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop of docs/import.md, imported, with one more row that can't be read; the manifest."""
    folder = tmp_path_factory.mktemp("shop")
    page = ROOT / "docs" / "import.md"
    (orders, mails), (manifest,) = blocks(page, "csv"), blocks(page, "yaml")
    for name, content in (("orders.csv", orders + BAD_ROW), ("mails.csv", mails), ("shop.yaml", manifest)):
        (folder / name).write_text(content)
    ended = here.run("import", folder / "shop.yaml")
    assert (ended.status, ended.err) == (1, ""), ended
    assert "orders.csv: 3 rows, 2 events published, 1 dead letter" in ended.out

    def stored() -> bool:
        met = here.run("sql", "SELECT count() FROM current_timer WHERE result = 'met'", "--format", "csv")
        letters = here.run("sql", "SELECT count() FROM dead_letter FINAL", "--format", "csv")
        return met.out.endswith("\n1\n") and letters.out.endswith("\n1\n")

    wait_until(stored, "the import did not arrive in ClickHouse")
    return folder / "shop.yaml"


def test_a_detached_start_says_where_things_are_and_how_to_stop(here: Here) -> None:
    assert here.started.status == 0, here.started
    assert here.places["bootstrap_servers"] in here.started.out
    assert str(here.directory) in here.started.out
    assert f"aftersales down -d {here.directory}" in here.started.out
    password = urlsplit(here.places["clickhouse_dsn"]).password
    assert password
    assert password not in here.started.out


def test_all_processes_are_ready_with_their_memory(here: Here) -> None:
    ended = here.run("status")
    assert ended.status == 0, ended
    for name in ("supervisor", "kafka", "clickhouse", "correlate-1", "casework-1", "triage-1", "sink-1", "clock-1"):
        (line,) = (line for line in ended.out.splitlines() if name in line)
        assert "ready" in line
        assert "MiB" in line


@pytest.mark.parametrize("arguments", [["up"], ["up", "--detach"], ["demo"]], ids=" ".join)
def test_a_second_start_in_the_directory_is_refused(arguments: list[str], here: Here) -> None:
    assert f"a stack is running in {here.directory}" in here.run(*arguments).refusal


def test_a_port_that_is_taken_is_refused(here: Here, tmp_path: Path) -> None:
    port = here.places["bootstrap_servers"].rpartition(":")[2]
    assert f"kafka_port {port} is taken" in run("up", "-d", tmp_path, "--kafka-port", port).refusal
    assert processes_of(tmp_path) == []


def test_repeating_topics_apply_and_migrate_changes_nothing(here: Here) -> None:
    for arguments in (("topics", "apply"), ("topics", "apply", "--dry-run"), ("migrate",)):
        ended = here.run(*arguments)
        assert (ended.status, ended.err) == (0, "")
        assert here.run(*arguments, "--quiet").out == ""


def test_doctor_finds_all_well(here: Here, shop: Path) -> None:
    ended = here.run("doctor")
    assert ended.status == 0, ended
    assert "all is well" in ended.out


def test_an_import_that_is_done_is_not_repeated(here: Here, shop: Path) -> None:
    ended = here.run("import", shop)
    assert (ended.status, ended.err) == (0, "")
    assert "imported before" in ended.out
    assert "account shop: 0 events" in ended.out


def test_dead_letters_are_listed_and_shown_whole(here: Here, shop: Path) -> None:
    listed = here.run("dlq", "list")
    assert listed.status == 0
    assert "wrong_time" in listed.out
    assert "orders.csv:4" in listed.out
    id = listed.out.strip().rpartition("dlq show ")[2].split()[0]
    shown = here.run("dlq", "show", id)
    assert shown.status == 0
    assert "1003,02.03.2026" in shown.out
    assert "none of reason other" in here.run("dlq", "list", "--reason", "other").out
    assert "no dead letter begins with 'xyz'" in here.run("dlq", "show", "xyz").refusal


@pytest.mark.parametrize("id", ["order:shop:1001", "thread:shop:c1"])
def test_a_timeline_shows_events_and_facts_of_all_that_belongs_together(id: str, here: Here, shop: Path) -> None:
    ended = here.run("timeline", id)
    assert ended.status == 0
    assert "matter order:shop:1001" in ended.out
    assert "- thread:shop:c1" in ended.out
    assert "3 events" in ended.out
    assert "met: started=2026-03-04 07:00:00" in " ".join(ended.out.split())
    assert max(map(len, ended.out.splitlines())) <= 80


def test_an_unknown_id_is_refused(here: Here) -> None:
    assert "nothing is known about 'order:shop:9'" in here.run("timeline", "order:shop:9").refusal


def test_kpis_are_shown_by_marketplace(here: Here, shop: Path) -> None:
    ended = here.run("kpi")
    assert ended.status == 0
    assert any(line.startswith("shop ") for line in ended.out.splitlines())
    assert max(map(len, ended.out.splitlines())) <= 80


def test_no_matter_is_in_quarantine(here: Here) -> None:
    assert here.run("quarantine", "list").out == "no matter is in quarantine\n"


def test_sql_prints_csv_and_json_as_stored(here: Here) -> None:
    statement = "SELECT 1 AS a, toDateTime64('2026-03-02 09:15:00.5', 3, 'UTC') AS b, ['x'] AS c, NULL AS d, true AS e"
    assert here.run("sql", statement, "--format", "csv").out == (
        'a,b,c,d,e\n1,2026-03-02T09:15:00.500000Z,"[""x""]",,true\n'
    )
    row = json.loads(here.run("sql", statement, "--format", "json").out)
    assert row == {"a": 1, "b": "2026-03-02T09:15:00.500000Z", "c": ["x"], "d": None, "e": True}


def test_sql_reads_a_statement_from_standard_input(here: Here) -> None:
    ended = here.run("sql", "-", "--format", "csv", stdin="SELECT 40 + 2 AS answer;\n")
    assert (ended.status, ended.out) == (0, "answer\n42\n")


def test_a_row_too_wide_for_the_screen_is_written_downwards(here: Here, shop: Path) -> None:
    ended = here.run("sql", "SELECT * FROM current_timer WHERE result = 'met'")
    assert "row 1\n" in ended.out
    assert any(line.split() == ["timer", "first_response"] for line in ended.out.splitlines())


def test_a_statement_without_rows_says_that_it_is_done(here: Here) -> None:
    create = "CREATE TABLE scratch (a Int8) ENGINE = MergeTree ORDER BY a"
    for statement in (create, "INSERT INTO scratch VALUES (1)", "DROP TABLE scratch"):
        ended = here.run("sql", statement)
        assert (ended.status, ended.out) == (0, "done\n"), statement


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("", "an empty statement"),
        ("SELEC 1", "Syntax error"),
        ("SELECT 1; SELECT 2", "Multi-statements are not allowed"),
        ("SELECT nothing FROM event", "Unknown expression identifier `nothing`"),
        ("SELECT * FROM nowhere", "`SHOW TABLES` lists what there is"),
    ],
)
def test_a_wrong_statement_is_refused(statement: str, said: str, here: Here) -> None:
    refusal = here.run("sql", statement).refusal
    assert said in refusal
    assert "Expected one of" not in refusal


def test_whoever_reads_only_the_beginning_sees_no_error(here: Here) -> None:
    statement = "SELECT number FROM numbers(200000)"
    with subprocess.Popen(
        [*COMMAND, "sql", statement, "--format", "csv", "-d", str(here.directory)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "number\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(LONGEST_S) == 0


@pytest.mark.parametrize("arguments", [["sql", "INSERT INTO setting VALUES ('a', 'b')"], ["migrate"]], ids=" ".join)
def test_a_user_who_may_only_read_changes_nothing(arguments: list[str], here: Here) -> None:
    assert "user reader may not do this" in here.run(*arguments, clickhouse_dsn=here.dsn(user="reader")).refusal


def test_a_user_who_may_only_read_reads(here: Here) -> None:
    ended = here.run("sql", "SELECT count() >= 0 FROM event", clickhouse_dsn=here.dsn(user="reader"))
    assert ended.status == 0


def test_a_wrong_password_is_refused(here: Here) -> None:
    refusal = here.run("kpi", clickhouse_dsn=here.dsn(password="wrong")).refusal
    assert "does not let user default in" in refusal


@pytest.mark.parametrize("arguments", [["kpi"], ["timeline", "order:shop:1"], ["worker", "sink"]], ids=" ".join)
def test_a_database_that_is_not_migrated_is_refused(arguments: list[str], here: Here) -> None:
    settings = {"clickhouse_dsn": here.dsn(database="elsewhere"), "bootstrap_servers": here.places["bootstrap_servers"]}
    assert "no database elsewhere: run `aftersales migrate`" in run(*arguments, **settings).refusal


def test_topics_that_are_split_differently_are_refused_and_left_alone(here: Here) -> None:
    refusal = here.run("topics", "apply", partitions="3").refusal
    assert "has 12 partitions in place of 3" in refusal
    looked = here.run("topics", "apply", "--dry-run", partitions="3")
    assert looked.status == 1
    assert "more topics likewise" in looked.out


def test_a_worker_without_topics_is_refused(here: Here) -> None:
    ended = run("worker", "casework", bootstrap_servers=here.places["bootstrap_servers"], namespace="elsewhere")
    assert ended.status == 2
    assert "topics are missing: elsewhere.dead_letter.v1" in ended.err.splitlines()[-1]
    assert "create them with `aftersales topics apply`" in ended.err.splitlines()[-1]


def test_doctor_tells_missing_topics(here: Here) -> None:
    ended = here.run("doctor", namespace="elsewhere")
    assert ended.status == 1
    assert "elsewhere.order.v1 is missing" in ended.out
    assert "→ run `aftersales topics apply`" in ended.out


def test_status_shows_where_each_worker_answers(here: Here) -> None:
    shown = here.run("status").out
    status = json.loads((here.directory / "status.json").read_text())
    ports = {each["name"]: each["metrics_port"] for each in status["processes"] if each["metrics_port"] is not None}
    assert {name.rpartition("-")[0] for name in ports} == {"correlate", "casework", "triage", "sink", "clock"}
    assert len(set(ports.values())) == len(ports)
    for name, port in ports.items():
        (line,) = [line for line in shown.splitlines() if f" {name} " in line]
        assert f" {port} " in line


def test_metrics_of_one_worker_and_of_all_are_printed(here: Here, shop: Path) -> None:
    one = here.run("metrics", "casework-1")
    assert (one.status, one.err) == (0, "")
    assert one.out.startswith("# process casework-1\n")
    assert 'aftersales_processed_records_total{agent="casework",topic="timeline"}' in one.out
    assert "aftersales_last_tick_timestamp_seconds" not in one.out
    all_of_them = here.run("metrics")
    assert all_of_them.out.count("# process ") == 5
    assert "aftersales_last_tick_timestamp_seconds" in all_of_them.out
    assert 'aftersales_inserted_rows_total{table="event"}' in all_of_them.out


def test_metrics_of_a_worker_that_is_not_there_are_refused_with_those_that_are(here: Here) -> None:
    said = here.run("metrics", "nobody").refusal
    assert said.startswith("no worker is called nobody: choose from correlate-1, casework-1")


def test_metrics_without_a_stack_are_refused(tmp_path: Path) -> None:
    assert run("metrics", "-d", tmp_path).refusal.startswith(f"no stack is running in {tmp_path}")
