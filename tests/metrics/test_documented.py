"""docs/metrics.md and the code know the same metrics."""

import asyncio
import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from streams.agents import casework, correlate
from streams.delivery.agent import Agent
from streams.delivery.task import Size, Task
from streams.metrics import ClockMetrics, Holding, SinkMetrics, new_registry
from streams.readiness import Readiness

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def known_metrics() -> dict[str, str]:
    """Name and type of every metric that a worker can show."""
    registries = [new_registry(Readiness()), CollectorRegistry(), CollectorRegistry()]
    step = SinkMetrics(registries[1])
    ClockMetrics(registries[2])
    agents: list[Agent[Any]] = [correlate.AGENT, casework.agent("g1")]
    for agent in agents:

        async def look(size: Size = Task(agent, 0, {}, {}).size()) -> Holding:  # noqa: B008
            lag, is_open = {"t": 0}, {"t": False}
            return Holding(partitions=1, lag=lag, sizes=[size], restored=0, unrestored=0, open_topics=is_open)

        step.look_at(agent.name, look)
    asyncio.run(step.look())
    families = [family for registry in registries for family in registry.collect()]
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in families
        if family.name.startswith("aftersales_")
    }


def test_every_metric_is_documented_with_its_type_and_no_other() -> None:
    rows = re.findall(r"^\| `(aftersales_\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == known_metrics()
    assert len(rows) == len(dict(rows))


def test_alerts_speak_of_metrics_that_there_are() -> None:
    alerts = PAGE.read_text().partition("## What to raise an alert on")[2]
    named = set(re.findall(r"aftersales_\w+", alerts))
    assert named
    assert named <= known_metrics().keys()
