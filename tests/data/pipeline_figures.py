"""The figures of `reference.json` as the pipeline has them, asked of ClickHouse by SQL.

KPI views first, current states next. Events are asked only where a figure is about them, or where it contradicts a rule
of the pipeline; `FROM_EVENTS` lists these with the reason. One set is in the database at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from tests.data.plain_reference import Figures, rounded, share, top

Ask: TypeAlias = Callable[[str], Sequence[Sequence[Any]]]
"""Rows of a SELECT."""

FROM_EVENTS: Mapping[str, str] = {
    "uci_incidents/events": "counts what the desk reported, not what holds",
    "uci_incidents/events_by_state": "counts what the desk reported, not what holds",
    "uci_incidents/events_out_of_time_order_in_file": "is about the order in the file",
    "uci_incidents/first_response": "counts answers before the first message, which answer nothing (rule of the"
    " first response timer); months without such are asked of kpi_first_response",
    "uci_incidents/resolution_by_event": "counts solutions that were undone by a reopening, which are none",
    "twcs_sample/first_response": "asks for direct replies to one message; a conversation is answered by any answer",
    "twcs_sample/per_message": "asks for direct replies to one message",
    "twcs_sample/per_message_by_brand_min20": "asks for direct replies to one message",
    "twcs_sample/outbound_by_brand_top20": "counts messages by who wrote them",
    "twcs_sample/range": "is about the first and last message",
}
"""Figures that are asked of events, and why."""


def one(ask: Ask, select: str) -> tuple[Any, ...]:
    """The only row."""
    (row,) = ask(select)
    return tuple(row)


def pairs(ask: Ask, select: str) -> dict[str, Any]:
    """Two columns as a mapping."""
    return {str(name): value for name, value in ask(select)}


def second(column: str) -> str:
    """SQL for an instant as the reference writes it."""
    return f"formatDateTime({column}, '%Y-%m-%d %H:%i:%S', 'UTC')"


ALL = "dimension = 'all' AND month = 'all'"
STATUS_WORDS: dict[str, str] = {"cancelled": "canceled"}
"""The set's own word for a state where it differs from ours."""


def olist(ask: Ask) -> Figures:
    """Orders, deliveries and reviews of the marketplace."""
    lines = one(ask, "SELECT count(), uniqExact(seller), uniqExact(sku) FROM current_order_line")
    orders = one(
        ask,
        f"SELECT count(), uniqExact(buyer), uniqExact(customer), {second('min(placed_at)')}, {second('max(placed_at)')}"
        " FROM current_order",
    )
    reviews = one(
        ask,
        f"SELECT count(), uniqExact(review_id), uniqExact(matter), {second('min(reviewed_at)')},"
        f" {second('max(reviewed_at)')} FROM current_review",
    )
    goods, freight = one(ask, f"SELECT sum(goods_total), sum(freight_total) FROM kpi_orders WHERE {ALL}")
    payments, paid = one(ask, f"SELECT sum(payments), sum(amount) FROM kpi_payments WHERE {ALL}")
    return {
        "rows": {
            "orders": orders[0],
            "items": lines[0],
            "payments": payments,
            "reviews": reviews[0],
            "customers": orders[1],
            "distinct_review_ids": reviews[1],
            "orders_with_review": reviews[2],
            "distinct_customer_unique_id": orders[2],
            "distinct_sellers_in_items": lines[1],
            "distinct_products_in_items": lines[2],
        },
        "range": {
            "purchase_min": orders[3],
            "purchase_max": orders[4],
            "review_answer_min": reviews[3],
            "review_answer_max": reviews[4],
        },
        "orders_by_status": {
            STATUS_WORDS.get(status, status): count
            for status, count in ask(
                "SELECT value, sum(orders) FROM kpi_orders WHERE dimension = 'status' AND month = 'all' GROUP BY value"
            )
        },
        "orders_by_month": _orders_by_month(ask),
        "delivery": _delivery(ask),
        "weighted": {
            "late_share_of_delivered": rounded(one(ask, f"SELECT late_share FROM kpi_delivery WHERE {ALL}")[0])
        },
        "reviews": _reviews(ask),
        "by_category_min30": _low_by(ask, "category", 30),
        "by_seller_min10": _low_by(ask, "seller", 10),
        "sellers_with_any_review": len(_low_by(ask, "seller", 1, but="unknown")),
        "by_state": {
            state: {"orders": count, "delivered": delivered, "late": late}
            for state, count, delivered, late in ask(
                "SELECT value, orders, delivered, late FROM kpi_delivery WHERE dimension = 'region' AND month = 'all'"
            )
        },
        "low_by_state": _low_by(ask, "region", 1),
        "payments": {
            "by_type": pairs(
                ask,
                "SELECT value, sum(payments) FROM kpi_payments"
                " WHERE dimension = 'method' AND month = 'all' GROUP BY value",
            ),
            "value_sum": float(paid),
        },
        "items": {"price_sum": float(goods), "freight_sum": float(freight)},
    }


def _orders_by_month(ask: Ask) -> dict[str, Any]:
    return pairs(
        ask, "SELECT month, sum(orders) FROM kpi_orders WHERE dimension = 'all' AND month != 'all' GROUP BY month"
    )


def _delivery(ask: Ask) -> Figures:
    names = (
        "delivered, late, late_share, late_day, late_day_share, days_taken_mean, days_taken_p50, days_taken_p90,"
        " days_taken_p95, days_taken_p99, hours_to_approval_p50, hours_to_approval_p90, days_to_carrier_p50,"
        " days_to_carrier_p90, days_in_transit_p50, days_in_transit_p90, days_promised_p50, days_promised_p90,"
        " handed_over, handed_over_late"
    )
    found = dict(zip(names.split(", "), one(ask, f"SELECT {names} FROM kpi_delivery WHERE {ALL}"), strict=True))
    odd = one(
        ask,
        "SELECT countIf(shipped_at < approved_at), countIf(delivered_at < shipped_at),"
        " countIf(status = 'delivered' AND delivered_at IS NULL) FROM current_order",
    )

    def spread(name: str, *shares: int) -> Figures:
        return {f"p{share}": rounded(found[f"{name}_p{share}"]) for share in shares}

    return {
        "delivered": found["delivered"],
        "late": found["late"],
        "late_share": rounded(found["late_share"]),
        "late_day": found["late_day"],
        "late_day_share": rounded(found["late_day_share"]),
        "days_from_purchase": {"mean": rounded(found["days_taken_mean"]), **spread("days_taken", 50, 90, 95, 99)},
        "hours_to_approval": spread("hours_to_approval", 50, 90),
        "days_to_carrier": spread("days_to_carrier", 50, 90),
        "days_in_transit": spread("days_in_transit", 50, 90),
        "days_promised": spread("days_promised", 50, 90),
        "handover_after_ship_limit": {"n": found["handed_over"], "late": found["handed_over_late"]},
        "carrier_before_approval": odd[0],
        "delivered_before_carrier": odd[1],
        "delivered_status_without_date": odd[2],
    }


def _low(reviews: int, low: int, low_share: float | None) -> Figures:
    return {"reviews": reviews, "low": low, "low_share": rounded(low_share)}


def _low_by(ask: Ask, dimension: str, least: int, but: str = "") -> Figures:
    found = ask(
        "SELECT value, reviews, low, low_share FROM kpi_reviews"
        f" WHERE dimension = '{dimension}' AND month = 'all' AND reviews >= {least} AND value != '{but}'"
    )
    return {STATUS_WORDS.get(str(value), str(value)): _low(*figures) for value, *figures in found}


def _reviews(ask: Ask) -> Figures:
    *every, with_text, p50, p90 = one(
        ask,
        f"SELECT reviews, low, low_share, with_text, answer_hours_p50, answer_hours_p90 FROM kpi_reviews WHERE {ALL}",
    )
    delivery = _low_by(ask, "delivery", 1)
    months = ask("SELECT month, reviews, low, low_share FROM kpi_reviews WHERE dimension = 'all' AND month != 'all'")
    nothing = _low(0, 0, None)
    return {
        "all": _low(*every),
        **{name: delivery.get(name, nothing) for name in ("on_time", "late", "not_delivered")},
        "by_score": {score: figures["reviews"] for score, figures in _low_by(ask, "score", 1).items()},
        "by_status": _low_by(ask, "status", 1),
        "with_comment": with_text,
        "answer_hours_after_creation": {"p50": rounded(p50), "p90": rounded(p90)},
        "low_by_month": {month: _low(*figures) for month, *figures in months},
    }


OPENED = "formatDateTime(opened_at, '%Y-%m', 'UTC')"
ANSWERED = (
    "(SELECT about, minIf(event_at, author = 'customer') AS opened_at,"
    " minOrNullIf(event_at, author = 'agent') AS ended_at FROM message_event GROUP BY about)"
)
LAST_RESOLVED = (
    "(SELECT about, ended_at, opened_at FROM current_case LEFT JOIN (SELECT about,"
    " maxOrNullIf(event_at, status = 'resolved') AS ended_at FROM ticket_event GROUP BY about) AS t USING about)"
)


def uci_incidents(ask: Ask) -> Figures:
    """Incidents of a service desk."""
    events = one(ask, "SELECT count() FROM ticket_event")[0]
    cases, first, last, reopened = one(
        ask,
        f"SELECT count(), {second('min(opened_at)')}, {second('max(opened_at)')}, countIf(reported_reopen_count > 0)"
        " FROM current_case",
    )
    months = ask(f"SELECT {OPENED} AS month, count(), countIf(reported_sla_met) FROM current_case GROUP BY month")
    return {
        "events": events,
        "incidents": cases,
        "range": [first, last],
        "events_by_state": pairs(ask, "SELECT source_status, count() FROM ticket_event GROUP BY source_status"),
        "made_sla": pairs(
            ask, "SELECT if(reported_sla_met, 'true', 'false') AS met, count() FROM current_case GROUP BY met"
        ),
        "reopened": reopened,
        "priority": pairs(ask, "SELECT priority, count() FROM current_case GROUP BY priority"),
        "first_response": _first_response(ask, None),
        "first_assignment": _times(ask, _case("first_assigned_at"), 4),
        "resolution": _times(ask, _case("reported_resolved_at"), 48),
        "resolution_by_event": _times(ask, LAST_RESOLVED, 48),
        "close": _times(ask, _case("reported_closed_at"), 48),
        "by_month": {
            month: {
                "incidents": count,
                "first_response": _first_response(ask, month),
                "resolution": _times(ask, _case("reported_resolved_at"), 48, month),
                "made_sla": met,
            }
            for month, count, met in months
        },
        "events_out_of_time_order_in_file": one(
            ask,
            "SELECT countIf(event_at < before) FROM (SELECT event_at, lagInFrame(event_at, 1, event_at) OVER"
            " (PARTITION BY about ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"
            " AS before FROM ticket_event)",
        )[0],
    }


def _case(column: str) -> str:
    return f"(SELECT opened_at, {column} AS ended_at FROM current_case)"


def _first_response(ask: Ask, month: str | None) -> Figures:
    """As the KPI has it, unless an answer came before the first message."""
    by_events = _times(ask, ANSWERED, 4, month)
    if by_events["negative"]:
        return by_events
    cases, answered, *spread, within, within_share = one(
        ask,
        "SELECT cases, answered, hours_p50, hours_p90, hours_p95, within_4h, within_4h_share FROM kpi_first_response"
        f" WHERE dimension = 'all' AND month = '{month or 'all'}'",
    )
    return {
        "n": answered,
        "missing": cases - answered,
        "negative": 0,
        **dict(zip(("p50", "p90", "p95"), map(rounded, spread), strict=True)),
        "within_4h": within,
        "within_4h_share": rounded(within_share),
    }


def _times(ask: Ask, table: str, limit: int, month: str | None = None) -> Figures:
    """Spread of the hours from opened_at to ended_at of a table."""
    where = f" WHERE {OPENED} = '{month}'" if month else ""
    count, n, negative, *spread, within = one(
        ask,
        "SELECT count(), count(hours), countIf(hours < 0), quantileExactInclusive(0.5)(hours),"
        " quantileExactInclusive(0.9)(hours), quantileExactInclusive(0.95)(hours),"
        f" countIf(hours <= {limit}) FROM (SELECT opened_at, (toUnixTimestamp64Micro(ended_at)"
        f" - toUnixTimestamp64Micro(opened_at)) / 3600e6 AS hours FROM {table}{where})",
    )
    return {
        "n": n,
        "missing": count - n,
        "negative": negative,
        **dict(zip(("p50", "p90", "p95"), map(rounded, spread), strict=True)),
        f"within_{limit}h": within,
        f"within_{limit}h_share": share(within, n),
    }


DIRECT = """
    SELECT asked.about AS about, asked.message_id AS message_id, asked.event_at AS opened_at,
        answer.ended_at AS ended_at, answer.brand AS brand
    FROM (SELECT * FROM message_event WHERE author = 'customer') AS asked
    LEFT JOIN
    (
        SELECT in_reply_to, toNullable(min(event_at)) AS ended_at, argMin(agent, event_at) AS brand
        FROM message_event WHERE author = 'agent' AND in_reply_to IS NOT NULL GROUP BY in_reply_to
    ) AS answer ON answer.in_reply_to = asked.message_id
"""
"""Each customer's message with its earliest direct answer."""
FIRST = "(SELECT argMin(message_id, event_at) FROM message_event GROUP BY about)"


def twcs_sample(ask: Ask) -> Figures:
    """Conversations in a social network."""
    conversations, inbound, outbound, longest = one(
        ask,
        "SELECT count(), sum(customer_message_count), sum(agent_message_count),"
        " max(customer_message_count + agent_message_count) FROM current_case",
    )
    first, last = one(ask, f"SELECT {second('min(event_at)')}, {second('max(event_at)')} FROM message_event")
    cases, answered, *spread, within, within_share = one(
        ask,
        "SELECT cases, answered, hours_p50, hours_p90, hours_p95, within_4h, within_4h_share FROM kpi_first_response"
        f" WHERE {ALL}",
    )
    brands = pairs(ask, "SELECT agent, count() FROM message_event WHERE author = 'agent' GROUP BY agent")
    by_brand = ask(f"SELECT brand FROM ({DIRECT}) WHERE brand IS NOT NULL GROUP BY brand HAVING count() >= 20")
    return {
        "tweets": inbound + outbound,
        "inbound": inbound,
        "outbound": outbound,
        "conversations": conversations,
        "first_response": _answers(ask, f"SELECT * FROM ({DIRECT}) WHERE message_id IN {FIRST}"),
        "first_response_any_in_thread": {
            "messages": cases,
            "answered": answered,
            **dict(zip(("p50", "p90", "p95"), map(rounded, spread), strict=True)),
            "within_4h": within,
            "within_4h_share_of_answered": rounded(within_share),
        },
        "per_message": _answers(ask, DIRECT),
        "outbound_by_brand_top20": top(brands, 20),
        "per_message_by_brand_min20": {
            brand: _answers(ask, f"SELECT * FROM ({DIRECT}) WHERE brand = '{brand}'") for (brand,) in by_brand
        },
        "range": [f"{first}+00:00", f"{last}+00:00"],
        "max_conversation_length": longest,
    }


def _answers(ask: Ask, select: str) -> Figures:
    found = _times(ask, f"({select})", 4)
    return {
        "messages": found["n"] + found["missing"],
        "answered": found["n"],
        **{name: found[name] for name in ("p50", "p90", "p95", "within_4h")},
        "within_4h_share_of_answered": found["within_4h_share"],
    }


LINES = (
    "(SELECT line_id, line_at, customer FROM current_order_line"
    " UNION ALL SELECT line_id, line_at, customer FROM current_return_line)"
)


def online_retail(ask: Ask) -> Figures:
    """Invoices of a shop and their cancellations."""
    lines, unknown, doubled, first, last = one(
        ask,
        "SELECT count(), countIf(startsWith(customer, 'provisional:')), countIf(NOT endsWith(line_id, '-0')),"
        f" {second('min(line_at)')}, {second('max(line_at)')} FROM {LINES}",
    )
    orders, gross = one(ask, f"SELECT sum(orders), sum(goods_total) FROM kpi_orders WHERE {ALL}")
    cancels, cancel_lines, cancelled = one(
        ask, f"SELECT sum(cancellations), sum(lines), sum(goods_total) FROM kpi_returns WHERE {ALL}"
    )
    known, matched, p50, p90 = one(
        ask, f"SELECT lines, matched, days_p50, days_p90 FROM kpi_cancellation_match WHERE {ALL}"
    )
    sold = {
        sku: {"sold": pieces, "returned": returned, "rate": rounded(rate)}
        for sku, pieces, returned, rate in ask(
            "SELECT value, sold, returned, return_rate FROM kpi_return_rate"
            " WHERE dimension = 'sku' AND month = 'all' AND sold >= 500"
        )
    }
    highest = top({sku: figures["rate"] for sku, figures in sold.items()}, 20)
    return {
        "lines": lines,
        "invoices": orders + cancels,
        "cancel_invoices": cancels,
        "cancel_lines": cancel_lines,
        "cancel_value": -float(cancelled),
        "gross_value": float(gross),
        "negative_qty_non_cancel_lines": one(ask, "SELECT countIf(quantity < 0) FROM current_order_line")[0],
        "lines_without_customer": unknown,
        "exact_duplicate_lines": doubled,
        "range": [first, last],
        "invoices_by_month": _orders_by_month(ask),
        "cancel_invoices_by_month": pairs(
            ask,
            "SELECT month, sum(cancellations) FROM kpi_returns WHERE dimension = 'all' AND month != 'all' GROUP BY 1",
        ),
        "cancel_invoices_by_country": pairs(
            ask,
            "SELECT value, sum(cancellations) FROM kpi_returns"
            " WHERE dimension = 'destination' AND month = 'all' GROUP BY value",
        ),
        "invoices_by_country": pairs(
            ask,
            "SELECT value, sum(orders) FROM kpi_orders"
            " WHERE dimension = 'destination' AND month = 'all' GROUP BY value",
        ),
        "matched_cancel_lines": {
            "with_customer": known,
            "matched": matched,
            "days_to_return": {"p50": rounded(p50), "p90": rounded(p90)},
        },
        "top_return_rate_sold500": {sku: sold[sku] for sku in highest},
    }


FIGURES: Mapping[str, Callable[[Ask], Figures]] = {
    "olist": olist,
    "uci_incidents": uci_incidents,
    "twcs_sample": twcs_sample,
    "online_retail": online_retail,
}
