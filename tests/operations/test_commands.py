"""What the commands refuse, without any engine."""

from pathlib import Path

import pytest

from tests.cli.terminal import run

NOBODY = "127.0.0.1:1"
"""Nothing listens there."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["dlq", "replay"],
        ["dlq", "replay", "--dry-run"],
        ["state", "rebuild", "casework"],
        ["state", "rebuild", "correlate", "--dry-run"],
        ["refold", "--report"],
    ],
    ids=" ".join,
)
def test_no_broker_is_said_in_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    refusal = run(*arguments, cwd=tmp_path, bootstrap_servers=NOBODY).refusal
    assert f"Kafka at {NOBODY} can't be reached" in refusal


def test_no_clickhouse_is_said_in_one_sentence(tmp_path: Path) -> None:
    refusal = run("quarantine", "retry", "--all", cwd=tmp_path, clickhouse_dsn=f"http://{NOBODY}/aftersales").refusal
    assert "ClickHouse at 127.0.0.1:1 does not answer" in refusal


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dlq", "replay", "--agent", "nobody"], "correlate"),
        (["dlq", "replay", "--agent", "sink"], "only ClickHouse knows of it"),
        (["quarantine", "retry"], "name the matters to be retried, or all of them with --all"),
        (["quarantine", "retry", "order:a:1", "--all"], "name the matters to be retried, or all of them with --all"),
        (["state", "rebuild", "sink"], "casework"),
        (["state", "rebuild", "casework", "--partition", "x"], "--partition"),
        (["refold"], "`aftersales refold --report` says what that will change"),
        (["refold", "--report", "--limit", "0"], "--limit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_argument_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in run(*arguments, cwd=tmp_path, bootstrap_servers=NOBODY).refusal
