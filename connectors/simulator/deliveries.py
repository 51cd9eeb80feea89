"""The way of a parcel: which carrier takes it, when it is scanned, and whether it arrives. Pure.

Must not know of orders, money or customers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from connectors.simulator.catalogue import INSIDE_EUROPE, ROUTES, UTC_OFFSETS_H, Carrier, crosses_border
from connectors.simulator.planned import span

DAMAGED_SHARE = 0.006
FAILED_SHARE = 0.06
SENT_BACK_SHARE = 0.08
"""Of the parcels with a failed attempt: nobody is ever there, and it goes back."""
HELD_SHARE = 0.22
"""Of the parcels that pass customs: held there."""
REPORTED_LOST_SHARE = 0.7
"""Of the lost parcels: the carrier says so in the end; the others are just never scanned again."""

CUT_OFF_HOUR = 15
"""Warehouses hand over what was packed by this hour of the same day."""
SUNDAY = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """One scan."""

    at: datetime
    status: str
    country: str
    code: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """All scans of a parcel, in the order in which they happen; at least a label and a pick-up."""

    carrier: Carrier
    scans: tuple[Scan, ...]

    @property
    def delivered_at(self) -> datetime | None:
        """When it was delivered; None if it never was."""
        return next((scan.at for scan in self.scans if scan.status == "delivered"), None)

    @property
    def stuck_at(self) -> datetime | None:
        """When customs held it or the carrier lost or broke it; None for a smooth journey."""
        bad = ("customs_held", "lost", "damaged")
        return next((scan.at for scan in self.scans if scan.status in bad), None)


def choose_carrier(rng: Random, origin: str, destination: str) -> Carrier:
    """One of the carriers of a route, by their shares."""
    carriers, shares = zip(*ROUTES.get((origin, destination), INSIDE_EUROPE), strict=True)
    chosen: Carrier = rng.choices(carriers, shares)[0]
    return chosen


def promised_days(origin: str, destination: str) -> int:
    """Days from the order to the delivery that the customer is promised."""
    if origin == "CN":
        return 12
    return 9 if crosses_border(origin, destination) else 6 if origin == "US" else 5


def local_clock(at: datetime, country: str, hour: float) -> datetime:
    """The given hour of the same local day."""
    offset = timedelta(hours=UTC_OFFSETS_H.get(country, 1))
    midnight = (at + offset).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(seconds=round(hour * 3600)) - offset


def hand_over(rng: Random, packed_at: datetime, origin: str) -> datetime:
    """When the carrier collects what was packed: the afternoon of a working day."""
    at = local_clock(packed_at, origin, CUT_OFF_HOUR + rng.uniform(0.2, 3))
    if packed_at >= local_clock(packed_at, origin, CUT_OFF_HOUR):
        at += timedelta(days=1)
    while _weekday(at, origin) >= SUNDAY - 1:
        at += timedelta(days=1)
    return at


def travel(rng: Random, packed_at: datetime, origin: str, destination: str) -> Journey:
    """The journey of a parcel that is packed at an instant."""
    carrier = choose_carrier(rng, origin, destination)
    scans: list[Scan] = []

    def scan(at: datetime, status: str, country: str, code: str) -> None:
        scans.append(Scan(at=at, status=status, country=country, code=code))

    picked_up_at = hand_over(rng, packed_at, origin)
    scan(packed_at, "label_created", origin, "LAB")
    scan(picked_up_at, "picked_up", origin, "PUP")
    at = picked_up_at + span(rng, 2, 9)
    scan(at, "in_transit", origin, "HUB")
    if rng.random() < carrier.lost_share:
        if rng.random() < REPORTED_LOST_SHARE:
            scan(at + span(rng, 14 * 24, 20 * 24), "lost", origin, "LOS")
        return Journey(carrier=carrier, scans=tuple(scans))
    days = rng.uniform(*carrier.transit_d)
    arrive_at = picked_up_at + max(timedelta(days=days), at - picked_up_at + timedelta(hours=6))
    if crosses_border(origin, destination):
        at += (arrive_at - at) * rng.uniform(0.4, 0.6)
        at = at.replace(microsecond=0)
        scan(at, "in_transit", destination, "ARR")
        if rng.random() < HELD_SHARE:
            held_at = at + span(rng, 0.5, 4)
            released_at = held_at + span(rng, 20, 6 * 24)
            scan(held_at, "customs_held", destination, "CUS")
            scan(released_at, "customs_released", destination, "REL")
            arrive_at += released_at - at
            at = released_at
    if rng.random() < carrier.delayed_share:
        delayed = span(rng, 30, 7 * 24)
        at += delayed / 2
        at = at.replace(microsecond=0)
        scan(at, "in_transit", destination, "DLY")
        arrive_at += delayed
    if rng.random() < DAMAGED_SHARE:
        at += span(rng, 2, 20)
        scan(at, "damaged", destination, "DMG")
        _go_back(rng, scan, at, origin, destination)
        return Journey(carrier=carrier, scans=tuple(scans))
    day = arrive_at
    if local_clock(day, destination, 6.5) <= at:
        day += timedelta(days=1)
    while True:
        while _weekday(day, destination) == SUNDAY:
            day += timedelta(days=1)
        scan(local_clock(day, destination, rng.uniform(6.5, 8.8)), "out_for_delivery", destination, "OFD")
        if rng.random() >= FAILED_SHARE:
            break
        failed_at = local_clock(day, destination, rng.uniform(9, 18.5))
        scan(failed_at, "delivery_failed", destination, "NOH")
        if rng.random() < SENT_BACK_SHARE:
            _go_back(rng, scan, failed_at, origin, destination)
            return Journey(carrier=carrier, scans=tuple(scans))
        day += timedelta(days=1)
    scan(local_clock(day, destination, rng.uniform(9, 19.5)), "delivered", destination, "DEL")
    return Journey(carrier=carrier, scans=tuple(scans))


def _go_back(
    rng: Random, scan: Callable[[datetime, str, str, str], None], at: datetime, origin: str, destination: str
) -> None:
    at += span(rng, 10, 60)
    scan(at, "returning", destination, "RTS")
    scan(at + span(rng, 40, 200), "returned", origin, "RTD")


def _weekday(at: datetime, country: str) -> int:
    return (at + timedelta(hours=UTC_OFFSETS_H.get(country, 1))).weekday()
