"""What a market plans to publish, and the voice that tells it: ids, delays, repetitions. Pure.

Must not know what a market sells or how its stories go; nothing here reads a clock.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec

from streams import codec
from streams.domain.events import Event, Order
from streams.domain.ids import event_id

REPEATED_SHARE = 0.01
"""Of all events: told a second time, later, as a source does that is read again."""
REPEATED_AFTER_H = (0.1, 30.0)


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One record to be published."""

    publish_at: datetime
    """When the connector takes it in and publishes it."""
    noun: str
    """Topic, by its noun."""
    key: str
    body: Event | bytes
    """The event; bytes where the record can't be an event."""
    refused: str | None = None
    """Reason code of the dead letter that it must become; None for a good record."""

    @property
    def record(self) -> bytes:
        """The bytes to publish."""
        return self.body if isinstance(self.body, bytes) else codec.encode(self.body)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lag:
    """How long after an event its source tells of it, in hours."""

    usual_h: tuple[float, float]
    late_h: tuple[float, float]
    late_share: float


MARKETPLACE = Lag(usual_h=(0.005, 0.08), late_h=(1, 20), late_share=0.015)
CARRIER = Lag(usual_h=(0.02, 0.6), late_h=(3, 40), late_share=0.04)
WAREHOUSE = Lag(usual_h=(0.01, 0.3), late_h=(2, 30), late_share=0.03)
DESK = Lag(usual_h=(0.0006, 0.01), late_h=(0.1, 5), late_share=0.01)


def span(rng: Random, low_h: float, high_h: float) -> timedelta:
    """A time between two numbers of hours, in whole seconds."""
    return timedelta(seconds=round(rng.uniform(low_h, high_h) * 3600))


def long_tail(rng: Random, median_h: float, spread: float) -> timedelta:
    """A waiting time that is mostly short and now and then very long: log-normal, in whole seconds, at least one."""
    return timedelta(seconds=max(1, round(median_h * 3600 * math.exp(rng.gauss(0, spread)))))


@dataclass(kw_only=True)
class Teller:
    """Turns what happens in one story into planned records."""

    rng: Random
    marketplace: str
    planned: list[Planned] = field(default_factory=list)
    _step: int = 0

    def tell(
        self,
        event: Callable[..., Event],
        at: datetime,
        lag: Lag,
        account: str,
        about: str,
        version: str,
        *,
        not_before: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Plan an event of `about` and return its event_id; `version` tells apart what a source says of one id.

        `not_before`: the source is out of reach until then.
        """
        self._step += 1
        kind: str = event.NAME  # type: ignore[attr-defined]
        hours = lag.late_h if self.rng.random() < lag.late_share else lag.usual_h
        publish_at = max(at, not_before or at) + span(self.rng, *hours)
        told = event(
            event_id=event_id(account, kind, about, version),
            event_at=at,
            ingested_at=publish_at,
            account=account,
            marketplace=self.marketplace,
            sequence=self._step,
            about=about,
            **fields,
        )
        self.planned.append(Planned(publish_at=publish_at, noun=kind, key=about, body=told))
        if self.rng.random() < REPEATED_SHARE:
            again_at = publish_at + span(self.rng, *REPEATED_AFTER_H)
            again = msgspec.structs.replace(told, ingested_at=again_at)
            self.planned.append(Planned(publish_at=again_at, noun=kind, key=about, body=again))
        return told.event_id

    def spoil(self, at: datetime, account: str, about: str) -> None:
        """Plan a record beside the orders that can never be processed, in one of four ways. It teaches nothing."""
        unique = self.rng.randbytes(8)
        wrong_about = f"{about.replace(':', ' ')} {unique.hex()}"
        wrong = Order(
            event_id=event_id(account, Order.NAME, wrong_about),
            event_at=at,
            ingested_at=at,
            account=account,
            marketplace=self.marketplace,
            about=wrong_about,
        )
        body: Event | bytes
        match self.rng.randrange(4):
            case 0:
                refused, body = "not_avro", b'{"order": "' + unique.hex().encode() + b'"}'
            case 1:
                refused, body = "unknown_schema", codec.MARKER + unique + codec.encode(wrong)[codec.HEADER_SIZE :]
            case 2:
                refused, body = "undecodable", codec.encode(wrong)[: codec.HEADER_SIZE + 20]
            case _:
                refused, body = "wrong_id", wrong
        key = wrong_about if isinstance(body, Event) else about
        self.planned.append(Planned(publish_at=at, noun=Order.NAME, key=key, body=body, refused=refused))
