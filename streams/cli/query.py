"""`sql`, `kpi` and `quarantine list`: answers of ClickHouse, as tables."""

import csv
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from streams.clickhouse import connect, refusals
from streams.errors import Refused
from streams.settings import Settings

MAX_TABLE_ROWS = 1_000
"""Rows of a table on the screen; csv and json print all."""


def ask(settings: Settings, statement: str, parameters: dict[str, Any] | None = None) -> tuple[list[str], list[Any]]:
    """Column names and rows of one statement. Raises Refused with what ClickHouse says."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    with connect(settings) as client:
        try:
            with refusals(settings):
                result = client.query(statement, parameters=parameters)
        except ClickHouseError as error:
            raise Refused(f"ClickHouse refuses the statement: {str(error).strip()}") from None
        return list(result.column_names), list(result.result_rows)


def sql(settings: Settings, statement: str, format: Literal["table", "csv", "json"]) -> int:
    """Run one statement and print its rows."""
    if not statement.strip():
        raise Refused('an empty statement: try `aftersales sql "SHOW TABLES"`')
    names, rows = ask(settings, statement)
    match format:
        case "csv":
            writer = csv.writer(sys.stdout)
            writer.writerow(names)
            writer.writerows([text(value) for value in row] for row in rows)
        case "json":
            for row in rows:
                print(json.dumps(dict(zip(names, row, strict=True)), default=text, ensure_ascii=False))
        case "table":
            print_table(names, rows)
    return 0


def print_table(names: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Rows as a table on the screen, numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for position, name in enumerate(names):
        numbers = all(is_number(row[position]) for row in rows[:20] if row[position] is not None)
        table.add_column(name, justify="right" if numbers and rows else "left", overflow="fold")
    for row in rows[:MAX_TABLE_ROWS]:
        table.add_row(*("" if value is None else _escape(text(value)) for value in row))
    Console().print(table)
    if len(rows) > MAX_TABLE_ROWS:
        print(f"{len(rows) - MAX_TABLE_ROWS} more rows: use --format csv, or LIMIT")


def _escape(value: str) -> str:
    from rich.markup import escape

    return escape(value)


def is_number(value: Any) -> bool:
    """Whether a value is drawn to the right."""
    from decimal import Decimal

    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def text(value: Any) -> str:
    """A value for people: instants in UTC to the second, floats to three decimals, decimals without trailing zeros."""
    from decimal import Decimal

    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Decimal):
        return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return "" if value is None else str(value)


def kpi(settings: Settings) -> int:
    """Print the KPIs of all marketplaces."""
    from rich.console import Console

    from streams.cli.board import draw
    from streams.kpi import kpi_overview

    with refusals(settings), connect(settings) as client:
        overview = kpi_overview(client)
    Console().print(draw(overview))
    return 0


def quarantine(settings: Settings) -> int:
    """Print the matters in quarantine."""
    names, rows = ask(settings, "SELECT * FROM quarantine ORDER BY matter")
    if not rows:
        print("no matter is in quarantine")
        return 0
    print_table(names, rows)
    return 0
