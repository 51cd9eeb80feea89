"""Facts of delivery on a real broker: whatever happens to workers, what is committed equals the pure fold."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from aiokafka.errors import ProducerFenced

from streams import codec
from streams.delivery.agent import Send
from streams.delivery.names import topic_name
from streams.delivery.task import Commit
from streams.delivery.transactions import Transactions
from streams.delivery.watch import Watch
from streams.delivery.worker import WorkerApp
from streams.kafka import Cluster
from streams.settings import Settings
from tests.delivery import broker
from tests.delivery.broker import Worker, make_topics, nothing_open, read, until, write
from tests.delivery.chain import FIRST, POISON, Step, decode, encode

pytestmark = pytest.mark.engines

QUICK = {"rebalance_timeout_s": 8.0, "transaction_timeout_s": 8.0, "deadline_s": 30.0}
PAUSE_S = 7.5
"""Beyond the session time-out (6 s, the shortest that a broker allows): others take over, and a zombie wakes up."""

Start = Callable[..., Worker]


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Starts workers of the chain; none outlives the test."""
    workers = []

    def start_worker(*agents: str, **more: Any) -> Worker:
        workers.append(Worker(settings, tmp_path, *agents, **(QUICK | more)))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.kill()


@asynccontextmanager
async def feed(settings: Settings, seed: int) -> AsyncIterator[None]:
    """Write both sources while the block runs: in transactions, some of them aborted, with some poison."""
    randomness, ending = Random(seed), asyncio.Event()

    async def write_on() -> None:
        options = {"transactional_id": f"{settings.namespace}-feed", "retry_backoff_ms": 20}
        async with broker.producer_of(settings, **options) as producer:
            while not ending.is_set():
                await producer.begin_transaction()
                for _ in range(randomness.randint(1, 20)):
                    value = POISON if randomness.random() < 0.01 else b"c%d" % randomness.randrange(30)
                    topic = topic_name(settings.namespace, randomness.choice("ab"))
                    await producer.send(topic, value, key=b"k%d" % randomness.randrange(60))
                await producer.flush()
                if randomness.random() < 0.1:
                    await producer.abort_transaction()
                else:
                    await producer.commit_transaction()
                await asyncio.sleep(0.02)

    writing = asyncio.create_task(write_on())
    try:
        yield
    finally:
        ending.set()
        await writing


async def assert_equal_to_the_fold(settings: Settings) -> None:
    """Wait until all input is worked off, and compare outputs, dead letters and states with a fold of the input."""
    inputs = [record for noun in ("a", "b") for record in await read(settings, noun)]
    good = [record for record in inputs if record.value != POISON]

    async def is_worked_off() -> bool:
        return len(await read(settings, "out")) >= len(good)

    await until(is_worked_off, "all is worked off", poll_s=0.5)
    nouns = {topic_name(settings.namespace, noun): noun for noun in ("a", "b", "mid")}

    def places(records: list[Any]) -> Counter[tuple[str, int, int]]:
        return Counter((nouns[record.topic], record.partition, record.offset) for record in records)

    letters = [codec.decode(record.value) for record in await read(settings, "dead_letter")]
    assert Counter(
        (letter.origin_topic, letter.origin_partition, letter.origin_offset) for letter in letters
    ) == places([record for record in inputs if record.value == POISON])
    mid, out = await read(settings, "mid"), await read(settings, "out")
    for source, results, agent in ((good, mid, "first"), (mid, out, "second")):
        steps = [msgspec.json.decode(record.value, type=Step) for record in results]
        assert Counter((step.topic, step.partition, step.offset) for step in steps) == places(source)
        counts: dict[bytes, Counter[str]] = {}
        expected = {}
        for record in source:
            count = counts.setdefault(record.key, Counter())
            count[nouns[record.topic]] += 1
            place = nouns[record.topic], record.partition, record.offset
            expected[place] = record.key.decode(), count[nouns[record.topic]]
        assert {(step.topic, step.partition, step.offset): (step.key, step.count) for step in steps} == expected
        for key, count in counts.items():
            totals = [step.all for step in steps if step.key == key.decode()]
            assert sorted(totals) == list(range(1, count.total() + 1))
        state = {record.key: decode(record.value) for record in await read(settings, f"{agent}-changelog")}
        assert state == counts


async def disturbed(
    settings: Settings, start: Start, disturb: Callable[[list[Worker]], Coroutine[Any, Any, None]]
) -> None:
    """Run the chain in three workers, disturb it while it works, and compare."""
    await make_topics(settings)
    workers = [start("first", "second", name=f"worker-{n}") for n in range(3)]
    for worker in workers:
        await worker.ready()
    async with feed(settings, seed=7):
        await broker.grows(settings, "out")
        await disturb(workers)
        await broker.grows(settings, "out")
    await assert_equal_to_the_fold(settings)


def test_workers_killed_or_paused_beyond_their_session_lose_and_double_nothing(
    settings: Settings, start: Start
) -> None:
    async def kill_and_pause(workers: list[Worker]) -> None:
        killed, paused, _ = workers
        killed.kill()
        paused.send(signal.SIGSTOP)
        killed.start()
        await asyncio.sleep(PAUSE_S)
        paused.send(signal.SIGCONT)
        await killed.ready()
        await broker.grows(settings, "out")

    asyncio.run(disturbed(settings, start, kill_and_pause))


def test_workers_that_come_and_go_lose_and_double_nothing(settings: Settings, start: Start) -> None:
    async def come_and_go(workers: list[Worker]) -> None:
        assert await workers[0].stop() == 0
        await broker.grows(settings, "out")
        assert await workers[1].stop() == 0
        workers[0].start()
        await workers[0].ready()
        await broker.grows(settings, "out")

    asyncio.run(disturbed(settings, start, come_and_go))


def test_an_agent_that_raises_ends_its_worker_and_loses_and_doubles_nothing(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        worker = await start("first", "second").ready()
        await worker.stop()
        failures = tmp_path / "failures"
        failures.mkdir()
        async with feed(settings, seed=8):
            worker.start(FAILURES=str(failures))
            for _ in range(3):
                assert await worker.exit_status() == 1
                worker.start()
        worker.kill()
        assert "a bug that goes away" in worker.log.read_text()
        worker.start(FAILURES="")
        await worker.ready()
        await assert_equal_to_the_fold(settings)

    asyncio.run(scenario())


def test_a_worker_stops_in_good_order_and_leaves_no_file(settings: Settings, start: Start) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        workers = [start("first", "second", name=name) for name in ("one", "two")]
        for worker, number in zip(workers, (signal.SIGTERM, signal.SIGINT), strict=True):
            await worker.ready()
            assert {file.name for file in worker.folder.iterdir()} == {"ready", "log"}
            worker.send(number)
            assert await worker.exit_status() == 0
            assert {file.name for file in worker.folder.iterdir()} == {"log"}

    asyncio.run(scenario())


@asynccontextmanager
async def zombie_and_owner(settings: Settings) -> AsyncIterator[tuple[Transactions, Transactions]]:
    """Producers of one task, of which the second has fenced the first; its topics are there."""
    await make_topics(settings)
    cluster = Cluster(settings)
    zombie, owner = Transactions(settings, cluster, "first", 0), Transactions(settings, cluster, "first", 0)
    await zombie.fence()
    await owner.fence()
    try:
        yield zombie, owner
    finally:
        await zombie.stop()
        await owner.stop()


def test_a_fenced_owner_commits_nothing(settings: Settings) -> None:
    async def scenario() -> None:
        async with zombie_and_owner(settings) as (zombie, owner):
            with pytest.raises(ProducerFenced):
                await zombie.write(Commit({}, [Send("out", b"k", b"zombie")], {"a": 5}))
            await owner.write(Commit({}, [Send("out", b"k", b"owner")], {"a": 1}))
        await nothing_open(settings, "out")
        assert [record.value for record in await read(settings, "out")] == [b"owner"]

    asyncio.run(scenario())


def test_an_owner_that_is_fenced_between_two_sends_is_told_of_the_fence(settings: Settings) -> None:
    """The client then refuses the second one with an error of its own, which says nothing of the fence."""
    sends = [Send("out", b"k", b"zombie", partition=number) for number in range(2)]

    async def scenario() -> None:
        async with zombie_and_owner(settings) as (zombie, _):
            producer = zombie._producer
            send_batch = producer.send_batch

            async def know_the_fence() -> bool:
                return bool(producer._txn_manager.is_fatal_error())

            async def send_slowly(*what: Any, **options: Any) -> Any:
                acknowledgement = await send_batch(*what, **options)
                await until(know_the_fence, "the client knows of the fence")
                return acknowledgement

            producer.send_batch = send_slowly
            with pytest.raises(ProducerFenced):
                await zombie.write(Commit({}, sends, {}))

    asyncio.run(scenario())


def test_a_commit_larger_than_a_producer_batch_arrives_whole_and_in_order(settings: Settings) -> None:
    sends = [Send("out", b"k%d" % n, bytes(1000), (("n", b"%d" % n),), partition=n % 2) for n in range(3000)]
    changes = {b"k%d" % n: bytes(900_000 if n == 3 else 100_000) for n in range(20)}

    async def scenario() -> None:
        await make_topics(settings, ["out", "first-changelog"])
        owner = Transactions(settings, Cluster(settings), "first", 0)
        await owner.fence()
        try:
            await owner.write(Commit(changes, sends, {}))
        finally:
            await owner.stop()
        await nothing_open(settings, "out")
        await nothing_open(settings, "first-changelog")
        out = await read(settings, "out")
        assert [(record.partition, record.key, record.headers) for record in out] == [
            (send.partition, send.key, send.headers) for send in (*sends[::2], *sends[1::2])
        ]
        assert [record.key for record in await read(settings, "first-changelog")] == [*changes]

    asyncio.run(scenario())


def test_what_the_former_owner_commits_in_the_moment_before_the_fence_is_restored(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that restored or asked for positions before it fenced would not know of it."""
    fence = Transactions.fence

    async def scenario() -> None:
        await make_topics(settings)
        await write(settings, "a", [(0, b"k", b"c")] * 3)
        former = Transactions(settings, Cluster(settings), "first", 0)
        await fence(former)
        await former.write(Commit({b"k": encode({"a": 1})}, [], {"a": 1}))

        async def commit_and_fence(transactions: Transactions) -> None:
            if transactions._partition == 0:
                await former.write(Commit({b"k": encode({"a": 2})}, [], {"a": 2}))
            await fence(transactions)

        monkeypatch.setattr(Transactions, "fence", commit_and_fence)
        watch = Watch(30)
        app = WorkerApp([FIRST], settings, watch, codec.encode)
        try:
            await app.start()

            async def is_read() -> bool:
                return bool(await read(settings, "mid"))

            await until(is_read, "the third record is read")
        finally:
            await app.groups[0].leave(1)
            await app.stop()
            await former.stop()
            watch.close()
        steps = [msgspec.json.decode(record.value, type=Step) for record in await read(settings, "mid")]
        assert [(step.offset, step.count) for step in steps] == [(2, 3)]

    async def with_changelog() -> None:
        await make_topics(settings, ["first-changelog"])
        await scenario()

    asyncio.run(with_changelog())


def test_a_new_agent_starts_where_the_log_begins(settings: Settings, start: Start) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        await write(settings, "a", [(partition, b"k", b"c") for partition in range(broker.PARTITIONS)] * 5)
        await broker.delete_before(settings, "a", 2)
        await start("first").ready()

        async def is_worked_off() -> bool:
            return len(await read(settings, "mid")) == 3 * broker.PARTITIONS

        await until(is_worked_off, "what is left is read")

    asyncio.run(scenario())


def test_a_position_that_retention_removed_is_refused(settings: Settings, start: Start) -> None:
    async def scenario() -> None:
        await make_topics(settings)
        everywhere = [(partition, b"k", b"c") for partition in range(broker.PARTITIONS)]
        await write(settings, "a", everywhere * 4)
        worker = await start("first").ready()

        async def is_worked_off() -> bool:
            return len(await read(settings, "mid")) == len(everywhere) * 4

        await until(is_worked_off, "all is read")
        assert await worker.stop() == 0
        await write(settings, "a", everywhere * 6)
        await broker.delete_before(settings, "a", 7)
        worker.start()
        assert await worker.exit_status() == 1
        name = topic_name(settings.namespace, "a")
        assert f"has read {name}, partition 0, up to 4, but the topic begins at 7" in worker.log.read_text()
        assert len(await read(settings, "mid")) == len(everywhere) * 4

    asyncio.run(scenario())


def test_state_without_positions_is_refused(settings: Settings, start: Start) -> None:
    async def scenario() -> None:
        await make_topics(settings, [*broker.TOPICS, "first-changelog"])
        owner = Transactions(settings, Cluster(settings), "first", 1)
        await owner.fence()
        await owner.write(Commit({b"k": encode({"a": 1})}, [], {}))
        await owner.stop()
        worker = start("first")
        assert await worker.exit_status() == 1
        assert "state but no position in partition 1" in worker.log.read_text()

    asyncio.run(scenario())


def refusal_of(worker: Worker) -> str:
    """The one line that a refused worker has logged."""
    assert asyncio.run(worker.exit_status()) == 2
    (line,) = worker.log.read_text().splitlines()
    return line


def test_a_missing_topic_is_refused_by_name(settings: Settings, start: Start) -> None:
    asyncio.run(make_topics(settings, ["a", "b", "dead_letter"]))
    line = refusal_of(start("first"))
    assert f"topics are missing: {settings.namespace}.mid.v1;" in line
    assert "aftersales topics apply" in line


def test_inputs_with_different_numbers_of_partitions_are_refused(settings: Settings, start: Start) -> None:
    asyncio.run(make_topics(settings, ["a", "mid", "dead_letter"]))
    asyncio.run(make_topics(settings, ["b"], partitions=2))
    assert "must have equal numbers of partitions" in refusal_of(start("first"))


def test_a_changelog_with_another_number_of_partitions_is_refused(settings: Settings, start: Start) -> None:
    asyncio.run(make_topics(settings))
    asyncio.run(make_topics(settings, ["first-changelog"], partitions=2))
    assert f"{settings.namespace}.first-changelog.v1 has 2 partitions" in refusal_of(start("first"))


def test_a_broker_that_does_not_answer_is_refused_by_address(start: Start) -> None:
    assert "Kafka at 127.0.0.1:1" in refusal_of(start("first", bootstrap_servers="127.0.0.1:1"))
