"""A group that is told to stop in the midst of a rebalance, over clients that stand still where the test wants it."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams.delivery.agent import NOTHING, Agent
from streams.delivery.group import Group
from streams.delivery.names import topic_name
from streams.delivery.watch import Watch
from streams.settings import Settings

AGENT: Agent[Any] = Agent(name="step", inputs=("a",), outputs=(), decide=lambda record, state: NOTHING)
LIMIT_S, PATIENCE_S = 60.0, 10.0


class Coordinator:
    member_id = "one"


class Client:
    """Of whatever kind; what was closed refuses to go on, as aiokafka's clients do."""

    _coordinator = Coordinator()

    def __init__(self, cluster: "Clients", **options: Any) -> None:
        self.cluster, self._client = cluster, self
        self.closed = False

    async def start(self) -> None:
        if self in self.cluster.producers:
            self.cluster.fencing.set()
            await self.cluster.fenced.wait()
            self._check()

    async def stop(self) -> None:
        self.closed = True

    close = stop

    def subscribe(self, topics: Any, listener: Any) -> None: ...

    async def _wait_on_metadata(self, topic: str) -> None: ...

    async def beginning_offsets(self, places: Any) -> dict[TopicPartition, int]:
        self._check()
        return dict.fromkeys(places, 0)

    async def list_consumer_group_offsets(self, group: str, partitions: Any) -> dict[TopicPartition, Any]:
        self._check()
        return {}

    def _check(self) -> None:
        if self.closed:
            raise KafkaConnectionError("it was closed")


class Clients:
    """`fencing` is set when a producer starts; it has started when `fenced` is."""

    def __init__(self) -> None:
        self.fencing, self.fenced = asyncio.Event(), asyncio.Event()
        self.producers: list[Client] = []

    def consumer(self, **options: Any) -> Client:
        return Client(self)

    def producer(self, **options: Any) -> Client:
        self.producers.append(Client(self))
        return self.producers[-1]

    def admin(self, **options: Any) -> Client:
        return Client(self)


@pytest.mark.parametrize("comes_first", ["the order to stop", "the assignment"])
def test_a_group_that_is_told_to_stop_while_it_takes_over_ends_in_good_order(comes_first: str) -> None:
    settings, errors = Settings(), list[BaseException]()
    assigned = [TopicPartition(topic_name(settings.namespace, "a"), 0)]

    async def scenario(watch: Watch) -> tuple[Group, Clients]:
        clients = Clients()
        group = Group(
            AGENT,
            settings,
            clients,
            turns=asyncio.Queue(),
            watch=watch,
            fail=errors.append,
            on_phase=lambda: None,
            encode_dead_letter=lambda letter: b"",
        )
        await group.on_start()
        await group.on_partitions_revoked([])
        if comes_first == "the assignment":
            rebalance = asyncio.ensure_future(group.on_partitions_assigned(assigned))
            await clients.fencing.wait()
            leaving = asyncio.ensure_future(group.leave(PATIENCE_S))
        else:
            leaving = asyncio.ensure_future(group.leave(PATIENCE_S))
            await asyncio.sleep(0)
            rebalance = asyncio.ensure_future(group.on_partitions_assigned(assigned))
        for _ in range(100):  # whatever can go on does
            await asyncio.sleep(0)
        clients.fenced.set()
        await asyncio.gather(leaving, rebalance)
        for _ in range(100):
            await asyncio.sleep(0)
        return group, clients

    watch = Watch(LIMIT_S)
    try:
        group, clients = asyncio.run(scenario(watch))
    finally:
        watch.close()
    assert errors == []
    assert group.phase == "stop"
    assert all(producer.closed for producer in clients.producers)
