"""The sink against a real Kafka and a real ClickHouse."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams import codec
from streams.delivery.agent import Send
from streams.delivery.names import group_name, topic_name
from streams.domain import events
from streams.embedded.ports import free_port
from streams.rows import AGENT, TOPICS
from streams.settings import PREFIX, Settings
from streams.topics import read_topics
from tests.clickhouse.gate import Gate
from tests.clickhouse.made import ask, at, envelope, matter_fact, order, place, timer
from tests.engines import RunningStack

pytestmark = pytest.mark.engines

DEADLINE_S = 60.0
PARTITIONS = 3
ROUNDS = 3
MESSAGES = 3000
RUN = "from streams import settings, sink\nsink.run_sink(settings.load())"
RUN_IMPATIENT = f"from streams import sink\nsink.ATTEMPTS = 2\n{RUN}"

StartSink = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def topics(settings: Settings) -> None:
    """The topics that the sink reads."""

    async def create() -> None:
        admin = AIOKafkaAdminClient(**settings.kafka_options())
        await admin.start()
        declared = read_topics(PARTITIONS)
        await admin.create_topics(
            [
                NewTopic(topic_name(settings.namespace, noun), PARTITIONS, 1, topic_configs=declared[noun].configs(1))
                for noun in TOPICS
            ]
        )
        await admin.close()

    asyncio.run(create())


@pytest.fixture
def start_sink(settings: Settings, tmp_path: Path, topics: None) -> Iterator[StartSink]:
    """Starts sinks as processes, of another DSN if given, and returns when they are ready; kills what is left."""
    started: list[subprocess.Popen[bytes]] = []
    # A static member's place is free at once when it starts again: a kill costs no session time-out.
    given = msgspec.structs.replace(
        settings, partitions=PARTITIONS, ready_file=str(tmp_path / "ready"), static_membership=True
    )

    def start(dsn: str = settings.clickhouse_dsn, run: str = RUN) -> "subprocess.Popen[bytes]":
        Path(given.ready_file).unlink(missing_ok=True)
        environment = environment_of(msgspec.structs.replace(given, clickhouse_dsn=dsn))
        process = subprocess.Popen([sys.executable, "-c", run], env=environment)
        started.append(process)
        wait_until(lambda: Path(given.ready_file).exists() or process.poll() is not None)
        assert process.poll() is None
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment of a process with these settings."""
    given = {PREFIX + name.upper(): str(value) for name, value in msgspec.structs.asdict(settings).items()}
    return {**os.environ, **given}


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll, up to the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.05)


def publish(settings: Settings, sends: Sequence[Send]) -> None:
    """Write records in one transaction, so that markers lie between them, as in life."""

    async def write() -> None:
        producer = AIOKafkaProducer(**settings.kafka_options(), transactional_id=f"{settings.namespace}-test")
        await producer.start()
        async with producer.transaction():
            for send in sends:
                await producer.send(topic_name(settings.namespace, send.topic), send.value, key=send.key)
        await producer.stop()

    asyncio.run(write())


def send(topic: str, entry: Any) -> Send:
    """A record of `entry`."""
    return Send(topic, b"key", codec.encode(entry))


def messages(count: int, thread: str = "thread:desk:1") -> list[events.Message]:
    """Different events of one thread."""
    return [
        events.Message(
            **envelope(thread, "2024-05-01 10:00", event_id=f"{thread} {number}"),
            message_id=str(number),
            author="customer",
        )
        for number in range(count)
    ]


def counts(client: Any, *tables: str) -> list[int]:
    """Rows of each table as views see them."""
    return [ask(client, f"SELECT count() FROM {table} FINAL")[0][0] for table in tables]


def test_each_topic_is_stored_and_sigterm_ends_the_sink_in_order(
    settings: Settings, own_client: Any, start_sink: StartSink
) -> None:
    text = events.MessageText(**envelope("thread:desk:1", "2024-05-01 10:00"), text_of="m", text="Wo ist mein Paket?")
    publish(
        settings,
        [
            *(send("timeline", message) for message in messages(3)),
            send("timeline", events.Tick(now=at("2024-05-01 10:00"))),
            send("matter_fact", order("1", "2024-05-01 10:00")),
            send("timer_fact", timer("thread:desk:1", "first_response", "2024-05-01 10:00", None, "running")),
            send("place", place("thread:desk:1", "customer:shop-de:c")),
            send("message_text", text),
            Send("matter_fact", b"key", b"no record"),
            send("place", messages(1)[0]),
        ],
    )
    sink = start_sink()
    tables = ("event", "order_fact", "timer_fact", "place", "message_text", "dead_letter")
    wait_until(lambda: counts(own_client, *tables) == [3, 1, 1, 1, 1, 2])
    assert ask(
        own_client, "SELECT reason, agent, origin_topic, raw FROM dead_letter FINAL ORDER BY reason LIMIT 1"
    ) == [("not_avro", "sink", "matter_fact", "no record")]
    sink.send_signal(signal.SIGTERM)
    assert sink.wait(DEADLINE_S) == 0


def test_rows_that_were_not_stored_before_a_kill_are_read_again(
    settings: Settings, own_client: Any, start_sink: StartSink
) -> None:
    with Gate(settings.clickhouse_dsn) as gate:
        sink = start_sink(gate.dsn)
        gate.cut = "before"
        publish(settings, [send("timeline", message) for message in messages(MESSAGES)])
        wait_until(lambda: gate.inserts_cut > 0)
        sink.kill()
        sink.wait()
    assert counts(own_client, "event") == [0]
    start_sink()
    wait_until(lambda: counts(own_client, "event") == [MESSAGES])


def test_rows_that_were_stored_without_an_acknowledgement_are_stored_again_as_the_same_rows(
    settings: Settings, own_client: Any, start_sink: StartSink
) -> None:
    with Gate(settings.clickhouse_dsn) as gate:
        sink = start_sink(gate.dsn)
        gate.cut = "after"
        publish(settings, [send("timeline", message) for message in messages(MESSAGES)])
        wait_until(lambda: gate.inserts_cut > 1)
        sink.kill()
        sink.wait()
    stored = ask(own_client, "SELECT count() FROM event")[0][0]
    assert stored > 0
    start_sink()
    wait_until(lambda: counts(own_client, "event") == [MESSAGES])
    assert counts(own_client, "dead_letter") == [0]


def test_kills_at_any_moment_leave_each_row_once(settings: Settings, own_client: Any, start_sink: StartSink) -> None:
    for round_ in range(ROUNDS):
        sink = start_sink()
        publish(settings, [send("timeline", message) for message in messages(MESSAGES, f"thread:desk:{round_}")])
        wait_until(lambda: counts(own_client, "event")[0] > 0)
        sink.kill()
        sink.wait()
    start_sink()
    wait_until(lambda: counts(own_client, "event") == [ROUNDS * MESSAGES])


def test_the_group_reaches_the_end_of_its_topics(settings: Settings, own_client: Any, start_sink: StartSink) -> None:
    start_sink()
    publish(settings, [send("timeline", message) for message in messages(10)])

    async def lag() -> int:
        admin = AIOKafkaAdminClient(**settings.kafka_options())
        consumer = AIOKafkaConsumer(**settings.kafka_options())
        await admin.start()
        await consumer.start()
        try:
            committed = await admin.list_consumer_group_offsets(group_name(settings.namespace, AGENT))
            tps = [
                TopicPartition(topic_name(settings.namespace, noun), number)
                for noun in TOPICS
                for number in range(PARTITIONS)
            ]
            ends = await consumer.end_offsets(tps)
            return sum(ends[tp] - (committed[tp].offset if tp in committed else 0) for tp in tps)
        finally:
            await consumer.stop()
            await admin.close()

    wait_until(lambda: counts(own_client, "event") == [10])
    wait_until(lambda: asyncio.run(lag()) == 0)


def test_a_restart_of_clickhouse_loses_nothing(
    settings: Settings, own_client: Any, start_sink: StartSink, stack: RunningStack
) -> None:
    sink = start_sink()
    publish(settings, [send("matter_fact", order(str(number), "2024-05-01 10:00")) for number in range(100)])
    pid = stack.pid("clickhouse")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    publish(settings, [send("matter_fact", order(str(number), "2024-05-01 10:00")) for number in range(100, 200)])

    def stored() -> bool:
        try:
            return counts(own_client, "order_fact") == [200]
        except Exception:
            return False

    wait_until(stored)
    assert sink.poll() is None


def test_a_withdrawn_fact_follows_its_statement(settings: Settings, own_client: Any, start_sink: StartSink) -> None:
    stated = order("1", "2024-05-01 10:00")
    gone = matter_fact(stated.state, stated.about, revision=2, withdrawn=True)
    publish(settings, [send("matter_fact", gone), send("matter_fact", stated)])
    start_sink()
    wait_until(lambda: ask(own_client, "SELECT revision FROM order_fact FINAL") == [(2,)])
    assert counts(own_client, "order_fact") == [1]
    assert ask(own_client, "SELECT * FROM current_order") == []


def refusal(settings: Settings) -> str:
    """What a sink says that does not start."""
    sink = subprocess.run(
        [sys.executable, "-c", RUN], env=environment_of(settings), capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert sink.returncode != 0
    return sink.stderr


def test_a_database_that_was_not_migrated_is_refused(settings: Settings, topics: None) -> None:
    assert "run `aftersales migrate`" in refusal(settings)


def test_a_column_that_is_missing_is_refused(settings: Settings, own_client: Any, topics: None) -> None:
    own_client.command("ALTER TABLE order_fact DROP COLUMN buyer")
    assert "lacks order_fact.buyer: run `aftersales migrate`" in refusal(settings)


def test_missing_topics_are_refused(settings: Settings, own_client: Any) -> None:
    assert "create them with `aftersales topics apply`" in refusal(settings)


def test_a_broker_that_is_not_there_is_refused(settings: Settings, own_client: Any) -> None:
    there = msgspec.structs.replace(settings, bootstrap_servers=f"127.0.0.1:{free_port()}")
    assert "can't be reached" in refusal(there)


def test_a_sink_ends_when_clickhouse_stays_away(settings: Settings, own_client: Any, start_sink: StartSink) -> None:
    with Gate(settings.clickhouse_dsn) as gate:
        sink = start_sink(gate.dsn, RUN_IMPATIENT)
        gate.cut = "before"
        publish(settings, [send("timeline", message) for message in messages(1)])
        wait_until(lambda: sink.poll() is not None)
    assert sink.returncode != 0
    assert gate.inserts_cut >= 2
