"""What can't be done is refused in one sentence, without any engine."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.terminal import ROOT, Ended, run

NOBODY = "127.0.0.1:1"
"""Nothing listens there."""
NO_CLICKHOUSE = f"http://{NOBODY}/aftersales"
STORY = ROOT / "tests" / "scenarios" / "first_response.yaml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frob"], 'Unknown command "frob"'),
        (["sql"], "STATEMENT requires an argument"),
        (["demo", "--seconds", "abc"], '--seconds: unable to convert "abc"'),
        (["demo", "--seconds=-1"], "--seconds"),
        (["up", "--kafka-port", "99999"], "--kafka-port"),
        (["worker", "janitor"], "correlate"),
        (["scenario", "nowhere.yaml"], "nowhere.yaml can't be read: No such file"),
        (["import", "nowhere.yaml"], "nowhere.yaml can't be read: No such file"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    ended = run(*arguments, cwd=tmp_path, bootstrap_servers=NOBODY, pseudonym_key="a key of tests only")
    assert said in ended.refusal
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bootstrap_servers": "host:abc"}, "bootstrap_servers: 'host:abc' is not of the form host:port"),
        ({"bootstrap_servers": "one:9092,two"}, "'two' is not of the form host:port"),
        ({"bootstrap_servers": "one:70000"}, "'one:70000' is not of the form host:port"),
        ({}, "bootstrap_servers is not set"),
        ({"partitions": "abc"}, "partitions is 'abc': allowed is"),
        ({"security_protocol": "TLS"}, "security_protocol is 'TLS': choose from PLAINTEXT, SSL"),
        (
            {"bootstrap_servers": NOBODY, "security_protocol": "SSL", "ssl_cafile": "/nowhere/ca.pem"},
            "ssl_cafile /nowhere/ca.pem: No such file",
        ),
        (
            {"bootstrap_servers": NOBODY, "security_protocol": "SSL", "ssl_cafile": str(STORY)},
            "holds no certificates",
        ),
        (
            {"bootstrap_servers": NOBODY, "security_protocol": "SSL", "ssl_certfile": str(STORY)},
            "are not a certificate and its key",
        ),
        ({"settings": "/nowhere/settings.yaml"}, "settings file /nowhere/settings.yaml does not exist"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    assert said in run("topics", "apply", cwd=tmp_path, **settings).refusal


def test_a_wrong_secret_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "aftersales.yaml").write_text("sasl_password: 112233\n")
    refusal = run("topics", "apply", cwd=tmp_path).refusal
    assert "sasl_password" in refusal
    assert "112233" not in refusal


@pytest.mark.parametrize("arguments", [["topics", "apply"], ["worker", "clock"]], ids=" ".join)
def test_no_broker_is_said_in_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    assert NOBODY in run(*arguments, cwd=tmp_path, bootstrap_servers=NOBODY).refusal


def test_an_import_without_a_broker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("number,at\n1,2026-03-02 09:15:00\n")
    (tmp_path / "shop.yaml").write_text(
        "account: shop\n"
        "files:\n"
        "  - file: orders.csv\n"
        "    events:\n"
        "      - event: order\n"
        "        event_id: [number]\n"
        '        about: "order:shop:{number}"\n'
        "        event_at: at\n"
        "        fields: {placed_at: at}\n"
    )
    ended = run("import", "shop.yaml", cwd=tmp_path, bootstrap_servers=NOBODY, pseudonym_key="a key of tests only")
    assert NOBODY in ended.refusal


def test_a_worker_says_in_its_last_line_why_it_ends(tmp_path: Path) -> None:
    ended = run("worker", "correlate", cwd=tmp_path, bootstrap_servers=NOBODY)
    assert ended.status == 2
    assert f"Kafka at {NOBODY} can't be reached" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [["sql", "SELECT 1"], ["kpi"], ["timeline", "order:shop:1"], ["dlq", "list"], ["quarantine", "list"], ["migrate"]],
    ids=" ".join,
)
def test_no_clickhouse_is_said_in_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    assert (
        f"ClickHouse at {NOBODY} does not answer" in run(*arguments, cwd=tmp_path, clickhouse_dsn=NO_CLICKHOUSE).refusal
    )


def test_without_a_stack_commands_say_how_to_start_one(tmp_path: Path) -> None:
    assert "`aftersales up`" in run("kpi", cwd=tmp_path).refusal
    status = run("status", cwd=tmp_path)
    assert (status.status, status.err) == (1, "")
    assert "`aftersales up --detach`" in status.out
    down = run("down", cwd=tmp_path)
    assert (down.status, down.err) == (0, "")
    assert "no stack is running" in down.out


@pytest.mark.parametrize("arguments", [["up"], ["up", "--detach"], ["demo"]], ids=" ".join)
def test_a_directory_that_cannot_be_made_is_refused(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal = run(*arguments, "-d", tmp_path / "file" / "stack").refusal
    assert f"the directory {tmp_path / 'file' / 'stack'} can't be made (Not a directory)" in refusal


def test_what_the_machine_does_not_allow_is_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "File name too long" in run("down", "-d", "x" * 5000).refusal
    assert "File name too long" in run("doctor", "-d", "x" * 5000, bootstrap_servers=NOBODY).refusal
    assert "loop" in run("up", "-d", loop / "stack").refusal
    assert "/proc/x" in run("up", "-d", tmp_path / "stack", cache="/proc/x").refusal


def test_the_check_of_real_data_asks_where_they_are(tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "MAKEFLAGS"}
    command = ("make", "check-data", f"DATA={tmp_path}")
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "make check-data DATA=folder" in ended.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert "may not be written" in run("up", "-d", tmp_path).refusal
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_doctor_names_all_that_is_missing_and_what_to_do(tmp_path: Path) -> None:
    ended = run("doctor", cwd=tmp_path, bootstrap_servers=NOBODY, clickhouse_dsn=NO_CLICKHOUSE)
    assert ended.status == 1
    assert ended.err == ""
    assert "✘  Kafka" in ended.out
    assert "✘  ClickHouse" in ended.out
    assert "→ start the embedded stack" in ended.out
    assert "2 to mend" in ended.out


def test_doctor_names_a_pseudonym_key_that_can_be_guessed(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    ended = run("doctor", cwd=tmp_path, bootstrap_servers=NOBODY, pseudonym_key_file=str(tmp_path / "key"))
    assert ended.status == 1
    assert "✘  pseudonym key" in ended.out
    assert "16 bytes" in " ".join(ended.out.split())


def test_doctor_hides_secrets(tmp_path: Path) -> None:
    shown = run(
        "doctor",
        cwd=tmp_path,
        sasl_password="hush-1",
        pseudonym_key="hush-2",
        clickhouse_dsn=f"http://someone:hush-3@{NOBODY}/aftersales",
    )
    assert "hush" not in shown.out + shown.err


@pytest.mark.parametrize(("expected", "status"), [("met", 0), ("breached", 1)])
def test_a_scenario_passes_or_shows_what_came_out(expected: str, status: int, tmp_path: Path) -> None:
    ended = _scenario(expected, tmp_path)
    assert ended.status == status, ended
    assert ("FAILS" in ended.out) == bool(status)


def _scenario(expected: str, folder: Path) -> Ended:
    (folder / "story.yaml").write_text(
        "scenario: An answer in time\n"
        "events:\n"
        "  - {at: 2026-03-02 01:30, customer writes: T1, customer: anna}\n"
        "  - {at: 02:30, agent answers: T1}\n"
        "expect:\n"
        f"  first response of T1: {expected}\n"
    )
    return run("scenario", "story.yaml", cwd=folder)
