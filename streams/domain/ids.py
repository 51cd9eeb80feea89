"""Ids carry their kind: `order:<account>:<id>`, `parcel:<number>`, `customer:<account>:<pseudonym>`.

Kinds are ranked: an id may follow an id of a lower rank number (a parcel an order, a claim a parcel), never the other
way round, so that following ends. The rules of identity stand in docs/identity.md.
"""

import hashlib
import re
import uuid

from streams.errors import BadInput

RANKS = {"order": 0, "return": 1, "parcel": 2, "thread": 3, "payment": 3, "review": 3, "claim": 4}
"""Kinds of ids that events can be about. An id follows only ids with a smaller number."""

MAX_ID_BYTES = 300
"""Of an id in UTF-8: some thousands of them have to fit into one record of state."""
PROVISIONAL = "provisional:"
NAMESPACE = uuid.UUID("6a2f41a3-c54c-5ce8-8f3e-5d6f0e7a9a11")
_WELL_FORMED = re.compile(r"[a-z]+:[^\s:\x00-\x1f\x7f][^\s\x00-\x1f\x7f]*")


def kind_of(id: str) -> str:
    """`order` of `order:amazon-de:306-1`."""
    return id.partition(":")[0]


def check_id(id: str, kinds: frozenset[str] | None = None) -> str:
    """`id` itself. Raises BadInput `wrong_id` if it is not well formed, too long, or of none of `kinds`."""
    if len(id) > MAX_ID_BYTES or len(id.encode()) > MAX_ID_BYTES:
        raise BadInput("wrong_id", f"an id of {len(id)} characters; at most {MAX_ID_BYTES} bytes are allowed")
    if not _WELL_FORMED.fullmatch(id):
        raise BadInput("wrong_id", f"{id!r} is not of the form kind:id")
    if kinds is not None and kind_of(id) not in kinds:
        raise BadInput("wrong_id", f"{id!r} is none of {', '.join(sorted(kinds))}")
    return id


def may_follow(id: str, leader: str) -> bool:
    """Whether the kind of `id` may follow the kind of `leader`."""
    return RANKS.get(kind_of(leader), 99) < RANKS.get(kind_of(id), -1)


def provisional(head: str) -> str:
    """Customer of a matter whose customer is unknown, named after its head."""
    return PROVISIONAL + head


def is_provisional(customer: str) -> bool:
    """Whether the customer is still unknown."""
    return customer.startswith(PROVISIONAL)


def event_id(account: str, kind: str, *said: str) -> str:
    """Id of an event: UUIDv5 of what the source says (account, kind, its own id and version).

    The same arguments give the same id, so an event that is read twice is one event.
    """
    return str(uuid5("\x1f".join((account, kind, *said))))


def uuid5(name: str) -> uuid.UUID:
    """UUIDv5 in the namespace of this project (RFC 9562, section 5.5)."""
    digest = hashlib.sha1(NAMESPACE.bytes + name.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5)
