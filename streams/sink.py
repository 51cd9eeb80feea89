"""The sink: timeline and fact topics into ClickHouse. First the rows, then the offsets.

A crash between the two stores rows twice, and a row stored twice is a row (streams/rows.py, deploy/clickhouse/).
Must not know what the rows mean.
"""

import asyncio
import logging
import random
import signal
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import lz4.frame
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from streams import kafka
from streams.clickhouse import connect, database_name, errors
from streams.delivery.agent import Record
from streams.delivery.membership import Membership
from streams.delivery.names import group_name, topic_name
from streams.delivery.watch import Watch
from streams.endpoint import serve
from streams.errors import Refused, Transient
from streams.logs import set_up_logging
from streams.metrics import Holding, SinkMetrics, new_registry
from streams.readiness import Readiness
from streams.rows import AGENT, COLUMNS, TOPICS, encode_rows, rows_of
from streams.settings import Settings
from streams.timepieces import MACHINE, Timepieces
from streams.topics import check_start

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 10_000
BATCH_BYTES: Final = 16 << 20
"""Of records: few large ones fill a batch too."""
FETCH_RECORDS: Final = 2000
FETCH_BYTES: Final = 256 << 10
"""Of each partition, fetched in advance."""
DELAY_S: Final = 0.5
"""Longest wait of a row for company."""
IDLE_S: Final = 0.05
"""Nothing more within this time: all there is has been read, and rows need not wait."""
POSITIONS_S: Final = 5.0
"""Between commits of positions without rows: ticks alone need no commit a second."""
COMMIT_S: Final = 30.0
STOP_S: Final = 8.0
"""To store what was read when told to stop; else the next start reads it again."""

ATTEMPTS: Final = 8
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
"""Between attempts to insert: up to about 22 s in all, more than a restart of ClickHouse takes."""


def run_sink(settings: Settings) -> None:
    """Store what comes until SIGTERM or SIGINT; then what was read is stored, and it returns.

    Raises Refused when Kafka or ClickHouse is not there or not migrated, or topics are missing; Transient when one
    stayed unavailable; KafkaError. The process ends when a step takes longer than `deadline_s`.
    """
    set_up_logging()
    _leave_out_pandas()
    watch = Watch(settings.deadline_s)
    try:
        asyncio.run(_run(settings, watch))
    finally:
        watch.close()


def _leave_out_pandas() -> None:
    """The client would load pandas and numpy only to ask whether rows are one of theirs: 2 s and 90 MB."""
    from clickhouse_connect.driver import options

    options.pd = options.np = None


async def _run(settings: Settings, watch: Watch) -> None:
    stopping = asyncio.Event()

    def stop() -> None:
        stopping.set()
        watch.begin("sink: stop", STOP_S)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    readiness = Readiness(settings.ready_file)
    registry = new_registry(readiness)
    metrics = SinkMetrics(registry)
    store = Store(settings, await asyncio.to_thread(connect, settings))
    try:
        await asyncio.to_thread(store.check)
        await check_start(settings, TOPICS)
        async with serve(settings, registry, readiness, metrics.look):
            await consume(
                settings, kafka.Cluster(settings), store, watch, stopping, readiness=readiness, metrics=metrics
            )
    finally:
        store.close()


class Tables(Protocol):
    """Where rows go."""

    async def insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Store rows of one table: all of them, or some of them and an error. Raises Transient, Refused."""
        ...


async def consume(
    settings: Settings,
    clients: kafka.Clients,
    tables: Tables,
    watch: Watch,
    stopping: asyncio.Event,
    timepieces: Timepieces = MACHINE,
    *,
    readiness: Readiness | None = None,
    metrics: SinkMetrics | None = None,
) -> None:
    """Store what comes until `stopping` is set; then what was read is stored. Raises as `run_sink`.

    `readiness`, `metrics` None: nobody wants to know.
    """
    readiness, metrics = readiness or Readiness(), metrics or SinkMetrics()
    nouns = {topic_name(settings.namespace, noun): noun for noun in TOPICS}
    consumer = _consumer(settings, clients)
    committed: dict[TopicPartition, int] = {}

    async def look() -> Holding:
        held = {tp: position for tp, position in committed.items() if tp in consumer.assignment()}
        unread = await kafka.count_unread(consumer, held)
        return Holding(
            partitions=len(consumer.assignment()), lag={nouns[topic]: count for topic, count in unread.items()}
        )

    try:
        await kafka.start(consumer, settings)
        metrics.look_at(AGENT, look)
        listener = _Listener(consumer, committed, watch, readiness, metrics, timepieces)
        await kafka.subscribe(consumer, list(nouns), listener)
        batch = Batch(timepieces.monotonic())
        while not stopping.is_set():
            if listener.membership.is_hopeless:
                raise Transient(listener.membership.complaint(group_name(settings.namespace, AGENT), settings))
            watch.begin("sink: read")
            found = await consumer.getmany(
                timeout_ms=round((IDLE_S if batch.rows else DELAY_S) * 1000), max_records=FETCH_RECORDS
            )
            for tp, records in found.items():
                batch.add(nouns[tp.topic], list(kafka.records_of(nouns[tp.topic], records)), timepieces.monotonic())
            if batch.is_ready(timepieces.monotonic(), idle=not found):
                committed |= await _store(batch, tables, consumer, timepieces, metrics)
                batch = Batch(timepieces.monotonic())
        readiness.not_ready("it stops")
        watch.begin("sink: read")
        await _store(batch, tables, consumer, timepieces, metrics)
    finally:
        watch.begin("sink: shutdown")
        readiness.not_ready("it stops")
        metrics.look_at(AGENT, None)
        await consumer.stop()


def _consumer(settings: Settings, clients: kafka.Clients) -> Any:
    name = f"{settings.worker_name}-{AGENT}"
    return clients.consumer(
        client_id=name,
        group_id=group_name(settings.namespace, AGENT),
        group_instance_id=name if settings.static_membership else None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=round(settings.session_timeout_s * 1000),
        heartbeat_interval_ms=round(settings.heartbeat_interval_s * 1000),
        rebalance_timeout_ms=round(settings.rebalance_timeout_s * 1000),
        max_partition_fetch_bytes=FETCH_BYTES,
    )


class Batch:
    """Rows read and not stored yet, by table. Instants are those of a monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self.read: dict[str, int] = {}
        """Records by topic."""
        self.count = self.size = 0
        self.began = now

    def add(self, noun: str, records: Sequence[Record], now: float) -> None:
        """Take over records of one partition of a topic, in order."""
        self.read[noun] = self.read.get(noun, 0) + len(records)
        for record in records:
            for row in rows_of(record):
                if not self.rows:
                    self.began = now
                self.rows[row.table].append(row.values)
                self.count += 1
                self.size += len(record.value)

    def is_ready(self, now: float, *, idle: bool) -> bool:
        """Whether to store it: full, or old enough, or nothing more is there to wait for."""
        if not self.rows:
            return now - self.began >= POSITIONS_S
        return idle or self.count >= BATCH_ROWS or self.size >= BATCH_BYTES or now - self.began >= DELAY_S


async def _store(
    batch: Batch, tables: Tables, consumer: Any, timepieces: Timepieces, metrics: SinkMetrics
) -> dict[TopicPartition, int]:
    """Rows first, positions last; returns the positions, if they were taken. One insert per table, side by side."""
    inserts = [_insert(tables, table, rows, timepieces, metrics) for table, rows in batch.rows.items()]
    for outcome in await asyncio.gather(*inserts, return_exceptions=True):
        if outcome is not None:
            raise outcome
    try:
        async with asyncio.timeout(COMMIT_S):
            # Nothing was fetched since the batch was filled, so it holds all before these positions. Of positions, not
            # of offsets: transaction markers leave holes in a log, and the group would never seem to be at its end.
            positions = {tp: await consumer.position(tp) for tp in consumer.assignment()}
            if positions:
                await consumer.commit(positions)
                metrics.count_read(AGENT, batch.read, timepieces.wall())
            return positions
    except (CommitFailedError, IllegalStateError) as error:
        log.info("the group was balanced anew during a commit, its records are stored again: %s", error)
    except TimeoutError:
        raise Transient(f"Kafka took no positions within {COMMIT_S:.0f} s") from None
    return {}


async def _insert(
    tables: Tables, table: str, rows: list[tuple[Any, ...]], timepieces: Timepieces, metrics: SinkMetrics
) -> None:
    """Store rows of one table, all of them. Raises Transient after `ATTEMPTS`, Refused."""
    for attempt in range(1, ATTEMPTS + 1):
        began = timepieces.monotonic()
        try:
            await tables.insert(table, rows)
            metrics.count_insert(table, len(rows), timepieces.monotonic() - began)
            return
        except Transient as error:
            if attempt == ATTEMPTS:
                raise
            wait = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1)  # noqa: S311 - jitter
            metrics.count_retry(table)
            log.warning("%d rows of %s not stored, next attempt in %.1f s: %s", len(rows), table, wait, error)
            await asyncio.sleep(wait)


class Store:
    """The tables of ClickHouse."""

    def __init__(self, settings: Settings, client: "Client") -> None:
        self.settings, self.client = settings, client

    def check(self) -> None:
        """Raises Refused when a column is missing: not migrated, or of an old version.

        Blocking, as `close`.
        """
        with errors(self.settings):
            found = self.client.query(
                "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
            ).result_rows
        there = set(map(tuple, found))
        wanted = [(table, name) for table, names in COLUMNS.items() for name in names]
        missing = sorted(".".join(column) for column in wanted if column not in there)
        if missing:
            raise Refused(
                f"database {database_name(self.settings)} lacks {', '.join(missing[:5])}"
                f"{' and more' if len(missing) > 5 else ''}: run `aftersales migrate`"
            )

    def close(self) -> None:
        """Give up the connections."""
        self.client.close()

    async def insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """As `Tables` says."""
        await asyncio.to_thread(self._insert, table, rows)

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        with errors(self.settings):
            insert_rows(self.client, table, rows)


def insert_rows(client: "Client", table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of `streams.rows` into their table, in one statement. Raises the client's errors."""
    data, compressed = encode_rows(table, rows), bool(client.write_compression)
    client.raw_insert(
        table,
        COLUMNS[table],
        lz4.frame.compress(data) if compressed else data,
        # The answer must mean that the rows are stored, whatever the server's default.
        settings={"async_insert": 0},
        fmt="MsgPack",
        compression="lz4" if compressed else None,
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Says when partitions are assigned, and whether records were removed before they could be stored.

    Puts into `committed` where reading begins.
    """

    def __init__(
        self,
        consumer: Any,
        committed: dict[TopicPartition, int],
        watch: Watch,
        readiness: Readiness,
        metrics: SinkMetrics,
        timepieces: Timepieces,
    ) -> None:
        self._consumer, self._committed, self._watch = consumer, committed, watch
        self._readiness, self._metrics, self._timepieces = readiness, metrics, timepieces
        self.membership = Membership()
        watch.begin("sink: join")

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What was read of them and not committed is stored again by their new owner."""
        self._watch.begin("sink: join")
        self._readiness.not_ready("its group is balanced anew")

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Look for gaps, then be ready."""
        try:
            begins = await self._consumer.beginning_offsets(list(assigned))
            # All at once: the group hears nothing of this member meanwhile.
            positions = await asyncio.gather(*(self._consumer.committed(tp) for tp in begins))
            for (tp, begin), committed in zip(begins.items(), positions, strict=True):
                if committed is not None and committed < begin:
                    log.error("%s: retention removed records %d to %d before they were stored", tp, committed, begin)
                self._committed[tp] = max(begin, committed or 0)
        except KafkaError as error:
            log.warning("could not look for records that were removed: %s", error)
        self._watch.end("sink: join")
        before = self.membership
        self.membership = before.joined(kafka.member_id(self._consumer), self._timepieces.monotonic())
        self._metrics.count_rebalance(AGENT, lost=self.membership.lost_at != before.lost_at)
        self._readiness.ready()
