"""The figures of `reference.json` for four data sets, computed from their files in plain Python.

    python -m tests.data.plain_reference DATA_DIR

compares them with DATA_DIR/reference.json: that pins how every definition there is read. Must not know of the
pipeline: it shares no code with it, so that the two can be compared.
"""

import csv
import gzip
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, str]
Figures: TypeAlias = dict[str, Any]

SETS = ("olist", "uci_incidents", "twcs_sample", "online_retail")
WEIGHTED = "is weighted by population, and tells of orders that are not in the set"
EXEMPT = {f"olist/weighted/{name}": WEIGHTED for name in ("low_share", "not_delivered_share", "orders")}
"""Figures that are not compared, with the reason. What is left of `weighted` needs no weights: they are all alike."""


TOPS = ("outbound_by_brand_top20", "top_return_rate_sold500")
"""Blocks that name the largest of something."""


def read_rows(path: Path) -> list[Row]:
    """All rows of a gzipped CSV file."""
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def at(text: str) -> datetime | None:
    """The instant that a column holds; None for an empty or unknown one. Without a zone it is UTC."""
    if text in ("", "?"):
        return None
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=None)


def percentile(values: Iterable[float], share: float) -> float | None:
    """By linear interpolation between the closest ranks; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def percentiles(values: Sequence[float], *shares: int) -> Figures:
    """`p50` and so on, rounded."""
    return {f"p{share}": rounded(percentile(values, share / 100)) for share in shares}


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def hours(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds() / 3600


def days(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds() / 86400


def counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def olist(folder: Path) -> Figures:
    """Orders, deliveries and reviews of the marketplace."""
    orders = {row["order_id"]: row for row in read_rows(folder / "orders.csv.gz")}
    items = read_rows(folder / "order_items.csv.gz")
    payments = read_rows(folder / "order_payments.csv.gz")
    reviews = read_rows(folder / "order_reviews.csv.gz")
    customers = {row["customer_id"]: row for row in read_rows(folder / "customers.csv.gz")}
    products = {row["product_id"]: row["product_category_name"] for row in read_rows(folder / "products.csv.gz")}
    english = {
        row["product_category_name"]: row["product_category_name_english"]
        for row in read_rows(folder / "product_category_name_translation.csv.gz")
    }
    answers = [row["review_answer_timestamp"] for row in reviews]
    purchases = [row["order_purchase_timestamp"] for row in orders.values()]
    categories: dict[str, set[str]] = defaultdict(set)
    sellers: dict[str, set[str]] = defaultdict(set)
    for item in items:
        category = products.get(item["product_id"], "")
        categories[item["order_id"]].add(english.get(category, category) or "unknown")
        sellers[item["order_id"]].add(item["seller_id"])
    state = {id: customers[order["customer_id"]]["customer_state"] for id, order in orders.items()}
    return {
        "rows": {
            "orders": len(orders),
            "items": len(items),
            "payments": len(payments),
            "reviews": len(reviews),
            "customers": len(customers),
            "distinct_review_ids": len({row["review_id"] for row in reviews}),
            "orders_with_review": len({row["order_id"] for row in reviews}),
            "distinct_customer_unique_id": len({row["customer_unique_id"] for row in customers.values()}),
            "distinct_sellers_in_items": len({row["seller_id"] for row in items}),
            "distinct_products_in_items": len({row["product_id"] for row in items}),
        },
        "range": {
            "purchase_min": min(purchases),
            "purchase_max": max(purchases),
            "review_answer_min": min(answers),
            "review_answer_max": max(answers),
        },
        "orders_by_status": counts(order["order_status"] for order in orders.values()),
        "orders_by_month": counts(purchase[:7] for purchase in purchases),
        "delivery": (delivery := _delivery(orders, items)),
        "weighted": {"late_share_of_delivered": delivery["late_share"]},
        "reviews": _reviews(orders, reviews),
        "by_category_min30": _grouped(reviews, lambda review: categories[review["order_id"]], 30),
        "by_seller_min10": _grouped(reviews, lambda review: sellers[review["order_id"]], 10),
        "sellers_with_any_review": len(_grouped(reviews, lambda review: sellers[review["order_id"]], 1)),
        "by_state": _by_state(orders, state),
        "low_by_state": _grouped(reviews, lambda review: {state[review["order_id"]]}, 1),
        "payments": {
            "by_type": counts(row["payment_type"] for row in payments),
            "value_sum": float(sum((Decimal(row["payment_value"]) for row in payments), Decimal())),
        },
        "items": {
            "price_sum": float(sum((Decimal(row["price"]) for row in items), Decimal())),
            "freight_sum": float(sum((Decimal(row["freight_value"]) for row in items), Decimal())),
        },
    }


def _delivered(order: Row) -> bool:
    return order["order_status"] == "delivered" and order["order_delivered_customer_date"] != ""


def _late(order: Row) -> bool:
    return _delivered(order) and order["order_delivered_customer_date"] > order["order_estimated_delivery_date"]


def _spans(orders: Iterable[Row], start: str, end: str, measure: Callable[[datetime, datetime], float]) -> list[float]:
    spans = ((at(order[end]), at(order[start])) for order in orders)
    return [measure(later, earlier) for later, earlier in spans if later and earlier]


def _delivery(orders: Mapping[str, Row], items: Sequence[Row]) -> Figures:
    purchase, approved, carrier, customer, promised = (
        "order_purchase_timestamp",
        "order_approved_at",
        "order_delivered_carrier_date",
        "order_delivered_customer_date",
        "order_estimated_delivery_date",
    )
    every = list(orders.values())
    delivered = [order for order in every if _delivered(order)]
    late = sum(map(_late, delivered))
    late_day = sum(order[customer][:10] > order[promised][:10] for order in delivered)
    taken = _spans(delivered, purchase, customer, days)
    limits: dict[str, str] = {}
    for item in items:
        limits[item["order_id"]] = max(limits.get(item["order_id"], ""), item["shipping_limit_date"])
    handovers = [(orders[id][carrier], limit) for id, limit in limits.items() if orders[id][carrier]]
    return {
        "delivered": len(delivered),
        "late": late,
        "late_share": share(late, len(delivered)),
        "late_day": late_day,
        "late_day_share": share(late_day, len(delivered)),
        "days_from_purchase": {
            "mean": rounded(sum(taken) / len(taken)) if taken else None,
            **percentiles(taken, 50, 90, 95, 99),
        },
        "hours_to_approval": percentiles(_spans(every, purchase, approved, hours), 50, 90),
        "days_to_carrier": percentiles(_spans(every, purchase, carrier, days), 50, 90),
        "days_in_transit": percentiles(_spans(every, carrier, customer, days), 50, 90),
        "days_promised": percentiles(_spans(every, purchase, promised, days), 50, 90),
        "handover_after_ship_limit": {
            "n": len(handovers),
            "late": sum(handover > limit for handover, limit in handovers),
        },
        "carrier_before_approval": sum(
            order[carrier] < order[approved] for order in every if order[carrier] and order[approved]
        ),
        "delivered_before_carrier": sum(
            order[customer] < order[carrier] for order in every if order[carrier] and order[customer]
        ),
        "delivered_status_without_date": sum(
            order["order_status"] == "delivered" and not order[customer] for order in every
        ),
    }


def _low(reviews: Iterable[Row]) -> Figures:
    scores = [int(review["review_score"]) for review in reviews]
    low = sum(score <= 2 for score in scores)
    return {"reviews": len(scores), "low": low, "low_share": share(low, len(scores))}


def _grouped(reviews: Iterable[Row], groups: Callable[[Row], Iterable[str]], least: int) -> Figures:
    """Reviews by group; a review counts in each of its groups."""
    found: dict[str, list[Row]] = defaultdict(list)
    for review in reviews:
        for group in groups(review):
            found[group].append(review)
    return {group: _low(found[group]) for group in sorted(found) if len(found[group]) >= least}


def _reviews(orders: Mapping[str, Row], reviews: Sequence[Row]) -> Figures:
    waits = _spans(reviews, "review_creation_date", "review_answer_timestamp", hours)

    def where(holds: Callable[[Row], bool]) -> Figures:
        return _low(review for review in reviews if holds(orders[review["order_id"]]))

    return {
        "all": _low(reviews),
        "on_time": where(lambda order: _delivered(order) and not _late(order)),
        "late": where(_late),
        "not_delivered": where(lambda order: not _delivered(order)),
        "by_score": counts(review["review_score"] for review in reviews),
        "by_status": _grouped(reviews, lambda review: {orders[review["order_id"]]["order_status"]}, 1),
        "with_comment": sum(review["review_comment_message"] != "" for review in reviews),
        "answer_hours_after_creation": percentiles(waits, 50, 90),
        "low_by_month": _grouped(reviews, lambda review: {review["review_answer_timestamp"][:7]}, 1),
    }


def _by_state(orders: Mapping[str, Row], state: Mapping[str, str]) -> Figures:
    found: dict[str, list[Row]] = defaultdict(list)
    for id, order in orders.items():
        found[state[id]].append(order)
    return {
        name: {"orders": len(rows), "delivered": sum(map(_delivered, rows)), "late": sum(map(_late, rows))}
        for name, rows in sorted(found.items())
    }


def uci_incidents(folder: Path) -> Figures:
    """Incidents of a service desk: first response, assignment, solution."""
    rows = sorted(read_rows(folder / "incident_event_log.csv.gz"), key=lambda row: int(row["row"]))
    incidents: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        incidents[row["number"]].append(row)
    last = [events[-1] for events in incidents.values()]
    opened = [row["opened_at"] for row in last]
    months = sorted({instant[:7] for instant in opened})
    all_incidents = list(incidents.values())
    return {
        "events": len(rows),
        "incidents": len(incidents),
        "range": [f"{min(opened)}:00", f"{max(opened)}:00"],
        "events_by_state": counts(row["incident_state"] for row in rows),
        "made_sla": counts(row["made_sla"] for row in last),
        "reopened": sum(int(row["reopen_count"]) > 0 for row in last),
        "priority": counts(row["priority"] for row in last),
        "first_response": _times(all_incidents, _first_response, 4),
        "first_assignment": _times(all_incidents, _first_assignment, 4),
        "resolution": _times(all_incidents, _recorded("resolved_at"), 48),
        "resolution_by_event": _times(all_incidents, _last_resolved, 48),
        "close": _times(all_incidents, _recorded("closed_at"), 48),
        "by_month": {month: _month([i for i in all_incidents if i[0]["opened_at"][:7] == month]) for month in months},
        "events_out_of_time_order_in_file": sum(
            later["sys_updated_at"] < earlier["sys_updated_at"]
            for events in all_incidents
            for earlier, later in pairwise(events)
        ),
    }


def _month(incidents: Sequence[Sequence[Row]]) -> Figures:
    return {
        "incidents": len(incidents),
        "first_response": _times(incidents, _first_response, 4),
        "resolution": _times(incidents, _recorded("resolved_at"), 48),
        "made_sla": sum(events[-1]["made_sla"] == "true" for events in incidents),
    }


def _first_response(events: Sequence[Row]) -> str | None:
    return min((row["sys_updated_at"] for row in events if row["incident_state"] != "New"), default=None)


def _first_assignment(events: Sequence[Row]) -> str | None:
    return min((row["sys_updated_at"] for row in events if row["assigned_to"] != "?"), default=None)


def _last_resolved(events: Sequence[Row]) -> str | None:
    return max((row["sys_updated_at"] for row in events if row["incident_state"] == "Resolved"), default=None)


def _recorded(column: str) -> Callable[[Sequence[Row]], str | None]:
    return lambda events: events[-1][column]


def _times(incidents: Sequence[Sequence[Row]], end: Callable[[Sequence[Row]], str | None], limit: int) -> Figures:
    ends = [(at(end(events) or ""), at(events[0]["opened_at"])) for events in incidents]
    values = [hours(later, earlier) for later, earlier in ends if later and earlier]
    within = sum(value <= limit for value in values)
    return {
        "n": len(values),
        "missing": len(incidents) - len(values),
        "negative": sum(value < 0 for value in values),
        **percentiles(values, 50, 90, 95),
        f"within_{limit}h": within,
        f"within_{limit}h_share": share(within, len(values)),
    }


def twcs_sample(folder: Path) -> Figures:
    """Conversations in a social network: answers to customers."""
    tweets: dict[str, Row] = {}
    for row in read_rows(folder / "tweets.csv.gz"):
        if row["created_at"]:
            tweets.setdefault(row["tweet_id"], row)
    replies: dict[str, list[Row]] = defaultdict(list)
    conversations: dict[str, list[Row]] = defaultdict(list)
    for tweet in tweets.values():
        conversations[tweet["conversation_id"]].append(tweet)
        if tweet["inbound"] == "False":
            replies[tweet["in_response_to_tweet_id"]].append(tweet)
    inbound = [tweet for tweet in tweets.values() if tweet["inbound"] == "True"]
    outbound = [tweet for tweet in tweets.values() if tweet["inbound"] == "False"]
    firsts = [
        min(thread, key=lambda tweet: (tweet["created_at"], int(tweet["tweet_id"])))
        for thread in conversations.values()
    ]
    asked = [tweet for tweet in firsts if tweet["inbound"] == "True"]

    def direct(tweet: Row) -> Row | None:
        return min(replies[tweet["tweet_id"]], key=lambda reply: reply["created_at"], default=None)

    def any_later(tweet: Row) -> Row | None:
        thread = conversations[tweet["conversation_id"]]
        later = [t for t in thread if t["inbound"] == "False" and t["created_at"] >= tweet["created_at"]]
        return min(later, key=lambda reply: reply["created_at"], default=None)

    by_brand: dict[str, list[Row]] = defaultdict(list)
    for tweet in inbound:
        if (answer := direct(tweet)) is not None:
            by_brand[answer["author_id"]].append(tweet)
    brands = Counter(tweet["author_id"] for tweet in outbound)
    instants = [tweet["created_at"] for tweet in tweets.values()]
    return {
        "tweets": len(tweets),
        "inbound": len(inbound),
        "outbound": len(outbound),
        "conversations": len(conversations),
        "first_response": _answers(asked, direct),
        "first_response_any_in_thread": _answers(asked, any_later),
        "per_message": _answers(inbound, direct),
        "outbound_by_brand_top20": top(brands, 20),
        "per_message_by_brand_min20": {
            brand: _answers(asked, direct) for brand, asked in sorted(by_brand.items()) if len(asked) >= 20
        },
        "range": [instant.replace("T", " ").replace("Z", "+00:00") for instant in (min(instants), max(instants))],
        "max_conversation_length": max(map(len, conversations.values())),
    }


def top(values: Mapping[str, float], count: int) -> dict[str, Any]:
    """The largest values, with all that tie with the last of them."""
    least = min(sorted(values.values(), reverse=True)[:count], default=0)
    return {name: value for name, value in sorted(values.items()) if value >= least}


def _answers(asked: Sequence[Row], answer: Callable[[Row], Row | None]) -> Figures:
    pairs = [(at(reply["created_at"]), at(tweet["created_at"])) for tweet in asked if (reply := answer(tweet))]
    values = [hours(later, earlier) for later, earlier in pairs if later and earlier]
    within = sum(value <= 4 for value in values)
    return {
        "messages": len(asked),
        "answered": len(values),
        **percentiles(values, 50, 90, 95),
        "within_4h": within,
        "within_4h_share_of_answered": share(within, len(values)),
    }


def online_retail(folder: Path) -> Figures:
    """Invoices of a shop and their cancellations."""
    lines = read_rows(folder / "lines.csv.gz")
    cancelled = [line for line in lines if line["InvoiceNo"].startswith("C")]
    bought = [line for line in lines if not line["InvoiceNo"].startswith("C")]
    first: dict[str, Row] = {}
    for line in lines:
        if line["InvoiceNo"] not in first or line["InvoiceDate"] < first[line["InvoiceNo"]]["InvoiceDate"]:
            first[line["InvoiceNo"]] = line
    orders = [line for number, line in first.items() if not number.startswith("C")]
    cancels = [line for number, line in first.items() if number.startswith("C")]
    dates = [line["InvoiceDate"] for line in lines]
    return {
        "lines": len(lines),
        "invoices": len(first),
        "cancel_invoices": len(cancels),
        "cancel_lines": len(cancelled),
        "cancel_value": float(_value(cancelled)),
        "gross_value": float(_value(bought)),
        "negative_qty_non_cancel_lines": sum(int(line["Quantity"]) < 0 for line in bought),
        "lines_without_customer": sum(not line["CustomerID"] for line in lines),
        "exact_duplicate_lines": len(lines) - len({tuple(line.values()) for line in lines}),
        "range": [min(dates), max(dates)],
        "invoices_by_month": counts(line["InvoiceDate"][:7] for line in orders),
        "cancel_invoices_by_month": counts(line["InvoiceDate"][:7] for line in cancels),
        "cancel_invoices_by_country": counts(line["Country"] for line in cancels),
        "invoices_by_country": counts(line["Country"] for line in orders),
        "matched_cancel_lines": _matches(bought, cancelled),
        "top_return_rate_sold500": _return_rates(bought, cancelled),
    }


def _value(lines: Iterable[Row]) -> Decimal:
    return sum((int(line["Quantity"]) * Decimal(line["UnitPrice"]) for line in lines), Decimal())


def _matches(bought: Iterable[Row], cancelled: Iterable[Row]) -> Figures:
    purchases: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in bought:
        if line["CustomerID"]:
            purchases[line["CustomerID"], line["StockCode"]].append(line["InvoiceDate"])
    known = [line for line in cancelled if line["CustomerID"]]
    waits = []
    for line in known:
        before = [when for when in purchases[line["CustomerID"], line["StockCode"]] if when <= line["InvoiceDate"]]
        if before:
            waits.append(days(_instant(line["InvoiceDate"]), _instant(max(before))))
    return {"with_customer": len(known), "matched": len(waits), "days_to_return": percentiles(waits, 50, 90)}


def _instant(text: str) -> datetime:
    found = at(text)
    assert found is not None
    return found


def _return_rates(bought: Iterable[Row], cancelled: Iterable[Row]) -> Figures:
    sold: Counter[str] = Counter()
    returned: Counter[str] = Counter()
    for line in bought:
        sold[line["StockCode"]] += max(int(line["Quantity"]), 0)
    for line in cancelled:
        returned[line["StockCode"]] -= int(line["Quantity"])
    rates = {sku: returned[sku] / pieces for sku, pieces in sold.items() if pieces >= 500}
    return {
        sku: {"sold": sold[sku], "returned": returned[sku], "rate": rounded(rate)}
        for sku, rate in top(rates, 20).items()
    }


FIGURES: Mapping[str, Callable[[Path], Figures]] = {
    "olist": olist,
    "uci_incidents": uci_incidents,
    "twcs_sample": twcs_sample,
    "online_retail": online_retail,
}


def differences(expected: Any, found: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Leaves that differ: place, expected, found."""
    if isinstance(expected, dict):
        other = found if isinstance(found, dict) else {}
        if path.rpartition("/")[2] in TOPS:
            other = _without_ties(expected, other)
        for name in sorted({*expected, *other}):
            yield from differences(expected.get(name), other.get(name), f"{path}/{name}" if path else name)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{path}/{index}")
    elif expected != found:
        yield path, expected, found


def _without_ties(expected: Figures, found: Figures) -> Figures:
    """`found` without what the reference might as well have named: it ties with the last that it names."""
    least = min(map(_measure, expected.values()), default=0.0)
    return {name: value for name, value in found.items() if name in expected or _measure(value) != least}


def _measure(figure: Any) -> float:
    return float(figure["rate"] if isinstance(figure, dict) else figure)


def leaves(figures: Any) -> int:
    """Number of single figures."""
    if isinstance(figures, dict):
        return sum(map(leaves, figures.values()))
    return len(figures) if isinstance(figures, list) else 1


def expected_of(reference: Figures, name: str) -> Figures:
    """What a set's block of `reference.json` defines, without definitions and exempt figures."""
    blocks = {block: figures for block, figures in reference[name].items() if not block.startswith("_")}
    for place in EXEMPT:
        set_name, block, figure = place.split("/")
        if set_name == name and block in blocks:
            blocks[block] = {key: value for key, value in blocks[block].items() if key != figure}
    return blocks


def main(folder: Path) -> int:
    reference = json.loads((folder / "reference.json").read_text())
    wrong = 0
    for name, compute in FIGURES.items():
        expected = expected_of(reference, name)
        found = list(differences(expected, compute(folder / name)))
        print(f"{name}: {leaves(expected)} figures, {len(found)} differ")
        for path, one, other in found:
            print(f"  {path}: expected {one}, computed {other}")
        wrong += len(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
