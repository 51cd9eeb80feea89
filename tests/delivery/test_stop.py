"""A step that is told to stop in the midst of its work finishes what is under way, and leaves nothing to be redone."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from connectors.publisher import Publisher
from streams import codec
from streams.cli.children import environment
from streams.clickhouse import connect, migrate
from streams.delivery.names import changelog_name, group_name, topic_name
from streams.domain.events import Message, MessageText
from streams.embedded.ports import free_port
from streams.settings import Settings
from streams.topics import apply, read_topics
from tests.clickhouse.made import envelope
from tests.delivery.broker import admin_of, until
from tests.metrics.scrape import Answer, scrape

pytestmark = pytest.mark.engines

PARTITIONS = 4
MESSAGES, THREADS, TEXTS = 20_000, 2_000, 60_000
STOP_S = 10.0

Inputs = Sequence[str]


class Step:
    """A worker process of one step."""

    def __init__(self, settings: Settings, name: str, folder: Path) -> None:
        self.name, self.settings = name, settings
        self.port = free_port()
        ours = msgspec.structs.replace(
            settings, worker_name=f"{name}-1", static_membership=True, metrics_port=self.port
        )
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli.main", "worker", name],
                env=environment(ours),
                stdout=log,
                stderr=log,
            )

    async def until(self, fact: Callable[[Answer], bool], what: str) -> Answer:
        """Wait until the metrics show a fact."""
        seen: list[Answer] = []

        async def holds() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                seen.append(await scrape(self.port))
                return fact(seen[-1])
            except (OSError, LookupError):
                return False

        await until(holds, f"{self.name}: {what}", poll_s=0.02)
        return seen[-1]

    def processed(self, metrics: Answer, inputs: Inputs) -> int:
        """Records of these topics."""
        found = 0
        for noun in inputs:
            try:
                found += int(metrics.value("processed_records_total", agent=self.name, topic=noun))
            except LookupError:
                continue
        return found

    async def stop(self) -> float:
        """SIGTERM; returns the seconds until it was gone, which are bounded."""
        began = monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, STOP_S)
        assert status == 0, self.log.read_text()
        return monotonic() - began


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[str], Step]]:
    """Starts a step of an installation with topics and tables; none outlives the test."""
    ours = msgspec.structs.replace(settings, partitions=PARTITIONS)
    asyncio.run(apply(ours, dry_run=False))
    migrate(ours)
    steps: list[Step] = []

    def start_step(name: str) -> Step:
        steps.append(Step(ours, name, tmp_path))
        return steps[-1]

    yield start_step
    for step in steps:
        if step.process.poll() is None:
            step.process.kill()
            step.process.wait()


async def publish(settings: Settings) -> None:
    """Messages of many conversations, and texts."""
    async with Publisher(settings) as publisher:
        for number in range(MESSAGES):
            about = f"thread:shop:{number % THREADS}"
            fields = envelope(about, f"2026-03-02 10:{number // THREADS:02}", customer=f"customer:{number % 500}")
            fields["event_id"] = f"{about} {number}"
            author = "customer" if number < THREADS else "agent"
            message = Message(**fields, message_id=str(number), author=author, channel="mail")
            await publisher.publish("message", about, codec.encode(message))
        for number in range(TEXTS):
            about = f"thread:shop:{number % THREADS}"
            fields = envelope(about, "2026-03-02 10:00")
            text = MessageText(**fields, text_of=f"message {number}", text="Where is my parcel? " * 20)
            await publisher.publish("message_text", about, codec.encode(text))


def places(settings: Settings, nouns: Sequence[str], changelog: str | None = None) -> list[TopicPartition]:
    names = [topic_name(settings.namespace, noun) for noun in nouns]
    if changelog is not None:
        names.append(changelog_name(settings.namespace, changelog))
    return [TopicPartition(name, partition) for name in names for partition in range(PARTITIONS)]


async def count(settings: Settings, wanted: Sequence[TopicPartition], starts: Any, isolation: str) -> int:
    """Records from `starts` to the end, as a reader of this isolation sees them."""
    consumer = AIOKafkaConsumer(**settings.kafka_options(), isolation_level=isolation, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(wanted)
        ends = await consumer.end_offsets(wanted)
        for place in wanted:
            consumer.seek(place, starts.get(place, 0))
        found, left = 0, set(wanted)
        while left := {place for place in left if await consumer.position(place) < ends[place]}:
            found += sum(map(len, (await consumer.getmany(*left, timeout_ms=100)).values()))
        return found
    finally:
        await consumer.stop()


async def ends(settings: Settings, wanted: Sequence[TopicPartition], isolation: str) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(**settings.kafka_options(), isolation_level=isolation)
    await consumer.start()
    try:
        return dict(await consumer.end_offsets(wanted))
    finally:
        await consumer.stop()


async def committed(settings: Settings, step: str) -> dict[TopicPartition, int]:
    async with admin_of(settings) as admin:
        found = await admin.list_consumer_group_offsets(group_name(settings.namespace, step))
    return {place: position.offset for place, position in found.items() if position.offset >= 0}


async def stop_under_load(start: Callable[[str], Step], name: str, inputs: Inputs, outputs: Inputs) -> str:
    """Stop a step while it works, look at what it left, and let it do the rest; returns figures for people."""
    step = start(name)
    settings = step.settings
    has_state = name in ("correlate", "casework")
    await step.until(lambda metrics: step.processed(metrics, inputs) > 0, "works")
    took_s = await step.stop()

    positions = await committed(settings, name)
    read = places(settings, inputs)
    left = await count(settings, read, positions, "read_committed")
    total = await count(settings, read, {}, "read_committed")
    assert 0 < left < total, "it was not stopped under load"
    if written := places(settings, outputs, name if has_state else None):
        await assert_no_transaction_was_left(settings, written)
    again = start(name)
    done = await again.until(lambda metrics: again.processed(metrics, inputs) >= left, "has read the rest")
    assert again.processed(done, inputs) == left
    await again.stop()
    return f"{name}: stopped in {took_s:.2f} s with {left} of {total} records left to read"


async def assert_no_transaction_was_left(settings: Settings, written: Sequence[TopicPartition]) -> None:
    """None is open, which would hold back readers, and none was aborted."""
    assert await ends(settings, written, "read_committed") == await ends(settings, written, "read_uncommitted")
    assert await count(settings, written, {}, "read_committed") == await count(
        settings, written, {}, "read_uncommitted"
    )


def test_sigterm_under_load_ends_each_step_within_its_time_and_leaves_nothing_to_redo(
    settings: Settings, start: Callable[[str], Step]
) -> None:
    ours = msgspec.structs.replace(settings, partitions=PARTITIONS)
    facts = [noun for noun, topic in read_topics().items() if "casework" in topic.producers]

    async def scenario() -> list[str]:
        await publish(ours)
        said = [
            await stop_under_load(start, "correlate", ["message"], ["timeline", "place_message", "place"]),
            await stop_under_load(start, "casework", ["timeline"], facts),
            await stop_under_load(start, "triage", ["message_text"], ["classification"]),
            await stop_under_load(start, "sink", ["timeline", "timer_fact", "matter_fact", "message_text"], []),
        ]
        return said

    print("\n".join(asyncio.run(scenario())))
    with connect(ours) as client:
        # Not FINAL: a row that was stored twice would count twice.
        assert client.command("SELECT count() FROM event") == MESSAGES
