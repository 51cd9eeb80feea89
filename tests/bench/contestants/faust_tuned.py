"""Faust, tuned: everything that makes it faster and leaves it Faust. At least once.

uvloop; bytes in place of models, read and written by msgspec; batches by `take`, and the table changed once for each
key of a batch; outputs by `send_soon`, not awaited one by one; no delays, large fetches, buffers and batches.
"""

import sys
from typing import Any

import faust

from tests.bench.contestants.contest import Counted, Mark, decode_event, encode, told

BATCH_RECORDS = 1000
BATCH_WITHIN_S = 0.05

contest = told()
mark = Mark(contest)
app = faust.App(
    contest.name,
    broker=f"kafka://{contest.bootstrap_servers}",
    datadir=contest.folder,
    topic_partitions=contest.partitions,
    broker_max_poll_records=2000,
    consumer_max_fetch_size=2 << 20,
    producer_linger=0.02,
    producer_max_batch_size=512 << 10,
    stream_buffer_maxsize=16384,
    stream_wait_empty=False,
)
events = app.topic(contest.topic(contest.source), key_type=bytes, value_type=bytes, value_serializer="raw")
counted = app.topic(contest.topic(contest.counted), key_type=bytes, value_type=bytes, value_serializer="raw")
# What `take` yields has no current event, whose partition a table would write to.
counts = app.Table("counts", default=int, key_type=bytes, use_partitioner=True)


@app.agent(events)
async def count(stream: Any) -> None:
    async for batch in stream.take_events(BATCH_RECORDS, within=BATCH_WITHIN_S):
        mark()
        changed: dict[bytes, int] = {}
        for event in batch:
            key = event.key
            number = changed[key] = (changed.get(key) or counts[key]) + 1
            counted.send_soon(
                key=key,
                value=encode(Counted(decode_event(event.value).number, number)),
                partition=event.message.partition,
            )
        for key, number in changed.items():
            counts[key] = number


if __name__ == "__main__":
    sys.argv[1:] = ["--loop", "uvloop", "worker", "--without-web", "--loglevel", "warn"]
    app.main()
