"""Whether a process keeps its place in its consumer group. Pure.

Must not know of Kafka or the time: the ids that the group gives, and when, are given.
"""

from dataclasses import dataclass

from streams.settings import Settings

LOST_TIMES, LOST_WITHIN_S = 3, 300.0
"""A process that its group went on without so often, within so long, can't keep its work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """As which member a process has joined, and when it was found to have been left out."""

    member_id: str = ""
    """Empty: it has never joined."""
    lost_at: tuple[float, ...] = ()
    """Instants of a monotonic clock, in seconds, within LOST_WITHIN_S of the last."""

    @property
    def is_hopeless(self) -> bool:
        """Whether to give up."""
        return len(self.lost_at) >= LOST_TIMES

    def complaint(self, group: str, settings: Settings) -> str:
        """Why it is given up, in a sentence."""
        return (
            f"{group} went on without this process {LOST_TIMES} times within {LOST_WITHIN_S:.0f} s, for it was silent "
            f"longer than session_timeout_s ({settings.session_timeout_s:g} s) or rebalance_timeout_s "
            f"({settings.rebalance_timeout_s:g} s): give it more of a processor, or less to do by further workers, or "
            "raise these settings"
        )

    def joined(self, member_id: str, now: float) -> "Membership":
        """It was given partitions as this member; another id than before: the group had gone on without it."""
        if self.member_id in ("", member_id):
            return Membership(member_id=member_id, lost_at=self.lost_at)
        recent = tuple(at for at in self.lost_at if at > now - LOST_WITHIN_S)
        return Membership(member_id=member_id, lost_at=(*recent, now))
