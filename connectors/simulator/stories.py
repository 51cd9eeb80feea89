"""The story of one order: bought, paid, sent, delivered or not, and what comes after the sale. Pure.

Every story draws from a source of randomness of its own, so that it goes the same way whatever happens around it.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from connectors.simulator.aftersales import maybe_claim, maybe_return, maybe_review, return_lines, tell_return
from connectors.simulator.catalogue import REGIONS, WAREHOUSE_ACCOUNT
from connectors.simulator.conversations import Contact, converse, notify
from connectors.simulator.deliveries import Journey, local_clock, promised_days, travel
from connectors.simulator.planned import CARRIER, WAREHOUSE, Planned, long_tail, span
from connectors.simulator.sale import Purchase, Sale
from streams.domain.events import OrderLine, Parcel

CANCELLED_SHARE = 0.03
UNAVAILABLE_SHARE = 0.004
SECOND_PARCEL_SHARE = 0.3
"""Of the orders with several lines: sent in several parcels."""
OUTAGE_SHARE = 0.02
"""Of the orders: the marketplace could not be read for a while, and carriers scanned before the order was known."""
OUTAGE_H = (20, 70)
STRANGER_SHARE = 0.004
"""Beside the orders: a carrier reports a parcel that is nobody's."""
SPOILT_SHARE = 0.004
"""Beside the orders: a record that can't be processed."""
REGISTERED_SHARE = 0.35
"""Of the guests: they open an account later, and the order becomes the account's."""

CONTACT_SHARE = 0.1
"""Of the orders without a reason to complain."""
CONTACT_LATE_SHARE = 0.55
CONTACT_DEFECT_SHARE = 0.75
NOTICE_SHARE = 0.35
"""Of the parcels that are stuck: the seller writes first."""
SECOND_CONTACT_SHARE = 0.06


def tell_story(rng: Random, purchase: Purchase) -> list[Planned]:
    """Everything that will be published because of one order."""
    sale = Sale(rng, purchase)
    _go(sale)
    return sale.teller.planned


def _go(sale: Sale) -> None:
    rng, placed_at = sale.rng, sale.purchase.placed_at
    if rng.random() < OUTAGE_SHARE:
        sale.reachable_at = placed_at + span(rng, *OUTAGE_H)
    promised_at = local_clock(
        placed_at + timedelta(days=promised_days(sale.marketplace.ships_from, sale.purchase.country)),
        sale.purchase.country,
        20,
    )
    _create(sale, promised_at)
    _oddities(sale)
    paid_at = sale.pay()
    if rng.random() < CANCELLED_SHARE:
        _cancel(sale, paid_at)
        return
    if rng.random() < UNAVAILABLE_SHARE:
        sale.say(paid_at + span(rng, 5, 30), "unavailable")
        sale.refund(paid_at + span(rng, 31, 40), sale.paid_minor)
        return
    sale.say(paid_at + span(rng, 0.1, 0.5), "processing")
    journeys = _ship(sale, paid_at)
    arrivals = [journey.delivered_at for journey in journeys]
    delivered = [arrival for arrival in arrivals if arrival is not None]
    arrived_at = max(delivered) if len(delivered) == len(arrivals) else None
    late = arrived_at is None or arrived_at > promised_at
    defect = arrived_at is not None and rng.random() < max(product.defect_share for product in sale.products)
    _notice(sale, journeys)
    unhappy = _contact(sale, promised_at, arrived_at, late=late, defect=defect)
    if arrived_at is not None:
        maybe_return(sale, arrived_at, defect=defect)
    maybe_claim(sale, promised_at, arrived_at, unhappy=unhappy, late=late, defect=defect)
    if arrived_at is not None:
        maybe_review(sale, arrived_at, unhappy=unhappy or late)


def _create(sale: Sale, promised_at: datetime) -> None:
    lines = tuple(
        OrderLine(
            line_id=str(number),
            sku=product.sku,
            category=product.category,
            quantity=quantity,
            unit_price=sale.price(product),
            freight=sale.freight if number == 1 else Decimal(0),
            ship_by_at=sale.purchase.placed_at + timedelta(days=2),
        )
        for number, (product, quantity) in enumerate(zip(sale.products, sale.quantities, strict=True), start=1)
    )
    regions = REGIONS.get(sale.purchase.country)
    sale.say(
        sale.purchase.placed_at,
        "created",
        customer=sale.customer,
        placed_at=sale.purchase.placed_at,
        promised_at=promised_at,
        buyer=f"b{sale.rng.getrandbits(40):010x}" if sale.marketplace.names_parcels else None,
        destination_country=sale.purchase.country,
        destination_region=sale.rng.choice(regions) if regions else None,
        currency=sale.currency,
        total_minor=sale.total_minor,
        lines=lines,
    )


def _oddities(sale: Sale) -> None:
    """What goes wrong beside the order, and guests who turn into customers."""
    rng, placed_at = sale.rng, sale.purchase.placed_at
    if sale.purchase.guest and rng.random() < REGISTERED_SHARE:
        sale.customer = sale.purchase.account_customer
        sale.tell_order(placed_at + span(rng, 0.5, 100), "customer", customer=sale.customer)
    if rng.random() < STRANGER_SHARE:
        journey = travel(rng, placed_at, sale.marketplace.ships_from, sale.purchase.country)
        _scan(sale, f"parcel:{journey.carrier.number.format(n=_parcel_number(sale, 9))}", journey)
    if rng.random() < SPOILT_SHARE:
        sale.teller.spoil(placed_at + span(rng, 0.1, 20), sale.marketplace.name, sale.order)


def _cancel(sale: Sale, paid_at: datetime) -> None:
    at = paid_at + span(sale.rng, 0.2, 20)
    sale.say(at, "cancelled")
    refunded_at = at + span(sale.rng, 0.2, 30)
    minor = sale.refund(refunded_at, sale.paid_minor)
    if sale.rng.random() < 0.5:
        tell_return(sale, "cancellation", "1", at, "requested", reason="ordered_by_mistake", lines=return_lines(sale))
        tell_return(sale, "cancellation", "1", refunded_at, "refunded", refund_minor=minor, currency=sale.currency)


def _parcel_number(sale: Sale, part: int) -> int:
    return sale.purchase.number * 10 + part


def _ship(sale: Sale, paid_at: datetime) -> list[Journey]:
    rng, count = sale.rng, 1
    if len(sale.products) > 1 and rng.random() < SECOND_PARCEL_SHARE:
        count = len(sale.products)
    journeys, parcels = [], []
    for part in range(count):
        packed_at = paid_at + span(rng, 1, 14) + part * span(rng, 0, 30)
        journey = travel(rng, packed_at, sale.marketplace.ships_from, sale.purchase.country)
        parcel = f"parcel:{journey.carrier.number.format(n=_parcel_number(sale, part))}"
        sale.teller.tell(
            Parcel,
            packed_at,
            WAREHOUSE,
            WAREHOUSE_ACCOUNT,
            parcel,
            "shipment",
            leader=sale.order,
            change="shipment",
            carrier=journey.carrier.name,
            service=journey.carrier.service,
            destination_country=sale.purchase.country,
        )
        _scan(sale, parcel, journey)
        journeys.append(journey)
        parcels.append(parcel)
    shipped_at = min(journey.scans[1].at for journey in journeys)
    sale.say(shipped_at, "shipped", followers=tuple(parcels) if sale.marketplace.names_parcels else ())
    return journeys


def _scan(sale: Sale, parcel: str, journey: Journey) -> None:
    for number, scan in enumerate(journey.scans):
        sale.teller.tell(
            Parcel,
            scan.at,
            CARRIER,
            journey.carrier.name,
            parcel,
            f"{number}-{scan.code}",
            change="checkpoint",
            status=scan.status,
            carrier=journey.carrier.name,
            service=journey.carrier.service,
            country=scan.country,
            code=scan.code,
        )


def _notice(sale: Sale, journeys: list[Journey]) -> None:
    stuck = [journey.stuck_at for journey in journeys if journey.stuck_at is not None]
    if stuck and sale.rng.random() < NOTICE_SHARE:
        notify(sale.teller, _as_contact(sale, "where", min(stuck) + span(sale.rng, 1, 20)))


def _contact(sale: Sale, promised_at: datetime, arrived_at: datetime | None, *, late: bool, defect: bool) -> bool:
    """Whether and why the customer writes; returns whether there was a reason to complain."""
    rng = sale.rng
    if defect and arrived_at is not None:
        share, topic, at = CONTACT_DEFECT_SHARE, "defect", arrived_at + long_tail(rng, 60, 1.0)
    elif late:
        share, topic = CONTACT_LATE_SHARE, "where"
        at = promised_at + span(rng, 1, 60)
    else:
        share = CONTACT_SHARE
        topic = rng.choices(("where", "invoice", "wrong", "damaged"), (0.5, 0.28, 0.1, 0.12))[0]
        at = sale.purchase.placed_at + span(rng, 24, 80)
        if topic in ("wrong", "damaged") and arrived_at is not None:
            at = arrived_at + span(rng, 0.5, 60)
    wrote = rng.random() < share
    if wrote:
        converse(sale.teller, _as_contact(sale, topic, _awake(sale, at), urgent=late or defect))
        if rng.random() < SECOND_CONTACT_SHARE:
            again_at = _awake(sale, at + span(rng, 60, 200))
            converse(sale.teller, _as_contact(sale, topic, again_at, urgent=True))
    return (wrote and topic != "invoice") or defect


def _as_contact(sale: Sale, topic: str, at: datetime, *, urgent: bool = False) -> Contact:
    sale.contacts += 1
    return Contact(
        number=f"{sale.purchase.number}-{sale.contacts}",
        topic=topic,
        at=at,
        language=sale.language,
        channel=sale.marketplace.channel if sale.rng.random() < 0.85 else "email",
        customer=sale.customer,
        order=sale.order,
        order_number=sale.order_number,
        urgent=urgent,
    )


def _awake(sale: Sale, at: datetime) -> datetime:
    """The instant moved to hours in which people write."""
    waking_at = local_clock(at, sale.purchase.country, sale.rng.triangular(6.5, 23.8, 19))
    return waking_at if waking_at >= at else waking_at + timedelta(days=1)
