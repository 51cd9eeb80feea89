"""`python -m tests.delivery.bench [EVENTS] [KEYS]`: CPU per event of one worker that counts per key.

Four partitions, events of about 300 bytes, one output each. The broker is that of the settings if one is set
(AFTERSALES_BOOTSTRAP_SERVERS), else an embedded one in a folder that is removed.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from random import Random
from time import monotonic

import msgspec
import psutil
from aiokafka import TopicPartition

from streams import settings as settings_module
from streams.delivery.agent import Agent, Effects, Record, Send, State
from streams.delivery.names import topic_name
from streams.settings import Settings
from tests.delivery import broker
from tests.engines import RunningStack

PARTITIONS = 4


class Event(msgspec.Struct, frozen=True):
    """An event; what the count does not need is not decoded."""

    type: str
    amount: int


class Case(msgspec.Struct, frozen=True):
    """State of a key."""

    count: int = 0
    status: str = ""
    amount: int = 0


class Counted(msgspec.Struct, frozen=True):
    """Output for each event."""

    partition: int
    offset: int
    count: int


encode = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode


def decide(record: Record, state: State[Case]) -> Effects[Case]:
    """Count per key."""
    event, before = decode_event(record.value), state.get(record.key) or Case()
    case = Case(before.count + 1, event.type, before.amount + event.amount)
    counted = encode(Counted(record.partition, record.offset, case.count))
    return Effects(changes={record.key: case}, sends=(Send("counted", record.key, counted),))


BENCH = Agent(
    name="bench",
    inputs=("event",),
    outputs=("counted",),
    decide=decide,
    encode=encode,
    decode=msgspec.json.Decoder(Case).decode,
)


async def fill(settings: Settings, events: int, keys: int) -> None:
    """Write the events."""
    randomness = Random(7)
    topic = topic_name(settings.namespace, "event")
    async with broker.producer_of(settings, linger_ms=20, max_batch_size=256 << 10) as producer:
        for number in range(events):
            event = {"type": "scanned", "amount": randomness.randrange(90_000), "number": number, "note": "x" * 240}
            await producer.send(topic, encode(event), key=b"case-%07d" % randomness.randrange(keys))


async def wait_until_counted(settings: Settings, events: int) -> None:
    """Wait until that many results are there; transaction markers, counted as well, are few."""
    async with broker.consumer_of(settings) as consumer:
        places = [TopicPartition(topic_name(settings.namespace, "counted"), p) for p in range(PARTITIONS)]

        async def is_counted() -> bool:
            return bool(sum((await consumer.end_offsets(places)).values()) >= events)

        await broker.until(is_counted, "all is counted", poll_s=0.02)


async def measure(settings: Settings, folder: Path, events: int, keys: int) -> str:
    """One run: events per second and CPU per event, from ready until all is counted."""
    await broker.make_topics(settings, ["event", "counted", "dead_letter"], PARTITIONS)
    await fill(settings, events, keys)
    ready = folder / "ready"
    environment = broker.environment_of(msgspec.structs.replace(settings, ready_file=str(ready)))
    worker = subprocess.Popen([sys.executable, "-m", "tests.delivery.bench", "worker"], env=os.environ | environment)
    try:

        async def is_ready() -> bool:
            return ready.exists()

        await broker.until(is_ready, "the worker is ready", poll_s=0.005)
        cpu, start = psutil.Process(worker.pid).cpu_times(), monotonic()
        await wait_until_counted(settings, events)
        end, elapsed_s = psutil.Process(worker.pid).cpu_times(), monotonic() - start
        used_s = end.user + end.system - cpu.user - cpu.system
        memory = psutil.Process(worker.pid).memory_info().rss >> 20
    finally:
        worker.terminate()
        worker.wait()
    rate = events / elapsed_s
    return (
        f"{events} events, {keys} keys: {used_s / events * 1e6:.1f} µs CPU per event, {rate:.0f} events/s, {memory} MB"
    )


def main() -> None:
    if sys.argv[1:] == ["worker"]:
        from streams.delivery.worker import run_worker

        run_worker([BENCH], settings_module.load())
        return
    events, keys = (int(argument) for argument in [*sys.argv[1:3], *("200000", "1000")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = settings_module.load()
        stack = None if settings.bootstrap_servers else RunningStack(Settings(directory=f"{folder}/stack"))
        try:
            where = msgspec.structs.replace(
                stack.settings if stack else settings, namespace=f"bench_{uuid.uuid4().hex[:8]}"
            )
            print(asyncio.run(measure(where, Path(folder), events, keys)))
        finally:
            if stack:
                stack.stop()


if __name__ == "__main__":
    main()
