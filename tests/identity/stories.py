"""Random stories about orders, parcels, claims and threads."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from streams import codec
from streams.delivery.agent import Send
from streams.domain.events import Claim, Message, Order, Parcel, SourceEvent
from streams.domain.ids import event_id, kind_of

START = datetime(2026, 3, 2, tzinfo=UTC)
ACCOUNT = "shop"


@dataclass
class Story:
    """Events in the order in which they are published."""

    events: list[SourceEvent] = field(default_factory=list)

    def add(
        self,
        about: str,
        at: float,
        *,
        customer: str | None = None,
        leader: str | None = None,
        followers: Iterable[str] = (),
    ) -> None:
        number = len(self.events) + 1
        instant = START + timedelta(hours=at)
        common: dict[str, Any] = {
            "event_id": event_id(ACCOUNT, "story", str(number)),
            "event_at": instant,
            "ingested_at": instant,
            "account": ACCOUNT,
            "sequence": number,
            "about": about,
            "customer": customer,
            "leader": leader,
            "followers": tuple(followers),
        }
        event: SourceEvent
        match kind_of(about):
            case "order":
                event = Order(status="created", placed_at=instant, promised_at=instant + timedelta(hours=30), **common)
            case "parcel":
                event = Parcel(change="checkpoint", status="delivered" if number % 3 == 0 else "in_transit", **common)
            case "claim":
                event = Claim(status="opened", **common)
            case "thread":
                author = "customer" if number % 3 else "agent"
                event = Message(message_id=str(number), author=author, **common)
            case kind:
                raise AssertionError(kind)
        self.events.append(event)


def record_of(event: SourceEvent) -> Send:
    """The event as a record of its topic."""
    return Send(event.NAME, event.about.encode(), codec.encode(event))


def random_story(randomness: Random) -> Story:
    """Orders with parcels, claims and threads; scans that know only a parcel; orders that change their customer,
    parcels their order; threads that learn their order later; an order that nobody ever sees.
    """
    story = Story()

    def at() -> float:
        return randomness.randint(0, 50)

    orders = [f"order:{ACCOUNT}:{number}" for number in range(randomness.randint(1, 3))]
    for order in orders:
        name = order.rpartition(":")[2]
        parcels = [f"parcel:{name}{number}" for number in range(randomness.randint(1, 2))]
        for _ in range(randomness.randint(1, 3)):
            followers = parcels if randomness.random() < 0.5 else ()
            story.add(order, at(), customer=_customer(randomness), followers=followers)
        for parcel in parcels:
            leader = order if randomness.random() < 0.8 else randomness.choice(orders)
            story.add(parcel, at(), leader=leader)
            for _ in range(randomness.randint(0, 3)):
                story.add(parcel, at())
            if randomness.random() < 0.4:
                claim = f"claim:{ACCOUNT}:{parcel[7:]}"
                story.add(claim, at(), leader=parcel)
                story.add(claim, at())
        if randomness.random() < 0.6:
            for _ in range(randomness.randint(1, 3)):
                leader_of_thread = randomness.choice([None, order, f"order:{ACCOUNT}:unseen"])
                story.add(f"thread:{ACCOUNT}:{name}", at(), customer=_customer(randomness), leader=leader_of_thread)
    randomness.shuffle(story.events)
    return story


def _customer(randomness: Random) -> str:
    return f"customer:{ACCOUNT}:{randomness.randint(0, 2)}"
