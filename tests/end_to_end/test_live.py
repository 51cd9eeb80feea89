"""What happens while the pipeline runs: time passes, spoilt input comes, the rules fail."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from connectors.publisher import Publisher
from streams import codec
from streams.agents import casework
from streams.agents.casework import Kept
from streams.domain.events import Message
from streams.domain.ids import event_id
from tests.end_to_end.conftest import StartPipeline
from tests.end_to_end.failing_worker import UNLUCKY, WHY
from tests.end_to_end.pipeline import Pipeline

pytestmark = pytest.mark.engines

TARGET = timedelta(hours=4)
"""Of a first response, as shipped."""


@pytest.fixture(scope="module")
def pipeline(start_pipeline: StartPipeline) -> Iterator[Pipeline]:
    """Its casework fails on the matter UNLUCKY. Each test has an account of its own."""
    with start_pipeline({"casework": "tests.end_to_end.failing_worker"}) as pipeline:
        yield pipeline


def message(thread: str, at: datetime, author: str = "customer", **more: Any) -> Message:
    """A message of a thread, whose account is the middle of its id."""
    account = thread.split(":")[1]
    said = event_id(account, "message", thread, author, at.isoformat())
    return Message(
        event_id=said,
        event_at=at,
        ingested_at=datetime.now(UTC),
        account=account,
        about=thread,
        message_id=said,
        author=author,
        **more,
    )


def publish(pipeline: Pipeline, *records: tuple[str, str, bytes], live: str | None = None) -> None:
    """Write records (topic, key, bytes); then say that the account `live` is followed and read up to now."""

    async def write() -> None:
        async with Publisher(pipeline.settings) as publisher:
            for noun, key, record in records:
                await publisher.publish(noun, key, record)
            await publisher.flush()
            if live:
                await publisher.read_through(live, datetime.now(UTC), True, datetime.now(UTC))

    asyncio.run(write())


def record_of(event: Message) -> tuple[str, str, bytes]:
    return event.NAME, event.about, codec.encode(event)


def first_responses(pipeline: Pipeline, account: str) -> list[tuple[str, str, datetime]]:
    return pipeline.ask(
        "SELECT about, result, due_at FROM current_timer"
        f" WHERE account = '{account}' AND timer = 'first_response' ORDER BY about"
    )


def test_a_tick_breaches_a_timer_when_it_is_due_and_an_answer_learnt_late_corrects_it(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    asked = {"thread:desk:1": now - TARGET - timedelta(seconds=9), "thread:desk:2": now - TARGET + timedelta(seconds=4)}
    due = {thread: at + TARGET for thread, at in asked.items()}
    publish(pipeline, *(record_of(message(thread, at)) for thread, at in asked.items()), live="desk")
    pipeline.wait_until(
        lambda: first_responses(pipeline, "desk"), [(thread, "breached", at) for thread, at in due.items()]
    )
    answers = [message(thread, at - timedelta(hours=1), "agent") for thread, at in due.items()]
    publish(pipeline, *map(record_of, answers), live="desk")
    pipeline.wait_until(lambda: first_responses(pipeline, "desk"), [(thread, "met", at) for thread, at in due.items()])

    stated: dict[str, list[tuple[int, str, str]]] = {thread: [] for thread in asked}
    for record in pipeline.read("timer_fact"):
        fact = codec.decode(record.value)
        if fact.about in asked and fact.key.timer == "first_response":
            stated[fact.about].append((fact.revision, fact.state.result, fact.cause))
            if fact.state.result == "breached":
                assert datetime.fromtimestamp(record.timestamp / 1000, UTC) >= due[fact.about]
    # The account was not heard up to anything before its first announcement, so both began as running.
    told = [(1, "running", "events"), (2, "breached", "time"), (3, "met", "events")]
    assert stated == dict.fromkeys(asked, told)


def test_spoilt_records_become_dead_letters_and_what_comes_after_them_goes_on(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    good = message("thread:spoilt:1", now)
    written = codec.encode(good)
    spoilt = {
        ("message", b"no record at all"): ("correlate", "not_avro"),
        ("message", codec.MARKER + bytes(8) + b"whatever"): ("correlate", "unknown_schema"),
        ("message", written[:-3]): ("correlate", "undecodable"),
        ("message", codec.encode(message("banana:spoilt:1", now))): ("correlate", "wrong_id"),
        ("message", codec.encode(message("thread:spoilt:2", now))): ("correlate", "wrong_key"),
        ("order", written): ("correlate", "wrong_record"),
        ("timeline", codec.encode(message("thread:spoilt:3", now))): ("casework", "no_matter"),
        ("timeline", written[:-3] + b"\xff"): ("casework", "undecodable"),
        ("message_text", written): ("triage", "wrong_record"),
    }
    # A record is refused for its key before its id is looked at.
    keys = {"wrong_id": "banana:spoilt:1"}
    records = [(noun, keys.get(reason, good.about), raw) for (noun, raw), (_, reason) in spoilt.items()]
    publish(pipeline, *records, record_of(good))
    pipeline.drain()

    letters = [codec.decode(record.value) for record in pipeline.read("dead_letter")]
    found = {(letter.origin_topic, letter.raw): (letter.agent, letter.reason) for letter in letters}
    assert found == spoilt
    places = {(letter.origin_topic, letter.origin_partition, letter.origin_offset): letter.raw for letter in letters}
    for record in pipeline.read(*{noun for noun, _ in spoilt}):
        noun = record.topic.removeprefix(f"{pipeline.settings.namespace}.").removesuffix(".v1")
        raw = places.pop((noun, record.partition, record.offset), None)
        assert raw in (None, record.value)
    assert not places, "an origin that is not there"
    stored = pipeline.ask("SELECT origin_topic, raw_sha256, agent, reason FROM dead_letter FINAL WHERE agent != 'sink'")
    assert {(noun, digest): (agent, reason) for noun, digest, agent, reason in stored} == {
        (noun, sha256(raw).hexdigest()): by for (noun, raw), by in spoilt.items()
    }
    assert first_responses(pipeline, "spoilt") == [(good.about, "running", now + TARGET)]
    listed = pipeline.command("dlq", "list", "--limit", "100")
    assert all(reason in listed for _, reason in spoilt.values())


def test_a_matter_that_the_rules_fail_on_is_set_aside_and_the_others_go_on(pipeline: Pipeline) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    customer = "customer:unlucky:ann"
    before = [message(UNLUCKY, now - timedelta(minutes=9), customer=customer)]
    other = message("thread:unlucky:2", now, customer=customer)
    publish(pipeline, *map(record_of, [*before, other]), live="unlucky")
    pipeline.wait_until(
        lambda: pipeline.ask("SELECT about, customer, matter, reason, detail FROM quarantine"),
        [(UNLUCKY, customer, UNLUCKY, "fold_failed", f"ArithmeticError: {WHY}")],
    )
    listed = pipeline.command("quarantine", "list")
    assert UNLUCKY in listed
    assert WHY in listed
    after = [message(UNLUCKY, now - timedelta(minutes=minute), "agent") for minute in (8, 7)]
    later = message("thread:unlucky:3", now, customer=customer)
    publish(pipeline, *map(record_of, [*after, later]), live="unlucky")
    pipeline.drain()

    assert [about for about, *_ in first_responses(pipeline, "unlucky")] == [other.about, later.about]
    stored = pipeline.ask(f"SELECT event_id FROM event FINAL WHERE about = '{UNLUCKY}' ORDER BY event_at")
    assert stored == [(event.event_id,) for event in [*before, *after]]
    kept = casework.decode(pipeline.state_entries("casework")[casework.place_key(customer, UNLUCKY)])
    assert isinstance(kept, Kept)
    assert [event.event_id for event in kept.matter.history[UNLUCKY]] == [event.event_id for event in [*before, *after]]
