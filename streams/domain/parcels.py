"""Parcels: state drawn from shipments and scans. Pure.

A scan counts by its own time, so repeated and late scans change nothing that is newer; delivered stays delivered
unless a later scan says that it goes back (P-1 to P-3 in docs/facts.md).
"""

from collections.abc import Iterable
from datetime import datetime

from streams.domain.events import Parcel
from streams.domain.facts import MatterKey, ParcelState
from streams.domain.history import Folded, History, first, links_of, marketplace_of, newest, of_kind, only
from streams.domain.ids import kind_of

IN_CARRIERS_HANDS = frozenset(
    {"picked_up", "in_transit", "customs_held", "customs_released", "out_for_delivery", "delivery_failed", "delivered"}
)
AFTER_DELIVERY = frozenset({"returning", "returned"})
"""The only scans that end a delivered state."""


def fold(history: History, into: Folded) -> None:
    """State every parcel of the matter."""
    for id, events in of_kind(history, "parcel"):
        parcels = only(events, Parcel)
        if parcels:
            into.facts[id, MatterKey(kind="parcel")] = _state(parcels)


def _state(parcels: list[Parcel]) -> ParcelState:
    scans = [parcel for parcel in parcels if parcel.status is not None]
    return ParcelState(
        account=parcels[-1].account,
        marketplace=marketplace_of(parcels),
        status=_status(scans),
        carrier=newest(parcel.carrier for parcel in parcels),
        service=newest(parcel.service for parcel in parcels),
        promised_at=newest(parcel.promised_at for parcel in parcels),
        shipped_at=shipped_at(parcels),
        delivered_at=delivered_at(parcels),
        last_scan_at=scans[-1].event_at if scans else None,
        scan_count=len(scans),
        destination_country=newest(parcel.destination_country for parcel in parcels),
    )


def _status(scans: Iterable[Parcel]) -> str:
    status = "unknown"
    for scan in scans:
        if scan.status not in (None, "unknown") and (status != "delivered" or scan.status in AFTER_DELIVERY):
            status = scan.status
    return status


def shipped_at(parcels: Iterable[Parcel]) -> datetime | None:
    """First scan that shows the parcel in the carrier's hands."""
    scans = list(parcels)
    picked_up = first(scan.event_at for scan in scans if scan.status == "picked_up")
    return picked_up or first(scan.event_at for scan in scans if scan.status in IN_CARRIERS_HANDS)


def delivered_at(parcels: Iterable[Parcel]) -> datetime | None:
    """First delivered scan."""
    return first(scan.event_at for scan in parcels if scan.status == "delivered")


def return_parcels(history: History) -> frozenset[str]:
    """The parcels that follow a return: they go back to the seller and deliver no order.

    Either side may have said so, the parcel of its return or the return of its parcels; the newest link wins.
    """
    links: dict[str, tuple[datetime, str, str]] = {}
    if not of_kind(history, "parcel"):
        return frozenset()
    for id, events in history.items():
        for event in events:
            for lower, higher in links_of(id, event):
                link = event.event_at, event.event_id, higher
                links[lower] = max(links.get(lower, link), link)
    return frozenset(id for id, (_, _, leader) in links.items() if kind_of(leader) == "return")
