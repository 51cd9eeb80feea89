"""What an event must be like to be let in: a bad one is refused here, before it teaches or moves anything. Pure.

Everything behind this door may rely on it: ids are well formed and of the right kind, instants are of this age, and
nothing is so long that state could outgrow a record.
"""

from datetime import datetime
from functools import cache
from typing import get_args, get_type_hints

import msgspec

from streams.domain import ids
from streams.domain.events import Event
from streams.domain.instants import EARLIEST, LATEST
from streams.errors import BadInput

MAX_EVENT_BYTES = 1_000_000
"""Of an event as a record: what a broker takes by default, less what a batch adds. Connectors publish none larger."""
MAX_EVENT_ID_BYTES = 100
MAX_NAME_BYTES = 200
"""Of an account or a marketplace: facts repeat them."""

SUBJECTS = frozenset(ids.RANKS)
CUSTOMERS = frozenset({"customer"})
ABOUT = {
    "order": frozenset({"order"}),
    "parcel": frozenset({"parcel"}),
    "return": frozenset({"return"}),
    "message": frozenset({"thread"}),
    "ticket": frozenset({"thread"}),
    "review": frozenset({"review"}),
    "claim": frozenset({"claim"}),
    "payment": frozenset({"payment"}),
}
"""Events that sources tell, and the kinds of ids that each can be about; an action can be about any."""


def check_event(event: Event, size: int) -> None:
    """`size`: of the record, in bytes.

    Raises BadInput: `too_large`, `too_long`, `wrong_id`, `wrong_leader`, `out_of_range`.
    """
    if size > MAX_EVENT_BYTES:
        raise BadInput("too_large", f"an event of {size} bytes; at most {MAX_EVENT_BYTES} are allowed")
    for name, value, most in (
        ("event_id", event.event_id, MAX_EVENT_ID_BYTES),
        ("account", event.account, MAX_NAME_BYTES),
        ("marketplace", event.marketplace, MAX_NAME_BYTES),
    ):
        if len(value) * 4 > most and len(value.encode()) > most:
            raise BadInput("too_long", f"{name} of {len(value)} characters; at most {most} bytes are allowed")
    about = ids.check_id(event.about, ABOUT.get(event.NAME, SUBJECTS))
    if event.customer:
        ids.check_id(event.customer, CUSTOMERS)
    if event.leader:
        _check_link(about, ids.check_id(event.leader, SUBJECTS))
    for follower in event.followers:
        _check_link(ids.check_id(follower, SUBJECTS), about)
    _check_instants(event)


def _check_link(lower: str, higher: str) -> None:
    if not ids.may_follow(lower, higher):
        raise BadInput("wrong_leader", f"{lower} can't follow {higher}: only an id of a higher kind can lead")


def _check_instants(struct: msgspec.Struct) -> None:
    for name in _instants_of(type(struct)):
        value = getattr(struct, name)
        if value is not None and not EARLIEST <= value <= LATEST:
            raise BadInput("out_of_range", f"{name}: {value.isoformat()} is not between {EARLIEST:%Y} and {LATEST:%Y}")
    for item in getattr(struct, "lines", ()):
        _check_instants(item)


@cache
def _instants_of(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields that are instants."""
    hints = get_type_hints(struct)
    return tuple(name for name in struct.__struct_fields__ if datetime in (hints[name], *get_args(hints[name])))
