"""What casework states: outcomes of timers and current states of what a matter consists of. Values only.

A fact has a key, a value and a revision. Two facts are equal when their values are (revision, cause and version of the
rules apart). Field meanings stand in `schemas/timer_fact.avsc` and `schemas/matter_fact.avsc`; a test holds them
together.
"""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, TypeAlias

import msgspec


class OrderState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="order", gc=False):
    """Current state of an order."""

    KIND: ClassVar[str] = "order"

    account: str
    marketplace: str
    status: str
    placed_at: datetime
    approved_at: datetime | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    cancelled_at: datetime | None = None
    promised_at: datetime | None = None
    buyer: str | None = None
    destination_country: str | None = None
    destination_region: str | None = None
    currency: str | None = None
    total_minor: int | None = None
    line_count: int
    parcel_count: int
    goods_total: Decimal
    freight_total: Decimal


class OrderLineState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="order_line", gc=False):
    """Current state of an order line; `item` of the fact is its line_id."""

    KIND: ClassVar[str] = "order_line"

    account: str
    marketplace: str
    sku: str
    seller: str | None = None
    category: str | None = None
    quantity: int
    unit_price: Decimal
    freight: Decimal | None = None
    ship_by_at: datetime | None = None
    line_at: datetime
    currency: str | None = None


class ParcelState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="parcel", gc=False):
    """Current state of a parcel."""

    KIND: ClassVar[str] = "parcel"

    account: str
    marketplace: str
    status: str
    carrier: str | None = None
    service: str | None = None
    promised_at: datetime | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    last_scan_at: datetime | None = None
    scan_count: int
    destination_country: str | None = None


class ReturnState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="return", gc=False):
    """Current state of a return."""

    KIND: ClassVar[str] = "return"

    account: str
    marketplace: str
    kind: str
    status: str
    reason: str | None = None
    requested_at: datetime
    received_at: datetime | None = None
    refunded_at: datetime | None = None
    closed_at: datetime | None = None
    currency: str | None = None
    refund_minor: int | None = None
    destination_country: str | None = None
    line_count: int
    goods_total: Decimal


class ReturnLineState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="return_line", gc=False):
    """Current state of a return line; `item` of the fact is its line_id."""

    KIND: ClassVar[str] = "return_line"

    account: str
    marketplace: str
    sku: str
    category: str | None = None
    quantity: int
    unit_price: Decimal
    line_at: datetime
    currency: str | None = None


class CaseState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="case", gc=False):
    """Current state of a case: a conversation with a customer; `item` of the fact is its case_id."""

    KIND: ClassVar[str] = "case"

    account: str
    marketplace: str
    channel: str
    status: str
    source_status: str | None = None
    opened_at: datetime
    opened_by: str
    first_response_at: datetime | None = None
    first_resolved_at: datetime | None = None
    resolved_at: datetime | None = None
    last_resolved_at: datetime | None = None
    closed_at: datetime | None = None
    first_assigned_at: datetime | None = None
    reopen_count: int
    customer_message_count: int
    agent_message_count: int
    team: str | None = None
    assignee: str | None = None
    priority: str | None = None
    category: str | None = None
    last_event_at: datetime
    reported_resolved_at: datetime | None = None
    reported_closed_at: datetime | None = None
    reported_reopen_count: int | None = None
    reported_sla_met: bool | None = None


class ClaimState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="claim", gc=False):
    """Current state of a claim."""

    KIND: ClassVar[str] = "claim"

    account: str
    marketplace: str
    status: str
    reason: str | None = None
    opened_at: datetime
    respond_by_at: datetime | None = None
    responded_at: datetime | None = None
    decided_at: datetime | None = None
    currency: str | None = None
    amount_minor: int | None = None


class ReviewState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="review", gc=False):
    """Current state of a review."""

    KIND: ClassVar[str] = "review"

    account: str
    marketplace: str
    review_id: str
    score: int
    score_max: int
    has_text: bool
    reviewed_at: datetime
    asked_at: datetime | None = None
    sku: str | None = None
    seller: str | None = None


class PaymentState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="payment", gc=False):
    """Current state of a payment."""

    KIND: ClassVar[str] = "payment"

    account: str
    marketplace: str
    kind: str
    method: str
    currency: str
    amount_minor: int
    instalments: int | None = None
    paid_at: datetime


class QuarantineState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="quarantine", gc=False):
    """A matter that the rules failed on: it keeps its events and states nothing until it is retried."""

    KIND: ClassVar[str] = "quarantine"

    customer: str
    reason: str
    detail: str
    event_count: int


FactState: TypeAlias = (
    OrderState
    | OrderLineState
    | ParcelState
    | ReturnState
    | ReturnLineState
    | CaseState
    | ClaimState
    | ReviewState
    | PaymentState
    | QuarantineState
)


class TimerState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="timer", gc=False):
    """Outcome of a timer: met if and only if `stopped_at` is not after `due_at`."""

    KIND: ClassVar[str] = "timer"

    account: str
    marketplace: str
    started_at: datetime
    due_at: datetime | None = None
    stopped_at: datetime | None = None
    result: str
    target_s: int | None = None
    elapsed_s: float | None = None
    policy_version: int | None = None
    explained_by: tuple[str, ...] = ()


class TimerKey(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, order=True, tag="timer", gc=False, cache_hash=True
):
    """Key of a timer fact, within a generation."""

    case_id: str
    timer: str
    cycle: int = 1
    level: str = "result"


class MatterKey(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, order=True, tag="matter", gc=False, cache_hash=True
):
    """Key of a matter fact, within a generation and an id."""

    kind: str
    item: str = ""


class TimerFact(msgspec.Struct, frozen=True, kw_only=True):
    """A statement about a timer, as it stands on the topic."""

    NAME: ClassVar[str] = "timer_fact"

    generation: str
    about: str
    key: TimerKey
    revision: int
    withdrawn: bool
    cause: str
    fold_version: int
    state: TimerState


class MatterFact(msgspec.Struct, frozen=True, kw_only=True):
    """A statement about a part of a matter, as it stands on the topic."""

    NAME: ClassVar[str] = "matter_fact"

    generation: str
    about: str
    key: MatterKey
    revision: int
    withdrawn: bool
    cause: str
    fold_version: int
    state: FactState
