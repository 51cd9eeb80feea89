"""The clock: writes time and reference data to every partition of the timeline. One process; a second one fences it.

Each second one transaction holds a tick for every partition. What an account is heard up to comes from the
announcements of connectors (`streams.domain.heard`). The clock never trusts its machine alone: at the start, and after
every jump of the wall clock against the time since boot, it compares itself with the broker, and does not tick while
the two disagree.
"""

import asyncio
import logging
import os
import signal
import socket
from datetime import UTC, datetime

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, ProducerFenced

from streams import codec, kafka
from streams.agents.correlate import SOURCES
from streams.delivery.names import group_name, topic_name
from streams.delivery.transactions import RETRY_MS
from streams.delivery.watch import Watch
from streams.domain.events import ClockProbe, ReadThrough, Reference
from streams.domain.heard import Heard, clock_step
from streams.endpoint import serve
from streams.errors import BadInput, Transient
from streams.logs import set_up_logging
from streams.metrics import ClockMetrics, new_registry
from streams.readiness import Readiness
from streams.settings import Settings
from streams.timepieces import MACHINE, Timepieces
from streams.topics import check_start

log = logging.getLogger(__name__)

TIMELINE, PROBE = "timeline", "clock_probe"
ANNOUNCED = ("read_through", "reference")
"""What connectors, and publishers of reference data, announce to the clock."""
TICK_S = 1.0
MAX_DISAGREEMENT_S = 5.0
"""Between this machine and the broker; and the jump of the wall clock at which they are compared again."""
STOP_S, SHUTDOWN_S = 8.0, 5.0
"""To end when told to, and when it can't go on."""


def run_clock(settings: Settings, timepieces: Timepieces = MACHINE) -> int:
    """Tick until SIGTERM or SIGINT. Returns the exit status.

    Raises Refused when the broker or a topic is not there, Transient when the broker went away.
    """
    set_up_logging()
    watch = Watch(settings.deadline_s)
    try:
        return asyncio.run(_run(settings, timepieces, watch))
    finally:
        watch.close()


async def _run(settings: Settings, timepieces: Timepieces, watch: Watch) -> int:
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        watch.begin("clock: stop", STOP_S)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    readiness = Readiness(settings.ready_file)
    registry = new_registry(readiness)
    clock = Clock(settings, kafka.Cluster(settings), timepieces, readiness=readiness, metrics=ClockMetrics(registry))
    try:
        async with serve(settings, registry, readiness):
            with watch.step("clock: start"):
                await check_start(settings, (TIMELINE, *ANNOUNCED, PROBE))
                await clock.start()
            await clock.tick_until(stopped, watch)
    except ProducerFenced:
        log.critical("another clock has taken over: this one ends")
        return 1
    except KafkaConnectionError as error:
        raise Transient(f"Kafka at {settings.bootstrap_servers} does not answer any more: {error}") from error
    finally:
        watch.begin("clock: shutdown", SHUTDOWN_S)
        await clock.stop()
        watch.end("clock: shutdown")
    return 0


class Clock:
    """Reads announcements, writes ticks."""

    def __init__(
        self,
        settings: Settings,
        clients: kafka.Clients,
        timepieces: Timepieces = MACHINE,
        *,
        readiness: Readiness | None = None,
        metrics: ClockMetrics | None = None,
    ) -> None:
        """`readiness`, `metrics` None: nobody wants to know."""
        self._settings, self._timepieces = settings, timepieces
        self._readiness, self._metrics = readiness or Readiness(), metrics or ClockMetrics()
        self._timeline = topic_name(settings.namespace, TIMELINE)
        self._announced = [TopicPartition(topic_name(settings.namespace, noun), 0) for noun in ANNOUNCED]
        self._producer = clients.producer(
            transactional_id=f"{settings.namespace}-clock",
            transaction_timeout_ms=int(settings.transaction_timeout_s * 1000),
            retry_backoff_ms=RETRY_MS,
        )
        self._consumer = clients.consumer(
            enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        self._admin = clients.admin()
        self._heard = Heard()
        self._references: dict[tuple[str, int], Reference] = {}
        self._sent: set[tuple[str, int]] = set()
        self._read = (0.0, 0.0)
        self._trusted = False
        self._instance = f"{socket.gethostname()}-{os.getpid()}"

    async def start(self) -> None:
        """Connect, fence an older clock, and read all announcements so far."""
        await kafka.start(self._admin, self._settings)
        await kafka.start(self._producer, self._settings)
        self._partitions = len(await self._producer.partitions_for(self._timeline))
        await kafka.start(self._consumer, self._settings)
        self._consumer.assign(self._announced)
        await self._consumer.seek_to_beginning(*self._announced)
        ends = await self._consumer.end_offsets(self._announced)
        while any([await self._consumer.position(place) < end for place, end in ends.items()]):
            await self._listen(timeout_s=1.0)

    async def stop(self) -> None:
        """Leave the broker."""
        self._readiness.not_ready("it stops")
        await self._consumer.stop()
        await self._producer.stop()
        await self._admin.close()

    async def tick_until(self, stopped: asyncio.Event, watch: Watch) -> None:
        """One tick a second, aligned to full seconds, until told to stop."""
        while not stopped.is_set():
            with watch.step("clock: tick"):
                if await self._is_right():
                    await self._listen(timeout_s=0.0)
                    self._heard = self._heard.pass_through(await self._passed())
                    await self._tick()
                    self._readiness.ready()
            try:
                async with asyncio.timeout(TICK_S - self._timepieces.wall() % TICK_S):
                    await stopped.wait()
            except TimeoutError:
                continue

    async def _is_right(self) -> bool:
        """Whether this machine and the broker agree on the time; asked at the start and after a jump."""
        reading = self._timepieces.wall(), self._timepieces.boot()
        jump = clock_step(self._read, reading) if self._read[0] else 0.0
        self._read = reading
        if abs(jump) > MAX_DISAGREEMENT_S:
            log.warning("the clock of this machine jumped by %.1f s", jump)
            self._trusted = False
            self._metrics.show_jump()
        if not self._trusted:
            difference = await self._compare()
            self._trusted = abs(difference) <= MAX_DISAGREEMENT_S
            self._metrics.show_trust(self._trusted, difference)
            if not self._trusted:
                self._readiness.not_ready(f"this machine is {difference:.1f} s ahead of the broker: no ticks")
                log.error(
                    "this machine is %.1f s ahead of the broker: no ticks until they agree within %.0f s",
                    difference,
                    MAX_DISAGREEMENT_S,
                )
        return self._trusted

    async def _compare(self) -> float:
        """Seconds by which this machine is ahead of the broker."""
        name = topic_name(self._settings.namespace, PROBE)
        now = self._reading()
        async with kafka.told_of_fence(self._producer), self._producer.transaction():
            stamped = await self._producer.send_and_wait(
                name, codec.encode(ClockProbe(now=now, instance=self._instance)), partition=0
            )
        # Half of the way there and back; the error is at most the other half.
        middle = now.timestamp() + (self._timepieces.wall() - now.timestamp()) / 2
        return middle - float(stamped.timestamp) / 1000

    def _reading(self) -> datetime:
        """The time that was looked at; read again it could be another, which nobody has compared with the broker."""
        return datetime.fromtimestamp(self._read[0], UTC)

    async def _listen(self, timeout_s: float) -> None:
        """Take in what connectors and publishers of reference data have announced."""
        found = await self._consumer.getmany(*self._announced, timeout_ms=int(timeout_s * 1000), max_records=5000)
        for records in found.values():
            for record in records:
                try:
                    entry = codec.decode(record.value or b"")
                except BadInput as error:
                    log.error("%s offset %s is passed over: %s", record.topic, record.offset, error)
                    continue
                if isinstance(entry, ReadThrough):
                    self._heard = self._heard.hear(entry)
                elif isinstance(entry, Reference):
                    self._references[entry.name, entry.version] = entry

    async def _passed(self) -> dict[tuple[str, int], int]:
        """Committed positions of correlate, asked only while an announcement waits for them."""
        wanted = [
            TopicPartition(topic_name(self._settings.namespace, position.topic), position.partition)
            for announcements in self._heard.waiting.values()
            for announcement in announcements
            for position in announcement.positions
            if position.topic in SOURCES
        ]
        if not wanted:
            return {}
        group = group_name(self._settings.namespace, "correlate")
        committed = await self._admin.list_consumer_group_offsets(group, partitions=sorted(set(wanted)))
        nouns = {topic_name(self._settings.namespace, noun): noun for noun in SOURCES}
        return {(nouns[place.topic], place.partition): found.offset for place, found in committed.items()}

    async def _tick(self) -> None:
        """One transaction: new reference data, then the tick, for every partition of the timeline."""
        new = sorted(set(self._references) - self._sent)
        entries = [codec.encode(self._references[key]) for key in new]
        now = self._reading()
        entries.append(codec.encode(self._heard.tick(now, self._settings.archive_after)))
        async with kafka.told_of_fence(self._producer), self._producer.transaction():
            waiting = [
                await self._producer.send(self._timeline, entry, key=b"", partition=partition)
                for partition in range(self._partitions)
                for entry in entries
            ]
            await asyncio.gather(*waiting)
        self._sent.update(new)
        self._metrics.show_tick(now.timestamp(), self._heard)
