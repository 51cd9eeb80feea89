"""`sql` and `kpi`: answers of ClickHouse, as tables."""

import csv
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from streams.cli.screen import harmless, on_one_line
from streams.clickhouse import (
    ACCESS_DENIED,
    TRANSIENT_CODES,
    UNKNOWN_DATABASE,
    UNKNOWN_TABLE,
    WRONG_PASSWORD,
    connect,
    reason_of,
    refusals,
)
from streams.errors import Refused
from streams.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

MAX_TABLE_ROWS = 1_000
"""Rows of a table on the screen; csv and json print all."""
READABLE = 24
"""A column may be folded to so many characters."""
PIPE_COLUMNS = 240
DONE = frozenset({"query_id", "elapsed_ns"})
"""Columns by which the client reports a statement that has no rows."""
NOT_OF_THE_STATEMENT = WRONG_PASSWORD | ACCESS_DENIED | TRANSIENT_CODES | {UNKNOWN_DATABASE}
"""Codes of errors that say something of the server or the user, not of what was asked."""
"""The part for people in the text of an error."""

Answer: TypeAlias = tuple[list[str], list[Any]]
"""Names of columns, and rows."""


def ask(settings: Settings, statement: str, parameters: dict[str, Any] | None = None) -> Answer:
    """The answer to one of our own statements. Raises Refused when ClickHouse is not there or not migrated."""
    with refusals(settings), connect(settings) as client:
        result = client.query(statement, parameters=parameters)
        return list(result.column_names), list(result.result_rows)


def sql(settings: Settings, statement: str, format: Literal["table", "csv", "json"]) -> int:
    """Run one statement of a person (`-`: from standard input) and print its rows. Raises Refused."""
    if statement == "-":
        statement = sys.stdin.read()
    # The client would send the semicolon along, and the server take it for the beginning of a second statement.
    statement = statement.strip().removesuffix(";")
    if not statement:
        raise Refused('an empty statement: try `aftersales sql "SHOW TABLES"`')
    names, rows = _run(settings, statement)
    match format:
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_cell(value) for value in row] for row in rows)
        case "json":
            for row in rows:
                print(json.dumps(dict(zip(names, row, strict=True)), default=exact, ensure_ascii=False))
        case "table" if not names or set(names) >= DONE:
            print("done")
        case "table":
            print_rows(names, rows)
    return 0


def _run(settings: Settings, statement: str) -> Answer:
    from clickhouse_connect.driver.exceptions import ClickHouseError

    with refusals(settings), connect(settings) as client:
        try:
            result = client.query(statement)
        except ClickHouseError as error:
            code = getattr(error, "code", None)
            if code is None or code in NOT_OF_THE_STATEMENT:
                raise
            hint = "; `SHOW TABLES` lists what there is" if code == UNKNOWN_TABLE else ""
            raise Refused(f"ClickHouse refuses the statement: {reason_of(error)}{hint}") from None
        return list(result.column_names), list(result.result_rows)


def print_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows as a table if the screen is wide enough for their columns, else one below the other."""
    names = [on_one_line(name) for name in names]
    shown = [[text(value) for value in row] for row in rows[:MAX_TABLE_ROWS]]
    widest = [max(map(len, cells)) for cells in zip(names, *shown, strict=True)]
    if _console().width >= sum(min(width, READABLE) + 2 for width in widest):
        print_table(names, rows)
        return
    margin = max(map(len, names))
    for number, cells in enumerate(shown, start=1):
        print(f"row {number}")
        for name, cell in zip(names, cells, strict=True):
            print(f"  {name:{margin}}  {cell}".rstrip())
    _tell_more(len(rows))


def print_table(names: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None, whole: int = 0) -> None:
    """Rows as a table on the screen, numbers to the right; long values are folded, but not in the first `whole`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    for position, name in enumerate(names):
        numbers = all(is_number(row[position]) for row in rows[:20] if row[position] is not None)
        justify: JustifyMethod = "right" if numbers and rows else "left"
        table.add_column(_escape(text(name)), justify=justify, overflow="fold", no_wrap=position < whole)
    for row in rows[:MAX_TABLE_ROWS]:
        table.add_row(*(_escape(text(value)) for value in row))
    _console().print(table)
    _tell_more(len(rows))


def _console() -> "Console":
    """The screen; a pipe or a file is as wide as a table needs."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    return console


def _tell_more(count: int) -> None:
    if count > MAX_TABLE_ROWS:
        print(f"{count - MAX_TABLE_ROWS:,} more rows: see them with --format csv or json")


def _escape(value: str) -> str:
    from rich.markup import escape

    return escape(value)


def is_number(value: Any) -> bool:
    """Whether a value is drawn to the right."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def text(value: Any) -> str:
    """A value for people: instants in UTC to the second, floats to three decimals, decimals without trailing zeros.

    Control characters but line breaks and tabs are shown as `\\x1b`.
    """
    return harmless(_text(value))


def _text(value: Any) -> str:
    match value:
        case datetime():
            return _in_utc(value).strftime("%Y-%m-%d %H:%M:%S")
        case float():
            return f"{value:.3f}"
        case Decimal():
            return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
        case bytes():
            return value.decode(errors="backslashreplace")
        case None:
            return ""
        case bool() | list() | tuple() | dict():
            return json.dumps(value, default=_text, ensure_ascii=False)
        case _:
            return str(value)


def exact(value: Any) -> str:
    """A value that JSON has no type for, as it is stored; instants in RFC 3339."""
    match value:
        case datetime():
            return _in_utc(value).isoformat().replace("+00:00", "Z")
        case bytes():
            return value.decode(errors="backslashreplace")
        case _:
            return str(value)


def _cell(value: Any) -> Any:
    """A value for CSV: lists and truth values as JSON has them."""
    match value:
        case None | str() | int() | float() if not isinstance(value, bool):
            return value
        case bool() | list() | tuple() | dict():
            return json.dumps(value, default=exact, ensure_ascii=False)
        case _:
            return exact(value)


def _in_utc(value: datetime) -> datetime:
    """ClickHouse's type without a zone is of the server's zone, which is UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def kpi(settings: Settings) -> int:
    """Print the KPIs of all marketplaces."""
    from rich.console import Console

    from streams.cli.board import draw, is_empty
    from streams.kpi import kpi_overview

    with refusals(settings), connect(settings) as client:
        overview = kpi_overview(client)
    if is_empty(overview):
        print("nothing yet: feed it with `aftersales import` or `aftersales demo`")
        return 0
    Console().print(draw(overview))
    return 0
