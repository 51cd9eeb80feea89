"""The processes of the pipeline by name: what `aftersales worker NAME` runs, here and in production alike."""

from collections.abc import Callable, Mapping
from typing import Any

from streams.delivery.agent import Agent
from streams.settings import Settings


def _triage(settings: Settings) -> Agent[Any]:
    from streams.agents import triage

    return triage.agent()


def _correlate(settings: Settings) -> Agent[Any]:
    from streams.agents import correlate

    return correlate.AGENT


def _casework(settings: Settings) -> Agent[Any]:
    from streams.agents import casework

    return casework.agent(settings.generation)


AGENTS: Mapping[str, Callable[[Settings], Agent[Any]]] = {
    "triage": _triage,
    "correlate": _correlate,
    "casework": _casework,
}
"""Steps that read and write Kafka in transactions, by delivery."""

WORKERS: Mapping[str, str] = {
    "correlate": "sends each event to the timeline of the customer it belongs to",
    "casework": "folds matters, runs timers, states facts",
    "triage": "says in which language a text is",
    "sink": "stores timeline and facts in ClickHouse",
    "clock": "writes time and reference data to the timeline; one process",
}
"""Name and purpose of every worker, in the order of the flow."""


def run(name: str, settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT. Each imports only what it needs, so that it stays small.

    Raises SystemExit with a non-zero status when it can't go on, Refused and Transient as its module says.
    """
    match name:
        case "sink":
            from streams.sink import run_sink

            run_sink(settings)
        case "clock":
            from streams.clock import run_clock

            raise SystemExit(run_clock(settings))
        case _:
            from streams.delivery.worker import run_worker

            run_worker([AGENTS[name](settings)], settings)
