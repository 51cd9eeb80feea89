"""Time zones by their IANA names, from the pinned `tzdata` and never from the machine: the same facts on each. Pure."""

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

_FILES = resources.files(tzdata)


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone of a name such as `Asia/Shanghai`. Raises LookupError for a name that tzdata does not hold."""
    if name not in _names():
        raise LookupError(f"{name!r} is no time zone")
    with _FILES.joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@cache
def _names() -> frozenset[str]:
    return frozenset(_FILES.joinpath("zones").read_text().split())
