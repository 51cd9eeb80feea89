"""Input that nobody can process, and events made on purpose. Pure.

Must not know how it is published.
"""

import struct
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

from streams import codec
from streams.domain.events import Message, Order
from streams.domain.ids import event_id
from tests.end_to_end.failing_worker import UNLUCKY

ACCOUNT = "chaos"
HUGE_BYTES = 5_000_000


class Published(NamedTuple):
    """A record to be published. `partition` None: by its key."""

    noun: str
    key: str
    value: bytes
    partition: int | None = None


def poison(kind: str, seed: int, partitions: int) -> Published:
    """A record of one of `plan.POISONS`."""
    randomness = Random(seed)
    about = f"order:{ACCOUNT}:{seed}"
    match kind:
        case "no_avro":
            return Published("parcel", f"parcel:{seed}", randomness.randbytes(40))
        case "unknown_schema":
            return Published("order", about, codec.MARKER + struct.pack("<Q", seed) + randomness.randbytes(40))
        case "cut_short":
            return Published("order", about, codec.encode(order(about, seed))[:-3])
        case "huge":
            return Published("order", about, codec.encode(order(about, seed, destination_region="x" * HUGE_BYTES)))
        case "on_timeline":
            return Published("timeline", "", randomness.randbytes(40), randomness.randrange(partitions))
        case "as_text":
            return Published("message_text", f"thread:{ACCOUNT}:{seed}", randomness.randbytes(40))
        case "unlucky":
            message = Message(
                message_id=str(seed), author="customer", **_common(UNLUCKY, seed, f"customer:{ACCOUNT}:1")
            )
            return Published("message", UNLUCKY, codec.encode(message))
    raise ValueError(f"no such poison: {kind}")


def order(about: str, seed: int, customer: str | None = None, **more: Any) -> Order:
    """A good event about an order; the newest word about its customer, if it names one."""
    return Order(status="created", **_common(about, seed, customer), **more)


def _common(about: str, seed: int, customer: str | None) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "event_id": event_id(ACCOUNT, "event", about, str(seed)),
        "event_at": now,
        "ingested_at": now,
        "account": ACCOUNT,
        "about": about,
        "customer": customer,
    }
