"""Dead letters that are to be brought back: which are meant, and what becomes of each. Pure.

Must not know how letters and their originals are read, nor how outcomes are shown.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from streams import codec
from streams.agents.correlate import MATTER_HEADER
from streams.delivery.agent import Record, Send
from streams.delivery.dead_letters import DEAD_LETTER
from streams.domain import identity
from streams.domain.admission import check_event
from streams.domain.events import DeadLetter, DeadLetterReplay, Event, MessageText, PlaceMessage
from streams.errors import BadInput, Refused
from streams.topics import Topic

EXAMPLES = 3
"""Letters named of each outcome."""

Outcome: TypeAlias = Literal[
    "brought back",
    "of a file",
    "gone",
    "changed",
    "unreadable",
    "still refused",
    "misplaced",
    "out of date",
    "brought back before",
]


class Letter(NamedTuple):
    """What has to be known of a dead letter. `topic` None: it came from line `offset` of a file."""

    id: str
    agent: str
    reason: str
    topic: str | None
    partition: int
    offset: int
    digest: str

    @property
    def origin(self) -> str:
        """Where the input stands, for people."""
        return f"line {self.offset}" if self.topic is None else f"{self.topic}/{self.partition}@{self.offset}"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant. None: any."""

    reason: str | None = None
    agent: str | None = None
    topic: str | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        return (
            self.reason in (None, letter.reason)
            and self.agent in (None, letter.agent)
            and self.topic in (None, letter.topic)
        )


class Route(NamedTuple):
    """What becomes of a letter: nothing is published unless it is brought back."""

    outcome: Outcome
    sends: tuple[Send, ...] = ()
    detail: str = ""


class Report(msgspec.Struct, kw_only=True):
    """What became of the letters that were meant."""

    counts: Counter[tuple[str, str, Outcome]] = msgspec.field(default_factory=Counter)
    """By agent, reason and outcome."""
    examples: dict[Outcome, list[str]] = msgspec.field(default_factory=dict)
    """Some of those that were left, with where they came from and why."""

    def add(self, letter: Letter, route: Route) -> None:
        """Count one letter."""
        self.counts[letter.agent, letter.reason, route.outcome] += 1
        named = self.examples.setdefault(route.outcome, [])
        if len(named) < EXAMPLES:
            named.append(f"{letter.id} ({letter.origin}){': ' if route.detail else ''}{route.detail}")

    def count(self, *outcomes: Outcome) -> int:
        """Letters with one of these outcomes."""
        return sum(count for (_, _, outcome), count in self.counts.items() if outcome in outcomes)

    @property
    def left(self) -> int:
        """Letters that are as open as before."""
        return self.count(*(outcome for outcome in get_args(Outcome) if not outcome.startswith("brought back")))


def letter_of(entry: DeadLetter) -> Letter:
    """The letter without its bytes."""
    whence: tuple[str | None, int, int] = None, 0, entry.origin_line or 0
    if entry.origin_topic is not None:
        whence = entry.origin_topic, entry.origin_partition or 0, entry.origin_offset or 0
    return Letter(entry.dead_letter_id, entry.agent, entry.reason, *whence, entry.raw_sha256)


def check_choice(choice: Choice, reasons: Collection[str], topics: Mapping[str, Topic]) -> None:
    """Raises Refused for a choice that can mean no letter. `reasons`: those of all letters that there are."""
    if choice.topic is not None and choice.topic not in topics:
        raise Refused(f"there is no topic {choice.topic!r}: choose from {', '.join(topics)}")
    if choice.reason is not None and choice.reason not in reasons:
        there = f"there are {', '.join(sorted(reasons))}" if reasons else "there are no dead letters"
        raise Refused(f"no dead letter has the reason {choice.reason!r}: {there}")


def route(letter: Letter, original: Record | None, topics: Mapping[str, Topic]) -> Route:
    """What becomes of a letter whose origin holds `original` (None: nothing any more)."""
    if letter.topic is None:
        return Route("of a file")
    if original is None:
        return Route("gone")
    if sha256(original.value).hexdigest() != letter.digest:
        return Route("changed")
    try:
        entry = codec.decode(original.value)
    except BadInput as error:
        return Route("unreadable", detail=str(error))
    try:
        return Route("brought back", tuple(_sends(original, entry, topics)))
    except BadInput as error:
        return Route(_LEFT.get(error.code, "still refused"), detail=str(error))


_LEFT: Mapping[str, Outcome] = {"wrong_record": "misplaced", "out_of_date": "out of date"}


def _sends(original: Record, entry: Any, topics: Mapping[str, Topic]) -> Iterator[Send]:
    """An event goes to the topic of its kind, under the id that it is about, wherever it stood: of one that stood on a
    timeline, the place may be another one today. All else goes back to where it was. Raises BadInput.
    """
    headers = tuple(header for header in original.headers if header[0] != MATTER_HEADER)
    match entry:
        case MessageText():
            yield Send(entry.NAME, entry.about.encode(), original.value, headers)
        case Event():
            check_event(entry, len(original.value))
            yield Send(entry.NAME, entry.about.encode(), original.value, headers)
        case PlaceMessage() if original.topic == entry.NAME:
            yield from _repeat(original, entry)
        case _ if entry.NAME in topics[original.topic].records:
            yield Send(original.topic, original.key, original.value, original.headers, original.partition)
        case _:
            raise BadInput("wrong_record", f"a {entry.NAME} on the topic {original.topic}")


def _repeat(original: Record, message: PlaceMessage) -> Iterator[Send]:
    """A message between ids. Where a leader says that it lives may be out of date: it is asked to say so again."""
    id = original.key.decode(errors="replace")
    identity.hear_message(id, None, message)
    if message.kind in ("learn", "leave"):
        raise BadInput("out_of_date", f"{message.sender} may have told {id} something else since")
    if message.kind != "told":
        yield Send(original.topic, original.key, original.value, original.headers)
    if message.kind in ("told", "follow"):
        asked = PlaceMessage(kind="register", sender=id)
        yield Send(original.topic, message.sender.encode(), codec.encode(asked))


def mark(letter: Letter, now: datetime) -> Send:
    """The record that says that a letter was brought back; it lies in the letter's partition."""
    return Send(
        DEAD_LETTER, letter.id.encode(), codec.encode(DeadLetterReplay(dead_letter_id=letter.id, replayed_at=now))
    )
