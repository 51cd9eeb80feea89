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
from functools import partial
from typing import Any, Literal, TypeAlias

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError, ProducerFenced
from mode import Service

from streams.delivery import names
from streams.delivery.agent import Agent, Record
from streams.delivery.breaker import Breaker
from streams.delivery.dead_letters import DeadLetter
from streams.delivery.membership import Membership
from streams.delivery.recovery import check_state, follow
from streams.delivery.task import LIMITS, Commit, Task
from streams.delivery.transactions import Transactions
from streams.delivery.watch import Watch
from streams.errors import Transient
from streams.kafka import Clients, Read, connect_admin, count_unread, member_id, records_of, subscribe
from streams.metrics import Holding, StepMetrics
from streams.settings import Settings
from streams.timepieces import MACHINE, Timepieces

log = logging.getLogger(__name__)

Fetched: TypeAlias = Mapping[TopicPartition, list[Read]]
Phase: TypeAlias = Literal["join", "rebalance", "restore", "work", "stop"]

FETCH_WAIT_MS = 50
FETCH_BYTES, LEAST_FETCH_BYTES = 2 << 20, 512 << 10
"""Of a partition, shared out among the inputs of an agent, but no less: what is fetched in advance lies in memory, so
much of each partition of each input at most, and more only where a single batch of the log is larger."""
FETCH_RECORDS = LIMITS.records - 1
"""Fewer than fill a commit, so that a batch is one commit, its last position included."""
IDLE_MS = 1000
RESTORE_FETCH_BYTES = 4 << 20
RESTORE_RECORDS = 5000
LEAVE_S = 3.0
TURN_S = 0.2
"""Longest turn of a task, but for one record: the loop must run to keep the membership alive and others going."""

OPENED = (
    "topic %s is not read by %s any more, but for a record now and then: %d in a row were refused, the last as %s: "
    "%.200r. Nothing is lost, its lag grows. Mend the source or install the version that knows its records, then "
    "restart or wait; `aftersales dlq replay` brings back what was refused. AFTERSALES_BREAKER_RECORDS=0 lets all that "
    "can't be read become dead letters"
)
CLOSED = "topic %s is read by %s again: a record was accepted"


class Group(Service, ConsumerRebalanceListener):  # type: ignore[misc]  # both untyped
    """The tasks of `agent` that this process owns.

    Tasks that have work are put into `turns`; whoever takes one out calls its `take_turn`, so that tasks alternate
    commit by commit. `fail` is called with an error that must end the process, `on_phase` when `phase` changes.
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
        on_phase: Callable[[], None],
        encode_dead_letter: Callable[[DeadLetter], bytes],
        timepieces: Timepieces = MACHINE,
        metrics: StepMetrics | None = None,
    ) -> None:
        """`metrics` None: nobody wants to know."""
        super().__init__()
        self.agent, self.settings, self.clients, self.turns, self.watch = agent, settings, clients, turns, watch
        self.encode_dead_letter, self.timepieces = encode_dead_letter, timepieces
        self.name = names.group_name(settings.namespace, agent.name)
        self.nouns = {names.topic_name(settings.namespace, noun): noun for noun in agent.inputs}
        self.changelog = names.changelog_name(settings.namespace, agent.name)
        self.phase: Phase = "join"
        self.metrics = metrics or StepMetrics()
        self.metrics.look_at(agent.name, self._look)
        self.tasks: dict[int, OwnedTask] = {}
        self.consumer: Any = None
        self._fail, self._on_phase = fail, on_phase
        self._admin: Any = None
        self._assigning: asyncio.Future[None] | None = None
        self._opening: asyncio.Future[None] | None = None
        self._restored = self._unrestored = 0
        self._membership = Membership()

    @property
    def ready(self) -> bool:
        """Whether all tasks given to this process are at work."""
        return self.phase == "work"

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
            max_partition_fetch_bytes=max(FETCH_BYTES // len(self.nouns), LEAST_FETCH_BYTES),
        )
        await self.consumer.start()
        await subscribe(self.consumer, [*self.nouns], self)

    async def leave(self, patience_s: float) -> None:
        """Finish commits under way, leave the group. What is left after `patience_s`, the next owner's fence ends."""
        self._enter("stop")
        self.metrics.look_at(self.agent.name, None)
        await asyncio.wait([asyncio.ensure_future(self._finish())], timeout=patience_s)
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
        self._enter("rebalance")
        await asyncio.wait([self.guard(self._pause())])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called after each rebalance."""
        if self.phase == "stop":
            return  # what was assigned is given back unread
        self._assigning = self.guard(self._assign([*assigned]))
        await asyncio.wait([self._assigning])

    async def _finish(self) -> None:
        """Return when nothing is taken over or read any more."""
        if self._assigning is not None:
            await asyncio.wait([self._assigning])
        await self._pause()

    async def _pause(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await asyncio.gather(*(task.pause() for task in self.tasks.values()))

    async def _assign(self, assigned: list[TopicPartition]) -> None:
        self._check_membership()
        partitions = {tp.partition for tp in assigned}
        if len(assigned) != len(partitions) * len(self.nouns):
            raise RuntimeError(f"{self.name} was not given the same partitions of every topic: {assigned}")
        await asyncio.gather(*(self.tasks.pop(p).transactions.stop() for p in set(self.tasks) - partitions))
        new = [OwnedTask(self, partition) for partition in sorted(partitions - set(self.tasks))]
        self.tasks |= {owned.partition: owned for owned in new}
        await asyncio.gather(*(owned.transactions.fence() for owned in new))
        self.watch.end(f"{self.name}: join")
        self.watch.end(f"{self.name}: rebalance")
        if self.phase == "stop":
            return  # told to stop meanwhile: what was fenced holds nothing open
        # In the background, for a long restore must not hold up the next rebalance.
        self._opening = self.guard(self._open())

    async def _open(self) -> None:
        new = [owned for owned in self.tasks.values() if owned.task is None]
        for owned in self.tasks.values():
            if owned.task is not None:
                owned.start_reading()
        if new:
            self._enter("restore")
            began = self.timepieces.monotonic()
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
            self.metrics.time_work(self.agent.name, "restore", self.timepieces.monotonic() - began)
        log.info("%s reads partitions %s", self.name, sorted(self.tasks))
        self._enter("work")

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
            begins = await reader.beginning_offsets(tps)
            self._restored, self._unrestored = 0, sum(ends.values()) - sum(begins.values())
            while unread:
                found = await reader.getmany(*unread, timeout_ms=IDLE_MS, max_records=RESTORE_RECORDS)
                for tp, records in found.items():
                    self.watch.begin(f"{self.name}: restore")
                    follow(entries[tp.partition], records)
                    self._restored += len(records)
                    self._unrestored -= len(records)
                unread = {tp for tp in unread if await reader.position(tp) < ends[tp]}
            self._unrestored = 0  # markers of transactions and what was compacted were no records
            go_on = partial(self.watch.begin, f"{self.name}: restore")
            for tp in tps:
                await check_state(self.agent, tp, entries[tp.partition], reader, ends[tp], go_on)
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

    def _enter(self, phase: Phase) -> None:
        if phase != self.phase and self.phase != "stop":
            self.phase = phase
            self._on_phase()

    def _check_membership(self) -> None:
        """Count a membership that was lost. Raises Transient when that happens again and again."""
        before = self._membership
        self._membership = before.joined(member_id(self.consumer), self.timepieces.monotonic())
        is_lost = self._membership.lost_at != before.lost_at
        self.metrics.count_rebalance(self.agent.name, lost=is_lost)
        if self._membership.is_hopeless:
            raise Transient(self._membership.complaint(self.name, self.settings))
        if is_lost:
            log.warning("%s went on without this process, which was silent for too long; it is back", self.name)

    def is_open(self, noun: str) -> bool:
        """Whether the breaker of a topic is open in any partition of this process."""
        return any(owned.breakers[noun].is_open for owned in self.tasks.values())

    async def _look(self) -> Holding:
        positions = {tp: position for owned in self.tasks.values() for tp, position in owned.positions().items()}
        unread = await count_unread(self.consumer, positions)
        sizes = []
        for owned in [*self.tasks.values()]:
            if owned.task is not None and self.agent.encode is not None:
                sizes.append(owned.task.size())
                await asyncio.sleep(0)  # counting a large state takes a while
        return Holding(
            partitions=len(self.tasks),
            lag={self.nouns[topic]: count for topic, count in unread.items()},
            sizes=sizes,
            restored=self._restored if self.agent.encode is not None else None,
            unrestored=self._unrestored if self.agent.encode is not None else None,
            open_topics={noun: self.is_open(noun) for noun in self.agent.inputs},
        )


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
        self._decided_s = 0.0
        self.breakers = {noun: Breaker(limit=group.settings.breaker_records) for noun in group.agent.inputs}

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
        began = self.group.timepieces.monotonic()
        self._turn_ends = began + TURN_S
        self._turn.set_result(next(self._commits, None))
        self._decided_s = self.group.timepieces.monotonic() - began

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
            found = await self._fetch()
            positions = {nouns[tp.topic]: await consumer.position(tp) for tp in self.tps}
            await self._process(self._records(found), positions)

    async def _fetch(self) -> Fetched:
        """What there is to read; of a topic whose breaker is open a single record, when it is time for a probe."""
        consumer, nouns = self.group.consumer, self.group.nouns
        closed = [tp for tp in self.tps if not self.breakers[nouns[tp.topic]].is_open]
        if len(closed) < len(self.tps) and (probe := await self._probe()):
            return probe
        if not closed:
            await asyncio.sleep(IDLE_MS / 1000)
            return {}
        found: Fetched = await consumer.getmany(*closed, timeout_ms=IDLE_MS, max_records=FETCH_RECORDS)
        return found

    async def _probe(self) -> Fetched:
        group = self.group
        for tp in self.tps:
            noun, now = group.nouns[tp.topic], group.timepieces.monotonic()
            breaker = self.breakers[noun]
            if breaker.probes(now):
                found: Fetched = await group.consumer.getmany(tp, timeout_ms=0, max_records=1)
                if found:
                    self.breakers[noun] = breaker.trying(now)
                    return found
        return {}

    def _learn(self, commit: Commit) -> None:
        """Let the breakers know what became of the records of a commit. That a topic opens or closes is said once."""
        group, now = self.group, self.group.timepieces.monotonic()
        for noun, read in commit.read.items():
            refusals = [refusal for refusal in commit.refusals if refusal.topic == noun]
            refused = [refusal.nth for refusal in refusals if refusal.reason not in group.agent.bounds]
            if read == len(refusals) - len(refused):
                continue  # keys that reached their bounds say nothing of the topic
            was_open = group.is_open(noun)
            after = self.breakers[noun] = self.breakers[noun].after(read, refused, now)
            if after.is_open and not was_open:
                group.metrics.count_opening(group.agent.name, noun)
                log.error(OPENED, noun, group.agent.name, after.run, refusals[-1].reason, refusals[-1].detail)
            elif was_open and not group.is_open(noun):
                log.warning(CLOSED, noun, group.agent.name)

    def positions(self) -> dict[TopicPartition, int]:
        """Where the next commit begins; nothing before the task is restored."""
        if self.task is None:
            return {}
        positions = {**self.start, **self.task.positions}
        return {tp: positions[self.group.nouns[tp.topic]] for tp in self.tps}

    def _records(self, found: Fetched) -> Iterator[Record]:
        for tp, records in found.items():
            yield from records_of(self.group.nouns[tp.topic], records)

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
                    await self._write(commit)
                    task.apply(commit)
                    self._learn(commit)
        finally:
            self._commits = None

    async def _write(self, commit: Commit) -> None:
        group, agent = self.group, self.group.agent.name
        began = group.timepieces.monotonic()
        try:
            await self.transactions.write(commit)
        except ProducerFenced:
            group.metrics.count_transaction(agent, "fenced")
            raise
        except (KafkaError, Transient):
            group.metrics.count_transaction(agent, "aborted")
            raise
        group.metrics.time_work(agent, "decide", self._decided_s)
        group.metrics.time_work(agent, "commit", group.timepieces.monotonic() - began)
        group.metrics.count_commit(agent, commit, group.timepieces.wall())
