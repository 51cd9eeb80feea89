"""A simulated broker: logs, transactions and consumer groups, as Kafka 4.1 answers aiokafka 0.14.

Its clients are the real ones: they speak to it through `tests.simulation.network`, request by request. It never fails
itself. What it must get right: an open transaction holds readers back; a transactional producer that starts ends what
its predecessor left open and shuts it out; a transaction that lasts too long is aborted, and its producer shut out;
markers and offsets of a transaction appear one after the other, after the answer; a TxnOffsetCommit is not bound to a
generation of the group; members of groups are lost when they are not heard. Must not know who its clients are.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OffsetOutOfRangeError,
    OutOfOrderSequenceNumber,
    UnknownTopicOrPartitionError,
)

from tests.simulation.groups import Group
from tests.simulation.log import PRODUCER, PRODUCER_AT, Log, OutOfOrder
from tests.simulation.world import WALL_S, World

NODE = 1
VERSIONS = {
    0: (0, 3),
    1: (0, 4),
    2: (0, 2),
    3: (0, 1),
    8: (0, 3),
    9: (0, 3),
    10: (0, 1),
    11: (0, 5),
    12: (0, 1),
    13: (0, 1),
    14: (0, 3),
    22: (0, 0),
    24: (0, 0),
    25: (0, 0),
    26: (0, 0),
    28: (0, 0),
}
"""Newest version that is spoken, by the number of the request (Kafka protocol)."""
FETCH_BATCHES = 12
"""Most batches of a partition in one answer."""
LONGEST_WAIT_S = 1.0
"""Of a fetch that finds nothing. A client asks for less; a broker that is slower than that saves steps."""
LATE_S = 2.5
"""Longest time after which the offsets of a transaction appear."""
NOBODY = -1

Reply = Callable[[Any], None]
Place = tuple[str, int]
"""Topic and partition."""


@dataclass
class Producer:
    """What is known of a producer id."""

    id: int
    epoch: int = 0
    timeout_s: float = 0.0
    phase: str = "empty"
    """`empty`, `open`, or `ending`: decided, and not yet seen everywhere."""
    committed: bool | None = None
    """How the last transaction ended; None: there was none."""
    number: int = 0
    """Of transactions so far."""
    places: dict[Place, None] = field(default_factory=dict)
    groups: dict[str, dict[Place, int]] = field(default_factory=dict)
    appearing: set[str] = field(default_factory=set)
    """Groups whose offsets of an ending transaction have not appeared yet."""
    late: list[Callable[[], None]] = field(default_factory=list)
    """Makes them appear that are put off."""
    left: int = 0
    """Markers and offsets of an ending transaction that are still to be written."""


@dataclass
class _Fetch:
    """A fetch that waits for something to be there."""

    wanted: list[tuple[Place, int]]
    committed: bool
    answer: Callable[[], None]
    over: bool = False


class Broker:
    """One broker. `topics`: name to number of partitions; `stamped`: topics whose records get the broker's time."""

    def __init__(self, world: World, topics: Mapping[str, int], stamped: frozenset[str] = frozenset()) -> None:
        self.world = world
        self.logs = {(topic, number): Log() for topic, count in topics.items() for number in range(count)}
        self.groups: dict[str, Group] = {}
        self._topics, self._stamped = dict(topics), stamped
        self._ids: dict[str, Producer] = {}
        self._producers: dict[int, Producer] = {}
        self._written = 0
        self._fetches: list[_Fetch] = []
        self._handlers: dict[int, Callable[[Any, str, Reply], None]] = {
            0: self._produce,
            1: self._fetch,
            2: self._list_offsets,
            3: self._describe,
            8: self._commit_offsets,
            9: self._tell_offsets,
            10: self._find_coordinator,
            11: lambda request, client, reply: self.group(request.group).join(request, client, reply),
            12: lambda request, client, reply: self.group(request.group).hear(request, reply),
            13: lambda request, client, reply: self.group(request.group).leave(request, reply),
            14: lambda request, client, reply: self.group(request.group).sync(request, reply),
            22: self._start_producer,
            24: self._add_partitions,
            25: self._add_offsets,
            26: self._end_transaction,
            28: self._commit_in_transaction,
        }

    def handle(self, request: Any, client: str, reply: Reply) -> None:
        """Do what a request asks; `reply` is called with the response, at once or later."""
        self._handlers[request.API_KEY](request, client, reply)

    def group(self, name: str) -> Group:
        """A consumer group."""
        if name not in self.groups:
            self.groups[name] = Group(self.world, name)
        return self.groups[name]

    def places(self, topic: str) -> list[Place]:
        """The partitions of a topic."""
        return [(topic, number) for number in range(self._topics[topic])]

    # ---- logs

    def _produce(self, request: Any, client: str, reply: Reply) -> None:
        topics = [
            (
                topic,
                [
                    self._append((topic, number), bytes(data), request.transactional_id is not None)
                    for number, data in parts
                ],
            )
            for topic, parts in request.topics
        ]
        reply(request.RESPONSE_TYPE(topics, 0))

    def _append(self, place: Place, data: bytes, transactional: bool) -> tuple[int, int, int, int]:
        log, error, offset = self.logs.get(place), 0, -1
        if log is None:
            return place[1], UnknownTopicOrPartitionError.errno, -1, -1
        if transactional:
            error = self._check_write(data, place)
        if not error:
            try:
                offset = log.append(data, self._next_written())
            except OutOfOrder:
                error = OutOfOrderSequenceNumber.errno
        self._wake(place)
        stamp = round((WALL_S + self.world.loop.time()) * 1000) if place[0] in self._stamped else -1
        return place[1], error, offset, stamp

    def _check_write(self, data: bytes, place: Place) -> int:
        id, epoch, _ = PRODUCER.unpack_from(data, PRODUCER_AT)
        error = self._check(id, epoch)
        producer = self._producers[id]
        if not error and (producer.phase != "open" or place not in producer.places):
            error = InvalidTxnState.errno
        return error

    def _next_written(self) -> int:
        self._written += 1
        return self._written

    def _fetch(self, request: Any, client: str, reply: Reply) -> None:
        wanted = [((topic, number), offset) for topic, parts in request.topics for number, offset, _ in parts]
        committed = request.isolation_level == 1

        def answer() -> None:
            if not fetch.over:
                fetch.over = True
                self._fetches.remove(fetch)
                reply(self._found(request, fetch))

        fetch = _Fetch(wanted, committed, answer)
        self._fetches.append(fetch)
        if any(self._has_news(place, offset, committed) for place, offset in wanted):
            answer()
        else:
            self.world.later(max(request.max_wait_time / 1000, LONGEST_WAIT_S), answer)

    def _has_news(self, place: Place, offset: int, committed: bool) -> bool:
        log = self.logs[place]
        return offset < (log.stable if committed else log.end) or offset > log.end or offset < log.start

    def _found(self, request: Any, fetch: _Fetch) -> Any:
        topics: dict[str, list[Any]] = {}
        for place, offset in fetch.wanted:
            log = self.logs[place]
            error = 0 if log.start <= offset <= log.end else OffsetOutOfRangeError.errno
            most = self.world.random.randint(1, FETCH_BATCHES)
            batches = [] if error else log.read(offset, fetch.committed, most)
            aborted = log.aborted_in(offset, batches[-1].last) if batches and fetch.committed else []
            data = b"".join(batch.data for batch in batches)
            topics.setdefault(place[0], []).append((place[1], error, log.end, log.stable, aborted, data))
        return request.RESPONSE_TYPE(0, [*topics.items()])

    def _wake(self, place: Place) -> None:
        """Answer the fetches that wait for this partition."""
        for fetch in [*self._fetches]:
            offsets = [offset for wanted, offset in fetch.wanted if wanted == place]
            if any(self._has_news(place, offset, fetch.committed) for offset in offsets):
                fetch.answer()

    def _list_offsets(self, request: Any, client: str, reply: Reply) -> None:
        def tell(topic: str, number: int, timestamp: int) -> tuple[int, int, int, int]:
            log = self.logs[topic, number]
            end = log.stable if request.isolation_level == 1 else log.end
            return number, 0, -1, log.start if timestamp == -2 else end

        topics = [(topic, [tell(topic, *part) for part in parts]) for topic, parts in request.topics]
        reply(request.RESPONSE_TYPE(0, topics))

    def _describe(self, request: Any, client: str, reply: Reply) -> None:
        wanted: Iterable[str] = self._topics if request.topics is None else request.topics
        topics = [
            (0, topic, False, [(0, number, NODE, [NODE], [NODE]) for number in range(self._topics[topic])])
            for topic in sorted(wanted)
        ]
        reply(request.RESPONSE_TYPE([(NODE, "simulated", 9092, None)], NODE, topics))

    def _find_coordinator(self, request: Any, client: str, reply: Reply) -> None:
        reply(request.RESPONSE_TYPE(0, 0, None, NODE, "simulated", 9092))

    # ---- offsets of groups

    def _commit_offsets(self, request: Any, client: str, reply: Reply) -> None:
        group = self.group(request.consumer_group)
        error = group.check_commit(request.consumer_id, request.consumer_group_generation_id)
        topics = []
        for topic, parts in request.topics:
            topics.append((topic, [(number, error) for number, _, _ in parts]))
            if not error:
                group.offsets |= {(topic, number): offset for number, offset, _ in parts}
        # Version 2 has no throttle time.
        reply(request.RESPONSE_TYPE(topics) if request.API_VERSION < 3 else request.RESPONSE_TYPE(0, topics))

    def _tell_offsets(self, request: Any, client: str, reply: Reply) -> None:
        offsets = self.group(request.consumer_group).offsets
        wanted: dict[str, list[int]] = {}
        if request.topics is None:
            for topic, number in offsets:
                wanted.setdefault(topic, []).append(number)
        else:
            wanted = dict(request.topics)
        topics = [
            (topic, [(number, offsets.get((topic, number), -1), "", 0) for number in numbers])
            for topic, numbers in wanted.items()
        ]
        reply(request.RESPONSE_TYPE(0, topics, 0))

    # ---- transactions

    def _start_producer(self, request: Any, client: str, reply: Reply) -> None:
        name, producer = request.transactional_id, None
        if name is not None:
            producer = self._ids.get(name)
        if producer is None:
            producer = Producer(len(self._producers) + 1)
            self._producers[producer.id] = producer
            if name is not None:
                self._ids[name] = producer
        elif producer.phase == "open":
            producer.epoch += 1
            self._end(producer, commit=False)
        else:
            producer.epoch += producer.phase == "empty"
        if producer.phase == "ending":
            self._hurry(producer)
            reply(request.RESPONSE_TYPE(0, ConcurrentTransactions.errno, NOBODY, NOBODY))
            return
        producer.timeout_s = request.transaction_timeout_ms / 1000
        reply(request.RESPONSE_TYPE(0, 0, producer.id, producer.epoch))

    def _check(self, id: int, epoch: int) -> int:
        producer = self._producers.get(id)
        if producer is None:
            return int(InvalidProducerIdMapping.errno)
        return 0 if epoch == producer.epoch else int(InvalidProducerEpoch.errno)

    def _open(self, request: Any) -> int:
        """Begin a transaction, or go on with it."""
        if error := self._check(request.producer_id, request.producer_epoch):
            return error
        producer = self._producers[request.producer_id]
        if producer.phase == "ending":
            self._hurry(producer)
            return int(ConcurrentTransactions.errno)
        if producer.phase == "empty":
            producer.phase, producer.number = "open", producer.number + 1
            self.world.later(producer.timeout_s, self._time_out, producer, producer.number)
        return 0

    def _time_out(self, producer: Producer, number: int) -> None:
        if producer.phase == "open" and producer.number == number:
            self.world.note(f"the transaction of producer {producer.id} took too long")
            producer.epoch += 1
            self._end(producer, commit=False)

    def _add_partitions(self, request: Any, client: str, reply: Reply) -> None:
        error = self._open(request)
        if not error:
            places = {(topic, number): None for topic, numbers in request.topics for number in numbers}
            self._producers[request.producer_id].places |= places
        errors = [(topic, [(number, error) for number in numbers]) for topic, numbers in request.topics]
        reply(request.RESPONSE_TYPE(0, errors))

    def _add_offsets(self, request: Any, client: str, reply: Reply) -> None:
        error = self._open(request)
        if not error:
            self._producers[request.producer_id].groups.setdefault(request.group_id, {})
        reply(request.RESPONSE_TYPE(0, error))

    def _commit_in_transaction(self, request: Any, client: str, reply: Reply) -> None:
        error = self._check(request.producer_id, request.producer_epoch)
        producer = self._producers[request.producer_id]
        if not error and (producer.phase != "open" or request.group_id not in producer.groups):
            error = InvalidTxnState.errno
        errors = []
        for topic, parts in request.topics:
            errors.append((topic, [(number, error) for number, _, _ in parts]))
            if not error:
                producer.groups[request.group_id] |= {(topic, number): offset for number, offset, _ in parts}
        reply(request.RESPONSE_TYPE(0, errors))

    def _end_transaction(self, request: Any, client: str, reply: Reply) -> None:
        error = self._check(request.producer_id, request.producer_epoch)
        producer, commit = self._producers[request.producer_id], bool(request.transaction_result)
        if not error:
            if producer.phase == "open":
                self._end(producer, commit)
            elif producer.committed is not commit:
                error = InvalidTxnState.errno
            elif producer.phase == "ending":
                error = ConcurrentTransactions.errno
        reply(request.RESPONSE_TYPE(0, error))

    def _end(self, producer: Producer, commit: bool) -> None:
        """Decide; markers and offsets follow one by one, in any order."""
        places, groups = producer.places, producer.groups
        producer.phase, producer.committed, producer.places, producer.groups = "ending", commit, {}, {}
        producer.left, producer.appearing = len(places) + len(groups), set(groups)
        for place in places:
            self.world.later(self.world.lag_s(), self._mark, producer, place, commit)
        for name, offsets in groups.items():
            self._let_appear(producer, name, offsets if commit else {})
        if not producer.left:
            producer.phase = "empty"

    def _let_appear(self, producer: Producer, name: str, offsets: Mapping[Place, int]) -> None:
        """Soon; or, to be as awkward as can be, when the producer's id is asked for again."""
        appear = partial(self._take_offsets, producer, producer.number, name, offsets)
        if self.world.happens(self.world.dangers.lag):
            producer.late.append(appear)
            self.world.later(LATE_S, appear)
        else:
            self.world.later(self.world.trip_s(), appear)

    def _hurry(self, producer: Producer) -> None:
        late, producer.late = producer.late, []
        for appear in late:
            self.world.later(self.world.trip_s(), appear)

    def _mark(self, producer: Producer, place: Place, commit: bool) -> None:
        self.logs[place].mark(producer.id, producer.epoch, commit, self._next_written())
        self._wake(place)
        self._settle(producer)

    def _take_offsets(self, producer: Producer, number: int, name: str, offsets: Mapping[Place, int]) -> None:
        if name in producer.appearing and producer.number == number:
            producer.appearing.discard(name)
            self.group(name).offsets |= offsets
            self._settle(producer)

    def _settle(self, producer: Producer) -> None:
        producer.left -= 1
        if not producer.left:
            producer.phase = "empty"
