"""What came from outside can't command the terminal that it is printed on."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.files import FileReport, ImportReport
from streams.cli import dead_letters, demo, importing, main, query, timeline
from streams.cli.screen import harmless, on_one_line
from streams.settings import Settings

ATTACK = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r"


def assert_harmless(printed: str) -> None:
    assert "owned" in printed
    assert not [character for character in printed if character != "\n" and not character.isprintable()]


def test_control_characters_are_shown_and_line_breaks_stay() -> None:
    assert harmless("a\tb\nc\x1b\x85\x7f ü") == "a\tb\nc\\x1b\\x85\\x7f ü"
    assert on_one_line("a\tb\nc") == "a\\x09b\\x0ac"


def test_a_table_of_imported_values_holds_no_terminal_commands(capsys: pytest.CaptureFixture[str]) -> None:
    query.print_table((ATTACK,), [(ATTACK,), ([ATTACK],), (ATTACK.encode(),)])
    query.print_rows((ATTACK, "b" * 300), [(ATTACK, 1)])
    assert_harmless(capsys.readouterr().out)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Sequence[Sequence[Any]]]]:
    """Answers of ClickHouse, in their order."""
    prepared: list[tuple[Sequence[str], Sequence[Sequence[Any]]]] = []

    def ask(*_: object) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        return prepared.pop(0)

    monkeypatch.setattr(dead_letters, "ask", ask)
    monkeypatch.setattr(timeline, "ask", ask)
    return prepared


def test_a_dead_letter_is_shown_without_terminal_commands(
    answers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answers.append((["dead_letter_id", "detail", "raw"], [("1", f"{ATTACK}\nraw_size 0", ATTACK)]))
    assert dead_letters.show(Settings(), "1") == 0
    printed = capsys.readouterr().out
    assert_harmless(printed)
    assert "\nraw_size" not in printed


def test_dead_letters_are_listed_without_terminal_commands(
    answers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answers.append(((), [(ATTACK, "import", 1, 1)]))
    answers.append(((), [("0123456789", "now", ATTACK, "import", f"{ATTACK}.csv:1", f"{ATTACK}\n", True)]))
    dead_letters.list_(Settings(), None, 20)
    assert_harmless(capsys.readouterr().out)


def test_a_timeline_is_shown_without_terminal_commands(capsys: pytest.CaptureFixture[str]) -> None:
    timeline._show_places([(f"order:{ATTACK}", f"customer:{ATTACK}", f"order:{ATTACK}1")])
    assert_harmless(capsys.readouterr().out)


def test_a_refusal_is_one_line_without_terminal_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main._refuse(f"the header\n{ATTACK}") == 2
    printed = capsys.readouterr().err
    assert_harmless(printed)
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", [f"{ATTACK}.csv", "[/owned].csv", "[red]owned.csv"])
def test_an_import_shows_any_file_name_as_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The progress line runs as on a terminal."""

    async def run_import(*_: object, progress: Any, **__: object) -> ImportReport:
        report = FileReport(file=name, rows=1, state="done")
        progress(report)
        return ImportReport(account=name, files=(report,), through_at=None)

    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(importing, "run_import", run_import)
    assert importing.run(Settings(), tmp_path, live=False, base=None, again=False) == 0
    assert "\x1b]0" not in screen.getvalue()
    assert harmless(name)[:6] in screen.getvalue()
    assert_harmless(capsys.readouterr().out)


@pytest.mark.parametrize(("again", "said"), [(False, "the same command goes on"), (True, "without --again")])
def test_a_stopped_import_says_which_command_goes_on(
    again: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_import(*_: object, **__: object) -> ImportReport:
        return ImportReport(account="shop", files=(FileReport(file="a.csv", state="stopped"),), through_at=None)

    monkeypatch.setattr(importing, "run_import", run_import)
    assert importing.run(Settings(), tmp_path, live=False, base=None, again=again) == 130
    assert said in capsys.readouterr().out


def test_the_demo_says_any_directory_as_it_is() -> None:
    from rich.console import Console

    out = io.StringIO()
    board = demo.Demo(Console(file=out, width=200))
    board.say("[/x] is fetched")
    demo._say_goodbye(Settings(directory="/tmp/[/x]"), board.console)
    demo._say_how_to_ask(Settings(directory="/tmp/[/x]"), board.console)
    demo._say_where(Settings(directory="/tmp/[/x]"), board.console)
    assert out.getvalue().count("[/x]") == 7
