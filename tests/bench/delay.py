"""Job 3: how long it takes through the whole pipeline, all stages as processes of their own, at a given rate of events.

- published → row: from just before an event is given to the publisher until a query finds its row in ClickHouse
- reply → met: from just before the reply is given to the publisher until a reader of the fact topic has "met"
- tick → breach: from the instant that the clock wrote into the first tick past the due instant until such a reader has
  "breached"

What looks and what publishes is one process on the same machine; how often it looks is part of a figure.
"""

import asyncio
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from time import time
from typing import Any

from connectors.publisher import Publisher
from streams import codec
from streams.cli.pipeline import run_on
from streams.clickhouse import connect
from streams.delivery.names import topic_name
from streams.domain.events import Message, SourceEvent, Tick
from streams.domain.facts import TimerFact
from streams.settings import Settings
from streams.topics import read_topics
from streams.workers import WORKERS
from tests.bench import kafka, sales
from tests.bench.engines import engines, whole
from tests.bench.processes import cpu_s
from tests.bench.results import Cell, Report, Table, at_most, percentile
from tests.engines import RunningStack

RATES, QUICK_RATES = (100, 1_000), (50,)
"""Events a second."""
SECONDS, QUICK_SECONDS = 45.0, 4.0
"""Measured at each rate."""
WARM_UP_S = 12.0
"""Published before at the same rate and not measured: a sale takes 9 s to all its events."""
SETTLE_S = 30.0
"""After the last event, for what is still under way."""
UNANSWERED_EVERY = 3
"""Of so many sales one question is not answered."""
LEFT = timedelta(seconds=3.5)
"""From when a question becomes known to when it is due; the reply comes after 2 s."""
LOOKED_FOR_PER_S = 100
"""Events that are looked for in ClickHouse."""
LOOKED_FOR_AT_ONCE = 300
PUBLISH_EVERY_S = 0.01
LOOK_EVERY_S = 0.02
HEARD_EVERY_S = 1.0

ENGINES = ("kafka", "clickhouse")


def run(*, quick: bool) -> Report:
    """Run the job."""
    rates, seconds = (QUICK_RATES, QUICK_SECONDS) if quick else (RATES, SECONDS)
    with engines() as (stack, _):
        print("delay: starting the pipeline", flush=True)
        with whole():
            stack.run(run_on(stack.stack, lambda text: None))
        measured = []
        for at, rate in enumerate(rates):
            print(f"delay: {rate:,} events/s for {WARM_UP_S + seconds:.0f} s", flush=True)
            measured.append(asyncio.run(_measure(stack, rate, seconds, first_sale=at * 10**9)))
    return _report(rates, measured, quick)


class Seen:
    """What was published and when, and what came of it and when. Seconds since 1970 on this machine's clock."""

    def __init__(self) -> None:
        self.sought: dict[str, float] = {}
        """Events whose rows are not there yet."""
        self.replied: dict[str, float] = {}
        """Threads whose timer is not met yet."""
        self.unanswered: set[str] = set()
        """Threads whose timer is not breached yet."""
        self.ticks: list[float] = []
        self.breaches: list[tuple[float, float]] = []
        """(due, seen)."""
        self.rows: list[float] = []
        self.met: list[float] = []
        self.published = 0
        self.all_published = False
        self.behind_s = 0.0
        """How late at most an event was published, measured against the plan."""
        self.cpu: dict[str, float] = {}
        """Of each process, as a share of one core."""

    @property
    def breached(self) -> list[float]:
        """Delays from the tick."""
        found = []
        for due, seen in self.breaches:
            at = bisect_left(self.ticks, due)
            if at < len(self.ticks):
                found.append(seen - self.ticks[at])
        return found

    def rows_complete(self) -> bool:
        """Whether no row is to come any more."""
        return self.all_published and not self.sought

    def facts_complete(self) -> bool:
        """Whether no outcome is to come any more."""
        return self.all_published and not (self.replied or self.unanswered)


async def _measure(stack: RunningStack, rate: int, seconds: float, first_sale: int) -> Seen:
    seen, settings = Seen(), stack.settings
    partitions = read_topics(settings.partitions)["timer_fact"].partitions
    watchers = [
        asyncio.create_task(_watch_rows(settings, seen)),
        asyncio.create_task(_watch_facts(settings, seen, partitions)),
        asyncio.create_task(_watch_ticks(settings, seen)),
    ]
    publishing = asyncio.create_task(_publish(stack, seen, rate, seconds, first_sale))
    try:
        await asyncio.wait([publishing, *watchers], return_when=asyncio.FIRST_COMPLETED)
        for watcher in watchers:
            if watcher.done():
                watcher.result()  # before all is published it ends by an error only
        await publishing
        done, _ = await asyncio.wait(watchers, timeout=SETTLE_S)
        for watcher in done:
            watcher.result()
    finally:
        for task in (publishing, *watchers):
            task.cancel()
        await asyncio.gather(publishing, *watchers, return_exceptions=True)
    return seen


# ---- what is published


def planned(first_sale: int, rate: int, lasts_s: float, began: datetime) -> Iterator[tuple[float, SourceEvent]]:
    """Events in order, each with the seconds after `began`: `rate` a second once sales have got going."""
    under_way: list[tuple[float, int, SourceEvent]] = []
    for nth in range(int(lasts_s * rate / sales.EVENTS)):
        starts_s = nth * sales.EVENTS / rate
        while under_way and under_way[0][0] <= starts_s:
            after_s, _, event = heappop(under_way)
            yield after_s, event
        ids, at = sales.ids_of(first_sale + nth), began + timedelta(seconds=starts_s)
        told = sales.sale(ids, at, answered=nth % UNANSWERED_EVERY > 0, known_after=sales.TARGET - LEFT)
        for step, said in enumerate(told):
            heappush(under_way, (starts_s + said.after_s, nth * sales.EVENTS + step, said.event))
    # The last sales end with the time, told or not: the rate would fall otherwise.
    while under_way and under_way[0][0] < lasts_s:
        after_s, _, event = heappop(under_way)
        yield after_s, event


async def _publish(stack: RunningStack, seen: Seen, rate: int, seconds: float, first_sale: int) -> None:
    every = max(1, rate // LOOKED_FOR_PER_S)
    lasts_s = WARM_UP_S + seconds
    async with Publisher(stack.settings) as publisher:
        now = datetime.now(UTC)
        for account in sales.ACCOUNTS:
            await publisher.read_through(account, now, True, now)
        began, heard = time(), 0.0
        used: dict[str, float] = {}
        for after_s, event in planned(first_sale, rate, lasts_s, datetime.fromtimestamp(began, UTC)):
            while (passed := time() - began) < after_s:
                await publisher.flush()
                if passed > heard + HEARD_EVERY_S:
                    heard = passed
                    for account in sales.ACCOUNTS:
                        await publisher.read_through(account, datetime.now(UTC), True)
                await asyncio.sleep(PUBLISH_EVERY_S)
            if after_s >= WARM_UP_S:
                used = used or _cpu_s(stack)
                seen.behind_s = max(seen.behind_s, passed - after_s)
                seen.published += 1
                _expect(seen, event, sought=seen.published % every == 0)
            await publisher.publish(event.NAME, event.about, codec.encode(event))
        seen.cpu = {name: (now_s - used[name]) / seconds for name, now_s in _cpu_s(stack).items() if name in used}
        seen.all_published = True


def _expect(seen: Seen, event: SourceEvent, *, sought: bool) -> None:
    now = time()
    if sought:
        seen.sought[event.event_id] = now
    if isinstance(event, Message) and event.author == "agent":
        seen.replied[event.about] = now
    elif isinstance(event, Message) and event.author == "internal":
        seen.unanswered.add(event.about)


def _cpu_s(stack: RunningStack) -> dict[str, float]:
    """CPU time so far of this process and of each of the pipeline that has one now."""
    children = {name: stack.pid(name) for name in (*ENGINES, *(f"{worker}-1" for worker in WORKERS))}
    pids = {name.removesuffix("-1"): pid for name, pid in children.items() if pid is not None}
    return {name: cpu_s(pid) for name, pid in {"what publishes and looks": os.getpid(), **pids}.items()}


# ---- what comes of it


async def _watch_rows(settings: Settings, seen: Seen) -> None:
    client = await asyncio.to_thread(connect, settings)

    def look(ids: list[str]) -> list[str]:
        names = ", ".join(f"'{id}'" for id in ids)
        return [row[0] for row in client.query(f"SELECT event_id FROM event WHERE event_id IN ({names})").result_rows]

    try:
        while not seen.rows_complete():
            if wanted := [*seen.sought][:LOOKED_FOR_AT_ONCE]:
                found = await asyncio.to_thread(look, wanted)
                now = time()
                seen.rows += [now - published for id in {*found} if (published := seen.sought.pop(id, None))]
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        client.close()


async def _watch_facts(settings: Settings, seen: Seen, partitions: int) -> None:
    def take(entry: Any, now: float) -> None:
        if not isinstance(entry, TimerFact) or entry.key.timer != "first_response":
            return
        if entry.state.result == "met" and (replied := seen.replied.pop(entry.about, None)):
            seen.met.append(now - replied)
        elif entry.state.result == "breached" and entry.about in seen.unanswered:
            seen.unanswered.discard(entry.about)
            assert entry.state.due_at is not None
            seen.breaches.append((entry.state.due_at.timestamp(), now))

    await _follow(settings, "timer_fact", partitions, take, seen.facts_complete)


async def _watch_ticks(settings: Settings, seen: Seen) -> None:
    """Of one partition: each has every tick."""

    def take(entry: Any, now: float) -> None:
        if isinstance(entry, Tick):
            seen.ticks.append(entry.now.timestamp())

    await _follow(settings, "timeline", 1, take, seen.facts_complete)


async def _follow(
    settings: Settings, noun: str, partitions: int, take: Callable[[Any, float], None], is_complete: Callable[[], bool]
) -> None:
    """Read what comes from now on."""
    async with kafka.consumer_of(settings, fetch_max_wait_ms=20) as consumer:
        places = kafka.places(topic_name(settings.namespace, noun), partitions)
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        while not is_complete():
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = time()
                for record in records:
                    take(codec.decode(record.value), now)


# ---- what it comes to

WAYS: tuple[tuple[str, float, Callable[[Seen], list[float]]], ...] = (
    ("published → row visible in ClickHouse", 2.0, lambda seen: seen.rows),
    ("reply published → timer met on the topic", 1.0, lambda seen: seen.met),
    ("tick → breach on the topic", 1.0, lambda seen: seen.breached),
)
"""Each with the bound of its 99th percentile, in seconds."""


def _report(rates: tuple[int, ...], measured: list[Seen], quick: bool) -> Report:
    rows: list[tuple[Cell, ...]] = []
    aims, notes = [], []
    for rate, seen in zip(rates, measured, strict=True):
        for what, bound, delays_of in WAYS:
            delays = delays_of(seen)
            p99 = percentile(delays, 0.99)
            figures = [percentile(delays, 0.5), p99, max(delays, default=None)]
            rows.append((what, rate, *(None if s is None else s * 1000 for s in figures), float(len(delays))))
            aims.append(at_most(f"{what}, {rate:,} events/s: p99 in s", p99, bound))
        if not (seen.rows_complete() and seen.facts_complete()):
            notes.append(
                f"{rate:,} events/s: {len(seen.sought)} rows, {len(seen.replied)} met timers and"
                f" {len(seen.unanswered)} breached ones had not come {SETTLE_S:.0f} s after the end"
            )
        notes.append(
            f"{rate:,} events/s: {seen.published:,} events published, at most {seen.behind_s * 1000:.0f} ms behind plan"
        )
    names = [*measured[0].cpu]
    cpu: list[tuple[Cell, ...]] = [(name, *(seen.cpu.get(name) for seen in measured)) for name in names]
    return Report(
        job="delay",
        quick=quick,
        tables=(
            Table(
                title="Delay through the whole pipeline",
                columns=("", "events/s", "p50 ms", "p99 ms", "longest ms", "measured"),
                rows=tuple(rows),
            ),
            Table(
                title="CPU meanwhile, as a share of one core",
                columns=("process", *(f"{rate:,} events/s" for rate in rates)),
                rows=tuple(cpu),
            ),
        ),
        aims=tuple(aims),
        notes=tuple(notes),
    )
