"""A scenario: a written story run through correlate and casework in memory, and what it expects of the facts.

The same pure functions as live, wired by their topics in this process: no Kafka, no clock. Time is implied: it passes
up to each arrival, one microsecond short of it before and to it after, and at the end up to `until`. So whatever was
due before an event arrived was stated before it arrived, as it would have been live.

Must not know how the words of events and expectations are read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from streams import codec
from streams.agents import casework, correlate
from streams.delivery.agent import Send
from streams.delivery.dead_letters import DeadLetter
from streams.delivery.local import Local
from streams.domain.events import AccountClock, Place, Reference, ResponseTargets, Tick
from streams.domain.reference import SHIPPED
from streams.errors import Refused
from streams.scenario.expectations import (
    DEAD_LETTERS,
    Expectation,
    Stated,
    no_dead_letters,
    read_expectations,
)
from streams.scenario.story import Arrival, Cast, check_name, read_events
from streams.scenario.text import (
    Entries,
    Value,
    as_entries,
    as_items,
    as_text,
    read_documents,
    read_instant,
    read_length,
    refuse,
    refuse_unknown,
    show_instant,
)

FIELDS = ("scenario", "account", "marketplace", "targets", "events", "ticks", "until", "expect")
TARGETS = ("from", "first response", "resolution")
HEARD_AFTER = timedelta(days=60)
"""How long after its last event a story is listened to, unless it says `until`."""
MAX_TICKS = 20_000
SHORT_BEFORE = timedelta(microseconds=1)
NOTICE = timedelta(seconds=60)
"""Between the publication of new targets and the instant from which they hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A story and what it expects. `every` None: time passes up to each arrival."""

    title: str
    where: str
    cast: Cast
    arrivals: tuple[Arrival, ...]
    targets: tuple[Reference, ...]
    every: timedelta | None
    until: datetime
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One expectation and what came out."""

    name: str
    where: str
    expected: str
    found: str
    ok: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A scenario that has been run."""

    title: str
    where: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether everything came out as expected."""
        return all(result.ok for result in self.results)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """All scenarios of a file."""

    played: tuple[Played, ...]

    @property
    def ok(self) -> bool:
        """Whether every scenario came out as expected."""
        return all(played.ok for played in self.played)


def run_scenario(path: Path) -> Outcome:
    """Run every scenario of a file. Raises Refused when the file can't be read or says what is not known."""
    return Outcome(played=tuple(play(scenario) for scenario in read_scenarios(path)))


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of a file, one per YAML document. Raises Refused."""
    documents = read_documents(path)
    if not documents:
        raise Refused(f"{path} holds no scenario")
    return [read_scenario(document) for document in documents]


# ---- reading


def read_scenario(document: Entries) -> Scenario:
    """A scenario from its document. Raises Refused."""
    fields = {key.text: value for key, value in document.entries}
    for key, _ in document.entries:
        if key.text not in FIELDS:
            refuse_unknown(key, "part of a scenario", FIELDS)
    for name in ("scenario", "events", "expect"):
        if name not in fields:
            refuse(document, f"{name!r} is missing; a scenario has a title (`scenario`), `events` and `expect`")
    cast = Cast(_name(fields, "account", "shop"), _name(fields, "marketplace", ""))
    arrivals = read_events(fields["events"], cast)
    if not arrivals:
        refuse(fields["events"], "a story has at least one event")
    last = max(max(arrival.at, arrival.event.event_at) for arrival in arrivals)
    expectations = read_expectations(fields["expect"], cast)
    if not expectations:
        refuse(fields["expect"], "a scenario expects at least one thing")
    if all(expectation.name.text != DEAD_LETTERS for expectation in expectations):
        expectations = (*expectations, no_dead_letters(document.where))
    until = read_instant(fields["until"], "until", last) if "until" in fields else last + HEARD_AFTER
    if until < last:
        refuse(fields["until"], f"until {show_instant(until)} is before the last event, {show_instant(last)}")
    every = read_length(fields["ticks"], "ticks") if "ticks" in fields else None
    first = min(arrival.at for arrival in arrivals)
    if every is not None and (not every or (until - first) / every > MAX_TICKS):
        refuse(fields["ticks"], f"that is more than {MAX_TICKS} ticks until {show_instant(until)}; let them be rarer")
    return Scenario(
        title=as_text(fields["scenario"], "the title").text,
        where=document.where,
        cast=cast,
        arrivals=arrivals,
        targets=_read_targets(fields["targets"]) if "targets" in fields else (),
        every=every,
        until=until,
        expectations=expectations,
    )


def _name(fields: dict[str, Value], name: str, default: str) -> str:
    return check_name(as_text(fields[name], name)).text if name in fields else default


def _read_targets(value: Value) -> tuple[Reference, ...]:
    """New versions of the targets; a target that is not named stays as it was. No `from`: from the start on."""
    versions = [SHIPPED.response_targets[-1]]
    for item in as_items(value):
        entries = as_entries(item, "targets")
        fields = {key.text: part for key, part in entries.entries}
        for key, _ in entries.entries:
            if key.text not in TARGETS:
                refuse_unknown(key, "field of targets", TARGETS)
        former = versions[-1]
        effective_at = read_instant(fields["from"], "from", former.effective_at) if "from" in fields else None
        if former.effective_at is not None and (effective_at is None or effective_at <= former.effective_at):
            refuse(item, f"each version holds from later than the one before, {show_instant(former.effective_at)}")
        versions.append(
            Reference(
                name=former.name,
                version=former.version + 1,
                effective_at=effective_at,
                published_at=effective_at - NOTICE if effective_at else former.published_at,
                published_by="scenario",
                reason="scenario",
                body=ResponseTargets(
                    first_response_s=_seconds(fields, "first response", former.body.first_response_s),
                    resolution_s=_seconds(fields, "resolution", former.body.resolution_s),
                ),
            )
        )
    return tuple(versions[1:])


def _seconds(fields: dict[str, Value], name: str, default: int) -> int:
    if name not in fields:
        return default
    length = read_length(fields[name], name)
    if not length or length.microseconds:
        refuse(as_text(fields[name], name), f"{name} is at least one second, and whole seconds")
    return int(length.total_seconds())


# ---- running


def play(scenario: Scenario, order: Sequence[int] | None = None) -> Played:
    """Run a scenario. `order`: let its events arrive in this order instead (positions in `scenario.arrivals`)."""
    stated = run(scenario, order)
    results = []
    for expectation in scenario.expectations:
        found = expectation.check(stated)
        results.append(
            Result(
                name=expectation.name.text,
                where=expectation.name.where,
                expected=found.expected,
                found=found.found,
                ok=found.ok,
            )
        )
    return Played(title=scenario.title, where=scenario.where, results=tuple(results))


def run(scenario: Scenario, order: Sequence[int] | None = None) -> Stated:
    """All that comes out of a story. The instants of arrival stay, whichever event arrives at them."""
    arrivals = sorted(scenario.arrivals, key=lambda arrival: arrival.at)
    events = [arrival.event for arrival in arrivals]
    if order is not None:
        events = [scenario.arrivals[position].event for position in order]
    local = Local([correlate.AGENT, casework.agent("scenario")])
    for reference in scenario.targets:
        local.publish(Send("timeline", b"", codec.encode(reference)))
    ticks = _ticks(scenario, [arrival.at for arrival in arrivals])
    accounts = sorted({event.account for event in events})
    now = next(ticks, None)
    for at, event in zip((arrival.at for arrival in arrivals), events, strict=True):
        while now is not None and now < at:
            _tick(local, now, accounts)
            now = next(ticks, None)
        local.publish(Send(event.NAME, event.about.encode(), codec.encode(event)))
        local.run()
    while now is not None:
        _tick(local, now, accounts)
        now = next(ticks, None)
    return _stated(local)


def _ticks(scenario: Scenario, arrivals: Sequence[datetime]) -> Iterator[datetime]:
    """Instants of ticks, in order."""
    if scenario.every is None:
        for at in sorted(set(arrivals)):
            yield from (at - SHORT_BEFORE, at)
    else:
        at = min(arrivals)
        while at < scenario.until:
            yield at
            at += scenario.every
    yield scenario.until


def _tick(local: Local, now: datetime, accounts: Sequence[str]) -> None:
    clocks = tuple(AccountClock(account=account, heard_until=now, live=True) for account in accounts)
    local.publish(Send("timeline", b"", codec.encode(Tick(now=now, accounts=clocks))))
    local.run()


def _stated(local: Local) -> Stated:
    places: dict[str, Place] = {}
    for record in local.records("place"):
        place = codec.decode(record.value)
        if place.id not in places or places[place.id].revision <= place.revision:
            places[place.id] = place
    facts = [codec.decode(record.value) for topic in ("timer_fact", "matter_fact") for record in local.records(topic)]
    refused = [msgspec.json.decode(record.value, type=DeadLetter).reason for record in local.records("dead_letter")]
    return Stated(facts, places, refused)


# ---- showing


def render(outcome: Outcome) -> str:
    """The outcome as plain text, one line per scenario and what differs below it."""
    lines = []
    for played in outcome.played:
        lines.append(f"{'ok   ' if played.ok else 'FAILS'}  {played.title}")
        for result in played.results:
            if not result.ok:
                lines += [
                    f"       {result.name}  ({result.where})",
                    f"         expected  {result.expected}",
                    f"         found     {result.found}",
                ]
    failed = sum(not played.ok for played in outcome.played)
    count = len(outcome.played)
    lines.append(f"{count} scenario{'s' if count != 1 else ''}, {failed or 'none'} failed")
    return "\n".join(lines)
