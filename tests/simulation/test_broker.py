"""Facts about Kafka and its client that the product rests on: true of a real broker, and of the simulated one."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import ProducerFenced

from streams.delivery.names import topic_name
from streams.kafka import Clients, Cluster, subscribe
from tests.delivery.broker import make_topics, until
from tests.engines import settings, stack
from tests.simulation.broker import Broker
from tests.simulation.network import SimulatedClients, connected
from tests.simulation.world import NO_DANGERS, Process, World

__all__ = ["settings", "stack"]

LONGEST_S = 60.0
TIMEOUT_MS = 3000
"""Of transactions that are meant to last too long."""
Fact = Callable[[Clients, str], Coroutine[Any, Any, None]]
"""Takes clients and a topic of two partitions that only it uses."""


def run_simulated(fact: Fact) -> None:
    world = World(1, NO_DANGERS)
    broker = Broker(world, {"topic": 2})
    process = Process(world, "fact")
    process.ended = lambda ended: world.loop.stop()

    async def run() -> None:
        async with asyncio.timeout(LONGEST_S):
            await fact(SimulatedClients(process), "topic")

    with connected(world, broker):
        try:
            outcome = process.start(run())
            world.loop.run_forever()
            outcome.result()
        finally:
            world.close()


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.engines)])
def check(request: pytest.FixtureRequest) -> Iterator[Callable[[Fact], None]]:
    """Runs a fact against one of the brokers."""
    if request.param == "simulated":
        yield run_simulated
        return
    request.getfixturevalue("stack")
    ours = request.getfixturevalue("settings")

    async def run(fact: Fact) -> None:
        await make_topics(ours, ["topic"], partitions=2)
        async with asyncio.timeout(LONGEST_S):
            await fact(Cluster(ours), topic_name(ours.namespace, "topic"))

    yield lambda fact: asyncio.run(run(fact))


async def started(client: Any) -> Any:
    await client.start()
    return client


async def reader(clients: Clients, place: TopicPartition, **options: Any) -> Any:
    consumer = await started(
        clients.consumer(isolation_level="read_committed", auto_offset_reset="earliest", **options)
    )
    consumer.assign([place])
    return consumer


async def read(consumer: Any, most_s: float = 1.0) -> list[bytes]:
    found = await consumer.getmany(timeout_ms=round(most_s * 1000))
    return [record.value for records in found.values() for record in records]


async def read_until(consumer: Any, count: int) -> list[bytes]:
    values: list[bytes] = []
    while len(values) < count:
        values += await read(consumer)
    return values


async def producer(clients: Clients, topic: str, **options: Any) -> Any:
    """A transactional producer of this topic's own id."""
    return await started(clients.producer(transactional_id=topic, **options))


async def write(producer: Any, topic: str, *values: bytes) -> None:
    for value in values:
        await producer.send_and_wait(topic, value, key=value, partition=0)


def test_an_open_transaction_holds_readers_back(check: Callable[[Fact], None]) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        place = TopicPartition(topic, 0)
        first, plain = await producer(clients, topic), await started(clients.producer())
        consumer = await reader(clients, place)
        await first.begin_transaction()
        await write(first, topic, b"open")
        await write(plain, topic, b"behind")
        assert await read(consumer) == []
        assert (await consumer.end_offsets([place]))[place] == 0
        await first.commit_transaction()
        assert await read_until(consumer, 2) == [b"open", b"behind"]
        for client in (first, plain, consumer):
            await client.stop()

    check(fact)


def test_aborted_records_and_markers_are_holes_that_positions_pass_over(check: Callable[[Fact], None]) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        place = TopicPartition(topic, 0)
        one = await producer(clients, topic)
        for value, ends in ((b"a", one.abort_transaction), (b"b", one.commit_transaction)):
            await one.begin_transaction()
            await write(one, topic, value)
            await ends()
        consumer = await reader(clients, place)
        assert await read_until(consumer, 1) == [b"b"]
        while await consumer.position(place) < 4:  # a and its marker, b and its marker
            assert await read(consumer) == []
        await one.stop()
        await consumer.stop()

    check(fact)


def test_a_producer_that_starts_ends_what_its_predecessor_left_open_and_shuts_it_out(
    check: Callable[[Fact], None],
) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        place = TopicPartition(topic, 0)
        former = await producer(clients, topic)
        await former.begin_transaction()
        await write(former, topic, b"left")
        new = await producer(clients, topic)
        consumer = await reader(clients, place)
        assert (await consumer.end_offsets([place]))[place] == 2  # what was left, and the marker that aborts it
        await new.begin_transaction()
        await write(new, topic, b"new")
        await new.commit_transaction()
        assert await read_until(consumer, 1) == [b"new"]
        with pytest.raises(ProducerFenced):
            await former.commit_transaction()
        for client in (former, new, consumer):
            await client.stop()

    check(fact)


def test_a_transaction_that_lasts_too_long_is_aborted_and_its_producer_shut_out(check: Callable[[Fact], None]) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        slow = await producer(clients, topic, transaction_timeout_ms=TIMEOUT_MS)
        plain = await started(clients.producer())
        consumer = await reader(clients, TopicPartition(topic, 0))
        await slow.begin_transaction()
        await write(slow, topic, b"slow")
        await write(plain, topic, b"behind")
        assert await read_until(consumer, 1) == [b"behind"]
        with pytest.raises(ProducerFenced):
            await slow.commit_transaction()
        for client in (slow, plain, consumer):
            await client.stop()

    check(fact)


def test_offsets_in_a_transaction_count_with_it_and_need_no_member_of_the_group(check: Callable[[Fact], None]) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        place, group = TopicPartition(topic, 0), f"{topic}-group"
        one, admin = await producer(clients, topic), await started(clients.admin())

        async def has_committed(offset: int) -> bool:
            offsets = await admin.list_consumer_group_offsets(group, partitions=[place])
            return bool(offsets[place].offset == offset)

        await one.begin_transaction()
        await one.send_offsets_to_transaction({place: 7}, group)
        assert await has_committed(-1)
        await one.abort_transaction()
        await one.begin_transaction()
        await one.send_offsets_to_transaction({place: 8}, group)
        await one.commit_transaction()
        await until(lambda: has_committed(8), "the offset of the transaction that was committed")
        await one.stop()
        await admin.close()

    check(fact)


def test_what_was_fetched_before_a_seek_is_not_handed_out_after_it(check: Callable[[Fact], None]) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        place = TopicPartition(topic, 0)
        plain = await started(clients.producer())
        await write(plain, topic, b"0", b"1", b"2", b"3")
        consumer = await reader(clients, place)
        found = await consumer.getmany(timeout_ms=1000, max_records=1)
        while not found:
            found = await consumer.getmany(timeout_ms=1000, max_records=1)
        consumer.seek(place, 2)
        assert await read_until(consumer, 2) == [b"2", b"3"]
        await plain.stop()
        await consumer.stop()

    check(fact)


class Told(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Notes what it is told."""

    def __init__(self) -> None:
        self.assigned: set[int] | None = None

    async def on_partitions_revoked(self, revoked: Any) -> None:
        self.assigned = None

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self.assigned = {place.partition for place in assigned}

    async def has(self, *partitions: int) -> bool:
        return self.assigned == {*partitions}


def test_members_share_partitions_and_take_over_those_of_one_that_leaves(check: Callable[[Fact], None]) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        told, members = (Told(), Told()), []
        for number, listener in enumerate(told):
            consumer = await started(
                clients.consumer(
                    group_id=f"{topic}-group",
                    client_id=f"member-{number}",
                    partition_assignment_strategy=[RangePartitionAssignor],
                    heartbeat_interval_ms=200,
                    auto_offset_reset="earliest",
                )
            )
            await subscribe(consumer, [topic], listener)
            members.append(consumer)
        await until(lambda: told[0].has(0), "half of the partitions for the first member")
        await until(lambda: told[1].has(1), "half of the partitions for the second member")
        await members[0].stop()
        await until(lambda: told[1].has(0, 1), "all partitions for the member that stayed")
        await members[1].stop()

    check(fact)


def test_an_unknown_position_is_no_error_once_another_was_sought(check: Callable[[Fact], None]) -> None:
    async def fact(clients: Clients, topic: str) -> None:
        plain = await started(clients.producer())
        await write(plain, topic, b"0", b"1")
        listener = Told()
        consumer = await started(
            clients.consumer(group_id=f"{topic}-group", auto_offset_reset="none", heartbeat_interval_ms=200)
        )
        await subscribe(consumer, [topic], listener)
        await until(lambda: listener.has(0, 1), "all partitions")
        consumer.seek(TopicPartition(topic, 0), 1)
        consumer.seek(TopicPartition(topic, 1), 0)
        assert await read_until(consumer, 1) == [b"1"]
        await plain.stop()
        await consumer.stop()

    check(fact)


def test_a_group_has_its_partitions_though_the_first_question_for_them_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Elected without metadata, a member would assign nothing to anybody, and idle for five minutes."""
    struck: list[str] = []

    def strike(self: World, process: Process, where: str, weight: float = 1.0) -> bool:
        struck.append(where)
        return where == "before find coordinator" and struck.count(where) == 1

    async def fact(clients: Clients, topic: str) -> None:
        listener = Told()
        consumer = await started(clients.consumer(group_id="group", auto_offset_reset="earliest"))
        await subscribe(consumer, [topic], listener)
        async with asyncio.timeout(20):
            await until(lambda: listener.has(0, 1), "all partitions")
        await consumer.stop()

    monkeypatch.setattr(World, "strike", strike)
    run_simulated(fact)
    assert struck.count("before find coordinator") > 1
