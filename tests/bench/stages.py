"""`python -m tests.bench.stages [--events N] [--rounds N] [--json FILE]`: where the pipeline's CPU time goes.

The stages run one after the other in this process, over records in memory: no Kafka, no ClickHouse, no waiting. The
input is the simulated market, record by record, with a tick after each batch, so that timers run along.

A round first runs the stages as they are and takes the CPU time of each as a whole. Then it calls again, step by step,
what they called: the same functions with the same arguments. What these do not account for is `delivery`, the task's
own bookkeeping. `kafka` packs and unpacks batches as delivery does; sockets are apart, and so is the model that tells
languages. Figures are microseconds of CPU per event of the timeline.

The **pure fold** is one fold of a matter's history whenever casework makes one: per event, and per due instant.
"""

import argparse
import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from connectors.simulator.market import Market
from streams import codec, partitions, rows
from streams.agents import casework, correlate, triage
from streams.delivery.agent import Agent, Record, Send
from streams.delivery.task import Task
from streams.delivery.transactions import BATCH_BYTES, Batches
from streams.domain import identity
from streams.domain import matter as matters
from streams.domain.events import AccountClock, Event, MessageText, Tick
from streams.kafka import records_of

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
ORDERS_PER_DAY = 40.0
BATCH_RECORDS = 500
PARTITIONS = 12
EVENTS_OF_A_MATTER = 10

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Input(NamedTuple):
    """Source records in the order of their publication, and the instant of the last one in each batch."""

    batches: list[tuple[list[Send], datetime]]
    accounts: frozenset[str]
    events: int
    """Of these, what goes to a timeline; the others are texts."""


def market(events: int, seed: int = 7) -> Input:
    """So many events of a simulated market, with their texts; what can't be processed is left out."""
    batches: list[tuple[list[Send], datetime]] = []
    accounts, batch, count = set(), list[Send](), 0
    for planned in Market(seed=seed, start_at=START, orders_per_day=ORDERS_PER_DAY):
        if planned.refused is not None or not isinstance(planned.body, Event):
            continue
        batch.append(Send(planned.noun, planned.key.encode(), planned.record))
        accounts.add(planned.body.account)
        count += not isinstance(planned.body, MessageText)
        if len(batch) == BATCH_RECORDS or count == events:
            batches.append((batch, planned.publish_at))
            batch = []
        if count == events:
            break
    return Input(batches, frozenset(accounts), count)


class Stages:
    """The pipeline in one process, one partition. `spent_s`: CPU seconds by stage."""

    def __init__(self, agents: Mapping[str, Agent[Any]], rows_of: Callable[[Record], list[rows.Row]]) -> None:
        self.tasks = {name: Task(agent, 0, {}, {}, encode_dead_letter=codec.encode) for name, agent in agents.items()}
        self.spent_s: dict[str, float] = dict.fromkeys((*agents, "sink"), 0.0)
        self.read: dict[str, list[Send]] = defaultdict(list)
        self.written: dict[str, list[Send]] = defaultdict(list)
        self.inserts: list[tuple[str, list[tuple[rows.Value, ...]]]] = []
        self._rows_of = rows_of
        self._offsets: dict[str, int] = defaultdict(int)

    def run(self, given: Input) -> None:
        """Take in everything."""
        for batch, at in given.batches:
            waiting = [*batch, _tick(given.accounts, at)]
            while waiting:
                sent: list[Send] = []
                for name, task in self.tasks.items():
                    sent += self._decide(name, task, [send for send in waiting if send.topic in task.agent.inputs])
                self._sink([send for send in waiting if send.topic in rows.TOPICS])
                waiting = sent

    def _decide(self, stage: str, task: Task[Any], sends: list[Send]) -> list[Send]:
        records = self._records(sends)
        sent: list[Send] = []
        self.read[stage] += sends
        changes: list[Mapping[bytes, bytes | None]] = []
        start = time.process_time()
        for commit in task.process(records):
            sent += commit.sends
            changes.append(commit.changes)
            task.apply(commit)
        self.spent_s[stage] += time.process_time() - start
        self.written[stage] += (
            Send("changelog", key, entry or b"", partition=0) for kept in changes for key, entry in kept.items()
        )
        self.written[stage] += sent
        return sent

    def _sink(self, sends: list[Send]) -> None:
        records = self._records(sends)
        self.read["sink"] += sends
        tables: dict[str, list[tuple[rows.Value, ...]]] = defaultdict(list)
        start = time.process_time()
        for record in records:
            for row in self._rows_of(record):
                tables[row.table].append(row.values)
        for table, values in tables.items():
            rows.encode_rows(table, values)
        self.spent_s["sink"] += time.process_time() - start
        self.inserts += tables.items()

    def _records(self, sends: Sequence[Send]) -> list[Record]:
        records = []
        for send in sends:
            records.append(Record(send.topic, 0, self._offsets[send.topic], send.key, send.value, send.headers))
            self._offsets[send.topic] += 1
        return records


def _tick(accounts: Iterable[str], now: datetime) -> Send:
    clocks = tuple(AccountClock(account=account, heard_until=now, live=True) for account in sorted(accounts))
    return Send("timeline", b"", codec.encode(Tick(now=now, accounts=clocks)))


AGENTS: Mapping[str, Agent[Any]] = {
    "correlate": correlate.AGENT,
    "casework": casework.agent("g1"),
    "triage": triage.AGENT,
}


class Tape:
    """Every call of the steps of a stage, to be made again."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], list[Call]] = defaultdict(list)
        self._stage = ""

    def agent(self, stage: str, agent: Agent[Any]) -> Agent[Any]:
        """`agent`, whose decisions are taped as those of `stage`."""
        taped: dict[str, Any] = {}
        for name in ("decide", "due", "encode", "decode"):
            if (function := getattr(agent, name)) is not None:
                is_decision = name in ("decide", "due")
                taped[name] = self._within(stage, function) if is_decision else self.taped(f"state {name}", function)
        return replace(agent, **taped)

    def sink(self) -> Callable[[Record], list[rows.Row]]:
        """`rows_of`, taped as the sink."""
        return self._within("sink", rows.rows_of)

    def taped(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, that notes each call."""
        calls = self.calls

        def call(*arguments: Any) -> Any:
            if self._stage:
                calls[self._stage, step].append((function, arguments))
            return function(*arguments)

        return call

    def _within(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._stage = stage
            return function(*arguments)

        return call

    @contextmanager
    def running(self) -> Iterator[None]:
        """While it lasts, the functions of `STEPS` are taped."""
        before = [(module, name, getattr(module, name)) for module, name, _ in STEPS]
        for (module, name, function), (_, _, step) in zip(before, STEPS, strict=True):
            setattr(module, name, self.taped(step, function))
        try:
            yield
        finally:
            for module, name, function in before:
                setattr(module, name, function)


STEPS: Sequence[tuple[Any, str, str]] = (
    (codec, "decode", "decode"),
    (codec, "encode", "encode"),
    (correlate, "check_event", "check"),
    (identity, "hear_event", "decide"),
    (identity, "hear_message", "decide"),
    (matters, "take_event", "take"),
    (casework, "fold", "fold"),
    (matters, "state", "difference"),
    (triage, "language_of", "language"),
    (rows, "_row_of", "rows"),
)
"""Module, function, and the step that it is."""

APART = frozenset({("casework", "fold"), ("triage", "language")})
"""Not of the machinery: what the events say, and what a text is."""


def measure_round(given: Input, tape: Tape, packed: Mapping[str, tuple[list[Send], list[bytes]]]) -> dict[str, Any]:
    """CPU µs per event, by stage and step, of one run and of the taped calls."""
    stages = Stages(AGENTS, rows.rows_of)
    stages.run(given)
    steps = {place: _again(calls) for place, calls in tape.calls.items()}
    # The fold is called within the difference.
    steps["casework", "difference"] -= steps["casework", "fold"]
    steps["sink", "insert"] = _again([(rows.encode_rows, insert) for insert in stages.inserts])
    for stage, spent_s in stages.spent_s.items():
        steps[stage, "delivery"] = spent_s - sum(used for (of, _), used in steps.items() if of == stage)
    for stage, (sent, batches) in packed.items():
        steps[stage, "kafka"] = _again([(pack, (sent,)), (unpack, (batches,))])
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for (stage, step), used_s in sorted(steps.items()):
        table[stage][step] = used_s / given.events * 1e6
    return table


def _again(calls: Iterable[Call]) -> float:
    start = time.process_time()
    for function, arguments in calls:
        function(*arguments)
    return time.process_time() - start


def pack(sends: Iterable[Send]) -> list[bytes]:
    """Records as batches of a producer, by topic and partition."""
    partitions._hash.cache_clear()
    batches = Batches(lambda: BatchBuilder(BATCH_BYTES, 0, is_transactional=1))
    for send in sends:
        partition = partitions.partition_of(send.key, PARTITIONS) if send.partition is None else send.partition
        batches.add((send.topic, partition), send.key, send.value, send.headers)
    return [bytes(batch._build()) for _, batch in batches.close()]


def unpack(batches: Iterable[bytes]) -> int:
    """Read batches as the client does after a fetch; the number of records."""
    count = 0
    for batch in batches:
        found = PartitionRecords(TopicPartition("t", 0), MemoryRecords(batch), [], 0, None, None, True, READ_COMMITTED)
        count += sum(1 for _ in records_of("t", found))
    return count


class Figure(NamedTuple):
    """Of the rounds, CPU µs per event."""

    least: float
    middle: float
    most: float


class Measured(NamedTuple):
    """The outcome of all rounds."""

    events: int
    calls: Mapping[str, float]
    """Per event, by `stage step`."""
    cpu_us: Mapping[str, Mapping[str, Figure]]
    """By stage and step."""
    entry_bytes: float | None
    """Of a matter of `EVENTS_OF_A_MATTER` events, as casework's state; None: the market had none."""


def figures(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Figure]]:
    """By stage and step, with the sums: per stage `all`, and over stages."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for table in rounds:
        everything = machinery = 0.0
        for stage, steps in table.items():
            for step, us in steps.items():
                found[stage][step].append(us)
            own = sum(us for step, us in steps.items() if (stage, step) not in APART)
            found[stage]["all but fold and model"].append(own)
            machinery += own
            everything += sum(steps.values())
        found["pipeline"]["all"].append(everything)
        found["pipeline"]["pure fold"].append(table["casework"]["fold"])
        found["pipeline"]["above fold and model"].append(machinery)
    return {
        stage: {step: Figure(min(us), median(us), max(us)) for step, us in steps.items()}
        for stage, steps in found.items()
    }


def show(measured: Measured) -> Iterator[str]:
    """What was measured, as lines."""
    yield f"{'CPU us per event':34}{'min':>8}{'median':>8}{'max':>8}{'calls':>8}"
    for stage, steps in measured.cpu_us.items():
        yield stage
        for step, figure in steps.items():
            calls = measured.calls.get(f"{stage} {step}")
            yield (
                f"  {step:32}{figure.least:8.1f}{figure.middle:8.1f}{figure.most:8.1f}"
                f"{'' if calls is None else f'{calls:8.2f}'}"
            )
    if measured.entry_bytes is not None:
        yield f"a matter of {EVENTS_OF_A_MATTER} events as state: {measured.entry_bytes:,.0f} bytes of key and entry"


def entry_bytes(task: Task[Any], events: int) -> float | None:
    """Mean bytes of key and entry of the matters of so many events. None: there is no such matter."""
    sizes = [len(key) + len(entry) for key, entry in task.entries.items() if _events(casework.decode(entry)) == events]
    return fmean(sizes) if sizes else None


def _events(value: casework.Value) -> int:
    if not isinstance(value, casework.Kept):
        return 0
    return sum(len(resident.past.events) for resident in value.matter.residents.values())


def measure(events: int, rounds: int, say: Callable[[str], None]) -> Measured:
    """Everything, of so many events of the market."""
    given = market(events)
    triage.language_of("The model is read at the first text, and not measured.")
    tape = Tape()
    with tape.running():
        agents = {stage: tape.agent(stage, agent) for stage, agent in AGENTS.items()}
        taped = Stages(agents, tape.sink())
        taped.run(given)
    read = {stage: pack(sends) for stage, sends in taped.read.items()}
    packed = {stage: (taped.written[stage], read[stage]) for stage in taped.spent_s}
    gc.collect()
    gc.freeze()  # the tape is large, and a collection would be counted to whoever runs when it is due
    found = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: {given.events} events")
        found.append(measure_round(given, tape, packed))
    gc.unfreeze()
    calls = {f"{stage} {step}": len(calls) / given.events for (stage, step), calls in sorted(tape.calls.items())}
    return Measured(given.events, calls, figures(found), entry_bytes(taped.tasks["casework"], EVENTS_OF_A_MATTER))


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description="CPU time of the pipeline by stage and step, in one process.")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = measure(options.events, options.rounds, partial(print, file=sys.stderr, flush=True))
    print("\n".join(show(measured)))
    if options.json:
        options.json.write_text(json.dumps(measured._asdict(), indent=1))


if __name__ == "__main__":
    main()
