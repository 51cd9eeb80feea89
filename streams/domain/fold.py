"""The fold: what the history of a matter says, given reference data and how far accounts have been heard. Pure.

The same function runs live, in replay, in tests and in `aftersales scenario`. It reads no clock and keeps nothing:
whatever the order in which events arrived, the same history gives the same facts.
"""

from streams.domain import claims, conversations, orders, parcels, payments, returns, reviews, sla
from streams.domain.history import Folded, History, Horizon, References

FOLD_VERSION = 1
"""Counted up with every change of what these rules say; recorded in every fact."""


def fold(history: History, references: References, horizon: Horizon) -> Folded:
    """Facts of the matter, and the instants at which a fact will change by time alone."""
    into = Folded({}, [])
    orders.fold(history, horizon, into)
    parcels.fold(history, into)
    returns.fold(history, into)
    conversations.fold(history, into)
    sla.fold(history, references, horizon, into)
    claims.fold(history, into)
    reviews.fold(history, into)
    payments.fold(history, into)
    return into
