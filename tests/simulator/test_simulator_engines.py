"""The simulator against real engines: what it publishes lies in Kafka, and its questions fit ClickHouse's views."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from connectors.publisher import Publisher
from connectors.simulator.catalogue import ACCOUNTS
from connectors.simulator.feed import Plan, feed, truth_path
from connectors.simulator.truth import Truth, compare, read_lines
from streams import topics
from streams.clickhouse import connect, database_name, migrate
from streams.delivery.agent import Record
from streams.delivery.dead_letters import dead_record
from streams.domain.events import DeadLetter, Event, Place
from streams.domain.ids import is_provisional, provisional
from streams.errors import BadInput
from streams.settings import Settings
from tests.clickhouse.made import store
from tests.simulator.folded import fold_market
from tests.simulator.market_runs import START, market_run

pytestmark = pytest.mark.engines


async def count_records(settings: Settings, nouns: Iterable[str]) -> dict[str, int]:
    """Records of each topic, by their offsets: nothing was removed, and no transaction was written."""
    async with Publisher(settings) as publisher:
        topics_of = {noun: publisher.partitions(noun) for noun in nouns}
    async with AIOKafkaConsumer(**settings.kafka_options()) as consumer:
        counts = {}
        for noun, (topic, partitions) in topics_of.items():
            ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(partitions)])
            counts[noun] = sum(ends.values())
    return counts


async def publish_twice(settings: Settings) -> None:
    await topics.apply(settings, dry_run=False)
    for _ in range(2):
        await feed(settings, Plan(seed=2, history_days=6), until_s=0)


def test_what_is_remembered_is_what_lies_in_kafka(settings: Settings, tmp_path: Path) -> None:
    here = msgspec.structs.replace(settings, directory=str(tmp_path))
    asyncio.run(publish_twice(here))
    lines = list(read_lines(truth_path(here)))
    assert len(lines) > 500
    expected = Counter(line.noun for line in lines) + Counter(read_through=2 * len(ACCOUNTS))
    assert asyncio.run(count_records(here, expected)) == expected


def test_compare_finds_no_difference_in_a_whole_and_right_database(settings: Settings, tmp_path: Path) -> None:
    run = market_run(days=60, orders_per_day=20)
    horizon = START + timedelta(days=60)
    path = tmp_path / "truth.jsonl"
    with Truth(path) as truth:
        truth.append(run)
    folded = fold_market(run, horizon)
    places = _places(run, folded.heads)
    letters = [_letter(place, planned.record, planned.refused) for place, planned in enumerate(run) if planned.refused]
    events = [planned.body for planned in run if isinstance(planned.body, Event) and not planned.refused]
    migrate(settings)
    with connect(settings) as client:
        store(client, [*events, *folded.statements(), *places, *letters])

        def query(statement: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in client.query(statement).result_rows]

        compared = compare(path, query, horizon)
        assert [one for one in compared if one.expected != one.found] == []
        assert len(compared) > 60
        client.command("ALTER TABLE timer_fact DELETE WHERE result = 'met' SETTINGS mutations_sync = 1")
        assert {one.name for one in compare(path, query, horizon) if one.expected != one.found} == {
            "timers: delivery, met",
            "timers: first_response, met",
            "timers: resolution, met",
        }
        client.command(f"DROP DATABASE {database_name(settings)}")


def _places(run: Any, heads: Mapping[str, str]) -> list[Place]:
    customers: dict[str, str] = {}
    for planned in run:
        if isinstance(planned.body, Event) and planned.body.customer and planned.refused is None:
            customers[heads.get(planned.body.about, planned.body.about)] = planned.body.customer
    found = []
    for id, head in heads.items():
        customer = customers.get(head, provisional(head))
        found.append(Place(id=id, customer=customer, matter=head, revision=1, provisional=is_provisional(customer)))
    return found


def _letter(offset: int, record: bytes, reason: str) -> DeadLetter:
    origin = Record(topic="order", partition=0, offset=offset, key=b"", value=record)
    letter = dead_record("correlate", origin, BadInput(reason, "spoilt"))
    return msgspec.convert(msgspec.structs.asdict(letter), DeadLetter)
