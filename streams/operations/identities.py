"""State of correlate, made anew from source events. Pure.

Where links and words lead does not depend on the order of events, so all of them are worked off in memory until no id
has anything to say. Two things are not in the events, how often an id moved and where it was last told to live: they
are taken from the topic of places, and whoever lives elsewhere than it should moves as it would have.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams import codec
from streams.agents import correlate
from streams.agents.correlate import sends_of
from streams.delivery.agent import Record, Send
from streams.delivery.task import Task
from streams.domain.events import Event, Place, PlaceMessage
from streams.domain.history import links_of
from streams.domain.identity import Identity, take_up
from streams.partitions import partition_of

BATCH_RECORDS = 500


class TakenUp(NamedTuple):
    """An id, as it is to go on."""

    key: bytes
    entry: bytes
    sends: list[Send]


class Correlation:
    """All tasks of correlate, in memory, that send nothing but messages to each other."""

    def __init__(self, partitions: int) -> None:
        self._tasks: list[Task[Identity]] = [
            Task(correlate.AGENT, partition, {}, {}) for partition in range(partitions)
        ]
        self._waiting: list[deque[Record]] = [deque() for _ in range(partitions)]
        self._messages = 0
        self._leaders: dict[str, tuple[str, ...]] = {}
        """By id, all that it ever followed, in whatever order it was told."""

    def take(self, partition: int, records: Iterable[Record]) -> None:
        """Work off source records of one partition, and all that ids have to say because of them."""
        self._work_off(partition, records)
        while any(self._waiting):
            for addressed, messages in enumerate(self._waiting):
                batch = [messages.popleft() for _ in range(min(len(messages), BATCH_RECORDS))]
                self._work_off(addressed, batch)

    def take_up(self, partition: int, places: Mapping[str, Place]) -> Iterable[TakenUp]:
        """Every id of a partition, at the place that it was last told to have, with what it has to say."""
        encode, decode = correlate.AGENT.encode, correlate.AGENT.decode
        assert encode is not None
        assert decode is not None
        for key, entry in self._tasks[partition].entries.items():
            id = key.decode()
            identity, outputs = take_up(id, decode(entry), places.get(id), self._leaders.get(id, ()))
            yield TakenUp(key, encode(identity), sends_of(outputs))

    def _work_off(self, partition: int, records: Iterable[Record]) -> None:
        task = self._tasks[partition]
        for commit in task.process(records):
            task.apply(commit)
            for send in commit.sends:
                if send.topic == PlaceMessage.NAME:
                    addressed = partition_of(send.key, len(self._tasks))
                    self._messages += 1
                    self._waiting[addressed].append(
                        Record(send.topic, addressed, self._messages, send.key, send.value, send.headers)
                    )
                elif send.topic == "timeline" and isinstance(entry := codec.decode(send.value), Event):
                    self._note_links(entry)

    def _note_links(self, event: Event) -> None:
        """Those of an event that was let in."""
        for id, leader in links_of(event.about, event):
            known = self._leaders.get(id, ())
            if leader not in known:
                self._leaders[id] = *known, leader
