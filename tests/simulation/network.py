"""The network between simulated processes and the simulated broker, and aiokafka's own clients upon it.

aiokafka's consumer, producer and admin client run as they are: only their connections are replaced, the time that they
read, and sets whose order depends on addresses in memory. Requests of a connection are answered one after the other,
as Kafka does. Must not know what requests mean, but for which of them are worth a fault.
"""

import asyncio
import random
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from unittest.mock import patch

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, client, cluster, consumer, producer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError

from tests.simulation.broker import VERSIONS, Broker
from tests.simulation.loop import OWNER
from tests.simulation.world import WALL_S, Process, World

ADDRESS = "simulated:9092"
REQUEST_S = 10.0
"""After which a client takes a request for lost."""
WEIGHTS = {1: 0.1, 3: 0.3, 10: 0.3, 12: 0.3}
"""Of faults at requests that come all the time: fetches, metadata, coordinators, heartbeats. Others: 1."""
NAMES = {
    0: "produce",
    1: "fetch",
    2: "list offsets",
    3: "metadata",
    8: "commit offsets",
    9: "fetch offsets",
    10: "find coordinator",
    11: "join",
    12: "heartbeat",
    13: "leave",
    14: "sync",
    22: "start producer",
    24: "add partitions",
    25: "add offsets",
    26: "end transaction",
    28: "offsets in transaction",
}
QUIET = frozenset({1, 3, 10, 12})
"""Requests that the trace leaves out."""


class Connection:
    """What `aiokafka.conn.AIOKafkaConnection` is to a client."""

    def __init__(self, process: Process, broker: Broker, client_id: str, on_close: Any) -> None:
        self.process, self.broker, self.client_id = process, broker, client_id
        self._world, self._on_close = process.world, on_close
        self._open = True
        self._waiting: list[asyncio.Future[Any]] = []
        self._arrived: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._arrives_s = 0.0
        self._busy = False
        self._lingers = self._world.happens(0.5)
        """Whether what was sent still reaches the broker when the process dies."""

    def connected(self) -> bool:
        """Whether it can be used."""
        return self._open

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; awaiting the result gives the response. Raises KafkaConnectionError, TimeoutError."""
        if not self._open:
            raise KafkaConnectionError("no connection to the simulated broker")
        loop = self._world.loop
        future: asyncio.Future[Any] = loop.create_future()
        if self.process.alive:
            if self._strikes("before", request):
                self._break()
                raise KafkaConnectionError("the connection broke")
            self._waiting.append(future)
            # In the context of the process: who was killed or stopped just now has not sent it yet.
            loop.call_soon(self._depart, request.prepare(VERSIONS), future)
        return asyncio.wait_for(future, REQUEST_S)

    def _depart(self, request: Any, future: "asyncio.Future[Any]") -> None:
        now_s = self._world.loop.time()
        self._arrives_s = max(self._arrives_s, now_s + self._world.trip_s())
        self._world.later(self._arrives_s - now_s, self._arrive, request, future)

    def _strikes(self, when: str, request: Any) -> bool:
        weight = WEIGHTS.get(request.API_KEY, 1.0)
        return self._world.strike(self.process, f"{when} {NAMES[request.API_KEY]}", weight)

    def _arrive(self, request: Any, future: "asyncio.Future[Any]") -> None:
        self._arrived.append((request, future))
        if not self._busy:
            self._serve()

    def _serve(self) -> None:
        while self._arrived and not self._busy:
            request, future = self._arrived.popleft()
            if not self._open or not (self.process.alive or self._lingers):
                continue
            self._busy = True
            if request.API_KEY not in QUIET:
                self._world.note(f"{self.process.name} {NAMES[request.API_KEY]}")
            self._world.overhear(self.process, NAMES[request.API_KEY])
            self.broker.handle(request, self.client_id, partial(self._reply, request, future))

    def _reply(self, request: Any, future: "asyncio.Future[Any]", response: Any) -> None:
        self._busy = False
        if self._strikes("after", request):
            self._break()
        else:
            self._world.later(self._world.trip_s(), self._answer, future, response)
        self._serve()

    def _answer(self, future: "asyncio.Future[Any]", response: Any) -> None:
        if self._open and not future.done():
            self._waiting.remove(future)
            future.set_result(response)

    def _break(self) -> None:
        self.close(reason=CloseReason.CONNECTION_BROKEN)

    def close(self, reason: Any = None, exc: BaseException | None = None) -> "asyncio.Future[None]":
        """End it; what waits for an answer fails."""
        if self._open:
            self._open = False
            for future in self._waiting:
                if not future.done():
                    future.set_exception(KafkaConnectionError("the connection to the simulated broker was closed"))
                    future.exception()  # nobody may be left to hear it
            self._waiting.clear()
            if self._on_close is not None:
                self._on_close(self, reason)
        closed = self._world.loop.create_future()
        closed.set_result(None)
        return closed


class SimulatedClients:
    """Clients of one simulated process (`streams.kafka.Clients`)."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def consumer(self, **options: Any) -> Any:
        """aiokafka's consumer, not started."""
        return self._kept(_Consumer(bootstrap_servers=ADDRESS, check_crcs=False, **options))

    def producer(self, **options: Any) -> Any:
        """aiokafka's producer, not started."""
        return self._kept(AIOKafkaProducer(bootstrap_servers=ADDRESS, **options))

    def admin(self, **options: Any) -> Any:
        """aiokafka's admin client, not started."""
        return self._kept(AIOKafkaAdminClient(bootstrap_servers=ADDRESS, **options))

    def _kept(self, made: Any) -> Any:
        # A client that was never closed complains when it is collected.
        self._process.buried.append(lambda: setattr(made, "_closed", True))
        return made


class _Consumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """Whoever waits for records is woken in the order of asking, not of addresses in memory."""

    async def start(self) -> None:
        await super().start()
        self._fetcher._fetch_waiters = _OrderedSet()
        self._subscription.register_fetch_waiters(self._fetcher._fetch_waiters)


class _OrderedSet(dict[Any, None]):
    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


class _Time:
    """What aiokafka takes for the module `time`."""

    def __init__(self, world: World) -> None:
        self.monotonic = world.loop.time
        self._world = world

    def time(self) -> float:
        return WALL_S + self._world.loop.time()


@contextmanager
def connected(world: World, broker: Broker) -> Iterator[None]:
    """Within the block, aiokafka's clients of simulated processes find the simulated broker."""

    async def create_conn(host: str, port: int, **options: Any) -> Connection:
        process = OWNER.get()
        assert isinstance(process, Process)
        if world.strike(process, "before connect"):
            raise KafkaConnectionError("the simulated broker can't be reached")
        await asyncio.sleep(world.trip_s())
        return Connection(process, broker, options["client_id"], options.get("on_close"))

    time: Any = _Time(world)
    modules = [
        client,
        cluster,
        consumer.fetcher,
        consumer.group_coordinator,
        consumer.subscription_state,
        producer.message_accumulator,
    ]
    state = random.getstate()
    random.seed(world.random.random())
    with patch.object(client, "create_conn", create_conn):
        patches: list[Any] = [patch.object(module, "time", time) for module in modules]
        # Hashes of texts differ from run to run, and with them the order of sets of partitions.
        patches.append(patch.object(TopicPartition, "__hash__", _hash))
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in patches:
                each.stop()
            random.setstate(state)


def _hash(place: TopicPartition) -> int:
    return _hash_of_topic(place.topic) + int(place.partition)


@cache
def _hash_of_topic(topic: str) -> int:
    return zlib.crc32(topic.encode()) * 31
