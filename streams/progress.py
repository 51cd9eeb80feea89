"""How much each step of the pipeline has left to read, and waiting until nothing is left.

Must not know what records mean, but for ticks: they never end, so they are no work to wait for.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams import codec, kafka
from streams.delivery.names import group_name, topic_name
from streams.domain.events import AccountClock, ReadThrough, Tick
from streams.errors import BadInput, Refused
from streams.settings import Settings
from streams.topics import read_topics

STEPS = ("triage", "correlate", "casework", "sink")
"""Steps that keep their positions as consumer groups, in the order of the flow: what one writes a later one reads."""
POLL_S = 0.2
FETCH_MS = 50
MANY = 1_000
"""Records left that need no look at what they are: a step with so many is not through."""
TIME = frozenset({"tick", "reference"})
"""Entries of the timeline that come by themselves."""
BACK = 1_000
"""Records before the end of a timeline partition among which the newest tick is looked for first."""


class Progress:
    """Looks at the positions of all steps.

    async with Progress(settings) as progress:
        await progress.wait_until_drained(60)
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = read_topics(settings.partitions)
        self._admin = AIOKafkaAdminClient(**settings.kafka_options())
        self._consumer = AIOKafkaConsumer(
            **settings.kafka_options(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            # Questions on the same connection wait behind a fetch that finds nothing.
            fetch_max_wait_ms=FETCH_MS,
        )

    async def __aenter__(self) -> Self:
        await kafka.start(self._admin, self._settings)
        await kafka.start(self._consumer, self._settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def unread(self) -> Mapping[str, int | None]:
        """Records left to read, by step, ticks and transaction markers included; None: the step never ran."""
        found: dict[str, int | None] = {}
        for step in STEPS:
            committed = await self._committed(step)
            found[step] = None
            if committed is not None:
                found[step] = sum(end - begin for begin, end in (await self._spans(step, committed)).values())
        return found

    async def wait_until_drained(self, deadline_s: float) -> None:
        """Return when nothing is left to read for any step, and every announced horizon has been worked off.

        Nothing must be published meanwhile. Raises Refused after `deadline_s`, naming the step that is behind.
        """
        behind = "triage"
        try:
            async with asyncio.timeout(deadline_s):
                # In the order of the flow: a step that has nothing left gets nothing new from later ones.
                for behind in ("triage", "correlate"):
                    await self._wait_for(behind)
                behind = "clock"
                await self._wait_for_horizons()
                for behind in ("casework", "sink"):
                    await self._wait_for(behind)
        except TimeoutError:
            raise Refused(
                f"{behind} is not through after {deadline_s:.0f} s: see its log, and `aftersales doctor`"
            ) from None

    async def _wait_for(self, step: str) -> None:
        while True:
            committed = await self._committed(step)
            if committed is not None:
                spans = await self._spans(step, committed)
                if not await self._has_work({place: span for place, span in spans.items() if span[0] < span[1]}):
                    return
            await asyncio.sleep(POLL_S)

    async def _wait_for_horizons(self) -> None:
        """Wait for a tick that tells every announced horizon, and until casework has read it."""
        announced = await self._announcements()
        timeline = self._places("timeline")
        while announced:
            tick = await self._newest_tick(timeline[0])
            told = {account.account: account for account in tick.accounts} if tick else {}
            if all(_tells(told.get(account), announcement) for account, announcement in announced.items()):
                break
            await asyncio.sleep(POLL_S)
        ends = await self._consumer.end_offsets(timeline)
        while True:
            committed = await self._committed("casework") or {}
            # Every tick moves all positions, so each of them gets past these ends within a second or two.
            if all(committed.get(place, 0) >= end for place, end in ends.items()):
                return
            await asyncio.sleep(POLL_S)

    async def _committed(self, step: str) -> dict[TopicPartition, int] | None:
        found = await self._admin.list_consumer_group_offsets(group_name(self._settings.namespace, step))
        return {place: position.offset for place, position in found.items()} if found else None

    def _places(self, noun: str) -> list[TopicPartition]:
        name = topic_name(self._settings.namespace, noun)
        return [TopicPartition(name, partition) for partition in range(self._topics[noun].partitions)]

    async def _spans(self, step: str, committed: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[int, int]]:
        """Per partition that a step reads, the first offset that it has not read, and the end."""
        places = [p for noun, topic in self._topics.items() if step in topic.consumers for p in self._places(noun)]
        ends, begins = await self._consumer.end_offsets(places), await self._consumer.beginning_offsets(places)
        return {place: (max(begins[place], committed.get(place, 0)), ends[place]) for place in places}

    async def _has_work(self, spans: Mapping[TopicPartition, tuple[int, int]]) -> bool:
        """Whether a record lies in these spans: not a transaction marker, not a tick."""
        if not spans:
            return False
        if sum(end - begin for begin, end in spans.values()) > MANY:
            return True
        self._consumer.assign(list(spans))
        for place, (begin, _) in spans.items():
            self._consumer.seek(place, begin)
        left = set(spans)
        while left:
            for records in (await self._consumer.getmany(*left, timeout_ms=FETCH_MS)).values():
                if any(not _is_time(record.value or b"") for record in records):
                    return True
            left = {place for place in left if await self._consumer.position(place) < spans[place][1]}
        return False

    async def _read(self, place: TopicPartition, begin: int, end: int) -> list[bytes]:
        self._consumer.assign([place])
        self._consumer.seek(place, begin)
        values: list[bytes] = []
        while await self._consumer.position(place) < end:
            for records in (await self._consumer.getmany(place, timeout_ms=FETCH_MS)).values():
                values += [record.value or b"" for record in records]
        return values

    async def _announcements(self) -> dict[str, ReadThrough]:
        (place,) = self._places("read_through")
        begin = (await self._consumer.beginning_offsets([place]))[place]
        end = (await self._consumer.end_offsets([place]))[place]
        announced = {}
        for value in await self._read(place, begin, end):
            try:
                entry = codec.decode(value)
            except BadInput:
                continue  # the clock says so in its log
            if isinstance(entry, ReadThrough):
                announced[entry.account] = entry
        return announced

    async def _newest_tick(self, place: TopicPartition) -> Tick | None:
        begin = (await self._consumer.beginning_offsets([place]))[place]
        end = (await self._consumer.end_offsets([place]))[place]
        for value in reversed(await self._read(place, max(begin, end - BACK), end)):
            if _is_time(value) and isinstance(entry := codec.decode(value), Tick):
                return entry
        return None


def _is_time(value: bytes) -> bool:
    try:
        return codec.name_of(value) in TIME
    except BadInput:
        return False


def _tells(told: AccountClock | None, announcement: ReadThrough) -> bool:
    return told is not None and (told.live or told.heard_until >= announcement.through_at)
