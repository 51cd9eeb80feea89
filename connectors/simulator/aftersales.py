"""What may come after a sale: returns, claims, reviews. Pure.

Must not know how the parcels went; it is told when they arrived, if they did.
"""

from datetime import datetime, timedelta
from typing import Any

from connectors.simulator import texts
from connectors.simulator.catalogue import to_minor
from connectors.simulator.planned import MARKETPLACE, long_tail, span
from connectors.simulator.sale import LOW_VALUE, Sale
from streams.domain.events import Claim, MessageText, Return, ReturnLine, Review

DEFECT_RETURN_SHARE = 0.5
EXCHANGE_SHARE = 0.35
"""Of the returns of what is defect."""
REFUSED_SHARE = 0.06
GIVEN_UP_SHARE = 0.08
"""Of the returns with a label: the customer never sends the goods."""
RETURN_REASONS = ("not_as_expected", "changed_mind", "wrong_size", "better_price_found")

CLAIM_UNHAPPY_SHARE = 0.16
CLAIM_SHARE = 0.012
"""Of the orders without a reason to complain."""
CLAIM_LIMIT_H = 48
WITHDRAWN_SHARE = 0.1
RESPONDED_SHARE = 0.93
ESCALATED_SHARE = 0.2
WON_SHARE = 0.55
WON_UNDELIVERED_SHARE = 0.3

REVIEW_SHARE = 0.14
REVIEW_CHANGED_SHARE = 0.06
SCORES = (0.03, 0.03, 0.08, 0.26, 0.6)
"""Shares of one to five points."""
SCORES_UNHAPPY = (0.32, 0.2, 0.18, 0.16, 0.14)


def return_lines(sale: Sale) -> tuple[ReturnLine, ...]:
    """Every line of the order, as a line of a return."""
    return tuple(
        ReturnLine(
            line_id=str(number),
            sku=product.sku,
            category=product.category,
            quantity=quantity,
            unit_price=sale.price(product),
        )
        for number, (product, quantity) in enumerate(zip(sale.products, sale.quantities, strict=True), start=1)
    )


def tell_return(sale: Sale, kind: str, number: str, at: datetime, status: str, **fields: Any) -> None:
    """The marketplace tells a state of return `number` of the order."""
    sale.teller.tell(
        Return,
        at,
        MARKETPLACE,
        sale.marketplace.name,
        f"return:{sale.marketplace.name}:{sale.order_number}-{number}",
        status,
        leader=sale.order,
        kind=kind,
        status=status,
        **fields,
    )


def maybe_return(sale: Sale, arrived_at: datetime, *, defect: bool) -> None:
    """A return of one line, or an exchange of a defect one."""
    rng = sale.rng
    position = rng.randrange(len(sale.products))
    product = sale.products[position]
    if rng.random() >= (DEFECT_RETURN_SHARE if defect else product.return_share):
        return
    kind = "exchange" if defect and rng.random() < EXCHANGE_SHARE else "return"
    line = return_lines(sale)[position]
    minor = to_minor(sale.currency, line.unit_price * line.quantity)
    at = arrived_at + long_tail(rng, 96, 0.8)

    def step(status: str, after: timedelta, **fields: Any) -> None:
        nonlocal at
        at += after
        tell_return(sale, kind, "r1", at, status, **fields)

    step(
        "requested",
        timedelta(0),
        reason="defective" if defect else rng.choice(RETURN_REASONS),
        currency=sale.currency,
        refund_minor=minor,
        destination_country=sale.purchase.country,
        lines=(line,),
        customer=sale.customer if rng.random() < 0.5 else None,
    )
    if not defect and rng.random() < REFUSED_SHARE:
        step("refused", span(rng, 2, 40))
        return
    step("authorised", span(rng, 0.2, 30))
    if product.price >= LOW_VALUE:
        step("label_sent", span(rng, 0.1, 4))
        if rng.random() < GIVEN_UP_SHARE:
            step("cancelled", span(rng, 100, 300))
            return
        step("in_transit", span(rng, 20, 150))
        step("received", span(rng, 40, 200))
        step("inspected", span(rng, 3, 60))
    if kind == "return":
        refunded_at = at + span(rng, 0.5, 30)
        step("refunded", refunded_at - at, refund_minor=sale.refund(refunded_at, minor))
        if len(sale.products) == 1:
            sale.say(at + timedelta(minutes=1), "returned")
    step("closed", span(rng, 1, 50))


def maybe_claim(
    sale: Sale, promised_at: datetime, arrived_at: datetime | None, *, unhappy: bool, late: bool, defect: bool
) -> None:
    """A dispute that the platform or the payment provider runs."""
    rng = sale.rng
    share = CLAIM_UNHAPPY_SHARE if unhappy or arrived_at is None else CLAIM_SHARE
    if rng.random() >= share:
        return
    account = sale.marketplace.name if sale.marketplace.runs_claims else sale.marketplace.money_account
    claim = f"claim:{account}:{sale.order_number}"
    at = max(arrived_at or promised_at, promised_at) + span(rng, 10, 200)
    reason = "item_not_received" if late else "defective" if defect else "not_as_described"

    def step(status: str, after: timedelta, **fields: Any) -> None:
        nonlocal at
        at += after
        sale.teller.tell(Claim, at, MARKETPLACE, account, claim, status, leader=sale.order, status=status, **fields)

    step(
        "opened",
        timedelta(0),
        reason=reason,
        currency=sale.currency,
        amount_minor=sale.total_minor,
        respond_by_at=at + timedelta(hours=CLAIM_LIMIT_H),
    )
    if rng.random() < WITHDRAWN_SHARE:
        step("withdrawn", span(rng, 5, 40))
        return
    if rng.random() < RESPONDED_SHARE:
        step("responded", min(long_tail(rng, 12, 0.9), timedelta(hours=90)))
    if rng.random() < ESCALATED_SHARE:
        step("escalated", span(rng, 30, 90))
    won = rng.random() < (WON_UNDELIVERED_SHARE if arrived_at is None else WON_SHARE)
    step("won" if won else "lost", span(rng, 40, 200))
    if not won:
        sale.refund(at + span(rng, 0.1, 5), sale.total_minor)


def maybe_review(sale: Sale, arrived_at: datetime, *, unhappy: bool) -> None:
    """A review, and now and then a change of it."""
    rng = sale.rng
    if rng.random() >= REVIEW_SHARE:
        return
    score = rng.choices((1, 2, 3, 4, 5), SCORES_UNHAPPY if unhappy else SCORES)[0]
    at = arrived_at + long_tail(rng, 100, 0.8)
    _review(sale, score, at, "1", asked_at=arrived_at + timedelta(days=1))
    if rng.random() < REVIEW_CHANGED_SHARE:
        changed = min(5, score + 2) if score < 4 else score - 2
        _review(sale, changed, at + span(rng, 20, 200), "2", asked_at=None)


def _review(sale: Sale, score: int, at: datetime, version: str, *, asked_at: datetime | None) -> None:
    rng, has_text = sale.rng, sale.rng.random() < 0.6
    review = f"review:{sale.marketplace.name}:{sale.order_number}"
    event_id = sale.teller.tell(
        Review,
        at,
        MARKETPLACE,
        sale.marketplace.name,
        review,
        version,
        leader=sale.order,
        customer=sale.customer,
        review_id=sale.order_number,
        score=score,
        has_text=has_text,
        asked_at=asked_at if asked_at is not None and asked_at < at else None,
        sku=sale.products[0].sku if rng.random() < 0.8 else None,
    )
    if has_text:
        tone = "good" if score >= 4 else "mixed" if score == 3 else "bad"
        sale.teller.tell(
            MessageText,
            at,
            MARKETPLACE,
            sale.marketplace.name,
            review,
            version,
            text_of=event_id,
            text=texts.REVIEWS[tone][sale.language],
        )
