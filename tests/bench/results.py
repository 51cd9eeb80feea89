"""What a measurement comes to: spreads, tables, aims, and the JSON that holds them. Pure.

Must not know what was measured, nor how.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The same figure, measured several times."""

    minimum: float
    median: float
    maximum: float

    def __str__(self) -> str:
        if self.minimum == self.maximum:
            return _number(self.median)
        return f"{_number(self.minimum)} / {_number(self.median)} / {_number(self.maximum)}"


Cell: TypeAlias = str | float | Spread | None
"""Of a table. None: not measured."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows under named columns, in the order in which they are to be read."""

    title: str
    columns: tuple[str, ...]
    """Names, with the unit."""
    rows: tuple[tuple[Cell, ...], ...]


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and the bound that it is to keep."""

    what: str
    """With the unit."""
    found: float | None
    """None: it could not be measured."""
    bound: float
    direction: Literal["at most", "at least"]
    met: bool
    """Whether the bound is kept; what could not be measured does not keep it."""


def at_most(what: str, found: float | None, bound: float) -> Aim:
    """The aim that a figure is not above a bound."""
    met = found is not None and found <= bound
    return Aim(what=what, found=found, bound=bound, direction="at most", met=met)


def at_least(what: str, found: float | None, bound: float) -> Aim:
    """The aim that a figure is not below a bound."""
    met = found is not None and found >= bound
    return Aim(what=what, found=found, bound=bound, direction="at least", met=met)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one job has to say."""

    job: str
    quick: bool
    """A run that only shows that all works: its figures say nothing."""
    tables: tuple[Table, ...] = ()
    aims: tuple[Aim, ...] = ()
    notes: tuple[str, ...] = ()
    """What went wrong, and what must be known to read the figures."""


def spread(values: Iterable[float]) -> Spread | None:
    """Minimum, median, maximum; of an even number of values the mean of the middle two. None of no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Spread(minimum=ordered[0], median=median, maximum=ordered[-1])


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest of `values` that at least `share` (0 to 1) of them do not exceed. None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    # Rounded, for 0.99 * 100 is a little more than 99 in floating point.
    rank = -int(-round(share * len(ordered), 9) // 1)
    return ordered[max(0, rank - 1)]


def ratio(value: float | None, to: float | None) -> float | None:
    """`value` divided by `to`; None where one is not known, or `to` is 0."""
    return None if value is None or not to else value / to


def middle(values: Spread | None) -> float | None:
    """The median, if there is one."""
    return None if values is None else values.median


def text_of(cell: Cell) -> str:
    """A cell as it is printed: three significant digits; a spread as minimum / median / maximum."""
    match cell:
        case None:
            return "-"
        case float() | int():
            return _number(cell)
        case _:
            return str(cell)


def _number(value: float) -> str:
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"
