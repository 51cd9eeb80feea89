"""Facts of the in-memory runner, and through it of the core under crashes at every point."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.delivery import local as local_module
from streams.delivery.agent import Agent, Effects, Record, Send, State
from streams.delivery.local import Local
from streams.delivery.task import Limits
from streams.partitions import partition_of
from tests.delivery.alarms import Alarm, Command, alarm_agent, encode, follow
from tests.delivery.chain import FIRST, SECOND

KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
INSTANTS = st.integers(0, 30)
CLOCKS = st.sampled_from(["c", "d"])
ALARMS = st.builds(
    Alarm,
    at=INSTANTS,
    clock=CLOCKS,
    repeats=st.integers(0, 3),
    every=st.integers(1, 9),
    other=st.sampled_from(["", "a", "b", "e"]),
)
COMMANDS = st.one_of(
    st.builds(Command, st.just("set"), st.just({}), st.lists(ALARMS, max_size=3, unique=True).map(tuple)),
    st.builds(Command, st.just("tick"), st.dictionaries(CLOCKS, INSTANTS)),
    st.builds(Command, st.just("forget"), st.dictionaries(CLOCKS, INSTANTS), st.none()),
    st.builds(Command, st.sampled_from(["bad", "bug"])),
)
LIMITS = st.builds(Limits, records=st.integers(1, 5), dues=st.integers(1, 4), weight=st.integers(1, 2000))


@settings(max_examples=300, deadline=None)
@given(
    commands=st.lists(st.tuples(KEYS, COMMANDS), max_size=25),
    limits=LIMITS,
    seed=st.integers(0, 1 << 30),
    crash_rate=st.sampled_from([0.0, 0.1, 0.4]),
)
def test_any_program_with_crashes_between_any_commits_equals_its_plain_recomputation(
    commands: list[tuple[bytes, Command]], limits: Limits, seed: int, crash_rate: float
) -> None:
    local = Local([alarm_agent()], randomness=Random(seed), crash_rate=crash_rate, limits=limits)
    for key, command in commands:
        local.publish(Send("commands", key, encode(command)))
    local.run()
    state, sends = follow(commands)
    assert local.state("alarms") == state
    for topic in ("rung", "told"):
        expected = [(send.key, send.value) for send in sends if send.topic == topic]
        assert [(record.key, record.value) for record in local.records(topic)] == expected
    assert len(local.records("dead_letter")) == sum(command.name == "bad" for _, command in commands)


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_counts_each_record_once_in_any_interleaving(seed: int) -> None:
    randomness = Random(seed)
    local = Local([FIRST, SECOND], partitions=3, randomness=randomness, crash_rate=0.2, limits=Limits(records=3))
    for n in range(200):
        local.publish(Send(randomness.choice("ab"), b"k%d" % (n % 17), b"c%d" % (n % 5)))
    local.run()
    assert sum(count for counts in local.state("first").values() for count in counts.values()) == 200
    assert {key: counts["mid"] for key, counts in local.state("second").items()} == {b"c%d" % n: 40 for n in range(5)}
    assert len(local.records("mid")) == len(local.records("out")) == 200


def test_one_seed_is_one_interleaving() -> None:
    def outcome(seed: int) -> list[Record]:
        local = Local([FIRST], partitions=2, randomness=Random(seed), crash_rate=0.1, duplicate_rate=0.1)
        for n in range(100):
            local.publish(Send("ab"[n % 2], b"k%d" % (n % 7), b"c"))
        local.run()
        return local.records("mid")

    assert outcome(1) == outcome(1)
    assert outcome(1) != outcome(2)


def test_duplicates_are_published() -> None:
    local = Local([FIRST], randomness=Random(1), duplicate_rate=1.0)
    local.publish(Send("a", b"k", b"c"))
    local.run()
    assert [record.offset for record in local.records("mid")] == [0, 1]


def test_a_given_partition_wins_over_the_hash_of_the_key() -> None:
    local = Local([], partitions=4)
    key = b"some key"
    elsewhere = (partition_of(key, 4) + 1) % 4
    local.publish(Send("a", key, b""))
    local.publish(Send("a", key, b"", partition=elsewhere))
    assert {record.partition for record in local.records("a")} == {partition_of(key, 4), elsewhere}


def test_agents_that_feed_each_other_for_ever_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "STEPS", 50)

    def echo(record: Record, state: State[Any]) -> Effects[Any]:
        return Effects(sends=[Send("a", record.key, record.value)])

    local = Local([Agent(name="echo", inputs=("a",), outputs=("a",), decide=echo)])
    local.publish(Send("a", b"k", b"v"))
    with pytest.raises(RuntimeError, match="not quiet"):
        local.run()
