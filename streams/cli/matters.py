"""`matter recall`."""

import asyncio
from collections.abc import Mapping, Sequence

from streams.cli import person
from streams.cli.quarantine import is_answered, set_aside
from streams.cli.query import ask
from streams.cli.screen import on_one_line
from streams.cli.stack import command
from streams.domain.events import Recall
from streams.operations.recall import Kept, entry_of, find
from streams.operations.retry import Written, behind, write
from streams.settings import Settings
from streams.timepieces import MACHINE


def recall(settings: Settings, ids: Sequence[str], *, dry_run: bool) -> int:
    """Give casework the past of matters again, and say what came of it. Exit status 1 when one is refused or set aside,
    or there is no answer.

    Raises Refused for an id that is not known, or a past that fits into no record.
    """
    found = {kept.matter: kept for kept in (find(settings, id) for id in ids)}
    for kept in found.values():
        print(on_one_line(f"{kept.matter}: {_content(kept)}"))
    entries = [(kept.customer, entry_of(kept, person.name(), MACHINE.now())) for kept in found.values()]
    if dry_run:
        print("nothing was asked for")
        return 0
    return asyncio.run(_wait(settings, entries))


async def _wait(settings: Settings, entries: Sequence[tuple[str, Recall]]) -> int:
    written = await write(settings, entries)
    print("asked casework to take them up again; waiting for it", flush=True)
    if not await is_answered(settings, behind(written)):
        return 1
    refused = refusals_of(settings, written)
    asides = {(aside.customer, aside.matter): aside for aside in set_aside(settings)}
    for (customer, recall), place in zip(entries, written, strict=True):
        outcome = "is here again"
        if place in refused:
            outcome = f"refused, {refused[place]}"
        elif aside := asides.get((customer, recall.matter)):
            outcome = f"is here again, in quarantine, {aside.reason}: {aside.detail}"
        print(on_one_line(f"{recall.matter}: {outcome}"))
    if len(refused) < len(written):
        print(f"what came too late meanwhile: {command(settings, 'dlq', 'replay', '--reason', 'too_late')}")
    return int(bool(refused) or any((customer, recall.matter) in asides for customer, recall in entries))


def refusals_of(settings: Settings, written: Sequence[Written]) -> Mapping[Written, str]:
    """Why entries became dead letters, of those that did."""
    asked = {(entry.place.partition, entry.offset): entry for entry in written}
    _, rows = ask(
        settings,
        "SELECT origin_partition, origin_offset, reason, detail FROM dead_letter FINAL"
        " WHERE agent = 'casework' AND origin_topic = 'timeline'"
        " AND (origin_partition, origin_offset) IN {places:Array(Tuple(Int64, Int64))}",
        {"places": list(asked)},
    )
    return {asked[partition, offset]: f"{reason}: {detail}" for partition, offset, reason, detail in rows}


def _content(kept: Kept) -> str:
    events = sum(len(past.events) for past in kept.pasts.values())
    facts = sum(len(past.stated) for past in kept.pasts.values())
    return f"{len(kept.pasts):,} ids, {events:,} events, {facts:,} facts, at {kept.customer}"
