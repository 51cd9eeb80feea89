"""Events of a small shop with few words, and the pipeline in memory that works them off."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from streams import codec
from streams.agents import casework, correlate
from streams.agents.casework import Kept
from streams.delivery.agent import Send
from streams.delivery.local import Local
from streams.domain.events import Message, Order, Parcel, SourceEvent
from streams.domain.ids import event_id
from streams.domain.matter import Matter
from tests.identity.stories import record_of

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ORDER, CUSTOMER = "order:a:1", "customer:a:c"


def common(about: str, *said: str, **more: Any) -> dict[str, Any]:
    """What all events have, about `about`."""
    return {
        "event_id": event_id("a", about, *said),
        "event_at": NOW,
        "ingested_at": NOW,
        "account": "a",
        "about": about,
    } | more


def order(*said: str, about: str = ORDER, **more: Any) -> Order:
    return Order(status="created", placed_at=NOW, **common(about, *said, **{"customer": CUSTOMER, **more}))


def asked(thread: str, *said: str, **more: Any) -> Message:
    return Message(message_id="".join(said) or "1", author="customer", **common(thread, *said, **more))


def scan(number: int, parcel: str = "parcel:1", **more: Any) -> Parcel:
    return Parcel(change="checkpoint", status="in_transit", **common(parcel, str(number), **more))


def pipeline(partitions: int = 2) -> Local:
    """Correlate and casework in memory."""
    return Local([correlate.AGENT, casework.agent("g1")], partitions=partitions, encode_dead_letter=codec.encode)


def run(local: Local, entries: Iterable[SourceEvent | Send]) -> Local:
    """Each entry worked off before the next."""
    for entry in entries:
        local.publish(entry if isinstance(entry, Send) else record_of(entry))
        local.run()
    return local


def matters(local: Local) -> Mapping[str, Matter]:
    """By head."""
    return {value.matter.head: value.matter for value in local.state("casework").values() if isinstance(value, Kept)}


def facts(local: Local, kind: str) -> list[tuple[str, int, bool]]:
    """(about, revision, withdrawn) of what was stated of this kind."""
    said = [codec.decode(record.value) for record in local.records("matter_fact")]
    return [(fact.about, fact.revision, fact.withdrawn) for fact in said if fact.key.kind == kind]


def letters(local: Local) -> list[Any]:
    """All dead letters."""
    return [codec.decode(record.value) for record in local.records("dead_letter")]
