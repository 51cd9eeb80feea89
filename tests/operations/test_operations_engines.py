"""The commands on real engines: what was refused, set aside or spoilt comes back, once."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from connectors.publisher import Publisher
from streams import codec, kafka
from streams.agents.casework import place_key
from streams.clickhouse import connect
from streams.delivery.agent import Send
from streams.delivery.names import changelog_name, topic_name
from streams.delivery.recovery import REBUILDING
from streams.delivery.transactions import Transactions
from streams.domain.events import Message, Tick
from streams.domain.ids import event_id
from streams.errors import Refused
from streams.operations import replay as replay_module
from streams.operations.letters import Choice
from streams.operations.rebuild import rebuild
from streams.operations.replay import Writer, replay
from streams.partitions import partition_of
from streams.workers import AGENTS
from tests.end_to_end.failing_worker import UNLUCKY, WHY
from tests.end_to_end.pipeline import APPEAR_S, PARTITIONS, Pipeline, running
from tests.engines import RunningStack, apart

pytestmark = pytest.mark.engines

CUSTOMER = "customer:unlucky:ann"


@pytest.fixture(scope="module")
def pipeline(stack: RunningStack) -> Iterator[Pipeline]:
    """Its casework fails on the matter UNLUCKY, until it is mended."""
    settings = msgspec.structs.replace(
        apart(stack),
        partitions=PARTITIONS,
        static_membership=True,
        session_timeout_s=10.0,  # a static member that has ended stays one for so long
    )
    with running(stack, settings, {"casework": "tests.end_to_end.failing_worker"}) as pipeline:
        yield pipeline


def message(thread: str, number: int, customer: str | None = None) -> Message:
    now = datetime.now(UTC) - timedelta(minutes=60 - number)
    said = event_id("unlucky", "message", thread, str(number))
    return Message(
        event_id=said,
        event_at=now,
        ingested_at=now,
        account="unlucky",
        about=thread,
        message_id=said,
        author="customer",
        customer=customer,
    )


def publish(pipeline: Pipeline, *records: tuple[str, str, bytes]) -> None:
    """Write records (topic, key, bytes)."""

    async def write() -> None:
        async with Publisher(pipeline.settings) as publisher:
            for noun, key, record in records:
                await publisher.publish(noun, key, record)
            await publisher.flush()

    asyncio.run(write())


def write(pipeline: Pipeline, noun: str, record: bytes, partitions: Iterable[int]) -> None:
    """Write one record to some partitions of a topic."""

    async def send() -> None:
        producer = kafka.Cluster(pipeline.settings).producer()
        await producer.start()
        try:
            for partition in partitions:
                await producer.send_and_wait(topic_name(pipeline.settings.namespace, noun), record, partition=partition)
        finally:
            await producer.stop()

    asyncio.run(send())


def run(pipeline: Pipeline, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a command."""
    with pipeline.begin_command(*arguments) as process:
        out, err = process.communicate(timeout=APPEAR_S)
    return process.returncode, out, err


def threads(pipeline: Pipeline) -> list[str]:
    found = pipeline.ask("SELECT about FROM current_case WHERE account = 'unlucky' ORDER BY about")
    return [about for (about,) in found]


def test_what_was_refused_is_brought_back_once_though_the_first_run_was_interrupted(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nothing to bring back" in pipeline.command("dlq", "replay")
    names = [f"thread:unlucky:r{number}" for number in range(10, 22)]
    # Under a wrong key they are refused; brought back, they go under the right one.
    records = [("message", "nobody", codec.encode(message(name, 1))) for name in names]
    publish(pipeline, *records, ("message", "nobody", b"no record at all"))
    pipeline.drain()
    assert "wrong_key" in pipeline.command("dlq", "list")
    assert run(pipeline, "dlq", "replay", "--reason", "wrong_word")[2].count("wrong_key") == 1

    monkeypatch.setattr(replay_module, "CHUNK_RECORDS", 5)

    def interrupt(done: int, total: int) -> None:
        assert total == len(names)
        if done:
            raise KeyboardInterrupt

    choice = Choice(reason="wrong_key", topic="message")
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(replay(pipeline.settings, choice, tell=interrupt))
    dry = asyncio.run(replay(pipeline.settings, choice, tell=lambda *_: None, dry_run=True))
    assert (dry.count("brought back before"), dry.count("brought back")) == (5, 7)
    status, out, _ = run(pipeline, "dlq", "replay")
    assert status == 1, "one can't be brought back"
    assert "unreadable" in out
    status, out, _ = run(pipeline, "dlq", "replay", "--reason", "wrong_key")
    assert status == 0
    pipeline.drain()
    assert [name for name in threads(pipeline) if name in names] == names
    audit = pipeline.audit()
    assert audit.sound, audit
    brought_back = pipeline.ask("SELECT uniqExact(dead_letter_id), count() FROM dead_letter_replay")
    assert brought_back == [(len(names), len(names))]


def test_a_run_that_is_started_later_takes_over(pipeline: Pipeline) -> None:
    async def race() -> None:
        first, second = Writer(pipeline.settings), Writer(pipeline.settings)
        await first.start()
        await second.start()
        try:
            with pytest.raises(Refused, match="taken over"):
                await first.write([Send("clock_probe", b"", b"?")])
        finally:
            await first.stop()
            await second.stop()

    asyncio.run(race())


@pytest.mark.parametrize("step", ["begin_transaction", "send", "commit_transaction"])
def test_a_run_that_is_stopped_at_any_step_ends_the_transaction_that_it_began(pipeline: Pipeline, step: str) -> None:
    async def stop_in_step() -> None:
        writer = Writer(pipeline.settings)
        await writer.start()
        reached, take = asyncio.Event(), getattr(writer._producer, step)

        async def tell(*arguments: Any, **options: Any) -> Any:
            reached.set()
            return await take(*arguments, **options)

        setattr(writer._producer, step, tell)
        try:
            writing = asyncio.create_task(writer.write([Send("clock_probe", b"", b"?")]))
            await reached.wait()
            await asyncio.sleep(0)
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            await writer.write([Send("clock_probe", b"", b"?")])
        finally:
            await writer.stop()

    asyncio.run(stop_in_step())


def test_a_recall_says_whether_the_past_was_taken_or_refused(pipeline: Pipeline) -> None:
    thread = "thread:unlucky:archived"
    said = msgspec.structs.replace(message(thread, 1), author="agent")  # nobody waits for an answer
    publish(pipeline, (said.NAME, thread, codec.encode(said)))
    pipeline.drain()
    status, out, err = run(pipeline, "matter", "recall", thread)
    assert (status, err) == (0, "")
    assert f"{thread}: is here again" in out

    now = datetime.now(UTC)
    ahead = Tick(now=now + timedelta(seconds=20), archive_until=now)
    write(pipeline, "timeline", codec.encode(ahead), range(PARTITIONS))
    pipeline.drain()
    with connect(pipeline.settings) as client:
        client.command(f"ALTER TABLE event DELETE WHERE about = '{thread}' SETTINGS mutations_sync = 2")
    status, out, err = run(pipeline, "matter", "recall", thread)
    assert (status, err) == (1, "")
    assert f"{thread}: refused, incomplete_past" in out


def test_a_matter_that_the_rules_failed_on_is_retried_when_they_are_mended(pipeline: Pipeline) -> None:
    publish(pipeline, *((m.NAME, m.about, codec.encode(m)) for m in (message(UNLUCKY, n, CUSTOMER) for n in (1, 2))))
    pipeline.wait_until(lambda: pipeline.ask("SELECT matter FROM quarantine"), [(UNLUCKY,)])
    status, out, _ = run(pipeline, "quarantine", "retry", UNLUCKY)
    assert status == 1
    assert "still set aside: 1" in out
    assert WHY in out
    assert "not in quarantine" in run(pipeline, "quarantine", "retry", "order:nobody:1")[2]
    assert UNLUCKY in pipeline.command("quarantine", "retry", "--all", "--dry-run")

    pipeline.remove("casework-1")
    Pipeline(pipeline.stack, pipeline.settings).add("casework-1")
    status, out, err = run(pipeline, "quarantine", "retry", "--all")
    assert status == 0, (out, err)
    assert "lifted: 1" in out
    assert UNLUCKY in threads(pipeline)
    assert pipeline.ask("SELECT matter FROM quarantine") == []
    assert "no matter is in quarantine" in pipeline.command("quarantine", "retry", "--all")


def test_the_rules_say_the_same_of_all_that_was_stated(pipeline: Pipeline) -> None:
    assert "says the same of" in pipeline.command("refold", "--report")
    found = msgspec.json.decode(pipeline.command("refold", "--report", "--json", "--limit", "3"))
    assert (found["matters"], found["changed"]) == (3, 0)


def spoil(pipeline: Pipeline, step: str, partition: int, key: bytes, value: bytes | None) -> int:
    """Write an entry of state; returns its offset."""

    async def write() -> int:
        producer = kafka.Cluster(pipeline.settings).producer()
        await producer.start()
        try:
            topic = changelog_name(pipeline.settings.namespace, step)
            written = await producer.send_and_wait(topic, value, key=key, partition=partition)
        finally:
            await producer.stop()
        return int(written.offset)

    return asyncio.run(write())


def take_over(pipeline: Pipeline, step: str, partition: int) -> None:
    """What a worker does first."""

    async def fence() -> None:
        owner = Transactions(pipeline.settings, kafka.Cluster(pipeline.settings), step, partition)
        await owner.fence()
        await owner.stop()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, fence()).result()


def rebuilt(pipeline: Pipeline, step: str) -> list[Any]:
    """What a dry run finds."""
    agent = AGENTS[step](pipeline.settings)
    return asyncio.run(rebuild(pipeline.settings, agent, partition=None, tell=lambda *_: None, dry_run=True))


def test_a_spoilt_state_stops_its_workers_until_it_is_rebuilt(pipeline: Pipeline) -> None:
    status, _, err = run(pipeline, "state", "rebuild", "casework")
    assert status == 2
    assert "casework runs" in err
    pipeline.remove("casework-1", "correlate-1")
    before = pipeline.state_entries("casework"), pipeline.state_entries("correlate")
    assert [found.differing for found in rebuilt(pipeline, "casework")] == [0] * PARTITIONS
    assert [found.differing for found in rebuilt(pipeline, "correlate")] == [0] * PARTITIONS

    casework = AGENTS["casework"](pipeline.settings)
    with pytest.raises(Refused, match="was started meanwhile"):
        asyncio.run(
            rebuild(
                pipeline.settings,
                casework,
                partition=0,
                tell=lambda done, total: take_over(pipeline, "casework", 0) if done == total else None,
                dry_run=False,
            )
        )
    assert pipeline.state_entries("casework") == before[0]

    key, here = place_key(CUSTOMER, UNLUCKY), partition_of(CUSTOMER.encode(), PARTITIONS)
    offset = spoil(pipeline, "casework", here, key, b"\xff\xfe")
    status, _, err = run(pipeline, "worker", "casework")
    assert status != 0
    assert f"offset {offset}" in err
    assert UNLUCKY in err
    assert "aftersales state rebuild casework" in err
    assert "no partition 99" in run(pipeline, "state", "rebuild", "casework", "--partition", "99")[2]
    spoil(pipeline, "casework", here, REBUILDING, b"\x00")
    assert "half written" in run(pipeline, "worker", "casework")[2]
    out = pipeline.command("state", "rebuild", "casework", "--partition", str(here))
    assert f"offset {offset}" in out
    assert pipeline.state_entries("casework") == before[0]

    thread = message(UNLUCKY, 1).about.encode()
    spoil(pipeline, "correlate", partition_of(thread, PARTITIONS), thread, b"\xc1")
    assert "aftersales state rebuild correlate" in run(pipeline, "worker", "correlate")[2]
    pipeline.command("state", "rebuild", "correlate")
    assert pipeline.state_entries("correlate") == before[1]

    Pipeline(pipeline.stack, pipeline.settings).add("casework-1", "correlate-1")
    later = message(UNLUCKY, 3)
    publish(pipeline, (later.NAME, later.about, codec.encode(later)))
    pipeline.drain()
    assert pipeline.ask(f"SELECT customer_message_count FROM current_case WHERE about = '{UNLUCKY}'") == [(3,)]
    audit = pipeline.audit()
    assert audit.sound, audit


def test_a_log_whose_beginning_is_gone_is_no_source_of_state(pipeline: Pipeline) -> None:
    async def delete() -> None:
        admin = await kafka.connect_admin(pipeline.settings, "test")
        try:
            timeline = f"{pipeline.settings.namespace}.timeline.v1"
            await admin.delete_records({TopicPartition(timeline, p): RecordsToDelete(3) for p in range(PARTITIONS)})
        finally:
            await admin.close()

    pipeline.remove("casework-1")
    asyncio.run(delete())
    before = pipeline.state_entries("casework")
    status, _, err = run(pipeline, "state", "rebuild", "casework")
    assert status == 2
    assert "begins at offset 3" in err
    assert pipeline.state_entries("casework") == before
    Pipeline(pipeline.stack, pipeline.settings).add("casework-1")
