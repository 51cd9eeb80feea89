"""`matter recall`."""

import asyncio
from collections.abc import Sequence

from streams.cli import person
from streams.cli.quarantine import is_answered
from streams.cli.screen import on_one_line
from streams.cli.stack import command
from streams.domain.events import Recall
from streams.operations.recall import Kept, entry_of, find
from streams.operations.retry import write
from streams.settings import Settings
from streams.timepieces import MACHINE


def recall(settings: Settings, ids: Sequence[str], *, dry_run: bool) -> int:
    """Give casework the past of matters again. Exit status 1 when there is no answer.

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
    behind = await write(settings, entries)
    print("asked casework to take them up again; waiting for it", flush=True)
    if not await is_answered(settings, behind):
        return 1
    print(
        f"done; a past that lacked an event is a dead letter: {command(settings, 'dlq', 'list', '--reason')}"
        " incomplete_past"
    )
    print(f"what came too late meanwhile: {command(settings, 'dlq', 'replay', '--reason', 'too_late')}")
    return 0


def _content(kept: Kept) -> str:
    events = sum(len(past.events) for past in kept.pasts.values())
    facts = sum(len(past.stated) for past in kept.pasts.values())
    return f"{len(kept.pasts):,} ids, {events:,} events, {facts:,} facts, at {kept.customer}"
