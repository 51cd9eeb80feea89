"""One round of the simulation: a whole pipeline in one process, faults, healing, and what came out.

The same seed is the same round, and `play(seed).differences` must be empty. Must not know how anything is simulated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from streams.agents import casework, correlate, triage
from streams.delivery.names import changelog_name, topic_name
from streams.topics import read_topics
from tests.simulation import checker
from tests.simulation.broker import Broker
from tests.simulation.feed import Feed, run_feeder
from tests.simulation.loop import Deadlock
from tests.simulation.network import connected
from tests.simulation.processes import NAMESPACE, Main, run_clock, run_sink, run_worker, settings_of
from tests.simulation.tables import Stored
from tests.simulation.world import NO_DANGERS, Dangers, Process, World

GENERATION = "g1"
TROUBLE_S = 25.0
"""How long there are faults, at least; and until all is published."""
LONGEST_S = 120.0
"""Virtual time after healing within which all must be done."""
LONGEST_TROUBLE_S = 120.0
"""After which they end even if not all is published."""
LOOK_S = 0.5
COMPACT_S = 3.0
KEPT_BATCHES = 2
"""Newest batches of a changelog that compaction leaves alone, as Kafka does with the newest segment."""
COMPACTED = 0.7
"""How many of the records that may go do."""
HALTS = ("before end transaction", "after end transaction", "before offsets in transaction", "after produce")
CALLS = ("join", "sync", "fetch offsets", "list offsets", "start producer")
"""Where ambushes are laid: in the middle of a transaction, until a successor has come so far."""
AGENTS: Mapping[str, Callable[[], Any]] = {
    "correlate": lambda: correlate.AGENT,
    "casework": lambda: casework.agent(GENERATION),
    "triage": lambda: triage.AGENT,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one round did and found."""

    seed: int
    differences: list[str]
    crash_points: int
    """Kills, stops and lost answers."""
    faults: dict[str, int]
    ends: dict[str, int]
    """Why processes ended by themselves, and how often."""
    events: int
    virtual_s: float
    digest: str
    """Hash of all that happened, in its order."""
    trace: list[str]
    """The last lines of it."""


def play(seed: int, dangers: Dangers | None = None) -> Outcome:
    """Run one round. `dangers` None: drawn from the seed, as everything else."""
    return _Round(seed, dangers).play()


class _Round:
    def __init__(self, seed: int, dangers: Dangers | None) -> None:
        randomness = Random(seed)
        self.seed, self.world = seed, World(seed, dangers or _dangers(randomness))
        self.partitions = randomness.randint(1, 4)
        self.static = randomness.random() < 0.4
        self.feed = Feed(randomness, self.partitions)
        self.until_s = self.world.loop.time() + LONGEST_TROUBLE_S
        self.differences: list[str] = []
        self.stored: Stored = {}
        self.broker = Broker(self.world, _topics(self.partitions), frozenset([topic_name(NAMESPACE, "clock_probe")]))
        self.wanted: dict[str, Callable[[Process], Main]] = {}
        for step in (*AGENTS, "sink"):
            self.want(f"{step}-1")
            self.want(f"{step}-2")
        self.want("clock")
        self.wanted["feeder"] = lambda process: run_feeder(process, self.feed)

    def want(self, name: str) -> None:
        """Keep a process of this name running from now on."""
        step, settings = name.partition("-")[0], settings_of(name, self.static)
        if step == "sink":
            self.wanted[name] = lambda process: run_sink(process, self.stored, settings)
        elif step == "clock":
            self.wanted[name] = lambda process: run_clock(process, settings)
        else:
            self.wanted[name] = lambda process: run_worker(process, AGENTS[step](), settings)

    def play(self) -> Outcome:
        with connected(self.world, self.broker):
            try:
                for name in self.wanted:
                    self.world.later(self.world.random.uniform(0, 1), self.begin, name)
                self.world.later(COMPACT_S, self.compact)
                self.world.later(self.world.random.uniform(3, 15), self.scale)
                self.world.later(TROUBLE_S, self.heal)
                self.world.loop.run_forever()
            except Deadlock as error:
                self.differences = [f"{error}"]
            finally:
                self.world.close()
        faults = self.world.faults
        return Outcome(
            seed=self.seed,
            differences=self.differences,
            crash_points=faults.total(),
            faults=dict(faults),
            ends=dict(self.world.ends),
            events=len(self.feed.events),
            virtual_s=self.world.loop.time(),
            digest=self.world.digest,
            trace=self.world.trace,
        )

    def begin(self, name: str) -> None:
        """Start a process, and again whenever it ends."""
        if name not in self.wanted or (name == "feeder" and self.feed.done):
            return
        process = Process(self.world, name)
        process.ended = lambda ended: self.world.later(self.world.random.uniform(0, 1.5), self.begin, name)
        process.start(self.wanted[name](process))

    def scale(self) -> None:
        """Add a worker, or let one end; now and then."""
        if self.world.dangers is NO_DANGERS:
            return
        step = self.world.random.choice([*AGENTS])
        extra = f"{step}-3"
        if extra in self.wanted:
            del self.wanted[extra]
            for process in self.world.processes:
                if process.name == extra:
                    process.stopping.set()
        else:
            self.want(extra)
            self.begin(extra)
        self.world.later(self.world.random.uniform(3, 15), self.scale)

    def compact(self) -> None:
        """Compact the changelogs."""
        for step in ("correlate", "casework"):
            for place in self.broker.places(changelog_name(NAMESPACE, step)):
                self.broker.logs[place].compact(KEPT_BATCHES, lambda: self.world.happens(COMPACTED))
        self.world.later(COMPACT_S, self.compact)

    def heal(self) -> None:
        """No faults from now on; then wait until all is done."""
        if not self.feed.done and self.world.loop.time() < self.until_s:
            self.world.later(LOOK_S, self.heal)
            return
        self.until_s = self.world.loop.time() + LONGEST_S
        self.world.note("healed")
        self.world.heal()
        self.world.later(LOOK_S, self.look)

    def look(self) -> None:
        """End the round when nothing is left to do."""
        behind = checker.behind(self.broker)
        if not behind or self.world.loop.time() > self.until_s:
            self.differences = [f"not through: {what}" for what in behind] or checker.differences(
                self.broker, self.feed, self.stored
            )
            self.world.loop.stop()
        else:
            self.world.later(LOOK_S, self.look)


def _dangers(randomness: Random) -> Dangers:
    return Dangers(
        kill=randomness.choice([0.0, 0.003, 0.01]),
        stop=randomness.choice([0.0, 0.003, 0.01]),
        cut=randomness.choice([0.0, 0.005, 0.02]),
        slow=randomness.choice([0.0, 0.02, 0.1]),
        lag=randomness.choice([0.0, 0.05, 0.3]),
        lurk=randomness.choice([0.0, 0.5]),
        ambush=(randomness.choice(HALTS), randomness.choice(CALLS)) if randomness.random() < 0.5 else None,
    )


def _topics(partitions: int) -> dict[str, int]:
    topics = {topic_name(NAMESPACE, noun): topic.partitions for noun, topic in read_topics(partitions).items()}
    return topics | {changelog_name(NAMESPACE, step): partitions for step in ("correlate", "casework")}
