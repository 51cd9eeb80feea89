"""Compares all that a round has left, in topics, state and ClickHouse, with what the source topics say must be there.

The source topics are folded by `tests.oracle`, which knows nothing of Kafka, Faust or ClickHouse, nor of how things
went. Must not know what was done to the pipeline.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec

from streams import codec
from streams.agents import casework, correlate
from streams.agents.casework import Kept
from streams.clickhouse import connect, migrate
from streams.delivery.dead_letters import dead_letter_id
from streams.domain.admission import check_event
from streams.domain.events import DeadLetter, Event, MessageText, Place, Reference, SourceEvent, Tick
from streams.domain.facts import MatterFact, MatterKey, QuarantineState, TimerFact
from streams.domain.history import FactKey, References
from streams.domain.identity import Identity
from streams.domain.ids import is_provisional, provisional
from streams.domain.instants import BEGINNING
from streams.domain.matter import Matter
from streams.domain.reference import SHIPPED
from streams.errors import BadInput
from streams.rows import COLUMNS
from tests.clickhouse.made import store
from tests.end_to_end.failing_worker import UNLUCKY, WHY
from tests.end_to_end.pipeline import Outcome, Pipeline, differences
from tests.oracle import Expected, expect

SHOWN = 5
"""Examples of each kind of difference."""
AHEAD = timedelta(seconds=6)
"""A clock that is wrong by up to 5 s may tick."""
BEHIND = timedelta(seconds=15)
"""A clock on a busy machine may be late; one that has stopped is later."""
EXPECTED_DATABASE = "expected"

Origin: TypeAlias = tuple[str, int, int]
"""Noun of the topic, partition, offset."""
Statement: TypeAlias = TimerFact | MatterFact


class Sources(NamedTuple):
    """What came in."""

    events: list[SourceEvent]
    """As often as they were published."""
    refused: dict[Origin, str]
    """Records that can't be processed, and the reason."""
    last_at: datetime
    """When the last one was published."""


class Checked(NamedTuple):
    """What was compared, and what differs."""

    events: int
    facts: int
    dead_letters: int
    differences: list[str]


def check(pipeline: Pipeline, acknowledged: Iterable[str]) -> Checked:
    """Compare everything, once nothing moves any more. `acknowledged`: ids of events that are known to be published."""
    sources = read_sources(pipeline)
    timeline = pipeline.read("timeline")
    texts = pipeline.read("message_text")
    references, last = read_time(timeline)
    told = expect(sources.events, _horizon(last), references=references, set_aside=frozenset({UNLUCKY}))
    told = told._replace(facts={**told.facts, **_quarantine(told)})
    statements = [codec.decode(record.value) for record in pipeline.read("timer_fact", "matter_fact")]
    letters = [codec.decode(record.value) for record in pipeline.read("dead_letter")]
    places = [codec.decode(record.value) for record in pipeline.read("place")]
    newest = newest_statements(statements)
    refused = _dead_by_id(sources, timeline, texts)
    stored_refused = refused | _dead_of_sink(timeline, texts)
    found = [
        *_lost("acknowledged and on no topic", acknowledged, (e.event_id for e in [*sources.events, *_texts(texts)])),
        *_audited(pipeline),
        *check_ticks(timeline, sources.last_at),
        *check_facts(told, newest),
        *check_places(told, places),
        *check_letters(refused, letters),
        *_same("classified texts", _ids_of(texts), _classified(pipeline)),
        *check_matters(told, _matters(pipeline), newest),
        *check_identities(told, pipeline.state_entries("correlate")),
        *check_stored(pipeline, sources, texts, stored_refused),
        *check_views(pipeline, told, sources, texts),
    ]
    return Checked(len({event.event_id for event in sources.events}), len(told.facts), len(refused), found)


# ---- what came in


def read_sources(pipeline: Pipeline) -> Sources:
    """All records of the source topics, judged one by one."""
    events: list[SourceEvent] = []
    refused: dict[Origin, str] = {}
    last_at = BEGINNING
    for record in pipeline.read(*correlate.SOURCES):
        last_at = max(last_at, _written_at(record))
        noun = _noun(pipeline, record.topic)
        try:
            entry = codec.decode(record.value)
            if not isinstance(entry, Event) or noun != entry.NAME:
                raise BadInput("wrong_record", noun)
            if entry.about.encode() != record.key:
                raise BadInput("wrong_key", noun)
            check_event(entry, len(record.value))
        except BadInput as error:
            refused[noun, record.partition, record.offset] = error.code
        else:
            assert isinstance(entry, SourceEvent)
            events.append(entry)
    return Sources(events, refused, last_at)


def read_time(timeline: Iterable[Any]) -> tuple[References, Tick]:
    """The reference data and the newest tick on the timeline."""
    references, last = SHIPPED, Tick(now=BEGINNING)
    for record in timeline:
        entry = _decoded(record)
        if isinstance(entry, Reference):
            references = references.with_version(entry)
        elif isinstance(entry, Tick) and entry.now > last.now:
            last = entry
    return references, last


def _horizon(tick: Tick) -> Any:
    clocks = {clock.account: tick.now if clock.live else clock.heard_until for clock in tick.accounts}
    return lambda account: clocks.get(account, BEGINNING)


def _decoded(record: Any) -> Any:
    """The entry of a record; None if it can't be read."""
    try:
        return codec.decode(record.value)
    except BadInput:
        return None


def _noun(pipeline: Pipeline, topic: str) -> str:
    return topic.removeprefix(f"{pipeline.settings.namespace}.").removesuffix(".v1")


# ---- topics


def _audited(pipeline: Pipeline) -> Iterator[str]:
    audit = pipeline.audit()
    yield from _shown("lost on the way to a timeline", audit.lost)
    yield from _shown("on timelines more often than published", audit.doubled)
    yield from _shown("revisions with holes, or used twice", audit.broken_revisions)


def check_ticks(timeline: Iterable[Any], last_at: datetime) -> Iterator[str]:
    """The newest tick stands on every partition, and none is ahead of the time at which it was written. The clock was
    still ticking when the last event came.
    """
    newest: dict[int, datetime] = {}
    ahead = []
    for record in timeline:
        if isinstance(tick := _decoded(record), Tick):
            newest[record.partition] = max(newest.get(record.partition, BEGINNING), tick.now)
            if tick.now - _written_at(record) > AHEAD:
                ahead.append(f"{record.partition}@{record.offset} {tick.now}")
    if len(set(newest.values())) != 1:
        yield f"partitions of the timeline end with different ticks: {newest}"
    yield from _shown("ticks ahead of their time", ahead)
    if not newest or max(newest.values()) < last_at - BEHIND:
        yield f"the clock had stopped: the newest ticks are {newest}, the last event came at {last_at}"


def _written_at(record: Any) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def newest_statements(statements: Iterable[Statement]) -> dict[FactKey, Statement]:
    """Of each fact the statement with the highest revision."""
    newest: dict[FactKey, Statement] = {}
    for fact in statements:
        known = newest.get((fact.about, fact.key))
        if known is None or known.revision < fact.revision:
            newest[fact.about, fact.key] = fact
    return newest


def check_facts(told: Expected, newest: Mapping[FactKey, Statement]) -> Iterator[str]:
    """The last statement of each fact is the fold, and no other fact holds."""
    stated = {key: fact.state for key, fact in newest.items() if not fact.withdrawn}
    yield from _same("facts", told.facts, stated)


def _quarantine(told: Expected) -> dict[FactKey, QuarantineState]:
    """The one fact about the matter that the rules fail on: they fail on its first event already."""
    if UNLUCKY not in told.heads:
        return {}
    customer = told.customers[UNLUCKY] or provisional(UNLUCKY)
    detail = f"{ArithmeticError.__name__}: {WHY}"
    state = QuarantineState(customer=customer, reason="fold_failed", detail=detail, event_count=1)
    return {(UNLUCKY, MatterKey(kind=state.KIND, item=customer)): state}


def check_places(told: Expected, places: Iterable[Place]) -> Iterator[str]:
    """The newest place of each id is where it belongs; provisional customers are those that nobody has named."""
    newest: dict[str, Place] = {}
    for place in places:
        if place.id not in newest or newest[place.id].revision < place.revision:
            newest[place.id] = place
    found = {id: (place.customer, place.matter) for id, place in newest.items()}
    yield from _same("places", _places(told), found)
    wrong = [place.id for place in newest.values() if place.provisional != is_provisional(place.customer)]
    yield from _shown("wrongly called provisional", wrong)


def _places(told: Expected) -> dict[str, tuple[str, str]]:
    """Customer and matter of each id."""
    return {id: (told.customers[head] or provisional(head), head) for id, head in told.heads.items()}


def _dead_by_id(sources: Sources, timeline: Iterable[Any], texts: Iterable[Any]) -> dict[str, str]:
    """Dead letters that steps must have written: id to reason."""
    letters = {dead_letter_id("correlate", *origin): reason for origin, reason in sources.refused.items()}
    for agent, noun, records in (("casework", "timeline", timeline), ("triage", "message_text", texts)):
        letters |= _unreadable(agent, noun, records)
    return letters


def _dead_of_sink(timeline: Iterable[Any], texts: Iterable[Any]) -> dict[str, str]:
    return _unreadable("sink", "timeline", timeline) | _unreadable("sink", "message_text", texts)


def _unreadable(agent: str, noun: str, records: Iterable[Any]) -> dict[str, str]:
    letters = {}
    for record in records:
        try:
            codec.decode(record.value)
        except BadInput as error:
            letters[dead_letter_id(agent, noun, record.partition, record.offset)] = error.code
    return letters


def check_letters(refused: Mapping[str, str], letters: Sequence[DeadLetter]) -> Iterator[str]:
    """What can't be processed is a dead letter, once, and nothing else is."""
    counts = Counter(letter.dead_letter_id for letter in letters)
    yield from _shown("dead letters written twice", [id for id, count in counts.items() if count > 1])
    yield from _same("dead letters", dict(refused), {letter.dead_letter_id: letter.reason for letter in letters})


def _ids_of(texts: Iterable[Any]) -> Counter[str]:
    return Counter(text.text_of for text in _texts(texts))


def _texts(records: Iterable[Any]) -> list[MessageText]:
    return [entry for entry in map(_decoded, records) if isinstance(entry, MessageText)]


def _classified(pipeline: Pipeline) -> Counter[str]:
    return Counter(codec.decode(record.value).text_of for record in pipeline.read("classification"))


# ---- state


def _matters(pipeline: Pipeline) -> list[Matter]:
    values = map(casework.decode, pipeline.state_entries("casework").values())
    return [value.matter for value in values if isinstance(value, Kept)]


def check_matters(told: Expected, matters: Iterable[Matter], newest: Mapping[FactKey, Statement]) -> Iterator[str]:
    """Casework keeps each event once, in its matter, and of each fact what was stated last."""
    lies: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
    stated: dict[FactKey, tuple[int, bool, Any]] = {}
    under_way = []
    for matter in matters:
        for id, resident in matter.residents.items():
            if resident.past.events:
                lies[id].append((matter.head, frozenset(event.event_id for event in resident.past.events)))
            if resident.under_way or resident.arrived:
                under_way.append(id)
            for last in resident.past.stated:
                stated[id, last.key] = last.revision, last.withdrawn, last.state
    expected = {
        id: [(told.heads[id], frozenset(event.event_id for event in events))] for id, events in told.events.items()
    }
    yield from _shown("moves that never ended", under_way)
    yield from _same("events in state", expected, dict(lies))
    said = {
        key: (fact.revision, fact.withdrawn, fact.state)
        for key, fact in newest.items()
        if not isinstance(fact.state, QuarantineState)
    }
    yield from _same("statements in state", said, stated)


def check_identities(told: Expected, entries: Mapping[bytes, bytes]) -> Iterator[str]:
    """Correlate knows of each id where it lives."""
    assert correlate.AGENT.decode is not None
    known: dict[str, Identity] = {key.decode(): correlate.AGENT.decode(entry) for key, entry in entries.items()}
    found = {id: (identity.customer, identity.matter) for id, identity in known.items() if identity.used}
    yield from _same("places in state", _places(told), found)


# ---- ClickHouse


def check_stored(
    pipeline: Pipeline, sources: Sources, texts: Iterable[Any], refused: Mapping[str, str]
) -> Iterator[str]:
    """Every event, text and dead letter is stored, and counts once."""
    stored = Counter(id for (id,) in pipeline.ask("SELECT event_id FROM event FINAL"))
    yield from _same("stored events", Counter({event.event_id for event in sources.events}), stored)
    for table in ("message_text", "classification"):
        kept = Counter(id for (id,) in pipeline.ask(f"SELECT text_of FROM {table} FINAL"))
        yield from _same(f"rows of {table}", Counter(set(_ids_of(texts))), kept)
    letters = pipeline.ask("SELECT dead_letter_id, reason FROM dead_letter FINAL")
    counts = Counter(id for id, _ in letters)
    yield from _shown("dead letters stored twice", [id for id, count in counts.items() if count > 1])
    yield from _same("stored dead letters", dict(refused), dict(letters))


def check_views(pipeline: Pipeline, told: Expected, sources: Sources, texts: Iterable[Any]) -> list[str]:
    """Views of present facts and of KPIs show what they show of the expected facts, in a second database; and what came
    in is stored as it is stored there, to the last column.
    """
    dsn = urlunsplit(urlsplit(pipeline.settings.clickhouse_dsn)._replace(path=f"/{EXPECTED_DATABASE}"))
    settings = msgspec.structs.replace(pipeline.settings, clickhouse_dsn=dsn)
    found = {**pipeline.outcome(), **_rows(pipeline)}
    entries: list[Any] = [*sources.events, *_texts(texts), *told.statements(pipeline.settings.generation)]
    entries += [
        Place(id=id, customer=customer, matter=head, revision=0, provisional=is_provisional(customer))
        for id, (customer, head) in _places(told).items()
    ]
    migrate(settings)
    with connect(settings) as client:
        store(client, entries)
    second = Pipeline(pipeline.stack, settings)
    return differences(found, {**second.outcome(), **_rows(second)})


def _rows(pipeline: Pipeline) -> Outcome:
    """The rows of what came in, each once."""
    found = {}
    for table in ("event", "message_text"):
        rows = pipeline.ask(f"SELECT {', '.join(COLUMNS[table])} FROM {table} FINAL")
        found[table] = COLUMNS[table], tuple(sorted(rows, key=repr))
    return found


# ---- words


def _lost(what: str, expected: Iterable[str], found: Iterable[str]) -> Iterator[str]:
    yield from _shown(what, sorted(set(expected) - set(found)))


def _same(what: str, expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> Iterator[str]:
    """Differences between two mappings, the first few of each kind."""
    if expected == found:
        return
    yield from _shown(f"{what}: missing", [f"{key}: {expected[key]}" for key in expected.keys() - found.keys()])
    yield from _shown(f"{what}: too many", [f"{key}: {found[key]}" for key in found.keys() - expected.keys()])
    wrong = [key for key in expected.keys() & found.keys() if expected[key] != found[key]]
    yield from _shown(f"{what}: wrong", [f"{key}: {found[key]}, not {expected[key]}" for key in wrong])


def _shown(what: str, examples: Sequence[str]) -> Iterator[str]:
    if examples:
        more = f" and {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
        yield f"{what} ({len(examples)}): " + "; ".join(sorted(examples)[:SHOWN]) + more
