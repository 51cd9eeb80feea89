"""What a process counts, as objects that are given to whatever counts. No registry is global.

What only grows is counted commit by commit, never record by record. What goes up and down is asked for when somebody
reads the metrics. Names, labels and meanings: docs/metrics.md. Must not know how that which is counted comes about.
"""

from collections import Counter as Count
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.delivery.task import Commit, Size
from streams.domain.heard import Heard
from streams.readiness import Readiness

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECORDS = (1, 10, 30, 100, 300, 1000, 2000, 5000, 10_000, 20_000)
"""Upper bounds of the buckets of histograms."""

_TOPIC = attrgetter("topic")


def new_registry(readiness: Readiness) -> CollectorRegistry:
    """The registry of one process; it holds whether the process is ready, its CPU time, memory and open files."""
    # A second series beside each counter, which says when it began: nobody asks for it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    ready = Gauge("aftersales_ready", "1 when the process is at work, as /healthz says.", registry=registry)
    ready.set_function(lambda: readiness.reason is None)
    return registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What a step holds in this process right now."""

    partitions: int = 0
    lag: Mapping[str, int] = field(default_factory=dict)
    """Records that are not read yet, by topic."""
    sizes: Sequence[Size] = ()
    """Of its tasks with state."""
    restored: int | None = None
    """Records of the changelog that the present or last restore has read; None: there is no state."""
    unrestored: int | None = None
    """Those that it has left to read."""
    open_topics: Mapping[str, bool] = field(default_factory=dict)
    """Whether the breaker of a topic is open."""


class StepMetrics(Collector):
    """Of steps that read Kafka; `agent` is the name of the step."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """`registry` None: one of its own, which nobody reads."""
        self._registry = CollectorRegistry() if registry is None else registry
        self._looks: dict[str, Callable[[], Awaitable[Holding]]] = {}
        self._holdings: dict[str, Holding] = {}
        self._processed = self._counter("processed_records", "Records decided on, or stored.", "topic")
        self._sent = self._counter("sent_records", "Records written.", "topic")
        self._dead = self._counter("dead_letters", "Records refused.", "reason")
        self._transactions = self._counter("transactions", "Transactions by how they ended.", "outcome")
        self._openings = self._counter("breaker_openings", "Breakers that opened.", "topic")
        self._rebalances = self._counter("rebalances", "Times that partitions were given out anew.")
        self._lost = self._counter("lost_memberships", "Times that the group went on without this process.")
        self._batch = self._histogram("batch_records", "Records per commit.", RECORDS)
        self._work = self._histogram("work_seconds", "Time per commit, and of each restore.", SECONDS, "work")
        self._committed_at = Gauge(
            "aftersales_last_commit_timestamp_seconds", "When it last committed.", ["agent"], registry=self._registry
        )
        self._registry.register(self)

    def look_at(self, agent: str, look: Callable[[], Awaitable[Holding]] | None) -> None:
        """Ask `look` whenever somebody wants to read the metrics; None: ask no more."""
        if look is None:
            self._looks.pop(agent, None)
        else:
            self._looks[agent] = look

    async def look(self) -> None:
        """Find out what all steps hold: to be awaited before the registry is read."""
        self._holdings = {agent: await look() for agent, look in [*self._looks.items()]}

    def count_read(self, agent: str, read: Mapping[str, int], now: float) -> None:
        """Records by topic, committed `now` (seconds since 1970)."""
        for topic, count in read.items():
            self._processed.labels(agent, topic).inc(count)
        self._batch.labels(agent).observe(sum(read.values()))
        self._committed_at.labels(agent).set(now)

    def count_commit(self, agent: str, commit: Commit, now: float) -> None:
        """A transaction that was committed `now`."""
        self.count_read(agent, commit.read, now)
        self.count_transaction(agent, "committed")
        for topic, count in Count(map(_TOPIC, commit.sends)).items():
            self._sent.labels(agent, topic).inc(count)
        for reason, count in Count(refusal.reason for refusal in commit.refusals).items():
            self._dead.labels(agent, reason).inc(count)

    def count_transaction(self, agent: str, outcome: Literal["committed", "aborted", "fenced"]) -> None:
        """A transaction ended."""
        self._transactions.labels(agent, outcome).inc()

    def time_work(self, agent: str, work: Literal["decide", "commit", "restore"], seconds: float) -> None:
        """Something was done, and took so long."""
        self._work.labels(agent, work).observe(seconds)

    def count_opening(self, agent: str, topic: str) -> None:
        """The breaker of a topic opened."""
        self._openings.labels(agent, topic).inc()

    def count_rebalance(self, agent: str, *, lost: bool) -> None:
        """Partitions were given out anew; `lost`: because this process had been left out."""
        self._rebalances.labels(agent).inc()
        if lost:
            self._lost.labels(agent).inc()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What all steps held when `look` was last called."""
        gauges = _Gauges()
        for agent, holding in self._holdings.items():
            gauges.set("partitions", "Partitions that this process works on.", holding.partitions, agent=agent)
            for topic, lag in holding.lag.items():
                gauges.set("lag_records", "Records not read yet.", lag, agent=agent, topic=topic)
            for topic, is_open in holding.open_topics.items():
                gauges.set("breaker_open", "1: the topic is left alone.", is_open, agent=agent, topic=topic)
            if holding.restored is not None:
                gauges.set("restored_records", "Of the changelog, in the last restore.", holding.restored, agent=agent)
            if holding.unrestored is not None:
                gauges.set("unrestored_records", "Of the changelog, to be read.", holding.unrestored, agent=agent)
            if holding.sizes:
                _set_sizes(gauges, agent, holding.sizes)
        return iter(gauges.families.values())

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"aftersales_{name}", help, ["agent", *labels], registry=self._registry)

    def _histogram(self, name: str, help: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(
            f"aftersales_{name}", help, ["agent", *labels], registry=self._registry, buckets=tuple(buckets)
        )


class SinkMetrics(StepMetrics):
    """Of the sink, which is a step, and of what it stores."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """As `StepMetrics`."""
        super().__init__(registry)
        table = ["table"]
        self._rows = Counter("aftersales_inserted_rows", "Rows stored.", table, registry=self._registry)
        self._retries = Counter("aftersales_insert_retries", "Inserts tried again.", table, registry=self._registry)
        self._insert = Histogram(
            "aftersales_insert_seconds", "Time per insert.", table, registry=self._registry, buckets=SECONDS
        )

    def count_insert(self, table: str, rows: int, seconds: float) -> None:
        """Rows were stored, in `seconds` without the attempts that failed before."""
        self._rows.labels(table).inc(rows)
        self._insert.labels(table).observe(seconds)

    def count_retry(self, table: str) -> None:
        """An insert did not succeed and is tried again."""
        self._retries.labels(table).inc()


class ClockMetrics:
    """Of the clock."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """`registry` None: one of its own, which nobody reads."""
        registry = CollectorRegistry() if registry is None else registry
        self._tick = Gauge("aftersales_last_tick_timestamp_seconds", "The newest tick.", registry=registry)
        self._trusted = Gauge("aftersales_clock_trusted", "1: machine and broker agree.", registry=registry)
        self._ahead = Gauge("aftersales_clock_ahead_seconds", "Machine ahead of the broker.", registry=registry)
        self._accounts = Gauge("aftersales_accounts", "Accounts by how they are heard.", ["heard"], registry=registry)
        self._silent = Gauge(
            "aftersales_oldest_heard_timestamp_seconds", "Live account heard least.", registry=registry
        )

    def show_trust(self, trusted: bool, ahead_s: float) -> None:
        """The outcome of a comparison with the broker."""
        self._trusted.set(trusted)
        self._ahead.set(ahead_s)

    def show_jump(self) -> None:
        """The machine's time jumped: not trusted until it has been compared again."""
        self._trusted.set(0)

    def show_tick(self, now: float, heard: Heard) -> None:
        """A tick was written; `now` in seconds since 1970."""
        self._tick.set(now)
        live = [account.heard_until.timestamp() for account in heard.accounts.values() if account.live]
        self._accounts.labels("live").set(len(live))
        self._accounts.labels("past").set(len(heard.accounts) - len(live))
        self._accounts.labels("waiting").set(len(heard.waiting))
        if live:
            self._silent.set(min(live))


class _Gauges:
    """Families of gauges by name, filled sample by sample."""

    def __init__(self) -> None:
        self.families: dict[str, GaugeMetricFamily] = {}

    def set(self, name: str, help: str, value: float, **labels: str) -> None:
        if name not in self.families:
            self.families[name] = GaugeMetricFamily(f"aftersales_{name}", help, labels=list(labels))
        self.families[name].add_metric(list(labels.values()), value)


def _set_sizes(gauges: _Gauges, agent: str, sizes: Sequence[Size]) -> None:
    gauges.set("state_entries", "Entries of state.", sum(size.entries for size in sizes), agent=agent)
    gauges.set("state_bytes", "Keys and values of state.", sum(size.bytes for size in sizes), agent=agent)
    gauges.set("due_instants", "Due instants ahead.", sum(size.dues for size in sizes), agent=agent)
    for name in sizes[0].marked:
        gauges.set(name, "Entries of state.", sum(size.marked[name] for size in sizes), agent=agent)
