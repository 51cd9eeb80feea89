"""One short round, and proof that the checker sees a difference in each of the places that it looks at."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from connectors.simulator.feed import truth_path
from connectors.simulator.truth import Line
from streams import codec
from streams.agents import casework
from streams.agents.casework import Kept
from streams.clickhouse import connect
from streams.delivery.names import changelog_name, topic_name
from streams.domain.events import Event
from streams.domain.facts import OrderState
from streams.domain.matter import Matter
from streams.partitions import partition_of
from tests.chaos.plan import NAMES, draw
from tests.chaos.round import Notes, check_scene, left_behind, played
from tests.chaos.scene import Scene, apart

pytestmark = pytest.mark.engines

AN_HOUR_MS = 3_600_000
SEED = 366
SECONDS = 20.0
SLEEPER = "casework-3"
"""Whom the plan of the seed freezes, with a transaction that is still good when it wakes up."""


def test_what_dies_makes_no_difference_and_what_is_tampered_with_is_found(tmp_path: Path) -> None:
    asyncio.run(_play_and_tamper(tmp_path / "round"))


async def _play_and_tamper(directory: Path) -> None:
    notes = Notes()
    async with played(draw(SEED, SECONDS), directory, notes) as scene:
        checked = await check_scene(scene)
        assert checked.differences == []
        assert notes.missed == []
        assert min(checked.events, checked.facts) > 500
        assert min(checked.dead_letters, notes.restarts) > 0
        assert left_behind(directory)[SLEEPER] > 0
        await apart(lambda: scene.pipeline.remove(*(name for name in NAMES if not name.startswith("clock"))))
        expected = [*await apart(lambda: _tamper_with_clickhouse(scene)), *await _tamper_with_topics(scene)]
        _tamper_with_truth(scene)
        found = "\n".join((await check_scene(scene)).differences)
        for words in (*expected, "acknowledged and on no topic (1)"):
            assert words in found, found


def _tamper_with_clickhouse(scene: Scene) -> list[str]:
    """Take away an event, a dead letter and a timer, change another event; returns how the checker must call it."""
    with connect(scene.settings) as client:
        client.command(
            "ALTER TABLE event UPDATE body = '{}' WHERE event_id = (SELECT max(event_id) FROM event)"
            " SETTINGS mutations_sync = 1"
        )
        for table, one in (
            ("event", "event_id = (SELECT min(event_id) FROM event)"),
            ("dead_letter", "dead_letter_id = (SELECT min(dead_letter_id) FROM dead_letter)"),
            (
                "timer_fact",
                "case_id = (SELECT min(case_id) FROM timer_fact WHERE timer = 'first_response' AND result = 'met')"
                " AND timer = 'first_response'",
            ),
        ):
            client.command(f"ALTER TABLE {table} DELETE WHERE {one} SETTINGS mutations_sync = 1")
    return [
        "stored events: missing (1)",
        "stored dead letters: missing (2)",
        "current_timer: only expected",
        "kpi_first_response: only expected",
        "event: only found",
    ]


async def _tamper_with_topics(scene: Scene) -> list[str]:
    """Repeat some records, change others, publish one that nobody reads; returns how the checker must call it."""
    pipeline = scene.pipeline
    timeline = await apart(lambda: pipeline.read("timeline"))
    event = next(record for record in timeline if isinstance(codec.decode(record.value), Event))
    firsts = await apart(
        lambda: [pipeline.read(noun)[0] for noun in ("timer_fact", "dead_letter", "classification", "place")]
    )
    timer, letter, classification, place = firsts
    facts = [(record, codec.decode(record.value)) for record in await apart(lambda: pipeline.read("matter_fact"))]
    record, fact = max(
        ((record, fact) for record, fact in facts if isinstance(fact.state, OrderState)),
        key=lambda pair: pair[1].revision,
    )
    wrong = msgspec.structs.replace(fact.state, status="unknown")
    moved = msgspec.structs.replace(codec.decode(place.value), customer="customer:nobody:1", revision=1000)
    entries = await apart(lambda: pipeline.state_entries("casework"))
    lost = next(key for key, entry in entries.items() if _is_another(entry, fact.about))
    async with AIOKafkaProducer(**scene.settings.kafka_options()) as producer:

        async def send(record: Any, value: bytes) -> None:
            await producer.send_and_wait(
                record.topic, value, key=record.key, partition=record.partition, headers=list(record.headers)
            )

        for repeated in (event, timer, letter, classification):
            await send(repeated, repeated.value)
        await send(record, codec.encode(msgspec.structs.replace(fact, state=wrong, revision=fact.revision + 1)))
        await send(place, codec.encode(moved))
        later_ms = record.timestamp + AN_HOUR_MS
        await producer.send_and_wait(
            topic_name(scene.settings.namespace, "review"), b"no review", key=b"review:1", timestamp_ms=later_ms
        )
        partition = partition_of(lost.partition(b"\x00")[0], scene.settings.partitions)
        changelog = changelog_name(scene.settings.namespace, "casework")
        await producer.send_and_wait(changelog, None, key=lost, partition=partition)
    return [
        "on timelines more often than published (1)",
        "revisions with holes, or used twice (1)",
        "dead letters written twice (1)",
        "classified texts: wrong (1)",
        "facts: wrong (1)",
        "statements in state: wrong (1)",
        "statements in state: missing (",
        "events in state: missing (",
        "places: wrong (1)",
        "the clock had stopped",
        "lost on the way to a timeline (1)",
        "dead letters: missing (1)",
    ]


def _is_another(entry: bytes, about: str) -> bool:
    """Whether it is a matter of which something is stated, and `about` is none of it."""
    value = casework.decode(entry)
    return isinstance(value, Kept) and about not in value.matter.residents and _states(value.matter)


def _states(matter: Matter) -> bool:
    return any(resident.past.stated for resident in matter.residents.values()) and matter.quarantine is None


def _tamper_with_truth(scene: Scene) -> None:
    """Say that one more event was published."""
    with truth_path(scene.settings).open("ab") as file:
        file.write(msgspec.json.encode(Line(noun="order", id="never published")) + b"\n")
