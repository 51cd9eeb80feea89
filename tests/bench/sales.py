"""Sales as sources tell of them: an order, its payment, its parcel, a conversation. Ten events each. Pure.

All ids have the same length in every sale, so the bytes of one become those of another by putting ids in the place of
ids.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import shake_128
from typing import Any, NamedTuple, TypeVar

from streams.domain.events import Event, Message, Order, OrderLine, Parcel, Payment, SourceEvent, Ticket
from streams.domain.reference import SHIPPED

E = TypeVar("E", bound=Event)

EVENTS = 10
LASTS_S = 9.0
"""From the first event of a sale to its last."""
DIGITS = 12
SHOP, CARRIER = "shop", "carrier"
ACCOUNTS = (SHOP, CARRIER)
TARGET = timedelta(seconds=SHIPPED.response_targets[0].body.first_response_s)
"""Of a first response, as shipped."""


class Said(NamedTuple):
    """One event, and when its source tells of it."""

    after_s: float
    """Seconds after the sale began."""
    event: SourceEvent


class Ids(NamedTuple):
    """What tells a sale from others."""

    digits: str
    """`DIGITS` of them, in the ids of all that belongs to the sale."""
    events: Sequence[str]
    """An id for each event."""

    @property
    def order(self) -> str:
        return f"order:{SHOP}:{self.digits}"

    @property
    def customer(self) -> str:
        return f"customer:{SHOP}:{self.digits}"


def ids_of(number: int) -> Ids:
    """Ids that look drawn, as real ones do: they can't be compressed. No two numbers have the same."""
    drawn = shake_128(number.to_bytes(8, "big")).hexdigest(16 * EVENTS)
    uuids = (drawn[at : at + 32] for at in range(0, len(drawn), 32))
    # 3**18 and 10**12 have no common divisor.
    digits = f"{number * 3**18 % 10**DIGITS:0{DIGITS}d}"
    return Ids(digits, [f"{u[:8]}-{u[8:12]}-5{u[13:16]}-8{u[17:20]}-{u[20:]}" for u in uuids])


def sale(ids: Ids, at: datetime, *, answered: bool, known_after: timedelta = timedelta()) -> list[Said]:
    """The events of a sale, which begins `at`, in order.

    The customer's question becomes known so much after it was asked. `answered`: an agent answers it; else a colleague
    is asked, which is no answer.
    """
    said: list[Said] = []
    order, parcel, thread = ids.order, f"parcel:{ids.digits}", f"thread:{SHOP}:{ids.digits}"

    def tell(
        kind: type[E], after_s: float, account: str, about: str, /, *, ago: timedelta = timedelta(), **fields: Any
    ) -> None:
        known_at = at + timedelta(seconds=after_s)
        event = kind(
            event_id=ids.events[len(said)],
            event_at=known_at - ago,
            ingested_at=known_at,
            account=account,
            marketplace="amazon-de",
            about=about,
            **fields,
        )
        assert isinstance(event, SourceEvent)
        said.append(Said(after_s, event))

    line = OrderLine(line_id="1", sku="garden-hose-20", category="garden", quantity=1, unit_price=Decimal("19.90"))
    tell(
        Order,
        0.0,
        SHOP,
        order,
        customer=ids.customer,
        status="created",
        placed_at=at,
        promised_at=at + timedelta(days=3),
        destination_country="DE",
        currency="EUR",
        total_minor=1990,
        lines=(line,),
    )
    money: dict[str, Any] = {"kind": "payment", "method": "card", "currency": "EUR", "amount_minor": 1990}
    tell(Payment, 1.0, SHOP, f"payment:{SHOP}:{ids.digits}", leader=order, **money)
    tell(Parcel, 2.0, SHOP, parcel, leader=order, change="shipment", carrier="dhl", destination_country="DE")
    tell(Message, 2.5, SHOP, thread, ago=known_after, leader=order, message_id="1", author="customer", channel="email")
    tell(Parcel, 3.0, CARRIER, parcel, change="checkpoint", status="picked_up", carrier="dhl", country="DE")
    tell(Ticket, 3.5, SHOP, thread, change="assignment", status="open", team="service", assignee="lee")
    author = "agent" if answered else "internal"
    tell(Message, 4.5, SHOP, thread, message_id="2", author=author, channel="email", agent="lee")
    tell(Parcel, 6.0, CARRIER, parcel, change="checkpoint", status="in_transit", carrier="dhl", country="DE")
    tell(Parcel, 8.0, CARRIER, parcel, change="checkpoint", status="delivered", carrier="dhl", country="DE")
    tell(Ticket, LASTS_S, SHOP, thread, change="status", status="resolved")
    return said
