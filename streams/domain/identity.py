"""Identity: where an id lives, and how that changes as events teach it. Pure.

The place of an id is (customer, matter). An id that follows nothing heads a matter of its own, at its customer or,
while that is unknown, at a provisional customer named after it. An id that follows another lives where its leader
lives. Each id keeps an `Identity` and talks to other ids by place messages only; messages between two ids keep their
order, all else may interleave. The rules, and why each of them is needed, stand in docs/identity.md.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec

from streams.domain import ids
from streams.domain.events import Event, Move, Place, PlaceMessage
from streams.errors import BadInput

MAX_FOLLOWERS = 2_000
"""Of one id. An event that would add more is refused as `too_many_followers`."""

Said: TypeAlias = tuple[datetime, str]
"""Event time and id of the event that taught something: the newest wins, whatever came first."""


class Word(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What an id says of its own customer: the newest holds."""

    said: Said
    customer: str


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """What is known of an id's customer, and how well: the nearer word wins."""

    nearness: int
    """0: its own word; -1: the word of an id that follows it; -2: of one that follows that one; and so on."""
    customer: str


class Identity(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What an id knows of itself.

    `word` None: it has not said who its customer is. `leader` None: it follows nothing. `used`: events of it were sent
    to its place, so a change of place is a move.
    """

    customer: str
    matter: str
    word: Word | None = None
    heard: dict[str, Evidence] = {}
    """By follower, what it knows; empty as soon as there is a word of its own, which is nearer."""
    leader: str | None = None
    link: Said | None = None
    followers: tuple[str, ...] = ()
    moves: int = 0
    used: bool = False

    @property
    def evidence(self) -> Evidence | None:
        """What is known of its customer; None: nothing, or equally near words name several.

        Were one of these chosen, by whatever order, an id could be moved by each of its followers with all others.
        """
        if self.word is not None:
            return Evidence(0, self.word.customer)
        nearest = max((known.nearness for known in self.heard.values()), default=0)
        named = {known.customer for known in self.heard.values() if known.nearness == nearest}
        return Evidence(nearest, *named) if len(named) == 1 else None


class ToId(NamedTuple):
    """A place message for another id."""

    id: str
    message: PlaceMessage


class ToCustomer(NamedTuple):
    """A step of a move for a customer's timeline."""

    customer: str
    move: Move


class Settled(NamedTuple):
    """The id has a place that others should know of."""

    place: Place


Output: TypeAlias = ToId | ToCustomer | Settled


def unplaced(id: str) -> Identity:
    """The identity of an id that nobody has said anything about."""
    return Identity(customer=ids.provisional(id), matter=id)


def hear_event(identity: Identity | None, event: Event) -> tuple[Identity, list[Output]]:
    """Learn what an event teaches about the id it is about. Afterwards the event belongs to the id's place.

    The event has been let in (`streams.domain.admission`). Raises BadInput `too_many_followers`.
    """
    actor = _Actor(event.about, identity or unplaced(event.about))
    said = event.event_at, event.event_id
    if event.customer:
        actor.say(Word(said, event.customer))
    actor.lead(event.followers, said)
    if event.leader:
        actor.follow(event.leader, said, None)
    actor.use()
    return actor.identity, actor.outputs


def hear_message(id: str, identity: Identity | None, message: PlaceMessage) -> tuple[Identity, list[Output]]:
    """Take in what another id says. Raises BadInput for a message that can't have been meant."""
    actor = _Actor(id, identity or unplaced(id))
    place = (message.customer, message.matter) if message.customer and message.matter else None
    said = (message.said_at, message.said_by) if message.said_at and message.said_by else None
    match message.kind:
        case "follow" if place and said:
            actor.follow(message.sender, said, place)
        case "register":
            actor.register(message.sender)
        case "leave":
            actor.leave(message.sender)
        case "told" if place:
            actor.told(message.sender, place)
        case "learn":
            known = Evidence(message.nearness - 1, message.customer) if message.customer else None
            actor.learn(message.sender, known)
        case _:
            raise BadInput("wrong_place_message", f"{message.kind} from {message.sender} to {id} says too little")
    return actor.identity, actor.outputs


def take_up(id: str, identity: Identity, place: Place | None, leaders: Iterable[str]) -> tuple[Identity, list[Output]]:
    """An identity that was made anew from events, at the place that it was last told to have; None: nothing was sent.

    What others may have missed is said again, so that wherever messages are still on their way, all ends as it should.
    `leaders`: all that it may ever have followed. The events may be ahead of what it had been told when it was lost,
    and then it never said that it left.
    """
    if place is not None:
        identity = msgspec.structs.replace(
            identity, customer=place.customer, matter=place.matter, moves=place.revision, used=True
        )
    actor = _Actor(id, identity)
    actor.speak_up(leaders)
    return actor.identity, actor.outputs


class _Actor:
    """One id at work: `identity` changes as it learns, `outputs` gathers what it says."""

    def __init__(self, id: str, identity: Identity) -> None:
        self.id, self.identity = id, identity
        self.outputs: list[Output] = []

    @property
    def place(self) -> tuple[str, str]:
        return self.identity.customer, self.identity.matter

    def say(self, word: Word) -> None:
        if self.identity.word is None or self.identity.word < word:
            self._know(word=word, heard={})

    def learn(self, follower: str, evidence: Evidence | None) -> None:
        """What a follower said last is what it knows, even if that is less than before."""
        if self.identity.word is None:
            others = {name: known for name, known in self.identity.heard.items() if name != follower}
            self._know(heard=others if evidence is None else {**others, follower: evidence})

    def lead(self, followers: Iterable[str], said: Said) -> None:
        self._add_followers(followers)
        for follower in followers:
            self._say(follower, "follow", place=self.place, said=said)

    def follow(self, leader: str, said: Said, place: tuple[str, str] | None) -> None:
        """The newest link by event time wins. Until a new leader has answered, the id belongs to nobody else."""
        if self.identity.link is not None and said <= self.identity.link:
            if place:
                self.told(leader, place)
            return
        former = self.identity.leader
        self._set(link=said, leader=leader)
        if leader == former:
            if place:
                self.told(leader, place)
            return
        self._settle(place or (ids.provisional(leader), leader))
        if former:
            self._say(former, "leave")
        self._say(leader, "register")
        if self.identity.evidence is not None:
            self._tell_leader_customer()

    def register(self, follower: str) -> None:
        self._add_followers((follower,))
        self._say(follower, "told", place=self.place)

    def leave(self, follower: str) -> None:
        """It follows another now: what it said of the customer counts there."""
        self._set(followers=tuple(known for known in self.identity.followers if known != follower))
        self.learn(follower, None)

    def told(self, leader: str, place: tuple[str, str]) -> None:
        if leader == self.identity.leader:  # a former leader no longer counts
            self._settle(place)

    def use(self) -> None:
        """From now on something of this id lies at its place."""
        if not self.identity.used:
            self._set(used=True)
            self._publish_place()

    def speak_up(self, leaders: Iterable[str]) -> None:
        """Say where it is and what it knows, as if for the first time; and to former leaders, that it left."""
        for leader in leaders:
            if leader != self.identity.leader:
                self._say(leader, "leave")
        if self.identity.leader:
            self._say(self.identity.leader, "register")
            self._tell_leader_customer()
        else:
            self._settle_by(self.identity.evidence)
        self._tell_followers()

    def _know(self, **changes: object) -> None:
        """An id with a leader lives with it whoever its customer is, so it only passes on what it knows."""
        before = self.identity.evidence
        self._set(**changes)
        after = self.identity.evidence
        if after == before:
            return
        if self.identity.leader:
            self._tell_leader_customer()
        else:
            self._settle_by(after)

    def _settle_by(self, evidence: Evidence | None) -> None:
        self._settle((evidence.customer if evidence else ids.provisional(self.id), self.id))

    def _settle(self, place: tuple[str, str]) -> None:
        former = self.place
        if place == former:
            return
        customer, matter = place
        self._set(customer=customer, matter=matter)
        if self.identity.used:
            number = self.identity.moves + 1
            self._set(moves=number)
            leave = Move(
                step="out", id=self.id, number=number, matter=former[1], to_customer=customer, to_matter=matter
            )
            self.outputs.append(ToCustomer(former[0], leave))
            self.outputs.append(ToCustomer(customer, Move(step="in", id=self.id, number=number, matter=matter)))
            self._publish_place()
        self._tell_followers()

    def _tell_followers(self) -> None:
        for follower in self.identity.followers:
            self._say(follower, "told", place=self.place)

    def _tell_leader_customer(self) -> None:
        evidence, leader = self.identity.evidence, self.identity.leader
        assert leader is not None
        message = PlaceMessage(kind="learn", sender=self.id)
        if evidence is not None:
            message = msgspec.structs.replace(message, customer=evidence.customer, nearness=evidence.nearness)
        self.outputs.append(ToId(leader, message))

    def _say(self, id: str, kind: str, *, place: tuple[str, str] | None = None, said: Said | None = None) -> None:
        customer, matter = place or (None, None)
        said_at, said_by = said or (None, None)
        message = PlaceMessage(
            kind=kind, sender=self.id, customer=customer, matter=matter, said_at=said_at, said_by=said_by
        )
        self.outputs.append(ToId(id, message))

    def _add_followers(self, followers: Iterable[str]) -> None:
        known = dict.fromkeys(self.identity.followers)
        count = len(known)
        known |= dict.fromkeys(followers)
        if len(known) > MAX_FOLLOWERS:
            raise BadInput(
                "too_many_followers", f"{self.id} would have {len(known)} followers; at most {MAX_FOLLOWERS}"
            )
        if len(known) > count:
            self._set(followers=tuple(known))

    def _publish_place(self) -> None:
        customer, matter = self.place
        self.outputs.append(
            Settled(
                Place(
                    id=self.id,
                    customer=customer,
                    matter=matter,
                    revision=self.identity.moves,
                    provisional=ids.is_provisional(customer),
                )
            )
        )

    def _set(self, **changes: object) -> None:
        self.identity = msgspec.structs.replace(self.identity, **changes)
