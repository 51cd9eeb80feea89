"""What is counted of commits, state and the clock."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from streams.agents import casework, correlate
from streams.agents.casework import Kept
from streams.delivery.agent import Agent, Effects, Record, Send, State
from streams.delivery.task import Limits, Task
from streams.domain.events import AccountClock, ReadThrough
from streams.domain.heard import Heard
from streams.domain.identity import Identity
from streams.domain.matter import Matter, Quarantine
from streams.errors import BadInput
from streams.metrics import ClockMetrics, Holding, SinkMetrics, StepMetrics
from tests.metrics.scrape import Answer

AT = datetime(2026, 3, 2, tzinfo=UTC)


def decide(record: Record, state: State[bytes]) -> Effects[bytes]:
    """The value becomes that of the key; `-` forgets it, `bad` is refused."""
    if record.value == b"bad":
        raise BadInput("bad_value", "it says so itself")
    value = None if record.value == b"-" else record.value
    return Effects(changes={record.key: value}, sends=[Send("out", record.key, record.value)])


KEEPER: Agent[bytes] = Agent(
    name="keeper",
    inputs=("one", "two"),
    outputs=("out",),
    decide=decide,
    encode=bytes,
    decode=bytes,
    marks={ord("!"): "loud_entries"},
)


def records(*values: tuple[str, str, bytes]) -> list[Record]:
    """Records of (topic, key, value), one after the other."""
    return [Record(topic, 0, offset, key.encode(), value) for offset, (topic, key, value) in enumerate(values)]


def read(registry: CollectorRegistry, metrics: StepMetrics | None = None) -> Answer:
    """The registry as Prometheus would get it."""
    if metrics is not None:
        asyncio.run(metrics.look())
    return Answer(200, generate_latest(registry).decode(), "")


def counted(task: Task[Any], given: list[Record]) -> Answer:
    """The metrics after a task has worked off records."""
    registry = CollectorRegistry()
    metrics = StepMetrics(registry)

    async def look() -> Holding:
        is_open = {"one": True, "two": False}
        return Holding(partitions=1, lag={"one": 5}, sizes=[task.size()], restored=7, unrestored=3, open_topics=is_open)

    metrics.look_at("keeper", look)
    for commit in task.process(given):
        task.apply(commit)
        metrics.count_commit("keeper", commit, 1000.0)
    return read(registry, metrics)


def test_commits_are_counted_by_topic_and_reason() -> None:
    task = Task(KEEPER, 0, {}, {}, limits=Limits(records=2))
    found = counted(
        task,
        records(("one", "a", b"x"), ("two", "a", b"y"), ("one", "b", b"bad"), ("one", "c", b"bad"), ("two", "d", b"!")),
    )
    assert found.value("processed_records_total", agent="keeper", topic="one") == 3
    assert found.value("processed_records_total", agent="keeper", topic="two") == 2
    assert found.value("sent_records_total", agent="keeper", topic="out") == 3
    assert found.value("sent_records_total", agent="keeper", topic="dead_letter") == 2
    assert found.value("dead_letters_total", agent="keeper", reason="bad_value") == 2
    assert found.value("transactions_total", agent="keeper", outcome="committed") == 3
    assert found.value("batch_records_count", agent="keeper") == 3
    assert found.value("batch_records_sum", agent="keeper") == 5
    assert found.value("last_commit_timestamp_seconds", agent="keeper") == 1000


def test_what_a_step_holds_is_told() -> None:
    task = Task(KEEPER, 0, {b"k": b"!old"}, {})
    found = counted(task, records(("one", "a", b"!x"), ("one", "b", b"y")))
    assert found.value("partitions", agent="keeper") == 1
    assert found.value("lag_records", agent="keeper", topic="one") == 5
    assert found.value("state_entries", agent="keeper") == 3
    assert found.value("state_bytes", agent="keeper") == len(b"k!old") + len(b"a!x") + len(b"by")
    assert found.value("loud_entries", agent="keeper") == 2
    assert found.value("due_instants", agent="keeper") == 0
    assert found.value("restored_records", agent="keeper") == 7
    assert found.value("unrestored_records", agent="keeper") == 3
    assert found.value("breaker_open", agent="keeper", topic="one") == 1
    assert found.value("breaker_open", agent="keeper", topic="two") == 0


def test_what_is_looked_at_no_more_is_not_told() -> None:
    registry = CollectorRegistry()
    metrics = StepMetrics(registry)

    async def look() -> Holding:
        return Holding(partitions=3)

    metrics.look_at("keeper", look)
    assert read(registry, metrics).value("partitions", agent="keeper") == 3
    metrics.look_at("keeper", None)
    with pytest.raises(LookupError):
        read(registry, metrics).value("partitions", agent="keeper")


VALUES = st.sampled_from([b"!", b"!!longer", b"quiet", b"-", b"bad"])
COMMANDS = st.lists(st.tuples(st.sampled_from(["one", "two"]), st.sampled_from("abc"), VALUES), max_size=30)


@given(COMMANDS, COMMANDS, st.integers(1, 7))
def test_the_size_of_state_is_what_counting_it_anew_would_give(
    before: list[tuple[str, str, bytes]], after: list[tuple[str, str, bytes]], limit: int
) -> None:
    task = Task(KEEPER, 0, {}, {}, limits=Limits(records=limit))
    for batch in (before, after):
        for commit in task.process(records(*batch)):
            task.apply(commit)
    size = task.size()
    assert size.entries == len(task.entries)
    assert size.bytes == sum(len(key) + len(value) for key, value in task.entries.items())
    assert size.marked == {"loud_entries": sum(value.startswith(b"!") for value in task.entries.values())}


@given(COMMANDS, st.integers(1, 7))
def test_commits_tell_every_record_and_every_refusal(commands: list[tuple[str, str, bytes]], limit: int) -> None:
    task = Task(KEEPER, 0, {}, {}, limits=Limits(records=limit))
    outcomes: dict[str, str] = {"one": "", "two": ""}
    for commit in task.process(records(*commands)):
        task.apply(commit)
        for topic, count in commit.read.items():
            refused = {refusal.nth for refusal in commit.refusals if refusal.topic == topic}
            outcomes[topic] += "".join("x" if nth in refused else "." for nth in range(count))
    for topic, outcome in outcomes.items():
        assert outcome == "".join("x" if value == b"bad" else "." for of, _, value in commands if of == topic)


def sizes_of(agent: Agent[Any], *values: Any) -> dict[str, int]:
    """What is counted of state values of an agent of the pipeline."""
    assert agent.encode is not None
    entries = {b"%d" % number: agent.encode(value) for number, value in enumerate(values)}
    return dict(Task(agent, 0, entries, {}).size().marked)


def test_provisional_customers_are_counted_by_the_ids_that_they_are_named_after() -> None:
    unknown = Identity(customer="provisional:order:shop:1", matter="order:shop:1")
    follower = Identity(customer="provisional:order:shop:1", matter="order:shop:1", leader="order:shop:1")
    known = Identity(customer="customer:shop:1", matter="order:shop:2")
    assert sizes_of(correlate.AGENT, unknown, follower, known) == {"provisional_customers": 1}


def test_quarantined_matters_are_counted() -> None:
    quarantine = Quarantine(reason="fold_failed", detail="")
    aside = Kept(matter=Matter(customer="c", head="order:shop:1", quarantine=quarantine))
    well = Kept(matter=Matter(customer="c", head="order:shop:2"))
    assert sizes_of(casework.agent("g1"), aside, well, casework.Clocks()) == {"quarantined_matters": 1}


def test_the_sink_counts_rows_inserts_and_retries_by_table() -> None:
    registry = CollectorRegistry()
    metrics = SinkMetrics(registry)
    metrics.count_retry("event")
    metrics.count_insert("event", 100, 0.3)
    found = read(registry)
    assert found.value("inserted_rows_total", table="event") == 100
    assert found.value("insert_retries_total", table="event") == 1
    assert found.value("insert_seconds_sum", table="event") == 0.3


def test_the_clock_shows_its_tick_its_trust_and_its_accounts() -> None:
    registry = CollectorRegistry()
    metrics = ClockMetrics(registry)
    metrics.show_trust(True, 0.25)
    heard = Heard(
        accounts={
            "live": AccountClock(account="live", heard_until=AT, live=True),
            "past": AccountClock(account="past", heard_until=AT, live=False),
        },
        waiting={"new": (ReadThrough(account="new", through_at=AT, live=True, published_at=AT),)},
    )
    metrics.show_tick(2000.0, heard)
    found = read(registry)
    assert found.value("last_tick_timestamp_seconds") == 2000
    assert (found.value("clock_trusted"), found.value("clock_ahead_seconds")) == (1, 0.25)
    assert [found.value("accounts", heard=how) for how in ("live", "past", "waiting")] == [1, 1, 1]
    assert found.value("oldest_heard_timestamp_seconds") == AT.timestamp()
    metrics.show_jump()
    assert read(registry).value("clock_trusted") == 0
