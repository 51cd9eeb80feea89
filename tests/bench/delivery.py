"""Job 1: count per key with durable state and one output per input, by our delivery layer and by what others offer.

Each contestant is one process. All read the same events, in turns, from one broker. Measured from a contestant's first
event (its own mark) until its last output is committed: CPU of its process, and events a second.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from random import Random
from time import monotonic
from typing import NamedTuple

import msgspec

from streams.delivery.names import topic_name
from streams.settings import Settings
from tests.bench import kafka
from tests.bench.contestants.contest import EVENT_TYPES, Began, Contest, Event, decode_counted, encode
from tests.bench.engines import engines
from tests.bench.processes import Process, running
from tests.bench.results import Aim, Cell, Report, Spread, Table, at_least, at_most, middle, ratio, spread

PARTITIONS = 4
EVENTS, QUICK_EVENTS = 200_000, 4_000
KEYS, QUICK_KEYS = (1_000, 100_000), (100,)
ROUNDS = 3
DEADLINE_S = 400.0
"""For one contestant, its start included; Faust as documented takes about 110 s on an idle machine."""
LOOK_EVERY_S = 0.02
TAIL_OFFSETS = 64
"""Among so many at the end of a partition the last output is looked for: markers of transactions lie between."""
MARKETPLACES = ("amazon-de", "ebay-de", "zalando-de")

OURS = "ours"
FAUST = "Faust, as documented"
QUIX = "Quix Streams"
SENDS = "aiokafka loop, send by send"
BATCHES = "aiokafka loop, packed batches"


class Contestant(NamedTuple):
    """One that counts."""

    name: str
    module: str
    guarantee: str
    needs: str = ""
    """The package that must be installed."""
    way: str = ""
    brings_changelog: bool = True
    """Whether it makes the topic of its state itself."""


CONTESTANTS = (
    Contestant(OURS, "ours", "exactly once"),
    Contestant(FAUST, "faust_documented", "at least once"),
    Contestant("Faust, tuned", "faust_tuned", "at least once"),
    Contestant(QUIX, "quix", "at least once", "quixstreams", "at-least-once"),
    Contestant("Quix Streams, exactly once", "quix", "exactly once", "quixstreams", "exactly-once"),
    Contestant(BATCHES, "aiokafka_loop", "exactly once", "", "batches", False),
    Contestant(SENDS, "aiokafka_loop", "exactly once", "", "sends", False),
    Contestant("confluent-kafka loop", "confluent_loop", "exactly once", "confluent_kafka", "", False),
)


class Run(NamedTuple):
    """One contestant's way through all events."""

    done: int
    """Events that have an output."""
    cpu_us: float | None
    """Per event. None: it did not come to its end, or not at all to an event."""
    per_s: float | None
    memory_bytes: int
    lost: int
    doubled: int
    wrong: int
    words: str
    """What must be said of it; empty: it is right."""


def run(*, quick: bool) -> Report:
    """Run the job."""
    events, keys, rounds = (QUICK_EVENTS, QUICK_KEYS, 1) if quick else (EVENTS, KEYS, ROUNDS)
    there = [c for c in CONTESTANTS if not c.needs or find_spec(c.needs)]
    runs: dict[tuple[str, int], list[Run]] = {}
    with engines() as (stack, folder):
        print(f"delivery: writing {events:,} events for {' and '.join(f'{k:,}' for k in keys)} keys", flush=True)
        expected = {count: asyncio.run(prepare(stack.settings, events, count)) for count in keys}
        for turn, count, contestant in product(range(rounds), keys, there):
            found = asyncio.run(measure(contestant, stack.settings, expected[count], count, folder))
            runs.setdefault((contestant.name, count), []).append(found)
            print(
                f"delivery: round {turn + 1} of {rounds}, {count:,} keys, {contestant.name}: {_line(found)}", flush=True
            )
    missing = sorted({c.needs for c in CONTESTANTS if c not in there})
    return _report(runs, keys, missing, quick)


def _line(found: Run) -> str:
    if found.cpu_us is None or found.per_s is None:
        return found.words
    return f"{found.cpu_us:.1f} µs CPU per event, {found.per_s:,.0f} events/s {found.words}".rstrip()


# ---- events


def make_events(events: int, keys: int) -> Iterator[Event]:
    """Events of about 300 bytes; the same at each call."""
    randomness = Random(7)
    for number in range(events):
        yield Event(
            number=number,
            case_id=f"case-{randomness.randrange(keys):07d}",
            type=randomness.choice(EVENT_TYPES),
            marketplace=randomness.choice(MARKETPLACES),
            occurred_at=1_760_000_000 + number * 0.05,
            amount_minor=randomness.randrange(100, 90_000),
            currency="EUR",
            carrier="dhl",
            tracking=f"JJD{randomness.randrange(10**12):012d}",
            note="x" * 80,
        )


def counts_of(events: Iterator[Event]) -> list[int]:
    """The right count of each event: how many of its key there have been up to it."""
    so_far: dict[str, int] = {}
    counts = []
    for event in events:
        so_far[event.case_id] = so_far.get(event.case_id, 0) + 1
        counts.append(so_far[event.case_id])
    return counts


class Expected(NamedTuple):
    """What must come out."""

    counts: Sequence[int]
    """By the number of the event."""
    last: Mapping[int, int]
    """Number of the last event of each partition that has any."""


async def prepare(settings: Settings, events: int, keys: int) -> Expected:
    """Write the events for so many keys."""
    source = topic_name(settings.namespace, _source(keys))
    await kafka.make_topics(settings, {source: PARTITIONS, topic_name(settings.namespace, "dead_letter"): PARTITIONS})
    await kafka.fill(settings, source, PARTITIONS, map(_record, make_events(events, keys)))
    last: dict[int, int] = {}
    async for record in kafka.read_all(settings, source, PARTITIONS):
        last[record.partition] = msgspec.json.decode(record.value, type=Event).number
    return Expected(counts_of(make_events(events, keys)), last)


def _record(event: Event) -> kafka.Record:
    return event.case_id.encode(), encode(event), []


def _source(keys: int) -> str:
    return f"events-{keys}"


# ---- one contestant


async def measure(contestant: Contestant, settings: Settings, expected: Expected, keys: int, folder: Path) -> Run:
    """Let a contestant count the events for so many keys, in a new folder inside `folder`."""
    name = f"{contestant.module}-{uuid.uuid4().hex[:8]}"
    place = folder / name
    place.mkdir()
    contest = Contest(
        name=name,
        bootstrap_servers=settings.bootstrap_servers,
        namespace=settings.namespace,
        source=_source(keys),
        counted=f"counted-{name}",
        partitions=PARTITIONS,
        folder=str(place),
        way=contestant.way,
    )
    nouns = [contest.counted, *([] if contestant.brings_changelog else [contest.changelog])]
    await kafka.make_topics(settings, {contest.topic(noun): PARTITIONS for noun in nouns})
    command = [sys.executable, "-m", f"tests.bench.contestants.{contestant.module}", encode(contest).decode()]
    try:
        with running(command, {}, place / "log") as process:
            words, used = await _watch(process, contest, settings, expected)
        return await check(settings, contest, expected, words, used)
    finally:
        await kafka.delete_topics(settings, lambda topic: name in topic)


class Used(NamedTuple):
    """What a contestant took from its first event to its last output."""

    cpu_s: float = 0.0
    elapsed_s: float = 0.0
    memory_bytes: int = 0


async def _watch(process: Process, contest: Contest, settings: Settings, expected: Expected) -> tuple[str, Used]:
    """Wait for the last output; returns what must be said of the contestant, and what it took."""
    deadline, used = monotonic() + DEADLINE_S, Used()
    topic = contest.topic(contest.counted)
    async with kafka.consumer_of(settings) as consumer:
        consumer.assign(kafka.places(topic, PARTITIONS))
        while monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY_S)
            ends = await consumer.end_offsets(kafka.places(topic, PARTITIONS))
            if not process.running:
                return f"it ended by itself: {process.last_words()}", used
            if not contest.mark.exists():
                continue
            began = msgspec.json.decode(contest.mark.read_bytes(), type=Began)
            used = Used(process.cpu_s() - began.cpu_s, monotonic() - began.at_s)
            if sum(ends.values()) < len(expected.counts):
                continue
            last = await kafka.read_last(consumer, {p: ends[p] for p in ends if ends[p]}, TAIL_OFFSETS)
            if {record.partition: decode_counted(record.value).number for record in last} == expected.last:
                return "", used._replace(memory_bytes=process.pss_bytes())
    return f"not through after {DEADLINE_S:.0f} s: {process.last_words()}", used


async def check(settings: Settings, contest: Contest, expected: Expected, words: str, used: Used) -> Run:
    """What came out, compared with what must come out."""
    seen: list[int] = [0] * len(expected.counts)
    wrong = 0
    async for record in kafka.read_all(settings, contest.topic(contest.counted), PARTITIONS):
        counted = decode_counted(record.value)
        seen[counted.number] += 1
        wrong += counted.count != expected.counts[counted.number]
    lost, doubled = seen.count(0), sum(times - 1 for times in seen if times > 1)
    done = len(seen) - lost
    if lost or doubled or wrong:
        words = f"{lost:,} lost, {doubled:,} doubled, {wrong:,} wrong; {words}".removesuffix("; ")
    # Of one that was ended at its deadline too, for what it did until then is known.
    counts = done > 0 and used.elapsed_s > 0
    return Run(
        done=done,
        cpu_us=used.cpu_s / done * 1e6 if counts else None,
        per_s=done / used.elapsed_s if counts else None,
        memory_bytes=used.memory_bytes,
        lost=lost,
        doubled=doubled,
        wrong=wrong,
        words=words,
    )


# ---- what it comes to


def _report(
    runs: Mapping[tuple[str, int], Sequence[Run]], keys: Sequence[int], missing: Sequence[str], quick: bool
) -> Report:
    cpu = {place: spread(run.cpu_us for run in found if run.cpu_us is not None) for place, found in runs.items()}
    rate = {place: spread(run.per_s for run in found if run.per_s is not None) for place, found in runs.items()}
    tables = [_table(runs, cpu, rate, count) for count in keys]
    notes = [f"{name} is not installed, so it is not measured: `make bench` installs it" for name in missing]
    notes += [
        f"{name}, {count:,} keys: {run.words}" for (name, count), found in runs.items() for run in found if run.words
    ]
    return Report(
        job="delivery", quick=quick, tables=tuple(tables), aims=tuple(_aims(cpu, rate, keys)), notes=tuple(notes)
    )


Spreads = Mapping[tuple[str, int], Spread | None]


def _table(runs: Mapping[tuple[str, int], Sequence[Run]], cpu: Spreads, rate: Spreads, keys: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for contestant in CONTESTANTS:
        place = contestant.name, keys
        if place not in runs:
            continue
        faults = sum(run.lost + run.doubled + run.wrong for run in runs[place])
        rows.append(
            (
                contestant.name,
                contestant.guarantee,
                cpu[place],
                rate[place],
                ratio(middle(cpu[place]), middle(cpu[OURS, keys])),
                ratio(middle(rate[place]), middle(rate[OURS, keys])),
                max(run.memory_bytes for run in runs[place]) / 1e6,
                faults,
            )
        )
    return Table(
        title=f"Count per key, {keys:,} keys (minimum / median / maximum)",
        columns=(
            "",
            "guarantee",
            "CPU µs per event",
            "events/s",
            "CPU, ours = 1",
            "events/s, ours = 1",
            "MB",
            "lost, doubled, wrong",
        ),
        rows=tuple(rows),
    )


def _aims(cpu: Spreads, rate: Spreads, keys: Sequence[int]) -> Iterator[Aim]:
    """Of several numbers of keys, the worse one counts."""

    def slower(other: str) -> float | None:
        """CPU of another one, as a multiple of ours."""
        return _worst([ratio(middle(cpu.get((other, count))), middle(cpu.get((OURS, count)))) for count in keys], min)

    def faster(other: str) -> float | None:
        """Our events a second, as a multiple of another one's."""
        return _worst([ratio(middle(rate.get((OURS, count))), middle(rate.get((other, count)))) for count in keys], min)

    ours = _worst([middle(cpu.get((OURS, count))) for count in keys], max)
    yield at_most("CPU µs per event", ours, 12)
    for other, times in ((FAUST, 40), (QUIX, 2), (SENDS, 0.7), (BATCHES, 0.7)):
        yield at_least(f"CPU of {other} by ours", slower(other), times)
        yield at_least(f"our events/s by those of {other}", faster(other), times)


def _worst(values: Sequence[float | None], worse: Callable[[Sequence[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return worse(known) if len(known) == len(values) else None
