"""Returns, exchanges and cancellations after the sale: state and lines. Pure. Rules: R-1, R-2 in docs/facts.md."""

from streams.domain.events import Return
from streams.domain.facts import MatterKey, ReturnLineState, ReturnState
from streams.domain.history import Folded, History, first, marketplace_of, newest, of_kind, only
from streams.domain.orders import ZERO

ENDED = frozenset({"closed", "refused", "cancelled"})


def fold(history: History, into: Folded) -> None:
    """State every return of the matter and its lines."""
    for id, events in of_kind(history, "return"):
        returns = only(events, Return)
        if returns:
            _fold_return(id, returns, into)


def _fold_return(id: str, returns: list[Return], into: Folded) -> None:
    account, marketplace = returns[-1].account, marketplace_of(returns)
    currency = newest(event.currency for event in returns)
    lines = {line.line_id: (line, event) for event in returns for line in event.lines}
    for line_id, (line, event) in lines.items():
        into.facts[id, MatterKey(kind="return_line", item=line_id)] = ReturnLineState(
            account=account,
            marketplace=marketplace,
            sku=line.sku,
            category=line.category,
            quantity=line.quantity,
            unit_price=line.unit_price,
            line_at=event.event_at,
            currency=currency,
        )
    status = newest(event.status for event in returns if event.status != "unknown") or "unknown"
    into.facts[id, MatterKey(kind="return")] = ReturnState(
        account=account,
        marketplace=marketplace,
        kind=newest(event.kind for event in returns if event.kind != "unknown") or "unknown",
        status=status,
        reason=newest(event.reason for event in returns),
        requested_at=returns[0].event_at,
        received_at=first(event.event_at for event in returns if event.status == "received"),
        refunded_at=first(event.event_at for event in returns if event.status == "refunded"),
        closed_at=first(event.event_at for event in returns if event.status in ENDED) if status in ENDED else None,
        currency=currency,
        refund_minor=newest(event.refund_minor for event in returns),
        destination_country=newest(event.destination_country for event in returns),
        line_count=len(lines),
        goods_total=sum((line.unit_price * line.quantity for line, _ in lines.values()), ZERO),
    )
