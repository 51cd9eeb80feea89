"""What sources say: one struct per event of `schemas/`, flat (the envelope's fields first). Values only.

Instants are aware datetimes in UTC. Field meanings stand in the schemas, which are the source of truth; a test holds
the two together. Enumerations are their symbols as text.
"""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, TypeAlias

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, array_like=True, omit_defaults=False, gc=False):
    """What every event has in common: who says what about which id, and when (`schemas/envelope.avsc`)."""

    NAME: ClassVar[str]

    event_id: str
    event_at: datetime
    ingested_at: datetime
    account: str
    marketplace: str = ""
    sequence: int = 0
    about: str
    customer: str | None = None
    leader: str | None = None
    followers: tuple[str, ...] = ()

    @property
    def order_key(self) -> tuple[datetime, int, int, str]:
        """Sorts events into the order in which they happened.

        Event time; on a tie a customer's message comes before its answer, then the source's sequence, then the id.
        """
        return self.event_at, 1, self.sequence, self.event_id


ENVELOPE_FIELDS = Event.__struct_fields__


class OrderLine(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    line_id: str
    sku: str
    seller: str | None = None
    category: str | None = None
    quantity: int
    unit_price: Decimal
    freight: Decimal | None = None
    ship_by_at: datetime | None = None


class Order(Event, frozen=True, kw_only=True, array_like=True, tag="order", gc=False):
    NAME = "order"

    status: str | None = None
    placed_at: datetime | None = None
    promised_at: datetime | None = None
    buyer: str | None = None
    destination_country: str | None = None
    destination_region: str | None = None
    currency: str | None = None
    total_minor: int | None = None
    lines: tuple[OrderLine, ...] = ()


class Parcel(Event, frozen=True, kw_only=True, array_like=True, tag="parcel", gc=False):
    NAME = "parcel"

    change: str
    status: str | None = None
    carrier: str | None = None
    service: str | None = None
    promised_at: datetime | None = None
    destination_country: str | None = None
    country: str | None = None
    code: str | None = None


class ReturnLine(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    line_id: str
    sku: str
    category: str | None = None
    quantity: int
    unit_price: Decimal


class Return(Event, frozen=True, kw_only=True, array_like=True, tag="return", gc=False):
    NAME = "return"

    kind: str
    status: str | None = None
    reason: str | None = None
    currency: str | None = None
    refund_minor: int | None = None
    destination_country: str | None = None
    lines: tuple[ReturnLine, ...] = ()


class Message(Event, frozen=True, kw_only=True, array_like=True, tag="message", gc=False):
    NAME = "message"

    message_id: str
    author: str
    channel: str = ""
    in_reply_to: str | None = None
    agent: str | None = None
    has_attachment: bool = False

    @property
    def order_key(self) -> tuple[datetime, int, int, str]:
        """As for every event; a customer's message comes before all else of the same instant (S, section 1.2)."""
        return self.event_at, 0 if self.author == "customer" else 1, self.sequence, self.event_id


class MessageText(Event, frozen=True, kw_only=True, array_like=True, tag="message_text", gc=False):
    NAME = "message_text"

    text_of: str
    subject: str | None = None
    text: str


class Review(Event, frozen=True, kw_only=True, array_like=True, tag="review", gc=False):
    NAME = "review"

    review_id: str
    score: int
    score_max: int = 5
    has_text: bool = False
    asked_at: datetime | None = None
    sku: str | None = None
    seller: str | None = None


class Claim(Event, frozen=True, kw_only=True, array_like=True, tag="claim", gc=False):
    NAME = "claim"

    status: str
    reason: str | None = None
    respond_by_at: datetime | None = None
    currency: str | None = None
    amount_minor: int | None = None


class Ticket(Event, frozen=True, kw_only=True, array_like=True, tag="ticket", gc=False):
    NAME = "ticket"

    change: str
    status: str | None = None
    source_status: str | None = None
    team: str | None = None
    assignee: str | None = None
    priority: str | None = None
    category: str | None = None
    other: str | None = None
    reported_resolved_at: datetime | None = None
    reported_closed_at: datetime | None = None
    reported_reopen_count: int | None = None
    reported_sla_met: bool | None = None


class Payment(Event, frozen=True, kw_only=True, array_like=True, tag="payment", gc=False):
    NAME = "payment"

    kind: str
    method: str
    currency: str
    amount_minor: int
    instalments: int | None = None


class ActionResult(Event, frozen=True, kw_only=True, array_like=True, tag="action_result", gc=False):
    NAME = "action_result"

    action_id: str
    action: str
    result: str
    detail: str | None = None


SourceEvent: TypeAlias = Order | Parcel | Return | Message | Review | Claim | Ticket | Payment | ActionResult
"""What goes to a timeline. A MessageText does not: it has a topic of its own, with a short retention."""


# Entries that the pipeline itself writes


class Classification(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "classification"

    text_of: str
    about: str
    account: str
    event_at: datetime
    language: str
    language_probability: float
    model: str


class SourcePosition(msgspec.Struct, frozen=True, kw_only=True):
    topic: str
    partition: int
    offset: int


class ReadThrough(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "read_through"

    account: str
    through_at: datetime
    live: bool
    live_from: datetime | None = None
    published_at: datetime
    positions: tuple[SourcePosition, ...] = ()


class AccountClock(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    account: str
    heard_until: datetime
    live: bool
    live_from: datetime | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "tick"

    now: datetime
    accounts: tuple[AccountClock, ...] = ()
    archive_until: datetime | None = None


class ResponseTargets(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    first_response_s: int
    resolution_s: int


class Reference(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    NAME: ClassVar[str] = "reference"

    name: str
    version: int
    effective_at: datetime | None = None
    published_at: datetime
    published_by: str
    reason: str
    body: ResponseTargets


class Place(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "place"

    id: str
    customer: str
    matter: str
    revision: int
    provisional: bool


class PlaceMessage(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "place_message"

    kind: str
    sender: str
    customer: str | None = None
    matter: str | None = None
    said_at: datetime | None = None
    said_by: str | None = None
    nearness: int = 0


class Move(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "move"

    step: str
    id: str
    number: int
    matter: str
    to_customer: str | None = None
    to_matter: str | None = None
    past: bytes | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "dead_letter"

    dead_letter_id: str
    reason: str
    detail: str
    agent: str
    account: str | None = None
    origin_topic: str | None = None
    origin_partition: int | None = None
    origin_offset: int | None = None
    origin_file: str | None = None
    origin_line: int | None = None
    raw_size: int
    raw_sha256: str
    raw: bytes


class DeadLetterReplay(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "dead_letter_replay"

    dead_letter_id: str
    replayed_at: datetime


class RecalledPast(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    past: bytes


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "recall"

    matter: str
    asked_at: datetime
    by: str
    pasts: tuple[RecalledPast, ...]


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "retry"

    matter: str
    asked_at: datetime
    by: str


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "cursor"

    source: str
    file_sha256: str
    mapping_sha256: str
    row: int
    finished: bool


class ClockProbe(msgspec.Struct, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "clock_probe"

    now: datetime
    instance: str
