"""The first job on a real broker: what a contestant gets wrong is seen, and ours gets nothing wrong."""

import asyncio
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.bench import delivery, kafka
from tests.bench.contestants.contest import Contest, Counted, encode

pytestmark = pytest.mark.engines

EVENTS, KEYS = 400, 20


def test_our_delivery_layer_counts_right(settings: Settings, tmp_path: Path) -> None:
    ours = next(contestant for contestant in delivery.CONTESTANTS if contestant.name == delivery.OURS)

    async def run() -> delivery.Run:
        expected = await delivery.prepare(settings, EVENTS, KEYS)
        return await delivery.measure(ours, settings, expected, KEYS, tmp_path)

    found = asyncio.run(run())
    assert (found.words, found.done, found.lost, found.doubled, found.wrong) == ("", EVENTS, 0, 0, 0)
    assert found.cpu_us is not None
    assert found.cpu_us > 0


def test_lost_doubled_and_wrong_outputs_are_counted(settings: Settings, tmp_path: Path) -> None:
    contest = Contest(
        name="liar",
        bootstrap_servers=settings.bootstrap_servers,
        namespace=settings.namespace,
        source="events",
        counted="counted",
        partitions=delivery.PARTITIONS,
        folder=str(tmp_path),
    )
    right = delivery.counts_of(delivery.make_events(EVENTS, KEYS))
    outputs = [Counted(number, count) for number, count in enumerate(right)]
    outputs[200] = Counted(200, right[200] + 1)
    outputs += [outputs[100], outputs[100]]
    del outputs[7]

    async def run() -> delivery.Run:
        topic = contest.topic(contest.counted)
        await kafka.make_topics(settings, {topic: delivery.PARTITIONS})
        records: list[kafka.Record] = [(b"case-%d" % output.number, encode(output), []) for output in outputs]
        await kafka.fill(settings, topic, delivery.PARTITIONS, records)
        return await delivery.check(settings, contest, delivery.Expected(right, {}), "", delivery.Used(1.0, 1.0))

    found = asyncio.run(run())
    assert (found.lost, found.doubled, found.wrong) == (1, 2, 1)
    assert found.words == "1 lost, 2 doubled, 1 wrong"
