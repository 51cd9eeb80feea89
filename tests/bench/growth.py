"""Job 4, first part: one casework worker, and how it grows with the number of matters, each of ten events.

To write ten million events through the pipeline would take an hour, so all but the last event of each matter is
preloaded: its state is written into the changelog, by the product's own encoder. The last event of some matters then
comes over the timeline, and its CPU is measured; so is memory, and the time until a worker is ready that was killed,
and until two are ready when a second one joins.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic
from typing import NamedTuple

import msgspec
from aiokafka import TopicPartition

from streams import codec, topics
from streams.agents import casework
from streams.agents.casework import Value, place_key
from streams.agents.correlate import MATTER_HEADER
from streams.cli.children import environment
from streams.delivery.agent import Record
from streams.delivery.names import changelog_name, group_name, topic_name
from streams.delivery.topics import check_topics
from streams.settings import PREFIX, Settings
from tests.bench import kafka, sales
from tests.bench.engines import engines
from tests.bench.processes import Process, running
from tests.bench.results import Cell, Report, Table, at_most, ratio
from tests.bench.sales import Ids
from tests.delivery.broker import admin_of

MATTERS, QUICK_MATTERS = (10_000, 100_000, 1_000_000), (500, 1_000)
SLICE, QUICK_SLICE = 10_000, 300
"""Events that are measured, each of another matter; there must be as many."""
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
READY_S = 300.0
DRAIN_S = 120.0
LOOK_EVERY_S = 0.02
MB = 1e6


class Grown(NamedTuple):
    """One casework worker with so many matters."""

    matters: int
    entry_bytes: float
    """Of one encoded matter, on average, its key included."""
    memory_bytes: float
    """Of the worker, for each matter."""
    cpu_us: float
    """Per event."""
    start_s: float
    """From the start of the process until it is ready, for the first time."""
    recovery_s: float
    """From SIGKILL until its successor is ready."""
    recovery_cpu_s: float
    """CPU time of the successor until then."""
    rebalance_s: float
    """From the start of a second worker until both are ready."""


def run(*, quick: bool) -> Report:
    """Run the job."""
    grown = []
    with engines() as (stack, folder):
        for matters in QUICK_MATTERS if quick else MATTERS:
            settings = msgspec.structs.replace(
                stack.settings, namespace=f"growth{matters}", static_membership=True, worker_name="casework-1"
            )
            place = folder / settings.namespace
            place.mkdir()
            grown.append(asyncio.run(_grow(settings, matters, QUICK_SLICE if quick else SLICE, place)))
    return _report(grown, quick)


# ---- matters as state


class Mould:
    """Makes the state entry of any sale's matter from that of one, as casework has it after the first `events`."""

    def __init__(self, events: int) -> None:
        # Of no sale, and nothing else in an entry looks like them.
        self._form = Ids("7" * sales.DIGITS, [chr(ord("a") + step) * 36 for step in range(sales.EVENTS)])
        self._events = events
        ((_, entry),) = entries_of(self._form, events).items()
        self._plain = msgspec.msgpack.encode(casework.decode(entry))
        self._decode = msgspec.msgpack.Decoder(Value).decode
        for number in (0, 1, 10**6):
            ids = sales.ids_of(number)
            assert dict([self.entry(ids)]) == entries_of(ids, events), "an entry is not what casework itself makes"

    def entry(self, ids: Ids) -> tuple[bytes, bytes]:
        """Key and encoded value."""
        plain = self._plain.replace(self._form.digits.encode(), ids.digits.encode())
        for form, id in zip(self._form.events[: self._events], ids.events, strict=False):
            plain = plain.replace(form.encode(), id.encode())
        return place_key(ids.customer, ids.order), casework.encode(self._decode(plain))


def entries_of(ids: Ids, events: int) -> dict[bytes, bytes]:
    """State after the first events of a sale, by casework itself."""
    agent = casework.agent("g1")
    assert agent.encode is not None
    state: dict[bytes, Value | None] = {}
    for record in records_of(ids)[:events]:
        state |= agent.decide(record, state).changes
    return {key: agent.encode(value) for key, value in state.items() if value is not None}


def records_of(ids: Ids) -> list[Record]:
    """The events of a sale as they stand on the timeline."""
    headers = ((MATTER_HEADER, ids.order.encode()),)
    return [
        Record("timeline", 0, offset, ids.customer.encode(), codec.encode(said.event), headers)
        for offset, said in enumerate(sales.sale(ids, AT, answered=True))
    ]


# ---- one number of matters


async def _grow(settings: Settings, matters: int, slice: int, folder: Path) -> Grown:
    def say(text: str) -> None:
        print(f"growth: {matters:,} matters: {text}", flush=True)

    await topics.apply(settings, dry_run=False)
    async with admin_of(settings) as admin:
        await check_topics(admin, [casework.agent(settings.generation)], settings)
    # A static member would stay in the group, and positions can be given only to one without members.
    passing = msgspec.structs.replace(settings, static_membership=False)
    with _worker(passing, folder) as idle:
        await _until_ready(passing, folder, idle)
        idle_bytes = idle.pss_bytes()
    say("writing the state of each")
    written_bytes = await _preload(settings, matters)
    began = monotonic()
    with _worker(settings, folder) as worker:
        await _until_ready(settings, folder, worker)
        start_s = monotonic() - began
        memory_bytes = worker.pss_bytes() - idle_bytes
        say(f"ready after {start_s:.1f} s, {memory_bytes / MB:,.0f} MB; {slice:,} events")
        cpu_us = await _last_events(settings, matters, slice, worker)
        say(f"{cpu_us:.0f} µs CPU per event; SIGKILL")
        began = monotonic()
        worker.kill()
    with _worker(settings, folder) as successor:
        await _until_ready(settings, folder, successor)
        recovery_s, recovery_cpu_s = monotonic() - began, successor.cpu_s()
        say(f"ready after {recovery_s:.1f} s, {recovery_cpu_s:.1f} s CPU; a second worker joins")
        began, second = monotonic(), msgspec.structs.replace(settings, worker_name="casework-2")
        with _worker(second, folder) as joining:
            await _until_ready(second, folder, joining)
            await _until_ready(settings, folder, successor)
            rebalance_s = monotonic() - began
            say(f"both ready after {rebalance_s:.1f} s")
    return Grown(
        matters=matters,
        entry_bytes=written_bytes / matters,
        memory_bytes=memory_bytes / matters,
        cpu_us=cpu_us,
        start_s=start_s,
        recovery_s=recovery_s,
        recovery_cpu_s=recovery_cpu_s,
        rebalance_s=rebalance_s,
    )


def _ready_file(settings: Settings, folder: Path) -> Path:
    return folder / f"{settings.worker_name}.ready"


def _worker(settings: Settings, folder: Path) -> AbstractContextManager[Process]:
    ready = _ready_file(settings, folder)
    ready.unlink(missing_ok=True)
    ours = {**environment(settings), f"{PREFIX}READY_FILE": str(ready)}
    command = [sys.executable, "-m", "streams.cli.main", "worker", "casework"]
    return running(command, ours, folder / f"{settings.worker_name}.log")


async def _until_ready(settings: Settings, folder: Path, worker: Process) -> None:
    ready, deadline = _ready_file(settings, folder), monotonic() + READY_S
    while not ready.exists():
        if not worker.running:
            raise RuntimeError(f"{settings.worker_name} ended: {worker.last_words()}")
        if monotonic() > deadline:
            raise TimeoutError(f"{settings.worker_name} is not ready after {READY_S:.0f} s: {worker.last_words()}")
        await asyncio.sleep(LOOK_EVERY_S)


async def _preload(settings: Settings, matters: int) -> int:
    """Write the states; returns their size in bytes. The group's positions belong to them: the timeline's beginning."""
    mould, size = Mould(sales.EVENTS - 1), 0

    def entries() -> Iterator[kafka.Record]:
        nonlocal size
        for number in range(matters):
            key, value = mould.entry(sales.ids_of(number))
            size += len(key) + len(value)
            yield key, value, []

    partitions = topics.read_topics(settings.partitions)["timeline"].partitions
    # State lies where its customer's timeline is.
    name = changelog_name(settings.namespace, "casework")
    await kafka.fill(settings, name, partitions, entries(), lambda key: key.partition(b"\0")[0])
    group = group_name(settings.namespace, "casework")
    async with kafka.consumer_of(settings, group_id=group, enable_auto_commit=False) as consumer:
        places = kafka.places(topic_name(settings.namespace, "timeline"), partitions)
        consumer.assign(places)
        await consumer.commit(dict.fromkeys(places, 0))
    return size


async def _last_events(settings: Settings, matters: int, slice: int, worker: Process) -> float:
    """Publish the last event of so many matters, drawn at random; CPU µs per event of the worker."""
    partitions = topics.read_topics(settings.partitions)["timeline"].partitions
    timeline = topic_name(settings.namespace, "timeline")
    numbers = Random(7).sample(range(matters), slice)
    last = (records_of(sales.ids_of(number))[-1] for number in numbers)
    records = [(record.key, record.value, [*record.headers]) for record in last]
    used_s = worker.cpu_s()
    await kafka.fill(settings, timeline, partitions, records)
    await _drain(settings, kafka.places(timeline, partitions), worker)
    return (worker.cpu_s() - used_s) / slice * 1e6


async def _drain(settings: Settings, places: list[TopicPartition], worker: Process) -> None:
    """Return when casework has committed that it read all of these partitions."""
    group, deadline = group_name(settings.namespace, "casework"), monotonic() + DRAIN_S
    async with admin_of(settings) as admin, kafka.consumer_of(settings) as consumer:
        ends = await consumer.end_offsets(places)
        while True:
            committed = await admin.list_consumer_group_offsets(group, partitions=places)
            if all(committed[place].offset >= end for place, end in ends.items()):
                return
            if not worker.running:
                raise RuntimeError(f"casework ended: {worker.last_words()}")
            if monotonic() > deadline:
                raise TimeoutError(f"casework has not read the timeline after {DRAIN_S:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)


# ---- what it comes to


def _report(grown: list[Grown], quick: bool) -> Report:
    first, last = grown[0], grown[-1]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{each.matters:,}",
            each.entry_bytes,
            each.memory_bytes,
            each.cpu_us,
            ratio(each.cpu_us, first.cpu_us),
            each.start_s,
            each.recovery_s,
            each.recovery_cpu_s,
            each.rebalance_s,
        )
        for each in grown
    ]
    table = Table(
        title="One casework worker by its matters, of ten events each (nine preloaded, the tenth of some measured)",
        columns=(
            "matters",
            "encoded B per matter",
            "memory B per matter",
            "CPU µs per event",
            f"CPU, {first.matters:,} = 1",
            "first start s",
            "SIGKILL → ready s",
            "its CPU s",
            "second joins → both ready s",
        ),
        rows=tuple(rows),
    )
    growth = f"CPU per event, {last.matters:,} matters by {first.matters:,}"
    aims = (
        at_most(growth, ratio(last.cpu_us, first.cpu_us), 1.3),
        at_most(f"memory of the worker per matter, of {last.matters:,}, in bytes", last.memory_bytes, 2500),
        at_most(f"recovery of {last.matters:,} matters in s", last.recovery_s, 60),
    )
    return Report(job="growth", quick=quick, tables=(table,), aims=aims)
