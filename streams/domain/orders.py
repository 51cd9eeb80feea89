"""Orders: state, lines, and delivery promised against taken. Pure.

Rules (docs/facts.md): the newest word by event time wins; an order is delivered when the last of its parcels is; a line
stated again replaces the former one; a delivery is late when it comes after the instant that was promised (O-1 to O-5).
"""

from datetime import datetime
from decimal import Decimal

from streams.domain.events import Order, Parcel
from streams.domain.facts import MatterKey, OrderLineState, OrderState, TimerKey, TimerState
from streams.domain.history import (
    Folded,
    History,
    Horizon,
    Wake,
    first,
    marketplace_of,
    newest,
    of_kind,
    only,
)
from streams.domain.parcels import delivered_at, return_parcels, shipped_at

ZERO = Decimal("0.000000")
ENDED = frozenset({"cancelled", "unavailable"})
"""States in which nothing will be delivered any more."""


def fold(history: History, horizon: Horizon, into: Folded) -> None:
    """State every order of the matter, its lines and its delivery timer."""
    going_back = return_parcels(history)
    parcels = {id: only(events, Parcel) for id, events in of_kind(history, "parcel") if id not in going_back}
    for id, events in of_kind(history, "order"):
        orders = only(events, Order)
        if orders:
            _fold_order(id, orders, parcels, horizon, into)


def _fold_order(id: str, orders: list[Order], parcels: dict[str, list[Parcel]], horizon: Horizon, into: Folded) -> None:
    account = orders[-1].account
    marketplace = marketplace_of(orders)
    currency = newest(order.currency for order in orders)
    lines = {line.line_id: (line, order) for order in orders if order.lines for line in order.lines}
    goods = freight = ZERO
    for line_id, (line, order) in lines.items():
        goods += line.unit_price * line.quantity
        if line.freight is not None:
            freight += line.freight
        into.facts[id, MatterKey(kind="order_line", item=line_id)] = OrderLineState(
            account=account,
            marketplace=marketplace,
            sku=line.sku,
            seller=line.seller,
            category=line.category,
            quantity=line.quantity,
            unit_price=line.unit_price,
            freight=line.freight,
            ship_by_at=line.ship_by_at,
            line_at=order.event_at,
            currency=currency,
        )
    delivered = _delivered_at(parcels)
    status, cancelled = _status(orders, delivered)
    placed = first(order.placed_at for order in orders) or orders[0].event_at
    # In the order of events, not of parcels: these lie in the order in which they became known.
    scans = sorted((scan for scans in parcels.values() for scan in scans), key=lambda scan: scan.order_key)
    promised = newest(order.promised_at for order in orders) or newest(scan.promised_at for scan in scans)
    into.facts[id, MatterKey(kind="order")] = OrderState(
        account=account,
        marketplace=marketplace,
        status=status,
        placed_at=placed,
        approved_at=first(order.event_at for order in orders if order.status == "approved"),
        shipped_at=first(shipped_at(scans) for scans in parcels.values()),
        delivered_at=delivered,
        cancelled_at=cancelled,
        promised_at=promised,
        buyer=newest(order.buyer for order in orders),
        destination_country=newest(order.destination_country for order in orders),
        destination_region=newest(order.destination_region for order in orders),
        currency=currency,
        total_minor=newest(order.total_minor for order in orders),
        line_count=len(lines),
        parcel_count=len(parcels),
        goods_total=goods,
        freight_total=freight,
    )
    if promised is not None:
        carrier_account = scans[-1].account if scans else account
        _time_delivery(id, orders, parcels, placed, promised, delivered, status, carrier_account, horizon, into)


def _delivered_at(parcels: dict[str, list[Parcel]]) -> datetime | None:
    """When the last parcel was delivered; None while one is under way or none is known."""
    arrivals = [delivered_at(scans) for scans in parcels.values()]
    if not arrivals or None in arrivals:
        return None
    return max(arrival for arrival in arrivals if arrival is not None)


def _status(orders: list[Order], delivered: datetime | None) -> tuple[str, datetime | None]:
    """Newest state and, if it is cancelled, since when. What parcels say counts from the instant of the delivery on."""
    status, since, cancelled = "unknown", None, None
    for order in orders:
        if order.status is not None and order.status != "unknown":
            status, since = order.status, order.event_at
            cancelled = (cancelled or order.event_at) if status == "cancelled" else None
    if delivered is not None and (since is None or delivered > since):
        return "delivered", None
    return status, cancelled


def _time_delivery(
    id: str,
    orders: list[Order],
    parcels: dict[str, list[Parcel]],
    placed: datetime,
    promised: datetime,
    delivered: datetime | None,
    status: str,
    account: str,
    horizon: Horizon,
    into: Folded,
) -> None:
    """Delivery promised against taken: met if delivered not after the promised instant."""
    if delivered is not None and status not in ENDED:
        result = "met" if delivered <= promised else "breached"
    elif status in ENDED:
        result, delivered = "cancelled", None
    elif horizon(account) >= promised:
        result = "breached"
    else:
        result = "running"
        into.wakes.append(Wake(account, promised))
    arrival = [
        parcel.event_id
        for scans in parcels.values()
        for parcel in scans
        if parcel.status == "delivered" and parcel.event_at == delivered
    ]
    into.facts[id, TimerKey(case_id=id, timer="delivery")] = TimerState(
        account=account,
        marketplace=marketplace_of(orders),
        started_at=placed,
        due_at=promised,
        stopped_at=delivered,
        result=result,
        elapsed_s=None if delivered is None else (delivered - placed).total_seconds(),
        explained_by=(orders[0].event_id, *sorted(arrival)[:1]),
    )
