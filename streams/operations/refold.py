"""What today's rules say of the matters that are kept, against what was stated of them: before casework says it.

Only reads, beside running workers. Must not know how it is shown.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from streams.agents import casework
from streams.agents.casework import CLOCKS_KEY, REFERENCES_KEY, Clocks, Kept, Known
from streams.delivery.names import changelog_name
from streams.domain import matter as matters
from streams.domain.facts import TimerKey
from streams.domain.fold import FOLD_VERSION, fold
from streams.domain.history import Folded, History, References
from streams.domain.matter import Matter, Stated
from streams.domain.reference import SHIPPED
from streams.errors import Refused
from streams.operations.reading import Reader
from streams.settings import Settings

EXAMPLES = 3
"""Of each kind of change."""

What: TypeAlias = Literal["stated", "corrected", "withdrawn"]
Tell: TypeAlias = Callable[[int, int], None]
"""Called with how many partitions are done, and how many there are."""


class Change(NamedTuple):
    """What a fact would become."""

    kind: str
    """Kind of a current state, or `timer` and its name."""
    what: What
    about: str
    fields: tuple[str, ...]
    """Of a correction: those that differ."""
    example: str
    """For people: what was stated, and what would be."""


class Kind(msgspec.Struct, kw_only=True):
    """Changes of one kind of fact."""

    counts: Counter[What] = msgspec.field(default_factory=Counter)
    fields: Counter[str] = msgspec.field(default_factory=Counter)
    """Corrections by the field that differs."""
    examples: dict[What, list[str]] = msgspec.field(default_factory=dict)


class Report(msgspec.Struct, kw_only=True):
    """What would change."""

    fold_version: int = FOLD_VERSION
    matters: int = 0
    """Looked at."""
    passed_over: int = 0
    """In quarantine, archived, or with a part on the way: they state nothing today either."""
    changed: int = 0
    """Of those looked at."""
    set_aside: int = 0
    """On which the rules would fail."""
    failures: list[str] = msgspec.field(default_factory=list)
    """Some of these, with the error."""
    kinds: dict[str, Kind] = msgspec.field(default_factory=dict)

    @property
    def says_the_same(self) -> bool:
        """Whether nothing would change."""
        return not (self.changed or self.set_aside)

    def add(self, changes: list[Change]) -> None:
        """Count what would change in one matter."""
        self.changed += bool(changes)
        for change in changes:
            kind = self.kinds.setdefault(change.kind, Kind())
            kind.counts[change.what] += 1
            kind.fields.update(change.fields)
            examples = kind.examples.setdefault(change.what, [])
            if len(examples) < EXAMPLES:
                examples.append(change.example)


def changes_of(matter: Matter, references: References, clocks: Clocks) -> list[Change]:
    """What the rules would state of a matter now. Raises what they raise."""

    def run(history: History) -> Folded:
        return fold(history, references, clocks.horizon)

    before = {(id, last.key): last for id, resident in matter.residents.items() for last in resident.past.stated}
    _, statements = matters.state(matter, run, FOLD_VERSION, "", "software")
    return [
        _change(fact.about, before.get((fact.about, fact.key)), Stated(fact.key, 0, fact.withdrawn, fact.state))
        for fact in statements
    ]


def _change(about: str, before: Stated | None, now: Stated) -> Change:
    key = now.key
    name = f"{key.timer} of {key.case_id}" if isinstance(key, TimerKey) else f"{about} {key.item}".rstrip()
    kind = f"timer {key.timer}" if isinstance(key, TimerKey) else key.kind
    if now.withdrawn:
        return Change(kind, "withdrawn", about, (), f"{name}: {_said(now, ())}")
    if before is None or before.withdrawn:
        return Change(kind, "stated", about, (), f"{name}: {_said(now, ())}")
    fields = tuple(
        field for field in now.state.__struct_fields__ if getattr(before.state, field) != getattr(now.state, field)
    )
    return Change(kind, "corrected", about, fields, f"{name}: {_said(before, fields)} -> {_said(now, fields)}")


def _said(stated: Stated, fields: tuple[str, ...]) -> str:
    """Some fields of a state; none: all that say something."""
    values = {name: getattr(stated.state, name) for name in fields or stated.state.__struct_fields__}
    return ", ".join(f"{name}={value}" for name, value in values.items() if fields or value not in (None, ()))


async def report(settings: Settings, *, limit: int | None, tell: Tell) -> Report:
    """Read casework's changelog, partition by partition, and look at `limit` matters (None: all).

    Raises Refused when Kafka can't be reached, or an entry can't be read; Transient when it stops answering.
    """
    found = Report()
    async with Reader(settings) as reader:
        places = reader.places(changelog_name(settings.namespace, "casework"))
        tell(0, len(places))
        for number, place in enumerate(places, 1):
            entries = await reader.newest(place)
            values: dict[bytes, casework.Value] = {}
            for key, (offset, entry) in entries.items():
                try:
                    values[key] = casework.decode(entry)
                except Exception as error:  # of whatever kind: damaged bytes say anything
                    raise Refused(
                        f"{place.topic}, partition {place.partition}, offset {offset}: the state of {key!r} can't be "
                        f"read ({error!r}): `aftersales state rebuild casework --partition {place.partition}` mends it"
                    ) from error
            look_at(values, found, limit)
            tell(number, len(places))
            if limit is not None and found.matters >= limit:
                break
    return found


def look_at(values: dict[bytes, casework.Value], into: Report, limit: int | None) -> None:
    """Add what would change in the matters of one partition's state."""
    clocks, known = values.get(CLOCKS_KEY, Clocks()), values.get(REFERENCES_KEY, Known(references=SHIPPED))
    assert isinstance(clocks, Clocks)
    assert isinstance(known, Known)
    for matter in _matters(values):
        if limit is not None and into.matters >= limit:
            return
        if matter.silent or not matter.history:
            into.passed_over += 1
            continue
        into.matters += 1
        try:
            into.add(changes_of(matter, known.references, clocks))
        except Exception as error:  # whatever the rules raise sets a matter aside
            into.set_aside += 1
            if len(into.failures) < EXAMPLES:
                into.failures.append(f"{matter.head}: {error!r}")


def _matters(values: dict[bytes, casework.Value]) -> Iterator[Matter]:
    for value in values.values():
        if isinstance(value, Kept):
            yield value.matter
