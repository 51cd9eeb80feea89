"""Business time: calendars as sorted open spans of real time, and counting in them. Pure.

A calendar says in wall-clock minutes when somebody works; here its days become instants, so that counting is a look-up
and an addition. Instants are microseconds since 1970 in UTC, lengths are microseconds. Rules B-1 to B-7 in
docs/business_time.md. Must not know what is timed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import accumulate, pairwise, zip_longest
from typing import NamedTuple, TypeAlias

import msgspec

from streams.domain.instants import EARLIEST, LATEST, from_micros, to_micros
from streams.domain.zones import zone_of

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US
MINUTES_OF_A_DAY = 24 * 60
LONGEST_GAP_US = 60 * DAY_US
"""A calendar that opens at no time within 60 days is taken for always open (B-6)."""
YEAR_US = 366 * DAY_US
SPARE_US = 2 * YEAR_US
"""How far beyond what was asked for spans are laid out, so that it is rarely done."""
EARLIEST_US, LATEST_US = to_micros(EARLIEST), to_micros(LATEST)

Span: TypeAlias = tuple[int, int]
"""Half-open, [from, to), in microseconds since 1970."""


class Opening(NamedTuple):
    """Part of a day by the wall clock, half-open, in minutes since midnight; 1440 is the end of the day."""

    opens_minute: int
    closes_minute: int


class Calendar(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """When somebody works: openings for each day of the week, and for single dates others in their place."""

    zone: str
    """IANA name."""
    weekly: tuple[tuple[Opening, ...], ...]
    """Monday to Sunday."""
    exceptions: dict[date, tuple[Opening, ...]] = {}
    """What holds on a date in place of the weekly openings; empty: closed."""

    def openings(self, day: date) -> tuple[Opening, ...]:
        """The openings of a date."""
        return self.exceptions.get(day, self.weekly[day.weekday()])


class Version(NamedTuple):
    """What a calendar says from an instant on; the first version holds from the beginning."""

    from_us: int
    calendar: Calendar


Versions: TypeAlias = Sequence[Version]
"""All that a calendar ever said, oldest first; never empty."""


class BusinessTime:
    """Counts in the union of calendars. Immutable to those who use it; it lays its spans out as far as it is asked.

    `calendars` empty: always open.
    """

    def __init__(self, calendars: Iterable[Versions] = ()) -> None:
        self._calendars = tuple(calendars)
        self._begins = self._ends = 0
        """What is laid out."""
        self._opens: list[int] = []
        self._closes: list[int] = []
        self._until: list[int] = []
        """Open time from the first span's opening to each span's closing."""

    def used(self, from_us: int, to_us: int) -> int:
        """Open time in [from, to); 0 if that is empty."""
        if to_us <= from_us:
            return 0
        if not self._calendars:
            return to_us - from_us
        self._lay_out(from_us, to_us)
        return self._count(to_us) - self._count(from_us)

    def due(self, from_us: int, length_us: int) -> int:
        """The earliest instant at which so much open time has passed since `from_us`. It may be the closing instant.

        Raises OverflowError when that lies near or beyond the ends of what is counted (`EARLIEST`, `LATEST`).
        """
        if not self._calendars or length_us <= 0:
            return from_us + max(0, length_us)
        found = from_us
        while self._lay_out(from_us, found) or found == from_us:
            target = self._count(from_us) + length_us
            if self._until and target <= self._until[-1]:
                position = bisect_left(self._until, target)
                found = self._closes[position] - (self._until[position] - target)
            else:
                found = self._ends
        return found

    def is_open(self, at_us: int) -> bool:
        """Whether the instant lies in an open span."""
        if not self._calendars:
            return True
        self._lay_out(at_us, at_us)
        position = bisect_right(self._opens, at_us) - 1
        return position >= 0 and at_us < self._closes[position]

    def _count(self, at_us: int) -> int:
        """Open time before an instant, from wherever the spans begin."""
        position = bisect_right(self._opens, at_us) - 1
        if position < 0:
            return 0
        return self._until[position] - max(0, self._closes[position] - at_us)

    def _lay_out(self, from_us: int, to_us: int) -> bool:
        """Lay out the spans around [from, to) with at least a year to spare. Returns whether any were missing.

        The year lets a gap be seen whole, however far spans are laid out.
        """
        if self._begins <= from_us - YEAR_US and to_us + YEAR_US <= self._ends:
            return False
        begins, ends = from_us - YEAR_US - SPARE_US, to_us + YEAR_US + SPARE_US
        if self._ends:
            begins, ends = min(begins, self._begins), max(ends, self._ends)
        if begins < EARLIEST_US or ends > LATEST_US:
            raise OverflowError(f"business time between {from_micros(from_us)} and {from_micros(to_us)} is not counted")
        self._begins, self._ends = begins, ends
        spans = unite(span for versions in self._calendars for span in _spans(versions, begins, ends))
        spans = bridge(spans, begins, ends)
        self._opens, self._closes = [opens for opens, _ in spans], [closes for _, closes in spans]
        self._until = list(accumulate(closes - opens for opens, closes in spans))
        return True


ALWAYS = BusinessTime()


def unite(spans: Iterable[Span]) -> list[Span]:
    """The spans as sorted ones that neither overlap nor touch."""
    found: list[Span] = []
    for opens, closes in sorted(spans):
        if opens >= closes:
            continue
        if found and opens <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], closes)
        else:
            found.append((opens, closes))
    return found


def bridge(spans: list[Span], from_us: int, to_us: int) -> list[Span]:
    """The spans, with every gap in [from, to) that is longer than `LONGEST_GAP_US` filled (B-6)."""
    edges = [(from_us, from_us), *spans, (to_us, to_us)]
    gaps = [(ends, begins) for (_, ends), (begins, _) in pairwise(edges) if begins - ends > LONGEST_GAP_US]
    return unite([*spans, *gaps]) if gaps else spans


def spans_of(calendar: Calendar, day: date) -> list[Span]:
    """The open spans that begin on a date."""
    zone = zone_of(calendar.zone)
    return [
        (wall_instant(day, opens, zone, closing=False), wall_instant(day, closes, zone, closing=True))
        for opens, closes in calendar.openings(day)
    ]


def wall_instant(day: date, minute: int, zone: tzinfo, *, closing: bool) -> int:
    """The instant of a wall-clock minute of a date (B-2).

    One that does not exist is the instant at which the clocks went forward. Of one that exists twice an opening takes
    the first, a closing the second.
    """
    wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    before, after = _offset(wall, zone, 0), _offset(wall, zone, 1)
    wall_us = to_micros(wall.replace(tzinfo=UTC))
    if before < after:
        return _transition(zone, wall_us - after, wall_us - before)
    return wall_us - (after if closing else before)


def _offset(wall: datetime, zone: tzinfo, fold: int) -> int:
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


def _transition(zone: tzinfo, before_us: int, after_us: int) -> int:
    """The second in (before, after] from which the zone's offset is another than it was before."""
    was = from_micros(before_us).astimezone(zone).utcoffset()
    low, high = before_us // 1_000_000, after_us // 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        if from_micros(middle * 1_000_000).astimezone(zone).utcoffset() == was:
            low = middle
        else:
            high = middle
    return high * 1_000_000


def _spans(versions: Versions, begins: int, ends: int) -> Iterable[Span]:
    """What a calendar opens in [begins, ends): each version from its own instant to the next one's."""
    for version, following in zip_longest(versions, versions[1:]):
        from_us = begins if version is versions[0] else max(begins, version.from_us)
        to_us = ends if following is None else min(ends, following.from_us)
        # A date of any zone lies within a day and a half of the same date in UTC.
        day, last = _date(from_us - 2 * DAY_US), _date(to_us + 2 * DAY_US)
        while from_us < to_us and day <= last:
            for opens, closes in spans_of(version.calendar, day):
                yield max(opens, from_us), min(closes, to_us)
            day += timedelta(days=1)


def _midnight(day: date, zone: tzinfo) -> int:
    return wall_instant(day, 0, zone, closing=False)


def _date(at_us: int) -> date:
    return from_micros(at_us).date()


# ---- working days


MAX_DAYS_SEARCHED = 3660
"""Ten years; a calendar that can be published has a working day every 60 days."""


def end_of_working_day(calendar: Calendar, start_us: int, days: int) -> int:
    """The local midnight that ends the `days`-th working day after the local date of `start_us` (B-7).

    A working day is a local date with at least one opening. Raises OverflowError if there are not that many.
    """
    zone = zone_of(calendar.zone)
    day = from_micros(start_us).astimezone(zone).date()
    for _ in range(MAX_DAYS_SEARCHED):
        if days == 0:
            return _midnight(day + timedelta(days=1), zone)
        day += timedelta(days=1)
        days -= bool(calendar.openings(day))
    raise OverflowError(f"the calendar has not so many working days in {MAX_DAYS_SEARCHED} days")
