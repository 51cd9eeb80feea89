"""Events by hand and at random, for tests of the rules."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from streams.domain.events import Claim, Event, Message, Order, Parcel, Payment, Return, Review, SourceEvent, Ticket
from streams.domain.facts import FactState, MatterKey, TimerKey, TimerState
from streams.domain.fold import fold
from streams.domain.history import Events, FactKey, Folded, History, Horizon, add_event
from streams.domain.ids import event_id
from streams.domain.reference import SHIPPED
from streams.scenario.story import symbols

START = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
ORDER, PARCEL, RETURN, THREAD = "order:shop:O1", "parcel:P1", "return:shop:R1", "thread:shop:T1"
NEVER = datetime(2020, 1, 1, tzinfo=UTC)
LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    """Hours after the start of every story."""
    return START + timedelta(hours=hours)


def envelope(number: int, about: str, hours: float, **more: Any) -> dict[str, Any]:
    instant = at(hours)
    said = {"event_at": instant, "ingested_at": instant, "account": "shop", "sequence": number, "about": about}
    return {**said, "event_id": event_id("shop", "test", str(number)), **more}


def message(number: int, hours: float, author: str, **more: Any) -> Message:
    return Message(message_id=str(number), author=author, **envelope(number, THREAD, hours, **more))


def ticket(number: int, hours: float, status: str | None, **more: Any) -> Ticket:
    return Ticket(change="status", status=status, **envelope(number, THREAD, hours, **more))


def order(number: int, hours: float, **more: Any) -> Order:
    return Order(**envelope(number, ORDER, hours, **more))


def parcel(number: int, hours: float, status: str | None = None, id: str = PARCEL, **more: Any) -> Parcel:
    change = "checkpoint" if status else "shipment"
    return Parcel(change=change, status=status, **envelope(number, id, hours, **more))


def payment(number: int, hours: float, **more: Any) -> Payment:
    said = envelope(number, "payment:shop:Y1", hours)
    return Payment(**{"kind": "refund", "method": "card", "currency": "EUR", "amount_minor": number, **said, **more})


def history_of(events: Iterable[Event]) -> History:
    """The events by the id they are about, one by one, in the order in which they came."""
    found: dict[str, Events] = {}
    for event in events:
        assert isinstance(event, SourceEvent)
        found[event.about] = add_event(found.get(event.about, ()), event)
    return found


def folded(events: Iterable[Event], horizon: datetime | Horizon = LONG_AFTER) -> Folded:
    heard = horizon if callable(horizon) else lambda _: horizon
    return fold(history_of(events), SHIPPED, heard)


def facts(events: Iterable[Event], horizon: datetime = LONG_AFTER) -> dict[FactKey, TimerState | FactState]:
    return folded(events, horizon).facts


def timer(events: Iterable[Event], name: str, horizon: datetime = LONG_AFTER) -> TimerState | None:
    """The timer of the thread or order in `events`."""
    found = [
        state
        for (_, key), state in facts(events, horizon).items()
        if isinstance(key, TimerKey) and key.timer == name and isinstance(state, TimerState)
    ]
    return found[0] if found else None


def fact(events: Iterable[Event], kind: str, item: str | None = None) -> Any:
    """The state of a kind; there must be exactly one."""
    (state,) = (
        state
        for (_, key), state in facts(events).items()
        if isinstance(key, MatterKey) and key.kind == kind and item in (None, key.item)
    )
    return state


# ---- at random

_HOURS = st.integers(0, 60)
_ACCOUNTS = st.sampled_from(["shop", "carrier-a", "carrier-b"])
_PARCELS = ("parcel:P1", "parcel:P2")


@st.composite
def _events(draw: st.DrawFn, number: int) -> SourceEvent:
    hours, account = draw(_HOURS), draw(_ACCOUNTS)
    later = st.none() | st.builds(at, _HOURS)
    followers = st.sets(st.sampled_from(_PARCELS)).map(lambda parcels: tuple(sorted(parcels)))
    match draw(st.sampled_from(["message", "message", "ticket", "order", "parcel", "parcel", "return", "other"])):
        case "message":
            author = draw(st.sampled_from(symbols("message", "author")))
            return message(number, hours, author, account=account)
        case "ticket":
            status = draw(st.none() | st.sampled_from(symbols("ticket", "status")))
            return ticket(number, hours, status, account=account)
        case "order":
            status = draw(st.none() | st.sampled_from(symbols("order", "status")))
            more = {"promised_at": draw(later), "account": account, "followers": draw(followers)}
            return order(number, hours, status=status, **more)
        case "parcel":
            return parcel(
                number,
                hours,
                draw(st.none() | st.sampled_from(symbols("parcel", "status"))),
                draw(st.sampled_from(_PARCELS)),
                leader=draw(st.sampled_from([None, ORDER, RETURN])),
                promised_at=draw(later),
                account=account,
            )
        case "return":
            status = draw(st.none() | st.sampled_from(symbols("return", "status")))
            return Return(kind="return", status=status, **envelope(number, RETURN, hours, followers=draw(followers)))
    others: list[SourceEvent] = [
        Claim(status=draw(st.sampled_from(symbols("claim", "status"))), **envelope(number, "claim:shop:L1", hours)),
        Review(review_id="V1", score=number % 5 + 1, **envelope(number, "review:shop:V1", hours)),
        payment(number, hours),
    ]
    return draw(st.sampled_from(others))


@st.composite
def stories(draw: st.DrawFn) -> Sequence[SourceEvent]:
    """Events of one matter: a conversation, an order with two parcels, a return, and more; ids and hours collide."""
    return [draw(_events(number)) for number in range(draw(st.integers(1, 12)))]


def conversations(max_size: int = 10) -> st.SearchStrategy[list[SourceEvent]]:
    """Events of one thread."""
    single = st.one_of(
        st.tuples(st.just("message"), _HOURS, st.sampled_from(symbols("message", "author"))),
        st.tuples(st.just("ticket"), _HOURS, st.none() | st.sampled_from(symbols("ticket", "status"))),
    )

    def build(said: list[tuple[str, int, str | None]]) -> list[SourceEvent]:
        return [
            message(number, hours, str(word)) if kind == "message" else ticket(number, hours, word)
            for number, (kind, hours, word) in enumerate(said)
        ]

    return st.lists(single, min_size=1, max_size=max_size).map(build)
