"""Every command explains itself."""

import re
from collections.abc import Iterator

import pytest
from cyclopts import App

from streams.cli.commands import app
from streams.workers import WORKERS
from tests.cli.terminal import run


def commands(of: App, chain: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """All commands that do something, with their words."""
    for name in of:
        if name.startswith("-"):
            continue
        command = of[name]
        if command.default_command is None:
            yield from commands(command, (*chain, name))
        else:
            yield (*chain, name), command


COMMANDS = dict(commands(app))


def test_all_commands_are_found() -> None:
    assert {" ".join(words) for words in COMMANDS} >= {"demo", "up", "down", "dlq show", "topics apply", "import"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_says_what_it_does_with_an_example(words: tuple[str, ...]) -> None:
    said = COMMANDS[words].default_command.__doc__ or ""
    examples = re.findall(rf"^ {{8}}(?:[A-Z_]+=\S+ )*aftersales {' '.join(words)}\b", said, flags=re.MULTILINE)
    assert examples


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_its_example_and_explains_every_parameter(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app([*words, "--help"], result_action="return_value")
    shown = capsys.readouterr().out
    assert "For example:" in shown
    assert f"aftersales {' '.join(words)}" in shown.partition("For example:")[2]
    for line in shown.splitlines():
        if parameter := re.match(r"│ \*? *(?:[A-Z]+|--[a-z-]+)(.*)│$", line):
            assert re.sub(r"\[.*?\]|-d|STR|INT|FLOAT|PATH|CHOICE", "", parameter[1]).strip(), line


def test_help_of_worker_names_all_workers() -> None:
    shown = run("worker", "--help").out
    assert all(worker in shown for worker in WORKERS)


def test_version_is_that_of_the_package() -> None:
    ended = run("--version")
    assert ended.status == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", ended.out.strip())
    assert ended.out.strip() != "0.0.0"
