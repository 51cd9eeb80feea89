"""Whether a partition of a topic is worth reading: after too many refused records in a row it is left alone. Pure.

    closed ── `limit` refused in a row ──► open ── probe_at is reached: one record is read ──► accepted: closed
                                             ▲                                                      │
                                             └───── refused: the next probe after a longer pause ◄──┘

What is not read stays in the topic. Must not know of Kafka, tasks or the time: what was read, and when, is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

FIRST_PAUSE_S = 5.0
"""From opening to the first probe; each refused probe doubles it."""
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """The breaker of one topic in one partition. Instants are those of a monotonic clock, in seconds."""

    limit: int
    """Refused records in a row that open it; 0: it never opens."""
    run: int = 0
    """Refused in a row so far."""
    pause_s: float = FIRST_PAUSE_S
    """Before the next probe."""
    probe_at: float | None = None
    """When the next record may be tried; None: it is closed."""
    probing: bool = False
    """Whether a record is being tried."""

    @property
    def is_open(self) -> bool:
        """Whether the topic is left alone, but for probes."""
        return self.probe_at is not None

    def probes(self, now: float) -> bool:
        """Whether it is time to try one record."""
        return self.probe_at is not None and now >= self.probe_at

    def trying(self, now: float) -> "Breaker":
        """A record is being tried; if nothing comes of it, the next one after a pause."""
        return replace(self, probing=True, probe_at=now + self.pause_s)

    def after(self, read: int, refused: Sequence[int], now: float) -> "Breaker":
        """`read` records were decided on; `refused` says which of them were refused, ascending, the first is 0."""
        if self.is_open and not (self.probing and read):
            return self  # what was under way when it opened says nothing new
        at_the_end = 0
        while at_the_end < len(refused) and refused[-1 - at_the_end] == read - 1 - at_the_end:
            at_the_end += 1
        run = self.run + read if at_the_end == read else at_the_end
        if self.is_open and at_the_end == read:
            pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
            return replace(self, run=run, pause_s=pause_s, probe_at=now + pause_s, probing=False)
        return Breaker(limit=self.limit, run=run, probe_at=now + FIRST_PAUSE_S if 0 < self.limit <= run else None)
