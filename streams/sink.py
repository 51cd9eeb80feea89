"""The sink: timeline and fact topics into ClickHouse. First the rows, then the offsets.

A crash between the two stores rows twice, and a row stored twice is a row (streams/rows.py, deploy/clickhouse/).
Must not know what the rows mean.
"""

import asyncio
import logging
import random
import signal
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from streams import kafka
from streams.clickhouse import connect, database_name, errors
from streams.delivery.agent import Record
from streams.delivery.names import group_name, topic_name
from streams.delivery.watch import Watch
from streams.errors import Refused, Transient
from streams.logs import set_up_logging
from streams.readiness import show_ready
from streams.rows import AGENT, COLUMNS, TOPICS, rows_of
from streams.settings import Settings
from streams.timepieces import MACHINE, Timepieces

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 10_000
BATCH_BYTES: Final = 16 << 20
"""Of records: few large ones fill a batch too."""
FETCH_RECORDS: Final = 2000
DELAY_S: Final = 0.5
"""Longest wait of a row for company."""
IDLE_S: Final = 0.05
"""Nothing more within this time: all there is has been read, and rows need not wait."""
POSITIONS_S: Final = 5.0
"""Between commits of positions without rows: ticks alone need no commit a second."""
COMMIT_S: Final = 30.0

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
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    store = Store(settings, await asyncio.to_thread(connect, settings))
    try:
        await asyncio.to_thread(store.check)
        await consume(settings, kafka.Cluster(settings), store, watch, stopping)
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
) -> None:
    """Store what comes until `stopping` is set; then what was read is stored. Raises as `run_sink`."""
    nouns = {topic_name(settings.namespace, noun): noun for noun in TOPICS}
    consumer = _consumer(settings, clients)
    try:
        await _start(settings, consumer, nouns)
        consumer.subscribe(list(nouns), listener=_Listener(consumer, watch, settings))
        batch = Batch(timepieces.monotonic())
        while not stopping.is_set():
            watch.begin("sink: read")
            found = await consumer.getmany(
                timeout_ms=round((IDLE_S if batch.rows else DELAY_S) * 1000), max_records=FETCH_RECORDS
            )
            for tp, records in found.items():
                batch.add(_records(nouns[tp.topic], records), timepieces.monotonic())
            if batch.is_ready(timepieces.monotonic(), idle=not found):
                await _store(batch, tables, consumer)
                batch = Batch(timepieces.monotonic())
        watch.begin("sink: read")
        await _store(batch, tables, consumer)
    finally:
        watch.begin("sink: shutdown")
        show_ready(settings, False)
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
    )


async def _start(settings: Settings, consumer: Any, topics: Iterable[str]) -> None:
    await kafka.start(consumer, settings)
    if missing := sorted(set(topics) - await consumer.topics()):
        raise Refused(f"topics are missing: {', '.join(missing)}; create them with `aftersales topics apply`")


def _records(noun: str, records: Iterable[Any]) -> list[Record]:
    return [Record(noun, r.partition, r.offset, r.key or b"", r.value or b"") for r in records]


class Batch:
    """Rows read and not stored yet, by table. Instants are those of a monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self.count = self.size = 0
        self.began = now

    def add(self, records: Iterable[Record], now: float) -> None:
        """Take over records of one partition, in order."""
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


async def _store(batch: Batch, tables: Tables, consumer: Any) -> None:
    """Rows first, positions last. One insert per table, the tables side by side."""
    inserts = [_insert(tables, table, rows) for table, rows in batch.rows.items()]
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
    except (CommitFailedError, IllegalStateError) as error:
        log.info("the group was balanced anew during a commit, its records are stored again: %s", error)
    except TimeoutError:
        raise Transient(f"Kafka took no positions within {COMMIT_S:.0f} s") from None


async def _insert(tables: Tables, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Store rows of one table, all of them. Raises Transient after `ATTEMPTS`, Refused."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await tables.insert(table, rows)
            return
        except Transient as error:
            if attempt == ATTEMPTS:
                raise
            wait = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1)  # noqa: S311 - jitter
            log.warning("%d rows of %s not stored, next attempt in %.1f s: %s", len(rows), table, wait, error)
            await asyncio.sleep(wait)


class Store:
    """The tables of ClickHouse."""

    def __init__(self, settings: Settings, client: "Client") -> None:
        self.settings, self.client = settings, client
        self._types: Mapping[str, list[str]] = {}

    def check(self) -> None:
        """Learn the types of all columns, once. Raises Refused when one is missing: not migrated, or of an old version.

        Blocking, as `close`.
        """
        with errors(self.settings):
            found = self.client.query(
                "SELECT table, name, type FROM system.columns WHERE database = currentDatabase()"
            ).result_rows
        types = {(table, name): kind for table, name, kind in found}
        wanted = [(table, name) for table, names in COLUMNS.items() for name in names]
        missing = sorted(".".join(column) for column in wanted if column not in types)
        if missing:
            raise Refused(
                f"database {database_name(self.settings)} lacks {', '.join(missing[:5])}"
                f"{' and more' if len(missing) > 5 else ''}: run `aftersales migrate`"
            )
        self._types = {table: [types[table, name] for name in names] for table, names in COLUMNS.items()}

    def close(self) -> None:
        """Give up the connections."""
        self.client.close()

    async def insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """As `Tables` says."""
        await asyncio.to_thread(self._insert, table, rows)

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        with errors(self.settings):
            self.client.insert(
                table,
                list(zip(*rows, strict=True)),
                column_names=COLUMNS[table],
                column_type_names=self._types[table],
                column_oriented=True,
                # The answer must mean that the rows are stored, whatever the server's default.
                settings={"async_insert": 0},
            )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Says when partitions are assigned, and whether records were removed before they could be stored."""

    def __init__(self, consumer: Any, watch: Watch, settings: Settings) -> None:
        self._consumer, self._watch, self._settings = consumer, watch, settings
        watch.begin("sink: join")

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What was read of them and not committed is stored again by their new owner."""
        self._watch.begin("sink: join")

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Look for gaps, then be ready."""
        try:
            begins = await self._consumer.beginning_offsets(list(assigned))
            for tp, begin in begins.items():
                committed = await self._consumer.committed(tp)
                if committed is not None and committed < begin:
                    log.error("%s: retention removed records %d to %d before they were stored", tp, committed, begin)
        except KafkaError as error:
            log.warning("could not look for records that were removed: %s", error)
        self._watch.end("sink: join")
        show_ready(self._settings, True)
