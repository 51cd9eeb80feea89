"""The clock never writes a time that it has not compared with the broker."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from streams import codec
from streams.audit import read_all
from streams.clock import Clock
from streams.delivery.watch import Watch
from streams.domain.events import Tick
from streams.kafka import Cluster
from streams.settings import Settings
from streams.timepieces import MACHINE
from streams.topics import apply

pytestmark = pytest.mark.engines

TICKS = 2
PATIENCE_S = 30.0
JUMP_S = 3600.0


class JumpedAtWork(Clock):
    """Its machine is an hour ahead from after the look at the time until the next one."""

    def __init__(self, settings: Settings) -> None:
        self.ahead_s = 0.0
        super().__init__(settings, Cluster(settings), MACHINE._replace(wall=lambda: time.time() + self.ahead_s))

    async def _is_right(self) -> bool:
        self.ahead_s = 0.0
        right = await super()._is_right()
        self.ahead_s = JUMP_S
        return right


def test_time_that_jumps_between_the_look_at_it_and_the_tick_is_not_told(settings: Settings) -> None:
    async def ticks() -> list[Tick]:
        records = [record async for record in read_all(settings, ["timeline"]) if record.partition == 0]
        return [entry for entry in (codec.decode(record.value) for record in records) if isinstance(entry, Tick)]

    async def run() -> list[Tick]:
        await apply(settings, dry_run=False)
        clock, stopped, watch = JumpedAtWork(settings), asyncio.Event(), Watch(PATIENCE_S)
        try:
            await clock.start()
            ticking = asyncio.ensure_future(clock.tick_until(stopped, watch))
            async with asyncio.timeout(PATIENCE_S):
                while len(found := await ticks()) < TICKS:  # noqa: ASYNC110 - what the clock does is no event
                    await asyncio.sleep(0.1)
            stopped.set()
            await ticking
        finally:
            await clock.stop()
            watch.close()
        return found

    assert max(tick.now for tick in asyncio.run(run())) <= datetime.now(UTC) + timedelta(seconds=5)
