"""Faust as its documentation shows it: records as models, an agent, a table. At least once."""

import sys
from typing import Any

import faust

from tests.bench.contestants.contest import Mark, told

contest = told()
mark = Mark(contest)
app = faust.App(
    contest.name,
    broker=f"kafka://{contest.bootstrap_servers}",
    datadir=contest.folder,
    topic_partitions=contest.partitions,
)


class Event(faust.Record):
    number: int
    case_id: str
    type: str
    marketplace: str
    occurred_at: float
    amount_minor: int
    currency: str
    carrier: str
    tracking: str
    note: str


class Counted(faust.Record):
    number: int
    count: int


events = app.topic(contest.topic(contest.source), key_type=str, value_type=Event)
counted = app.topic(contest.topic(contest.counted), key_type=str, value_type=Counted)
counts = app.Table("counts", default=int)


@app.agent(events)
async def count(stream: Any) -> None:
    async for event in stream:
        mark()
        counts[event.case_id] += 1
        await counted.send(key=event.case_id, value=Counted(number=event.number, count=counts[event.case_id]))


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--without-web", "--loglevel", "warn"]
    app.main()
