"""Payments and refunds: the newest version of each. Pure."""

from streams.domain.events import Payment
from streams.domain.facts import MatterKey, PaymentState
from streams.domain.history import Folded, History, marketplace_of, of_kind, only


def fold(history: History, into: Folded) -> None:
    """State every payment of the matter."""
    for id, events in of_kind(history, "payment"):
        payments = only(events, Payment)
        if payments:
            payment = payments[-1]
            into.facts[id, MatterKey(kind="payment")] = PaymentState(
                account=payment.account,
                marketplace=marketplace_of(payments),
                kind=payment.kind,
                method=payment.method,
                currency=payment.currency,
                amount_minor=payment.amount_minor,
                instalments=payment.instalments,
                paid_at=payment.event_at,
            )
