"""What the pipeline's own rules say of a simulated market: every matter folded, without Kafka and without moves."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from connectors.simulator.planned import Planned
from streams.domain.events import Event, MessageText, SourceEvent
from streams.domain.facts import (
    CaseState,
    ClaimState,
    FactState,
    MatterFact,
    MatterKey,
    OrderState,
    ReturnState,
    TimerFact,
    TimerKey,
    TimerState,
)
from streams.domain.fold import FOLD_VERSION, fold
from streams.domain.history import Events, FactKey, add_event
from streams.domain.reference import SHIPPED


class FoldedMarket(NamedTuple):
    """Head of each matter to the ids that live there, and all facts."""

    heads: dict[str, str]
    facts: dict[FactKey, TimerState | FactState]

    def figures(self) -> Counter[str]:
        """Figures, named as the truth names them."""
        found: Counter[str] = Counter()
        for (_, key), state in self.facts.items():
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

    def statements(self) -> Iterable[TimerFact | MatterFact]:
        """The facts as casework would state them first."""
        for (about, key), state in self.facts.items():
            said = {
                "generation": "g1",
                "about": about,
                "revision": 1,
                "withdrawn": False,
                "cause": "events",
                "fold_version": FOLD_VERSION,
            }
            if isinstance(key, MatterKey):
                yield MatterFact(key=key, state=state, **said)  # type: ignore[arg-type]
            else:
                yield TimerFact(key=key, state=state, **said)  # type: ignore[arg-type]


def fold_market(run: Iterable[Planned], horizon: datetime) -> FoldedMarket:
    """Fold everything that was published, with every account heard up to `horizon`."""
    histories: dict[str, Events] = defaultdict(tuple)
    leaders: dict[str, str] = {}
    for planned in run:
        event = planned.body
        if planned.refused is not None or isinstance(event, MessageText) or not isinstance(event, Event):
            continue
        histories[event.about] = add_event(histories[event.about], _source(event))
        if event.leader:
            leaders[event.about] = event.leader
        leaders |= dict.fromkeys(event.followers, event.about)
    heads = {id: _head(id, leaders) for id in histories}
    matters: dict[str, dict[str, Events]] = defaultdict(dict)
    for id, events in histories.items():
        matters[heads[id]][id] = events
    facts: dict[FactKey, TimerState | FactState] = {}
    for history in matters.values():
        facts |= fold(history, SHIPPED, lambda account: horizon).facts
    return FoldedMarket(heads, facts)


def _source(event: Event) -> SourceEvent:
    return event  # type: ignore[return-value]


def _head(id: str, leaders: dict[str, str]) -> str:
    while id in leaders:
        id = leaders[id]
    return id
