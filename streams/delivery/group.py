"""The tasks of one agent in this process: membership of its consumer group, taking over, reading, giving back.

Taking over a task, in this order:

1. fence: the producer starts; Kafka refuses the former owner from now on and ends the transaction it left open
2. restore: the changelog is read to its end, which can no longer move
3. positions: the committed input positions are asked for: they belong to exactly this state
4. seek, and read: nothing fetched earlier is used

A commit that was begun is finished, or the process ends and memory with it. A rebalance waits for commits under way; a
task that stays keeps its memory (had another worker owned it meanwhile, its fence makes the next commit fail).
Must not know what the agent does.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from mode import Service

from streams.delivery import names
from streams.delivery.agent import Agent, Record
from streams.delivery.dead_letters import DeadLetter
from streams.delivery.task import LIMITS, Commit, Task
from streams.delivery.transactions import Transactions
from streams.delivery.watch import Watch
from streams.kafka import Clients, connect_admin
from streams.settings import Settings
from streams.timepieces import MACHINE, Timepieces

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 50
FETCH_BYTES = 2 << 20
FETCH_RECORDS = LIMITS.records - 1
"""Fewer than fill a commit, so that a batch is one commit, its last position included."""
IDLE_MS = 1000
RESTORE_FETCH_BYTES = 4 << 20
RESTORE_RECORDS = 5000
LEAVE_S = 3.0
TURN_S = 0.2
"""Longest turn of a task, but for one record: the loop must run to keep the membership alive and others going."""


class Group(Service, ConsumerRebalanceListener):  # type: ignore[misc]  # both untyped
    """The tasks of `agent` that this process owns.

    Tasks that have work are put into `turns`; whoever takes one out calls its `take_turn`, so that tasks alternate
    commit by commit. `fail` is called with an error that must end the process, `on_ready` when `ready` changes.
    """

    mundane_level = "debug"

    def __init__(
        self,
        agent: Agent[Any],
        settings: Settings,
        clients: Clients,
        *,
        turns: Any,
        watch: Watch,
        fail: Callable[[BaseException], None],
        on_ready: Callable[[], None],
        encode_dead_letter: Callable[[DeadLetter], bytes],
        timepieces: Timepieces = MACHINE,
    ) -> None:
        super().__init__()
        self.agent, self.settings, self.clients, self.turns, self.watch = agent, settings, clients, turns, watch
        self.encode_dead_letter, self.timepieces = encode_dead_letter, timepieces
        self.name = names.group_name(settings.namespace, agent.name)
        self.nouns = {names.topic_name(settings.namespace, noun): noun for noun in agent.inputs}
        self.changelog = names.changelog_name(settings.namespace, agent.name)
        self.ready = False
        self.tasks: dict[int, OwnedTask] = {}
        self.consumer: Any = None
        self._fail, self._on_ready = fail, on_ready
        self._admin: Any = None
        self._opening: asyncio.Future[None] | None = None

    def guard(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
        """Run in the background; an error ends the process."""

        def check(future: "asyncio.Future[None]") -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                self._fail(error)

        future = asyncio.ensure_future(coroutine)
        future.add_done_callback(check)
        return future

    async def on_start(self) -> None:
        """Join the group."""
        settings = self.settings
        self.watch.begin(f"{self.name}: join")
        self._admin = await connect_admin(settings, settings.worker_name, self.clients)
        self.consumer = self.clients.consumer(
            group_id=self.name,
            client_id=settings.worker_name,
            group_instance_id=settings.worker_name if settings.static_membership else None,
            partition_assignment_strategy=[RangePartitionAssignor],
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1000),
            rebalance_timeout_ms=int(settings.rebalance_timeout_s * 1000),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        await self.consumer.start()
        self.consumer.subscribe([*self.nouns], listener=self)

    async def leave(self, patience_s: float) -> None:
        """Finish commits under way, leave the group. What is left after `patience_s`, the next owner's fence ends."""
        self._set_ready(False)
        await asyncio.wait([asyncio.ensure_future(self._pause())], timeout=patience_s)
        stops = [owned.transactions.stop() for owned in self.tasks.values()]
        if self.consumer is not None:
            stops.append(self.consumer.stop())
        if self._admin is not None:
            stops.append(self._admin.close())
        if stops:
            await asyncio.wait([asyncio.ensure_future(stop) for stop in stops], timeout=LEAVE_S)
        for step in ("join", "rebalance"):
            self.watch.end(f"{self.name}: {step}")

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called before each rebalance; aiokafka only logs what is raised here, so `guard` must see it."""
        self.watch.begin(f"{self.name}: rebalance")
        self._set_ready(False)
        await self.guard(self._pause())

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called after each rebalance."""
        await self.guard(self._assign([*assigned]))

    async def _pause(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await asyncio.gather(*(task.pause() for task in self.tasks.values()))

    async def _assign(self, assigned: list[TopicPartition]) -> None:
        partitions = {tp.partition for tp in assigned}
        if len(assigned) != len(partitions) * len(self.nouns):
            raise RuntimeError(f"{self.name} was not given the same partitions of every topic: {assigned}")
        await asyncio.gather(*(self.tasks.pop(p).transactions.stop() for p in set(self.tasks) - partitions))
        new = [OwnedTask(self, partition) for partition in sorted(partitions - set(self.tasks))]
        self.tasks |= {owned.partition: owned for owned in new}
        await asyncio.gather(*(owned.transactions.fence() for owned in new))
        self.watch.end(f"{self.name}: join")
        self.watch.end(f"{self.name}: rebalance")
        # In the background, for a long restore must not hold up the next rebalance.
        self._opening = self.guard(self._open())

    async def _open(self) -> None:
        new = [owned for owned in self.tasks.values() if owned.task is None]
        for owned in self.tasks.values():
            if owned.task is not None:
                owned.start_reading()
        if new:
            with self.watch.step(f"{self.name}: restore"):
                entries = await self._restore(new)
                starts = await self._starts(new, entries)
            for owned in new:
                committed, owned.start = starts[owned.partition]
                owned.task = Task(
                    self.agent,
                    owned.partition,
                    entries[owned.partition],
                    committed,
                    encode_dead_letter=self.encode_dead_letter,
                    is_late=owned.is_late,
                )
                owned.start_reading()
                await asyncio.sleep(0)  # the due instants of a large state take a while to collect
        log.info("%s reads partitions %s", self.name, sorted(self.tasks))
        self._set_ready(True)

    async def _restore(self, tasks: list["OwnedTask"]) -> dict[int, dict[bytes, bytes]]:
        """The entries of each task's changelog, up to an end that the fence has fixed."""
        entries: dict[int, dict[bytes, bytes]] = {owned.partition: {} for owned in tasks}
        if self.agent.encode is None:
            return entries
        reader = self.clients.consumer(
            client_id=self.settings.worker_name,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=RESTORE_FETCH_BYTES,
        )
        await reader.start()
        try:
            tps = [TopicPartition(self.changelog, partition) for partition in entries]
            reader.assign(tps)
            ends = await reader.end_offsets(tps)
            unread = {tp for tp in tps if ends[tp] > 0}
            while unread:
                found = await reader.getmany(*unread, timeout_ms=IDLE_MS, max_records=RESTORE_RECORDS)
                for tp, records in found.items():
                    self.watch.begin(f"{self.name}: restore")
                    _restore_into(entries[tp.partition], records)
                unread = {tp for tp in unread if await reader.position(tp) < ends[tp]}
        finally:
            await reader.stop()
        return entries

    async def _starts(
        self, tasks: list["OwnedTask"], entries: Mapping[int, dict[bytes, bytes]]
    ) -> dict[int, tuple[dict[str, int], dict[str, int]]]:
        """By partition: the committed positions, and where to read on: there, or where a topic begins that is new.

        Raises RuntimeError when records between the two are gone, or when there is state but no position.
        """
        tps = [tp for owned in tasks for tp in owned.tps]
        offsets = await self._admin.list_consumer_group_offsets(self.name, partitions=tps)
        if untold := set(tps) - set(offsets):
            raise RuntimeError(f"the broker does not tell where {self.name} stands in {untold}")
        begins = await self.consumer.beginning_offsets(tps)
        starts = {}
        for owned in tasks:
            committed = {}
            for tp in owned.tps:
                if (offset := offsets[tp].offset) < 0:
                    continue
                if offset < begins[tp]:
                    raise RuntimeError(
                        f"{self.name} has read {tp.topic}, partition {tp.partition}, up to {offset}, but the topic "
                        f"begins at {begins[tp]}: retention removed what is between them unread"
                    )
                committed[self.nouns[tp.topic]] = offset
            if entries[owned.partition] and not committed:
                raise RuntimeError(
                    f"{self.name} has state but no position in partition {owned.partition}: the group's offsets are "
                    "gone, and reading from the beginning would count everything again"
                )
            starts[owned.partition] = committed, {self.nouns[tp.topic]: begins[tp] for tp in owned.tps} | committed
        return starts

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._on_ready()


class OwnedTask:
    """A task between the consumer and the producer: fetches, waits for its turns, writes commits."""

    def __init__(self, group: Group, partition: int) -> None:
        self.group, self.partition = group, partition
        self.tps = [TopicPartition(topic, partition) for topic in group.nouns]
        self.transactions = Transactions(group.settings, group.clients, group.agent.name, partition)
        self.task: Task[Any] | None = None
        """None until it is restored."""
        self.start: Mapping[str, int] = {}
        """Where to read {noun: position} as long as nothing is committed."""
        self._name = f"{group.name}: batch of partition {partition}"
        self._reading: asyncio.Future[None] | None = None
        self._pausing = False
        self._commits: Iterator[Commit] | None = None
        self._turn: asyncio.Future[Commit | None] | None = None
        self._turn_ends = 0.0

    def start_reading(self) -> None:
        """Read on where the last commit ended; the task must be restored."""
        self._pausing = False
        self._reading = self.group.guard(self._read())

    async def pause(self) -> None:
        """Return when nothing is read, and no commit is under way."""
        self._pausing = True
        if self._reading is not None:
            if self._commits is None:
                self._reading.cancel()
            await asyncio.wait([self._reading])

    def take_turn(self) -> None:
        """Let the agent work up to its next commit. Raises what the agent raises."""
        assert self._commits is not None
        assert self._turn is not None
        self._turn_ends = self.group.timepieces.monotonic() + TURN_S
        self._turn.set_result(next(self._commits, None))

    def is_late(self) -> bool:
        """Whether the turn has lasted long enough."""
        return self.group.timepieces.monotonic() > self._turn_ends

    async def _read(self) -> None:
        assert self.task is not None
        positions = {**self.start, **self.task.positions}
        consumer, nouns = self.group.consumer, self.group.nouns
        for tp in self.tps:
            consumer.seek(tp, positions[nouns[tp.topic]])
        await self._process((), positions)
        while not self._pausing:
            # Of positions, not of offsets: transaction markers, aborted and compacted records leave holes in a log.
            for tp in self.tps:
                if (position := await consumer.position(tp)) != positions[nouns[tp.topic]]:
                    raise RuntimeError(f"{tp} went on at {position} instead of {positions[nouns[tp.topic]]}")
            found = await consumer.getmany(*self.tps, timeout_ms=IDLE_MS, max_records=FETCH_RECORDS)
            positions = {nouns[tp.topic]: await consumer.position(tp) for tp in self.tps}
            await self._process(self._records(found), positions)

    def _records(self, found: Mapping[TopicPartition, list[ConsumerRecord]]) -> Iterator[Record]:
        for tp, records in found.items():
            noun = self.group.nouns[tp.topic]
            for record in records:
                key, value = record.key or b"", record.value or b""
                yield Record(noun, tp.partition, record.offset, key, value, tuple(record.headers))

    async def _process(self, records: Iterable[Record], positions: Mapping[str, int]) -> None:
        """Commit by commit, each when it is this task's turn; a pause ends it after the commit under way."""
        task = self.task
        assert task is not None
        if positions == task.positions:
            return
        self._commits = task.process(records, positions)
        try:
            while not self._pausing:
                with self.group.watch.step(self._name):
                    self._turn = asyncio.get_running_loop().create_future()
                    await self.group.turns.put(self)
                    commit = await self._turn
                    if commit is None:
                        return
                    await self.transactions.write(commit)
                    task.apply(commit)
        finally:
            self._commits = None


def _restore_into(entries: dict[bytes, bytes], records: Iterable[ConsumerRecord]) -> None:
    for record in records:
        if record.value is None:
            entries.pop(record.key, None)
        else:
            entries[record.key] = record.value
