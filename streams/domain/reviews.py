"""Reviews: the newest version of each. Pure."""

from streams.domain.events import Review
from streams.domain.facts import MatterKey, ReviewState
from streams.domain.history import Folded, History, marketplace_of, of_kind, only


def fold(history: History, into: Folded) -> None:
    """State every review of the matter."""
    for id, events in of_kind(history, "review"):
        reviews = only(events, Review)
        if reviews:
            review = reviews[-1]
            into.facts[id, MatterKey(kind="review")] = ReviewState(
                account=review.account,
                marketplace=marketplace_of(reviews),
                review_id=review.review_id,
                score=review.score,
                score_max=review.score_max,
                has_text=review.has_text,
                reviewed_at=review.event_at,
                asked_at=review.asked_at,
                sku=review.sku,
                seller=review.seller,
            )
