"""Time zones by their IANA names, from the pinned `tzdata` and never from the machine: the same facts on each. Pure."""

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

IANA_VERSION: str = tzdata.IANA_VERSION


def zone_of(name: str) -> ZoneInfo:
    """The zone of a name such as `Asia/Shanghai`. Raises LookupError for a name that tzdata does not hold."""
    return _load(name)


@cache
def names() -> frozenset[str]:
    """Every name that there is."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split())


@cache
def _load(name: str) -> ZoneInfo:
    if name not in names():
        raise LookupError(f"{name!r} is no time zone")
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
