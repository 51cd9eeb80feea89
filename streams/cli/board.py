"""The KPI board: the headline figures of every marketplace, drawn as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from streams.cli.screen import on_one_line
from streams.kpi import ALL, Figures

if TYPE_CHECKING:
    from rich.table import Table

GOOD_SHARE = 0.9
"""From this share of responses within target on, a figure is drawn as good; below FAIR_SHARE as bad."""
FAIR_SHARE = 0.75
HEADINGS = (
    "",
    "\norders",
    "deliv-\nered",
    "\nlate",
    "\ncases",
    "response\nafter h",
    "in\ntime",
    "solved\nafter h",
    "in\ntime",
    "re-\nviews",
    "\nlow",
    "re-\nturns",
)


def draw(rows: Sequence[Figures], caption: str | None = None) -> "Table":
    """One row per marketplace; all together last."""
    from rich.box import SIMPLE
    from rich.table import Table

    # Made to fit a screen of 80 columns.
    table = Table(title="KPIs by marketplace", title_justify="left", caption_justify="left", box=SIMPLE)
    table.show_edge, table.padding = False, (0, 0)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    total = [row for row in rows if row.marketplace == ALL]
    for row in rows:
        if row.marketplace != ALL:
            table.add_row(*_cells(row))
    table.add_section()
    for row in total:
        table.add_row(*_cells(row), style="bold")
        notes = (
            "hours: median/90th percentile; low: 2 points of 5 or fewer\n"
            f"payments: {row.payments:,}; customers still unknown: {row.provisional_customers:,}; "
            f"dead letters: {row.dead_letters:,}"
        )
        table.caption = f"{notes}\n{caption}" if caption else notes
    return table


def is_empty(rows: Sequence[Figures]) -> bool:
    """Whether there is nothing to show yet."""
    return not any(row.orders or row.cases for row in rows)


def _cells(row: Figures) -> list[str]:
    return [
        escape(on_one_line(row.marketplace)),
        f"{row.orders:,}",
        f"{row.delivered:,}",
        _share(row.late_share),
        f"{row.cases:,}",
        _hours(row.first_response_p50_h, row.first_response_p90_h),
        _target(row.first_response_within_target_share),
        _hours(row.resolution_p50_h, row.resolution_p90_h),
        _target(row.resolution_within_target_share),
        f"{row.reviews:,}",
        _share(row.low_review_share),
        f"{row.returns:,}",
    ]


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _hours(p50: float | None, p90: float | None) -> str:
    return "–" if p50 is None or p90 is None else f"{_short(p50)}/{_short(p90)}"


def _short(hours: float) -> str:
    return f"{hours:.1f}" if hours < 10 else f"{hours:.0f}"


def _target(share: float | None) -> str:
    if share is None:
        return "–"
    colour = "green" if share >= GOOD_SHARE else "yellow" if share >= FAIR_SHARE else "red"
    return f"[{colour}]{share:.0%}[/]"
