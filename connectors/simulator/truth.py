"""What was published, and what the pipeline must have made of it: worked out anew, by other rules than its own.

One line of JSON per published record, repetitions included: the number of lines is how far the market has been
published. Nothing here may use the pipeline's rules (`streams.domain` but for the events), so that a mistake there is
not made here as well. Where the words come from: first response and resolution, 4 h and 48 h from the customer's first
message, plain elapsed time; the newest state by event time; delivered when the last parcel is.
"""

import fcntl
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, TypeAlias

import msgspec

from connectors.simulator.planned import Planned
from streams.domain.events import Event
from streams.domain.instants import from_micros, to_micros
from streams.errors import Refused

FIRST_RESPONSE_US = 4 * 3600 * 10**6
RESOLUTION_US = 48 * 3600 * 10**6
SOLVED = ("resolved", "closed")
NEVER_DELIVERED = ("cancelled", "unavailable")

SAID = {
    "order": ("status", "promised_at", "currency", "total_minor"),
    "parcel": ("status",),
    "message": ("author",),
    "ticket": ("status",),
    "return": ("kind", "status"),
    "review": ("score", "score_max"),
    "claim": ("status",),
    "payment": ("kind", "method", "currency", "amount_minor"),
    "message_text": (),
}
"""Noun to the fields that are remembered."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One published record. Instants are microseconds since 1970."""

    noun: str
    id: str
    """event_id; for a refused record the SHA-256 of its bytes."""
    refused: str | None = None
    """Reason code of the dead letter; the fields below are then empty."""
    at: int = 0
    sequence: int = 0
    about: str = ""
    marketplace: str = ""
    customer: str | None = None
    leader: str | None = None
    followers: tuple[str, ...] = ()
    said: dict[str, str | int] = {}


def line_of(planned: Planned) -> Line:
    """What is remembered of a record."""
    body = planned.body
    if planned.refused is not None or not isinstance(body, Event):
        return Line(noun=planned.noun, id=hashlib.sha256(planned.record).hexdigest(), refused=planned.refused)
    said = {}
    for name in SAID[planned.noun]:
        value = getattr(body, name)
        if value is not None:
            said[name] = to_micros(value) if isinstance(value, datetime) else value
    return Line(
        noun=planned.noun,
        id=body.event_id,
        at=to_micros(body.event_at),
        sequence=body.sequence,
        about=body.about,
        marketplace=body.marketplace,
        customer=body.customer,
        leader=body.leader,
        followers=body.followers,
        said=said,
    )


class Truth:
    """The file, open for the one process that publishes. `count` is the number of records remembered."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def __enter__(self) -> Self:
        """Opens or creates the file, less a last line that a crash cut off. Raises Refused if another has it open."""
        self._file: IO[bytes] = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise Refused(f"{self.path} is in use: another simulator feeds this installation; stop it first") from None
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if line.endswith(b"\n"):
                self.count, whole = self.count + 1, whole + len(line)
        self._file.truncate(whole)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, published: Sequence[Planned]) -> None:
        """Remember records that have been acknowledged."""
        encode = msgspec.json.Encoder().encode
        self._file.write(b"".join(encode(line_of(planned)) + b"\n" for planned in published))
        self._file.flush()
        self.count += len(published)


def read_lines(path: Path) -> Iterator[Line]:
    """All lines of a truth file, also while it is being written. Nothing for a file that is not there."""
    decode = msgspec.json.Decoder(Line).decode
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if line.endswith(b"\n"):
                yield decode(line)


# ---- what must have come of it

Figures: TypeAlias = dict[str, int]
"""Name of a figure to its value, as in `timer: first_response, met`."""


class _Published(NamedTuple):
    """Every event once, by the id that it is about, in the order in which it happened."""

    of: dict[str, list[Line]]

    def kind(self, kind: str) -> Iterator[tuple[str, list[Line]]]:
        return ((id, lines) for id, lines in self.of.items() if id.startswith(kind + ":"))


def figures(lines: Iterable[Line], horizon: datetime) -> Figures:
    """What ClickHouse must hold once the lines have been worked off and every account was heard up to `horizon`."""
    found: Counter[str] = Counter()
    once: dict[str, Line] = {}
    refused: set[tuple[str, str]] = set()
    for line in lines:
        if line.refused is not None:
            refused.add((line.refused, line.id))
        else:
            once.setdefault(line.id, line)
    for reason, _ in refused:
        found[f"dead letters: {reason}"] += 1
    of: dict[str, list[Line]] = defaultdict(list)
    for line in once.values():
        found[f"events: {line.noun}"] += 1
        if line.noun != "message_text":
            of[line.about].append(line)
    for events in of.values():
        events.sort(key=lambda line: (line.at, line.said.get("author") != "customer", line.sequence, line.id))
    published = _Published(of)
    at = to_micros(horizon)
    leaders = _leaders(published)
    _count_orders(published, leaders, at, found)
    _count_conversations(published, at, found)
    _count_rest(published, found)
    found["provisional customers"] += _count_provisional(published, leaders)
    return dict(found)


def _newest(events: list[Line], name: str) -> str | int | None:
    return next((line.said[name] for line in reversed(events) if name in line.said), None)


def _leaders(published: _Published) -> dict[str, str]:
    """Id to the id that it follows: the newest that anybody said."""
    links: dict[str, tuple[int, str, str]] = {}
    for id, events in published.of.items():
        for line in events:
            said = [(id, line.leader)] if line.leader else []
            said += [(follower, id) for follower in line.followers]
            for lower, higher in said:
                links[lower] = max(links.get(lower, (-1, "", "")), (line.at, line.id, higher))
    return {lower: higher for lower, (_, _, higher) in links.items()}


def _count_provisional(published: _Published, leaders: dict[str, str]) -> int:
    """Heads of matters that nobody named a customer for, neither the head's own events nor those that follow it."""
    known: dict[str, bool] = defaultdict(bool)
    for id, events in published.of.items():
        head = id
        while head in leaders:
            head = leaders[head]
        known[head] |= any(line.customer for line in events)
    return sum(not named for named in known.values())


def _count_orders(published: _Published, leaders: dict[str, str], horizon: int, found: Counter[str]) -> None:
    arrivals: dict[str, list[int | None]] = defaultdict(list)
    for id, events in published.kind("parcel"):
        if id in leaders:
            arrivals[leaders[id]].append(
                next((line.at for line in events if line.said.get("status") == "delivered"), None)
            )
    for id, events in published.kind("order"):
        stated = [line for line in events if "status" in line.said]
        status, since = (stated[-1].said["status"], stated[-1].at) if stated else ("unknown", -1)
        parcels = arrivals[id]
        delivered = None if not parcels or None in parcels else max(arrival for arrival in parcels if arrival)
        if delivered is not None and delivered > since:
            status = "delivered"
        marketplace = events[-1].marketplace
        found[f"orders: {marketplace}, {status}"] += 1
        total, promised = _newest(events, "total_minor"), _newest(events, "promised_at")
        if isinstance(total, int):
            found[f"order totals: {marketplace}, {_newest(events, 'currency')}"] += total
        if isinstance(promised, int):
            stop = None if status in NEVER_DELIVERED else delivered
            result = "cancelled" if status in NEVER_DELIVERED else _outcome(promised, stop, horizon)
            found[f"timers: delivery, {result}"] += 1


def _outcome(due: int, stop: int | None, horizon: int) -> str:
    if stop is not None:
        return "met" if stop <= due else "breached"
    return "breached" if due <= horizon else "running"


def _count_conversations(published: _Published, horizon: int, found: Counter[str]) -> None:
    for _, events in published.kind("thread"):
        asked = next((place for place, line in enumerate(events) if line.said.get("author") == "customer"), None)
        answers = [place for place, line in enumerate(events) if line.said.get("author") == "agent"]
        solved = _solved_since(events)
        status = _newest(events, "status") or "open"
        found[f"cases: {'open' if status in SOLVED and solved is None else status}"] += 1
        if asked is None:
            continue
        start = events[asked].at
        if any(place < asked for place in answers):
            found["timers: first_response, not_applicable"] += 1
        else:
            answered = events[answers[0]].at if answers else None
            found[f"timers: first_response, {_outcome(start + FIRST_RESPONSE_US, answered, horizon)}"] += 1
        found[f"timers: resolution, {_outcome(start + RESOLUTION_US, solved, horizon)}"] += 1


def _solved_since(events: list[Line]) -> int | None:
    """Since when a conversation has been solved without a break; None if it is open."""
    since = None
    for line in events:
        status = line.said.get("status")
        if line.said.get("author") == "customer" or (status and status not in SOLVED):
            since = None
        elif status and since is None:
            since = line.at
    return since


def _count_rest(published: _Published, found: Counter[str]) -> None:
    for _, events in published.kind("return"):
        found[f"returns: {_newest(events, 'kind')}, {_newest(events, 'status')}"] += 1
    for _, events in published.kind("claim"):
        found[f"claims: {_newest(events, 'status')}"] += 1
    for _, events in published.kind("review"):
        score, score_max = events[-1].said["score"], events[-1].said["score_max"]
        assert isinstance(score, int)
        assert isinstance(score_max, int)
        found[f"reviews: {'low' if score * 5 <= 2 * score_max else 'other'}"] += 1
    for _, events in published.kind("payment"):
        said = events[-1].said
        amount = said["amount_minor"]
        assert isinstance(amount, int)
        found[f"payments: {said['kind']}, {said['method']}, {said['currency']}"] += amount


# ---- what ClickHouse holds

QUERIES = (
    ("events", "SELECT kind, count() FROM event FINAL GROUP BY kind"),
    ("events", "SELECT 'message_text', count() FROM message_text FINAL"),
    # A record that was published twice around a crash is two dead letters of the same bytes.
    ("dead letters", "SELECT reason, uniqExact(raw_sha256) FROM dead_letter FINAL GROUP BY reason"),
    ("orders", "SELECT marketplace, status, count() FROM current_order GROUP BY marketplace, status"),
    (
        "order totals",
        "SELECT marketplace, currency, sum(total_minor) FROM current_order WHERE total_minor IS NOT NULL "
        "GROUP BY marketplace, currency",
    ),
    # What fell due after the horizon was still running then.
    (
        "timers",
        "SELECT timer, if(result = 'breached' AND stopped_at IS NULL AND due_at > {horizon}, 'running', result) "
        "AS outcome, count() FROM current_timer GROUP BY timer, outcome",
    ),
    ("cases", "SELECT status, count() FROM current_case GROUP BY status"),
    ("returns", "SELECT kind, status, count() FROM current_return GROUP BY kind, status"),
    ("claims", "SELECT status, count() FROM current_claim GROUP BY status"),
    (
        "reviews",
        "SELECT if(score * 5 <= 2 * score_max, 'low', 'other') AS tone, count() FROM current_review GROUP BY tone",
    ),
    (
        "payments",
        "SELECT kind, method, currency, sum(amount_minor) FROM current_payment GROUP BY kind, method, currency",
    ),
)
"""Group of figures, and a query whose rows are the parts of a name and, last, the value."""
PROVISIONAL_QUERY = "SELECT uniqExact(customer) FROM current_place WHERE provisional"

Query: TypeAlias = Callable[[str], list[tuple[Any, ...]]]


class Compared(NamedTuple):
    """A figure twice: as it must be, and as ClickHouse has it."""

    name: str
    expected: int
    found: int


def compare(path: Path, query: Query, horizon: datetime) -> list[Compared]:
    """Every figure of a truth file beside ClickHouse's, by name; they differ where the pipeline lost or doubled
    something, has a rule that is not this module's, or has not caught up yet.

    `query` runs one statement and returns its rows. `horizon`: an instant up to which casework has been told the time.
    """
    expected = figures(read_lines(path), horizon)
    literal = f"toDateTime64('{from_micros(to_micros(horizon)):%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"
    found: Figures = {"provisional customers": int(query(PROVISIONAL_QUERY)[0][0])}
    for group, statement in QUERIES:
        for *parts, value in query(statement.replace("{horizon}", literal)):
            if value:
                found[f"{group}: {', '.join(map(str, parts))}"] = int(value)
    names = sorted(expected.keys() | found.keys())
    return [Compared(name, expected.get(name, 0), found.get(name, 0)) for name in names]
