"""A simulated consumer group of the classic protocol: join, sync, heartbeat, leave, sessions, static members.

Follows Kafka's GroupCoordinator. The leader among the members, a real client, assigns the partitions. Must not know
what the group reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import (
    IllegalGenerationError,
    MemberIdRequired,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from tests.simulation.world import World

Reply = Callable[[Any], None]


@dataclass
class Member:
    """One member."""

    id: str
    instance: str | None
    session_s: float
    rebalance_s: float
    protocols: list[tuple[str, bytes]]
    assignment: bytes = b""
    heard_s: float = 0.0
    joining: Callable[[Any], None] | None = None
    """Answers its pending JoinGroup, given (error, group)."""
    syncing: Callable[[int, bytes], None] | None = None
    """Answers its pending SyncGroup."""


class Group:
    """One group, with the positions that it has committed."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.offsets: dict[tuple[str, int], int] = {}
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.phase = "empty"
        """`empty`, `preparing` (members join), `completing` (the leader assigns), `stable`."""
        self._leader = ""
        self._promised: set[str] = set()
        """Ids given out to members that have not joined with them."""
        self._ids = self._rebalances = 0

    def join(self, request: Any, client: str, reply: Reply) -> None:
        """JoinGroup: answered when all members have joined, or are given up."""
        instance, id = request.group_instance_id, request.member_id

        def answer(error: int, leader: str = "", members: Any = ()) -> None:
            protocol = request.group_protocols[0][0]
            reply(request.RESPONSE_TYPE(0, error, self.generation, protocol, leader, id, [*members]))

        if not id and instance is None:
            id = self._new_id(client)
            self._promised.add(id)
            answer(MemberIdRequired.errno)
            return
        if not id:
            id = self._new_id(instance)
            if (former := self._static(instance)) is not None:
                self._replace(former, id, request, answer)
                return
        elif id in self._promised:
            self._promised.discard(id)
        elif id not in self.members:
            answer(UnknownMemberIdError.errno)
            return
        known = self.members.get(id)
        member = Member(
            id,
            instance,
            request.session_timeout / 1000,
            request.rebalance_timeout / 1000,
            request.group_protocols,
            assignment=known.assignment if known else b"",
            joining=lambda said: answer(*said),
        )
        self.members[id] = member
        unchanged = known is not None and known.protocols == member.protocols
        if unchanged and (self.phase == "completing" or (self.phase == "stable" and id != self._leader)):
            self._tell(member)
            self._hear(member)
        elif self.phase == "preparing":
            self._complete_if_all_joined()
        else:
            self._prepare()

    def _new_id(self, of: str) -> str:
        self._ids += 1
        return f"{of}-{self._ids:04d}"

    def _static(self, instance: str | None) -> Member | None:
        return next((member for member in self.members.values() if instance and member.instance == instance), None)

    def _replace(self, former: Member, id: str, request: Any, answer: Callable[..., None]) -> None:
        """A static member is back under a new id: in a stable group it has what it had."""
        leader = self._leader
        del self.members[former.id]
        member = Member(
            id,
            former.instance,
            request.session_timeout / 1000,
            request.rebalance_timeout / 1000,
            request.group_protocols,
            assignment=former.assignment,
            joining=lambda said: answer(*said),
        )
        self.members[id] = member
        if self._leader == former.id:
            self._leader = id
        if self.phase == "stable":
            member.joining = None
            answer(0, leader)
            self._hear(member)
        elif self.phase == "preparing":
            self._complete_if_all_joined()
        else:
            self._prepare()

    def _prepare(self) -> None:
        """Begin a rebalance."""
        for member in self.members.values():
            if member.syncing is not None:
                member.syncing(RebalanceInProgressError.errno, b"")
                member.syncing = None
        self.phase = "preparing"
        self._rebalances += 1
        limit_s = max(member.rebalance_s for member in self.members.values())
        self.world.later(limit_s, self._give_up, self._rebalances)
        self._complete_if_all_joined()

    def _give_up(self, rebalance: int) -> None:
        if self.phase == "preparing" and rebalance == self._rebalances:
            self._complete()

    def _complete_if_all_joined(self) -> None:
        if all(member.joining is not None for member in self.members.values()):
            self._complete()

    def _complete(self) -> None:
        late = [id for id, member in self.members.items() if member.joining is None and member.instance is None]
        for id in late:
            del self.members[id]
        joined = [member for member in self.members.values() if member.joining is not None]
        self.generation += 1
        if not joined:
            self.phase = "preparing" if self.members else "empty"
            return
        self.phase = "completing"
        if self._leader not in {member.id for member in joined}:
            self._leader = joined[0].id
        self.world.note(f"group {self.name} generation {self.generation}: {sorted(self.members)}")
        for member in joined:
            self._tell(member)
        for member in self.members.values():
            self._hear(member)

    def _tell(self, member: Member) -> None:
        """Answer a JoinGroup."""
        assert member.joining is not None
        known = [(m.id, m.instance, m.protocols[0][1]) for m in self.members.values()]
        said = (0, self._leader, known if member.id == self._leader else ())
        answer, member.joining = member.joining, None
        answer(said)

    def sync(self, request: Any, reply: Reply) -> None:
        """SyncGroup: answered when the leader has assigned."""

        def answer(error: int, assignment: bytes = b"") -> None:
            reply(request.RESPONSE_TYPE(0, error, assignment))

        if error := self._check(request.member_id, request.generation_id):
            answer(error)
            return
        member = self.members[request.member_id]
        if self.phase == "preparing":
            answer(RebalanceInProgressError.errno)
        elif self.phase == "stable":
            self._hear(member)
            answer(0, member.assignment)
        else:
            member.syncing = answer
            if member.id == self._leader:
                self._assign(dict(request.group_assignment))

    def _assign(self, assignments: dict[str, bytes]) -> None:
        self.phase = "stable"
        for member in self.members.values():
            member.assignment = assignments.get(member.id, b"")
            self._hear(member)
            if member.syncing is not None:
                answer, member.syncing = member.syncing, None
                answer(0, member.assignment)

    def hear(self, request: Any, reply: Reply) -> None:
        """Heartbeat."""
        error = self._check(request.member_id, request.generation_id)
        if not error:
            self._hear(self.members[request.member_id])
            if self.phase == "preparing":
                error = RebalanceInProgressError.errno
        reply(request.RESPONSE_TYPE(0, error))

    def leave(self, request: Any, reply: Reply) -> None:
        """LeaveGroup."""
        known = request.member_id in self.members
        reply(request.RESPONSE_TYPE(0, 0 if known else UnknownMemberIdError.errno))
        if known:
            self._remove(request.member_id, "left")

    def check_commit(self, member: str, generation: int) -> int:
        """Error code of an OffsetCommit."""
        error = self._check(member, generation)
        return error or (RebalanceInProgressError.errno if self.phase == "completing" else 0)

    def _check(self, member: str, generation: int) -> int:
        if member not in self.members:
            return int(UnknownMemberIdError.errno)
        return 0 if generation == self.generation else int(IllegalGenerationError.errno)

    def _hear(self, member: Member) -> None:
        member.heard_s = self.world.loop.time()
        self.world.later(member.session_s, self._expire, member, member.heard_s)

    def _expire(self, member: Member, heard_s: float) -> None:
        waits = member.joining is not None or member.syncing is not None
        if self.members.get(member.id) is member and member.heard_s == heard_s and not waits:
            self._remove(member.id, "was not heard")

    def _remove(self, id: str, why: str) -> None:
        self.world.note(f"group {self.name}: {id} {why}")
        del self.members[id]
        if not self.members:
            self.phase, self.generation = "empty", self.generation + 1
        elif self.phase == "preparing":
            self._complete_if_all_joined()
        else:
            self._prepare()
