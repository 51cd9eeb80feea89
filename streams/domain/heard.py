"""How far accounts have been heard: what the clock makes of the announcements of connectors. Pure.

An announcement (`read_through`) counts once the committed positions of correlate have passed the positions it names,
so that all that was heard stands on a timeline before the tick that says so.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

import msgspec

from streams.domain.events import AccountClock, ReadThrough, Tick

MAX_WAITING = 100
"""Announcements of one account that wait for correlate; beyond it the newest replaces the one before it: the oldest
are the next to count."""

Positions: TypeAlias = Mapping[tuple[str, int], int]
"""(topic, partition) to the next offset to be read."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What counts per account, and what waits."""

    accounts: dict[str, AccountClock] = {}
    waiting: dict[str, tuple[ReadThrough, ...]] = {}

    def hear(self, announcement: ReadThrough) -> "Heard":
        """This and one more announcement, which waits."""
        waiting = (*self.waiting.get(announcement.account, ())[: MAX_WAITING - 1], announcement)
        return msgspec.structs.replace(self, waiting={**self.waiting, announcement.account: waiting})

    def pass_through(self, passed: Positions) -> "Heard":
        """Let every announcement count whose positions have been passed."""
        accounts, waiting = dict(self.accounts), {}
        for account, announcements in self.waiting.items():
            still = []
            for announcement in announcements:
                if is_passed(announcement, passed):
                    accounts[account] = _later(accounts.get(account), announcement)
                else:
                    still.append(announcement)
            if still:
                waiting[account] = tuple(still)
        return Heard(accounts=accounts, waiting=waiting)

    def tick(self, now: datetime, archive_after: timedelta | None = None) -> Tick:
        """The tick of an instant, at which matters are archived when nothing came for `archive_after` (None: none)."""
        return Tick(
            now=now,
            accounts=tuple(self.accounts[name] for name in sorted(self.accounts)),
            archive_until=None if archive_after is None else now - archive_after,
        )


def is_passed(announcement: ReadThrough, passed: Positions) -> bool:
    """Whether everything that was published before the announcement has been taken in."""
    return all(
        passed.get((position.topic, position.partition), 0) >= position.offset for position in announcement.positions
    )


def _later(known: AccountClock | None, announcement: ReadThrough) -> AccountClock:
    """After one more announcement: what was heard never goes back, and an account once live is live for good."""
    return AccountClock(
        account=announcement.account,
        heard_until=max(known.heard_until, announcement.through_at) if known else announcement.through_at,
        live=announcement.live or bool(known and known.live),
        live_from=(known.live_from if known else None) or announcement.live_from,
    )


def clock_step(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Seconds by which the wall clock jumped between two readings of (wall clock, time since boot).

    Time since boot runs on through sleep and downtime of the process, so those are no jumps.
    """
    return (after[0] - before[0]) - (after[1] - before[1])
