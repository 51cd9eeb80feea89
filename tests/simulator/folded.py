"""What the pipeline's own rules say of a simulated market: every matter folded, without Kafka and without moves."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import cast

from connectors.simulator.planned import Planned
from streams.domain.events import Event, MessageText, SourceEvent
from streams.domain.facts import CaseState, ClaimState, OrderState, ReturnState, TimerKey, TimerState
from tests.oracle import Expected, expect


def fold_market(run: Iterable[Planned], horizon: datetime) -> Expected:
    """What is expected of everything that was published, with every account heard up to `horizon`."""
    bodies = (planned.body for planned in run if planned.refused is None)
    events = (body for body in bodies if isinstance(body, Event) and not isinstance(body, MessageText))
    return expect(cast(Iterable[SourceEvent], events), lambda account: horizon)


def figures(expected: Expected) -> Counter[str]:
    """Figures of a market, named as its own truth names them."""
    found: Counter[str] = Counter()
    for (_, key), state in expected.facts.items():
        match state:
            case TimerState() if isinstance(key, TimerKey):
                found[f"timers: {key.timer}, {state.result}"] += 1
            case OrderState():
                found[f"orders: {state.marketplace}, {state.status}"] += 1
            case CaseState():
                found[f"cases: {state.status}"] += 1
            case ReturnState():
                found[f"returns: {state.kind}, {state.status}"] += 1
            case ClaimState():
                found[f"claims: {state.status}"] += 1
    return found
