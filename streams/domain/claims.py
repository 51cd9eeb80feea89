"""Claims: disputes that platforms run. Pure. Rules: L-1 in docs/facts.md."""

from streams.domain.events import Claim
from streams.domain.facts import ClaimState, MatterKey
from streams.domain.history import Folded, History, first, marketplace_of, newest, of_kind, only

DECIDED = frozenset({"won", "lost", "withdrawn", "closed"})


def fold(history: History, into: Folded) -> None:
    """State every claim of the matter."""
    for id, events in of_kind(history, "claim"):
        claims = only(events, Claim)
        if claims:
            into.facts[id, MatterKey(kind="claim")] = _state(claims)


def _state(claims: list[Claim]) -> ClaimState:
    status = newest(claim.status for claim in claims if claim.status != "unknown") or "unknown"
    return ClaimState(
        account=claims[-1].account,
        marketplace=marketplace_of(claims),
        status=status,
        reason=newest(claim.reason for claim in claims),
        opened_at=claims[0].event_at,
        respond_by_at=newest(claim.respond_by_at for claim in claims),
        responded_at=first(claim.event_at for claim in claims if claim.status == "responded"),
        decided_at=first(claim.event_at for claim in claims if claim.status in DECIDED) if status in DECIDED else None,
        currency=newest(claim.currency for claim in claims),
        amount_minor=newest(claim.amount_minor for claim in claims),
    )
