"""`quarantine list` and `quarantine retry`."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from streams.cli import person
from streams.cli.query import ask, print_table
from streams.cli.screen import on_one_line
from streams.cli.stack import command
from streams.errors import Refused
from streams.operations.retry import Aside, wait_until_answered
from streams.operations.retry import ask as ask_casework
from streams.settings import Settings

PATIENCE_S = 60.0
"""Longest wait for casework and the sink."""


def list_(settings: Settings) -> int:
    """Print the matters in quarantine."""
    names, rows = ask(settings, "SELECT * FROM quarantine ORDER BY matter")
    if not rows:
        print("no matter is in quarantine")
        return 0
    print_table(names, rows)
    return 0


def retry(settings: Settings, matters: Sequence[str], *, every: bool, dry_run: bool) -> int:
    """Have matters retried and say what came of it. Exit status 1 when one stays set aside, or there is no answer.

    Raises Refused for a matter that is not in quarantine.
    """
    if every == bool(matters):
        raise Refused("name the matters to be retried, or all of them with --all: see `aftersales quarantine list`")
    there = set_aside(settings)
    chosen = [aside for aside in there if every or aside.matter in matters]
    if unknown := sorted(set(matters) - {aside.matter for aside in chosen}):
        raise Refused(f"{', '.join(unknown)}: not in quarantine; `aftersales quarantine list` names those that are")
    if not chosen:
        print("no matter is in quarantine")
        return 0
    if dry_run:
        print(f"would be retried: {len(chosen):,}")
        _print(chosen)
        return 0
    return asyncio.run(_retry(settings, chosen))


async def _retry(settings: Settings, chosen: Sequence[Aside]) -> int:
    behind = await ask_casework(settings, chosen, person.name())
    print(f"asked casework to retry {len(chosen):,}; waiting for what comes of it", flush=True)
    if not await is_answered(settings, behind):
        return 1
    places = {(aside.customer, aside.matter) for aside in chosen}
    left = [aside for aside in set_aside(settings) if (aside.customer, aside.matter) in places]
    print(f"lifted: {len(chosen) - len(left):,}")
    if left:
        print(f"still set aside: {len(left):,}")
        _print(left)
    if len(left) < len(chosen):
        print(
            f"events refused meanwhile as matter_full: {command(settings, 'dlq', 'replay', '--reason', 'matter_full')}"
        )
    return int(bool(left))


async def is_answered(settings: Settings, behind: Mapping[TopicPartition, int]) -> bool:
    """Whether casework has read all before `behind`, and the sink has stored what it stated; says so if not."""
    if await wait_until_answered(settings, behind, PATIENCE_S):
        return True
    print(f"no answer within {PATIENCE_S:.0f} s: do casework and the sink run? The entries stay on the timeline")
    return False


def set_aside(settings: Settings) -> list[Aside]:
    """The matters in quarantine where they lie, which may no longer be where their ids belong."""
    _, rows = ask(
        settings,
        "SELECT customer, about, reason, detail FROM quarantine_fact FINAL"
        " WHERE generation = {generation:String} AND NOT withdrawn ORDER BY about, customer",
        {"generation": settings.generation},
    )
    return [Aside(*row) for row in rows]


def _print(asides: Sequence[Aside]) -> None:
    for aside in asides:
        print(on_one_line(f"  {aside.matter}  {aside.reason}: {aside.detail}"))
