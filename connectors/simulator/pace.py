"""How the market's own time runs in real time: history as it was, then live, faster, and held when nobody fed it. Pure.

Up to the instant at which it goes live, the market's time is real time. From then on it runs `speed` times as fast, so
that something happens every second with few orders. After a long pause it goes on where it was left. The mapping only
ever grows by such pauses, and never changes for instants that have been published, so a record that is published again
is the same record. Must not know the present.
"""

from bisect import bisect_left
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import msgspec

from connectors.simulator.planned import Planned
from streams.domain.events import Event

S = TypeVar("S", bound=msgspec.Struct)

MILLISECOND_US = 1000


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """From here on (exclusive) the market's time passes at `speed`, counted from these two instants."""

    market_at: datetime
    real_at: datetime
    speed: float


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A monotone mapping of market time to real time: `anchors` in order, at least one."""

    anchors: tuple[Anchor, ...]

    def __post_init__(self) -> None:
        for one, other in pairwise(self.anchors):
            assert one.market_at <= other.market_at, "anchors stand in order"
            assert one.real_at <= other.real_at, "anchors stand in order"

    @classmethod
    def going_live(cls, live_at: datetime, speed: float) -> "Pace":
        """Real time up to `live_at`, then `speed` times as fast."""
        return cls(anchors=(Anchor(market_at=live_at, real_at=live_at, speed=speed),))

    def held(self, from_at: datetime, until_at: datetime) -> "Pace":
        """The same, but from one real instant until another the market stands still."""
        # What came to pass by then was rounded down.
        market_at = self.to_market(from_at + timedelta(milliseconds=1))
        anchor = Anchor(market_at=market_at, real_at=until_at, speed=self.anchors[-1].speed)
        return Pace(anchors=(*self.anchors, anchor))

    def to_real(self, market_at: datetime) -> datetime:
        """When an instant of the market comes to pass, in whole milliseconds."""
        return _reach(self._anchor(market_at), market_at)

    def to_market(self, real_at: datetime) -> datetime:
        """How far the market's time has come at a real instant (not before the last anchor's)."""
        anchor = self.anchors[-1]
        return anchor.market_at + max(timedelta(0), real_at - anchor.real_at) * anchor.speed

    def place(self, planned: Planned) -> Planned:
        """The planned record in real time: what is published."""
        body = planned.body
        if isinstance(body, Event):
            body = self._move_instants(body, body.event_at)
        return msgspec.structs.replace(planned, publish_at=self.to_real(planned.publish_at), body=body)

    def _move_instants(self, struct: S, said_at: datetime) -> S:
        """A struct with its instants in real time.

        What lies ahead of it, a promise, keeps the pace at which it was given: pauses do not change what was said.
        """
        moved: dict[str, object] = {}
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            if isinstance(value, datetime):
                promise = value > said_at and name != "ingested_at"
                moved[name] = _reach(self._anchor(said_at), value) if promise else self.to_real(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
                moved[name] = tuple(self._move_instants(item, said_at) for item in value)
        return msgspec.structs.replace(struct, **moved)

    def _anchor(self, market_at: datetime) -> Anchor | None:
        """The last anchor before an instant; None in the past."""
        passed = bisect_left(self.anchors, market_at, key=lambda anchor: anchor.market_at)
        return self.anchors[passed - 1] if passed else None


def _reach(anchor: Anchor | None, market_at: datetime) -> datetime:
    if anchor is None:
        return market_at
    real_at = anchor.real_at + (market_at - anchor.market_at) / anchor.speed
    return real_at - real_at.resolution * (real_at.microsecond % MILLISECOND_US)
