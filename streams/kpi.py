"""The headline figures, by marketplace, read from the kpi_* views.

Must not know how figures are computed (deploy/clickhouse/) or drawn.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ALL: Final = "all"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one marketplace, or of all. Shares are 0 to 1; None: nothing to take them of."""

    marketplace: str
    """`all` for everything, `unknown` for what belongs to no marketplace."""
    orders: int = 0
    delivered: int = 0
    late: int = 0
    late_share: float | None = None
    """Of delivered orders with a promise."""
    cases: int = 0
    first_response_p50_h: float | None = None
    first_response_p90_h: float | None = None
    first_response_within_target_share: float | None = None
    resolution_p50_h: float | None = None
    resolution_p90_h: float | None = None
    resolution_within_target_share: float | None = None
    reviews: int = 0
    low_review_share: float | None = None
    returns: int = 0
    """Exchanges and cancellations included."""
    return_rate: float | None = None
    """Pieces that came back or were cancelled by pieces sold."""
    payments: int = 0
    provisional_customers: int | None = None
    """Customers still unknown; only of all."""
    dead_letters: int | None = None
    """Input that could not be processed and was not brought back; only of all."""


_SELECTS: Final = (
    "SELECT value, sum(orders) AS orders FROM kpi_orders WHERE {rows} GROUP BY value",
    "SELECT value, delivered, late, late_share FROM kpi_delivery WHERE {rows}",
    "SELECT value, cases, hours_p50 AS first_response_p50_h, hours_p90 AS first_response_p90_h,"
    " within_target_share AS first_response_within_target_share FROM kpi_first_response WHERE {rows}",
    "SELECT value, hours_p50 AS resolution_p50_h, hours_p90 AS resolution_p90_h,"
    " within_target_share AS resolution_within_target_share FROM kpi_resolution WHERE {rows}",
    "SELECT value, reviews, low_share AS low_review_share FROM kpi_reviews WHERE {rows}",
    "SELECT value, sum(returns) + sum(cancellations) AS returns FROM kpi_returns WHERE {rows} GROUP BY value",
    "SELECT value, return_rate FROM kpi_return_rate WHERE {rows}",
    "SELECT value, sum(payments) AS payments FROM kpi_payments WHERE {rows} GROUP BY value",
    "SELECT value, provisional AS provisional_customers FROM kpi_provisional WHERE dimension = 'all'",
    "SELECT 'all' AS value, count() AS dead_letters FROM dead_letter FINAL"
    " WHERE dead_letter_id NOT IN (SELECT dead_letter_id FROM dead_letter_replay)",
)
_ROWS: Final = "month = 'all' AND dimension IN ('all', 'marketplace')"


def kpi_overview(client: "Client") -> list[Figures]:
    """The figures of all, then of each marketplace by name. Raises what the client raises."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    found[ALL] |= {"provisional_customers": 0, "dead_letters": 0}
    for select in _SELECTS:
        answer = client.query(select.replace("{rows}", _ROWS))
        for value, *figures in answer.result_rows:
            found[value] |= dict(zip(answer.column_names[1:], figures, strict=True))
    names = [ALL, *sorted(set(found) - {ALL})]
    return [Figures(marketplace=name, **found[name]) for name in names]
