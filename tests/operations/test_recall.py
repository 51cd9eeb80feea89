"""What ClickHouse keeps of a matter is what casework kept of it before it was archived."""

from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest

from streams.clickhouse import connect, database_name, migrate
from streams.delivery.task import RECORD_BYTES
from streams.domain.events import Event, Place
from streams.domain.ids import provisional
from streams.domain.matter import Past, Stated, compact
from streams.errors import Refused
from streams.operations.recall import Kept, entry_of, find
from streams.settings import Settings
from tests.clickhouse.made import store
from tests.oracle import expect
from tests.simulator.market_runs import START, market_run


@pytest.mark.engines
def test_the_past_of_every_matter_comes_back_as_it_was(settings: Settings) -> None:
    events: list[Any] = [
        planned.body
        for planned in market_run(days=20, orders_per_day=8)
        if isinstance(planned.body, Event) and planned.refused is None and planned.body.NAME != "message_text"
    ]
    expected = expect(events, lambda _: START + timedelta(days=400))
    places = [
        Place(
            id=id,
            customer=expected.customers[head] or provisional(head),
            matter=head,
            revision=0,
            provisional=expected.customers[head] is None,
        )
        for id, head in expected.heads.items()
    ]
    stated: dict[str, set[Stated]] = defaultdict(set)
    for fact in expected.statements(settings.generation):
        stated[fact.about].add(Stated(fact.key, fact.revision, fact.withdrawn, fact.state))
    migrate(settings)
    with connect(settings) as client:
        store(client, [*events, *places, *expected.statements(settings.generation)])
        kinds = set()
        for id in [*expected.heads][::25]:
            kept = find(settings, id)
            head = expected.heads[id]
            assert kept.matter == head
            assert kept.customer == (expected.customers[head] or provisional(head))
            for one, past in kept.pasts.items():
                assert past.events == tuple(map(compact, expected.events[one]))
                assert set(past.stated) == stated[one]
                kinds |= {event.NAME for event in past.events} | {said.key.__class__.__name__ for said in past.stated}
            members = {one for one, leader in expected.heads.items() if leader == head}
            assert set(kept.pasts) == members
        assert {"order", "parcel", "return", "message", "ticket", "TimerKey", "MatterKey"} <= kinds
        with pytest.raises(Refused, match="nothing of this id is known"):
            find(settings, "order:nowhere:1")
        client.command("DROP DATABASE {name:Identifier}", parameters={"name": database_name(settings)})


def test_a_past_that_fits_into_no_record_is_refused() -> None:
    past = Past(archived=b"x" * RECORD_BYTES)
    with pytest.raises(Refused, match="more than the 4,000,000 of a record"):
        entry_of(Kept("customer:a:1", "order:a:1", {"order:a:1": past}), "lee", START)
