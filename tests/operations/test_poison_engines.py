"""A source that writes what this version can't read: left alone, and no other; after the upgrade all of it is there."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from connectors.publisher import Publisher
from streams import codec
from streams.delivery.group import FETCH_RECORDS
from streams.domain.events import Parcel, Payment, SourceEvent
from streams.domain.ids import event_id
from streams.settings import Settings
from tests.end_to_end.pipeline import PARTITIONS, Pipeline, running
from tests.engines import RunningStack

pytestmark = pytest.mark.engines

UNREADABLE, PARCELS, LIMIT = 100_000, 300, 1000
OPENED = "topic payment is not read by correlate any more"


@pytest.fixture
def pipeline(stack: RunningStack, settings: Settings) -> Iterator[Pipeline]:
    """Its correlate is of an older version."""
    limited = msgspec.structs.replace(settings, partitions=PARTITIONS, breaker_records=LIMIT)
    with running(stack, limited, {"correlate": "tests.operations.older_worker"}) as pipeline:
        yield pipeline


def payment(number: int, now: datetime) -> Payment:
    """One of several of its order."""
    return Payment(
        event_id=event_id("shop", "payment", str(number)),
        event_at=now,
        ingested_at=now,
        account="shop",
        about=f"payment:shop:{number}",
        leader=f"order:shop:{number % 20_000}",
        kind="payment",
        method="card",
        currency="EUR",
        amount_minor=number,
    )


def scan(number: int, now: datetime) -> Parcel:
    return Parcel(
        event_id=event_id("carrier", "scan", str(number)),
        event_at=now,
        ingested_at=now,
        account="carrier",
        about=f"parcel:{number}",
        change="checkpoint",
        status="in_transit",
    )


def test_a_hundred_thousand_unreadable_records_are_all_there_once_after_the_upgrade(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    payments: list[SourceEvent] = [payment(number, now) for number in range(UNREADABLE)]
    publish(pipeline, payments)
    log = pipeline.stack.directory / "log" / "correlate-1.log"
    pipeline.wait_until(lambda: OPENED in log.read_text(), True)
    publish(pipeline, [scan(number, now) for number in range(PARCELS)])
    stored = "SELECT count() FROM event FINAL WHERE kind = {!r}"
    pipeline.wait_until(lambda: pipeline.ask(stored.format("parcel")), [(PARCELS,)])
    letters = "SELECT count(), uniqExact(reason), any(reason) FROM dead_letter FINAL"
    ((refused, *reasons),) = pipeline.ask(letters)
    assert LIMIT <= refused <= PARTITIONS * (LIMIT + FETCH_RECORDS)
    assert reasons == [1, "unknown_schema"]
    assert pipeline.ask(stored.format("payment")) == [(0,)]
    assert log.read_text().count(OPENED) == 1

    pipeline.remove("correlate-1")
    Pipeline(pipeline.stack, pipeline.settings).add("correlate-1")
    assert "brought back" in pipeline.command("dlq", "replay", "--reason", "unknown_schema")
    pipeline.drain()
    assert pipeline.ask(stored.format("payment")) == [(UNREADABLE,)]
    assert pipeline.ask("SELECT count(), sum(amount_minor) FROM current_payment") == [
        (UNREADABLE, sum(range(UNREADABLE)))
    ]
    audit = pipeline.audit()
    assert audit.sound, audit
    again = pipeline.command("dlq", "replay", "--dry-run")
    assert [word for word in again.split() if word.isdigit()] == [str(refused)]
    assert "brought back before" in again


def publish(pipeline: Pipeline, events: list[SourceEvent]) -> None:
    """Write events to their topics."""

    async def write() -> None:
        async with Publisher(pipeline.settings) as publisher:
            for event in events:
                await publisher.publish(event.NAME, event.about, codec.encode(event))
            await publisher.flush()

    asyncio.run(write())
