"""What must come out in the end, computed from source events alone: no Kafka, no Faust, no ClickHouse, no state.

Every test that asks whether anything was lost, doubled or wrong asks this page. It looks at all events at once, so it
knows nothing of arrival, moves or corrections. Must not use correlate, casework, identity or matter: those are judged.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from streams.domain.events import SourceEvent
from streams.domain.facts import FactState, MatterFact, TimerFact, TimerKey, TimerState
from streams.domain.fold import FOLD_VERSION, fold
from streams.domain.history import Events, FactKey, Horizon, References, add_event
from streams.domain.ids import RANKS, kind_of
from streams.domain.reference import SHIPPED

Word: TypeAlias = tuple[datetime, str, str]
"""Event time, event id, and what was said: the greatest is the newest."""


class Expected(NamedTuple):
    """Where things lie in the end, and what is stated."""

    events: Mapping[str, Events]
    """Id to its events, each once."""
    heads: Mapping[str, str]
    """Id to the head of its matter, for every id that has events."""
    customers: Mapping[str, str | None]
    """Head of a matter to its customer; None: nobody has said, the customer is provisional."""
    facts: Mapping[FactKey, TimerState | FactState]
    """What the fold of every matter says."""

    def statements(self, generation: str = "g1") -> Iterable[TimerFact | MatterFact]:
        """The facts as casework would state them, had it known everything at once."""
        for (about, key), state in self.facts.items():
            said: dict[str, Any] = {
                "generation": generation,
                "about": about,
                "key": key,
                "revision": 1,
                "withdrawn": False,
                "cause": "events",
                "fold_version": FOLD_VERSION,
                "state": state,
            }
            yield TimerFact(**said) if isinstance(key, TimerKey) else MatterFact(**said)


def expect(
    events: Iterable[SourceEvent],
    horizon: Horizon,
    *,
    references: References = SHIPPED,
    set_aside: frozenset[str] = frozenset(),
) -> Expected:
    """What is expected of `events` in any order, repeated or not.

    `horizon`: account to how far it has been heard in the end. `set_aside`: heads of matters that the rules must fail
    on; of their facts nothing is expected. Raises what the fold raises.
    """
    told = list(events)
    following = leaders(told)
    by_id: dict[str, Events] = {}
    for event in told:
        by_id[event.about] = add_event(by_id.get(event.about, ()), event)
    heads = {id: head_of(id, following) for id in by_id}
    histories: dict[str, dict[str, Events]] = defaultdict(dict)
    for id, past in by_id.items():
        histories[heads[id]][id] = past
    facts: dict[FactKey, TimerState | FactState] = {}
    for head, history in histories.items():
        if head not in set_aside:
            facts |= fold(history, references, horizon).facts
    customers = _customers(told, following)
    return Expected(
        events=by_id,
        heads=heads,
        customers={head: customers.get(head) for head in histories},
        facts=facts,
    )


def leaders(events: Iterable[SourceEvent]) -> dict[str, str]:
    """Whom each id follows in the end: the newest link by event time."""
    links: dict[str, Word] = {}
    for event in events:
        for lower, higher in _links(event):
            link = (event.event_at, event.event_id, higher)
            links[lower] = max(links.get(lower, link), link)
    return {lower: higher for lower, (_, _, higher) in links.items()}


def head_of(id: str, following: Mapping[str, str]) -> str:
    """The head of the matter that an id belongs to."""
    while id in following:
        id = following[id]
    return id


def _links(event: SourceEvent) -> Iterable[tuple[str, str]]:
    if event.leader:
        yield event.about, event.leader
    for follower in event.followers:
        yield follower, event.about


def _customers(events: Iterable[SourceEvent], following: Mapping[str, str]) -> dict[str, str]:
    """Of each id whose customer is known, the customer: the newest that it said itself, else the only one that the
    nearest of what follows it name. An id passes on one customer, or none.
    """
    words: dict[str, Word] = {}
    ids: set[str] = set()
    for event in events:
        ids.update((event.about, *event.followers))
        if event.customer:
            word = (event.event_at, event.event_id, event.customer)
            words[event.about] = max(words.get(event.about, word), word)
    known = {id: (0, customer) for id, (_, _, customer) in words.items()}
    # The lowest first: what follows an id has said all that it knows by then.
    for id in sorted(ids | {*following.values()}, key=lambda id: -RANKS[kind_of(id)]):
        if id not in known:
            heard = {known[lower] for lower, higher in following.items() if higher == id and lower in known}
            nearest = {(near, customer) for near, customer in heard if near == max(heard)[0]}
            if len(nearest) == 1:
                ((near, customer),) = nearest
                known[id] = near - 1, customer
    return {id: customer for id, (_, customer) in known.items()}
