"""What must be true of a round in the end, of logs, state and tables, as `tests.oracle` computes it from the events.

Reads the broker directly. Must not know what befell the processes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from streams import codec
from streams.agents import casework, correlate, triage
from streams.agents.casework import Kept
from streams.delivery.agent import Record as Read
from streams.delivery.names import changelog_name, group_name, topic_name
from streams.domain.events import DeadLetter, Place, Tick
from streams.domain.ids import is_provisional, provisional
from streams.domain.matter import Matter
from streams.errors import BadInput
from streams.rows import TOPICS, rows_of
from tests import oracle
from tests.identity.stories import ACCOUNT
from tests.oracle import Expected
from tests.simulation.broker import Broker
from tests.simulation.feed import END, Feed
from tests.simulation.log import Record
from tests.simulation.processes import NAMESPACE
from tests.simulation.tables import Stored

INPUTS: Mapping[str, Iterable[str]] = {
    "triage": triage.AGENT.inputs,
    "correlate": correlate.AGENT.inputs,
    "casework": ("timeline",),
    "sink": tuple(TOPICS),
}
"""What each step reads."""
SHOWN = 5
"""Differences of one kind that are told."""


def behind(broker: Broker) -> list[str]:
    """The steps that have something left to do. Ticks come for ever, and are no work."""
    found = []
    for step, nouns in INPUTS.items():
        offsets = broker.group(group_name(NAMESPACE, step)).offsets
        for noun in nouns:
            for place in broker.places(topic_name(NAMESPACE, noun)):
                left = broker.logs[place].records(offsets.get(place, 0), committed=False)
                if any(_name(record) != "tick" for record in left):
                    found.append(f"{step} has not read all of {place}")
    return found or _unheard(broker)


def _unheard(broker: Broker) -> list[str]:
    offsets = broker.group(group_name(NAMESPACE, "casework")).offsets
    found = []
    for place in broker.places(topic_name(NAMESPACE, "timeline")):
        ticks = [record for record in broker.logs[place].records() if _name(record) == "tick"]
        heard = [record for record in ticks if any(clock.heard_until == END for clock in _tick(record).accounts)]
        if not heard or offsets.get(place, 0) <= heard[0].offset:
            found.append(f"the end has not been heard on {place}")
    return found


def _tick(record: Record) -> Tick:
    tick = codec.decode(record.value or b"")
    assert isinstance(tick, Tick)
    return tick


def _name(record: Record) -> str:
    try:
        return codec.name_of(record.value or b"")
    except BadInput:
        return "unreadable"


def differences(broker: Broker, feed: Feed, stored: Stored) -> list[str]:
    """All that is not as it should be."""
    expected = oracle.expect(feed.events, lambda account: END)
    found: list[str] = []
    for name, lines in (
        ("timeline", _timeline(broker)),
        ("dead letters", _dead_letters(broker)),
        ("facts", _facts(broker, expected)),
        ("state", _state(broker, expected)),
        ("places", _places(broker)),
        ("identities", _identities(broker, expected)),
        ("texts", _texts(broker)),
        ("tables", _tables(broker, stored)),
        ("ticks", _ticks(broker)),
    ):
        told = list(lines)
        found += [f"{name}: {line}" for line in told[:SHOWN]]
        if len(told) > SHOWN:
            found.append(f"{name}: and {len(told) - SHOWN} more")
    return found


def _records(broker: Broker, noun: str) -> Iterator[tuple[int, Record]]:
    """Partition and record, of all committed records of a topic."""
    for place in broker.places(topic_name(NAMESPACE, noun)):
        for record in broker.logs[place].records():
            yield place[1], record


def _published(broker: Broker) -> Iterator[tuple[str, int, Record]]:
    for noun in correlate.SOURCES:
        for partition, record in _records(broker, noun):
            yield noun, partition, record


def _event_id(record: Record) -> str | None:
    """None: an entry that is no event, or is unreadable."""
    try:
        return getattr(codec.decode(record.value or b""), "event_id", None)
    except BadInput:
        return None


def _timeline(broker: Broker) -> Iterator[str]:
    """Every record that was published stands once on a timeline."""
    published = Counter(filter(None, (_event_id(record) for _, _, record in _published(broker))))
    arrived = Counter(filter(None, (_event_id(record) for _, record in _records(broker, "timeline"))))
    for id in sorted(set(published) | set(arrived)):
        if published[id] != arrived[id]:
            yield f"{id} was published {published[id]} times and stands there {arrived[id]} times"


def _dead_letters(broker: Broker) -> Iterator[str]:
    """Exactly what can't be read, once each."""
    poison = Counter(
        (noun, partition, record.offset) for noun, partition, record in _published(broker) if not _event_id(record)
    )
    letters: Counter[Any] = Counter()
    for _, record in _records(broker, DeadLetter.NAME):
        letter = codec.decode(record.value or b"")
        letters[letter.origin_topic, letter.origin_partition, letter.origin_offset] += 1
    if poison != letters:
        yield f"{sorted(letters.elements())} instead of {sorted(poison.elements())}"


def _facts(broker: Broker, expected: Expected) -> Iterator[str]:
    """Revisions are contiguous, none is used twice, and the last one is the fold."""
    said: dict[Any, list[Any]] = defaultdict(list)
    for noun in ("timer_fact", "matter_fact"):
        for _, record in _records(broker, noun):
            fact = codec.decode(record.value or b"")
            said[fact.about, fact.key].append(fact)
    last = {}
    for key, facts in said.items():
        facts.sort(key=lambda fact: int(fact.revision))
        if (numbers := [fact.revision for fact in facts]) != list(range(1, len(facts) + 1)):
            yield f"{key} has revisions {numbers}"
        if not facts[-1].withdrawn:
            last[key] = facts[-1].state
    for key in sorted(set(last) | set(expected.facts), key=str):
        if last.get(key) != expected.facts.get(key):
            yield f"{key} is {last.get(key)} instead of {expected.facts.get(key)}"


def _entries(broker: Broker, step: str) -> dict[bytes, bytes]:
    """The state of a step, as its changelog tells it."""
    entries: dict[bytes, bytes | None] = {}
    for place in broker.places(changelog_name(NAMESPACE, step)):
        entries |= {record.key or b"": record.value for record in broker.logs[place].records()}
    return {key: entry for key, entry in entries.items() if entry is not None}


def _matters(broker: Broker) -> list[Matter]:
    values = map(casework.decode, _entries(broker, "casework").values())
    return [value.matter for value in values if isinstance(value, Kept)]


def _identities(broker: Broker, expected: Expected) -> Iterator[str]:
    """Correlate knows of each id that has events where it lives."""
    assert correlate.AGENT.decode is not None
    known = {key.decode(): correlate.AGENT.decode(entry) for key, entry in _entries(broker, "correlate").items()}
    found = {id: (identity.customer, identity.matter) for id, identity in known.items() if identity.used}
    for id in sorted(set(found) | set(expected.heads)):
        head = expected.heads.get(id)
        place = None if head is None else (expected.customers[head] or provisional(head), head)
        if found.get(id) != place:
            yield f"{id} is known to be at {found.get(id)} instead of {place}"


def _state(broker: Broker, expected: Expected) -> Iterator[str]:
    """Every event lies once in the matter that it belongs to, and nothing is under way."""
    lies: dict[str, Matter] = {}
    for matter in _matters(broker):
        if matter.quarantine is not None:
            yield f"{matter.head} at {matter.customer} was set aside: {matter.quarantine}"
        for id, resident in matter.residents.items():
            if resident.under_way or resident.arrived:
                yield f"{id} at {matter.customer} is still under way"
            if not resident.past.events:
                continue
            if id in lies:
                yield f"{id} lies at two places, {matter.head} and {lies[id].head}"
            lies[id] = matter
            ids = {event.event_id for event in resident.past.events}
            if ids != {event.event_id for event in expected.events.get(id, ())}:
                yield f"{id} holds other events than were published"
            if matter.head != expected.heads.get(id):
                yield f"{id} lies in the matter {matter.head} instead of {expected.heads.get(id)}"
            customer = expected.customers.get(matter.head) or provisional(matter.head)
            if customer != matter.customer:
                yield f"{id} lies at {matter.customer} instead of {customer}"
    for id in sorted(set(expected.events) - set(lies)):
        yield f"{id} lies nowhere"


def _places(broker: Broker) -> Iterator[str]:
    """What is told of places is where things lie."""
    told: dict[str, Place] = {}
    for _, record in _records(broker, Place.NAME):
        place = codec.decode(record.value or b"")
        if place.id not in told or told[place.id].revision <= place.revision:
            told[place.id] = place
    lies = {id: (m.customer, m.head) for m in _matters(broker) for id, r in m.residents.items() if r.past.events}
    for id in sorted(set(told) | set(lies)):
        place = told.get(id)
        if place is None or (place.customer, place.matter) != lies.get(id):
            yield f"{id} is told to be at {place}, and lies at {lies.get(id)}"
        elif place.provisional != is_provisional(place.customer):
            yield f"{id} is told to be provisional: {place.provisional}, at {place.customer}"


def _texts(broker: Broker) -> Iterator[str]:
    """Every text that was published is classified once."""
    texts = Counter(codec.decode(record.value or b"").text_of for _, record in _records(broker, "message_text"))
    classified = Counter(codec.decode(record.value or b"").text_of for _, record in _records(broker, "classification"))
    if texts != classified:
        yield f"{classified} instead of {texts}"


def _tables(broker: Broker, stored: Stored) -> Iterator[str]:
    """Every record that is to be stored is a row, and there are no others."""
    expected: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for noun in TOPICS:
        for partition, record in _records(broker, noun):
            read = Read(noun, partition, record.offset, record.key or b"", record.value or b"")
            for row in rows_of(read):
                expected[row.table].add(row.values)
    for table in sorted(set(expected) | set(stored)):
        found, wanted = stored.get(table, set()), expected[table]
        for values in sorted(wanted - found, key=str):
            yield f"{table} lacks {values}"
        for values in sorted(found - wanted, key=str):
            yield f"{table} has {values}, which stands on no topic"


def _ticks(broker: Broker) -> Iterator[str]:
    """A tick that says how far an account was heard stands behind all that was heard."""
    arrived: dict[str, list[int]] = defaultdict(list)
    for noun in ("timeline", DeadLetter.NAME):
        for _, record in _records(broker, noun):
            if (id := _event_id(record)) is not None:
                arrived[id].append(record.written)
    first = {id: min(places) for id, places in arrived.items()}
    announced = [codec.decode(record.value or b"") for _, record in _records(broker, "read_through")]
    heard: dict[Any, int] = {}
    for announcement in announced:
        ends = {(position.topic, position.partition): position.offset for position in announcement.positions}
        ids = [_event_id(r) for noun, number, r in _published(broker) if r.offset < ends.get((noun, number), 0)]
        behind = max((first.get(id, 0) for id in ids if id is not None), default=0)
        # The earliest of equal announcements may count.
        heard[announcement.through_at] = min(heard.get(announcement.through_at, behind), behind)
    for partition, record in _records(broker, "timeline"):
        if _name(record) != "tick":
            continue
        for clock in _tick(record).accounts:
            if clock.account == ACCOUNT and record.written < heard[clock.heard_until]:
                yield f"a tick on partition {partition} says {clock.heard_until} before all of it was there"
