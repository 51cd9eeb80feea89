"""Agents wired by their topics, in memory: the same core as a worker, no Kafka, no time, one process.

    local = Local([correlate, casework], partitions=4, randomness=random.Random(7), crash_rate=0.1)
    local.publish(Send("order", b"order:1", value))
    local.run()
    local.records("timeline"), local.state("casework")

A topic is a list of records per partition; each task reads its partition of all inputs. With `randomness` the order in
which tasks and topics are read and the sizes of batches are drawn from it, so that one seed is one interleaving; and
with `crash_rate` tasks lose their memory before and after commits. Must not know what the agents do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from streams.delivery.agent import Agent, Record, Send
from streams.delivery.dead_letters import DeadLetter
from streams.delivery.task import LIMITS, Commit, Limits, Task
from streams.partitions import partition_of

STEPS = 1_000_000
"""Batches after which `run` gives up: agents that feed each other for ever."""
BATCH_RECORDS = 100


class Local:
    """Agents over topics that live in memory, all with the same number of partitions.

    `randomness` None: round robin, whole batches. `crash_rate`: probability of a crash before and after each commit.
    `duplicate_rate`: probability that a published record is there twice.
    """

    def __init__(
        self,
        agents: Sequence[Agent[Any]],
        *,
        partitions: int = 1,
        randomness: Random | None = None,
        crash_rate: float = 0.0,
        duplicate_rate: float = 0.0,
        limits: Limits = LIMITS,
        encode_dead_letter: Callable[[DeadLetter], bytes] = msgspec.json.encode,
    ) -> None:
        if randomness is None and (crash_rate or duplicate_rate):
            raise ValueError("crashes and duplicates need `randomness`")
        self.partitions = partitions
        self._random, self._crash_rate, self._duplicate_rate = randomness, crash_rate, duplicate_rate
        self._topics: dict[str, list[list[Record]]] = {}
        self._hosts = [
            _Host(agent, partition, limits, encode_dead_letter) for agent in agents for partition in range(partitions)
        ]

    def publish(self, send: Send) -> None:
        """Append a record to its topic."""
        self._append(send)
        if self._happens(self._duplicate_rate):
            self._append(send)

    def run(self) -> None:
        """Let the agents work until nothing is unread. Raises what they raise, RuntimeError after `STEPS` batches."""
        for step in range(STEPS):
            waiting = [host for host in self._hosts if any(self._unread(host))]
            if not waiting:
                return
            host = waiting[step % len(waiting)] if self._random is None else self._random.choice(waiting)
            self._run_batch(host)
        raise RuntimeError(f"still not quiet after {STEPS} batches")

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, partition by partition."""
        return [record for partition in self._topics.get(topic, []) for record in partition]

    def state(self, agent: str) -> dict[bytes, Any]:
        """The committed state of an agent, decoded, over all partitions."""
        return {
            key: host.agent.decode(entry)
            for host in self._hosts
            if host.agent.name == agent and host.agent.decode is not None
            for key, entry in host.entries.items()
        }

    def positions(self, agent: str, partition: int) -> Mapping[str, int]:
        """The committed positions of a task, by topic."""
        return dict(self._host(agent, partition).positions)

    def replace_state(self, agent: str, partition: int, entries: Mapping[bytes, bytes]) -> None:
        """What a task keeps is something else from now on, as after `aftersales state rebuild`; its positions stay."""
        host = self._host(agent, partition)
        host.entries = dict(entries)
        host.crash()

    def _host(self, agent: str, partition: int) -> "_Host":
        (host,) = (host for host in self._hosts if (host.agent.name, host.partition) == (agent, partition))
        return host

    def _append(self, send: Send) -> None:
        topic = self._topics.setdefault(send.topic, [[] for _ in range(self.partitions)])
        partition = partition_of(send.key, self.partitions) if send.partition is None else send.partition
        log = topic[partition]
        log.append(Record(send.topic, partition, len(log), send.key, send.value, send.headers))

    def _unread(self, host: "_Host") -> Iterator[list[Record]]:
        """The next batch of each input that has one."""
        for topic in host.agent.inputs:
            if topic in self._topics:
                start = host.positions.get(topic, 0)
                if records := self._topics[topic][host.partition][start : start + BATCH_RECORDS]:
                    yield records

    def _run_batch(self, host: "_Host") -> None:
        batches = list(self._unread(host))
        if self._random is None:
            records = [record for batch in batches for record in batch]
        else:
            batch = self._random.choice(batches)
            records = batch[: self._random.randint(1, len(batch))]
        task = host.open()
        for commit in task.process(records):
            if self._happens(self._crash_rate):
                return host.crash()
            host.keep(commit)
            for send in commit.sends:
                self._append(send)
            if self._happens(self._crash_rate):
                return host.crash()
            task.apply(commit)

    def _happens(self, rate: float) -> bool:
        return self._random is not None and self._random.random() < rate


class _Host:
    """What outlives a crash of one task: its changelog and its positions; and the task while there is none."""

    def __init__(
        self, agent: Agent[Any], partition: int, limits: Limits, encode_dead_letter: Callable[[DeadLetter], bytes]
    ) -> None:
        self.agent, self.partition = agent, partition
        self.entries: dict[bytes, bytes] = {}
        self.positions: dict[str, int] = {}
        self._limits, self._encode_dead_letter = limits, encode_dead_letter
        self._task: Task[Any] | None = None

    def open(self) -> Task[Any]:
        if self._task is None:
            self._task = Task(
                self.agent,
                self.partition,
                dict(self.entries),
                self.positions,
                encode_dead_letter=self._encode_dead_letter,
                limits=self._limits,
            )
        return self._task

    def crash(self) -> None:
        self._task = None

    def keep(self, commit: Commit) -> None:
        for key, entry in commit.changes.items():
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry
        self.positions.update(commit.positions)
