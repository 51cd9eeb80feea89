"""Business time against a walk from minute to minute that knows wall clocks and nothing of spans."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.business_time import (
    ALWAYS,
    DAY_US,
    LONGEST_GAP_US,
    MINUTE_US,
    BusinessTime,
    Calendar,
    Opening,
    Version,
    end_of_working_day,
)
from streams.domain.instants import from_micros, to_micros
from streams.domain.zones import zone_of

MINUTE = timedelta(minutes=1)
HOUR_US = 60 * MINUTE_US


def instant(text: str) -> int:
    return to_micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def openings(text: str) -> tuple[Opening, ...]:
    """`09:00-12:00 13:00-18:00`."""
    parts = [[60 * int(wall[:2]) + int(wall[3:]) for wall in part.split("-")] for part in text.split()]
    return tuple(Opening(opens, closes) for opens, closes in parts)


def calendar(zone: str, *weekly: str, **exceptions: str) -> Calendar:
    """Weekly openings from Monday on, the days left out are closed; exceptions as `d2026_04_03="09:00-12:00"`."""
    days = [*map(openings, weekly), *[()] * (7 - len(weekly))]
    dates = {date.fromisoformat(day[1:].replace("_", "-")): openings(text) for day, text in exceptions.items()}
    return Calendar(zone=zone, weekly=tuple(days), exceptions=dates)


def only(calendar: Calendar) -> BusinessTime:
    return BusinessTime([[Version(0, calendar)]])


WORKDAYS = ["09:00-17:00"] * 5
GOLDEN_WEEK = {f"d2026_10_{day:02}": "" for day in range(1, 8)}
SHANGHAI = calendar(
    "Asia/Shanghai", *["09:00-12:00 13:00-18:00"] * 5, **GOLDEN_WEEK, d2026_10_10="09:00-12:00 13:00-18:00"
)
BERLIN = calendar("Europe/Berlin", *WORKDAYS, d2026_04_03="", d2026_04_06="", d2026_05_01="", d2026_12_25="")
NEW_YORK = calendar("America/New_York", *WORKDAYS, "10:00-14:00")
NIGHT = calendar("America/New_York", *[""] * 5, "22:00-24:00", "00:00-06:00")
GAP = calendar("America/New_York", *[""] * 6, "02:30-06:30")
ALL_DAY = calendar("Europe/Berlin", *["00:00-24:00"] * 7)


# ---- what a support manager can check by hand (rows of the same numbers in the timer rules)


@pytest.mark.parametrize(
    ("row", "counted", "start", "hours", "due"),
    [
        ("SLA-01", SHANGHAI, "2026-03-02T01:30", 4, "2026-03-02T06:30"),
        ("SLA-04", SHANGHAI, "2026-03-06T14:00", 4, "2026-03-09T06:00"),
        ("SLA-05", SHANGHAI, "2026-03-02T04:30", 4, "2026-03-02T09:00"),
        ("SLA-31", SHANGHAI, "2026-09-30T09:00", 4, "2026-10-08T04:00"),
        ("SLA-32", BERLIN, "2026-03-27T15:00", 4, "2026-03-30T10:00"),
        ("SLA-33", NIGHT, "2026-03-08T03:00", 7.5, "2026-03-15T02:30"),
        ("SLA-35", ALL_DAY, "2026-03-02T21:00", 4, "2026-03-03T01:00"),
        ("SLA-37", BERLIN, "2026-04-02T14:00", 4, "2026-04-07T10:00"),
        ("02:30 does not exist: the shift begins at 03:00", GAP, "2026-03-08T06:00", 3.5, "2026-03-08T10:30"),
        ("a Saturday that is worked", SHANGHAI, "2026-10-10T01:00", 8, "2026-10-10T10:00"),
    ],
)
def test_due_is_when_the_target_has_been_worked(
    row: str, counted: Calendar, start: str, hours: float, due: str
) -> None:
    assert from_micros(only(counted).due(instant(start), int(hours * HOUR_US))) == from_micros(instant(due))


def test_hours_in_which_several_calendars_are_open_count_once() -> None:
    follow_the_sun = BusinessTime([[Version(0, each)] for each in (SHANGHAI, BERLIN, NEW_YORK)])
    assert follow_the_sun.due(instant("2026-03-02T12:00"), 4 * HOUR_US) == instant("2026-03-02T16:00")
    assert follow_the_sun.used(instant("2026-03-02T12:00"), instant("2026-03-02T22:00")) == 10 * HOUR_US


def test_a_closure_from_an_instant_on_leaves_what_was_used() -> None:
    closed = calendar("Europe/Berlin", *WORKDAYS, d2026_03_02="")
    edited = BusinessTime([[Version(0, BERLIN), Version(instant("2026-03-02T10:30"), closed)]])
    start = instant("2026-03-02T08:00")
    assert edited.used(start, instant("2026-03-03T00:00")) == 2.5 * HOUR_US
    assert edited.due(start, 4 * HOUR_US) == instant("2026-03-03T09:30")


def test_a_calendar_that_opens_at_no_time_is_taken_for_always_open() -> None:
    never = only(calendar("Asia/Shanghai"))
    start = instant("2026-03-02T01:30")
    assert never.due(start, 4 * HOUR_US) == start + 4 * HOUR_US
    assert never.is_open(start)


@pytest.mark.parametrize("days", [60, 61])
def test_more_than_sixty_days_without_an_opening_are_taken_for_open(days: int) -> None:
    last = date(2026, 3, 2)
    closed = {f"d{(last + timedelta(days=day + 1)).isoformat().replace('-', '_')}": "" for day in range(days)}
    everyday = calendar("UTC", *["00:00-24:00"] * 7, **closed)
    assert only(everyday).is_open(instant("2026-03-20T00:00")) == (days > 60)


def test_a_long_closure_is_the_same_however_far_spans_are_laid_out() -> None:
    closed = {f"d{(date(2026, 11, 1) + timedelta(days=day)).isoformat().replace('-', '_')}": "" for day in range(100)}
    everyday = calendar("UTC", *["09:00-10:00"] * 7, **closed)
    starts = [instant(f"{year}-07-01T00:00") for year in (2020, 2024, 2026, 2029, 2035)]
    for start in starts:
        counted = only(everyday)
        counted.due(start, HOUR_US)
        assert counted.used(instant("2026-10-01T00:00"), instant("2027-03-01T00:00")) == only(everyday).used(
            instant("2026-10-01T00:00"), instant("2027-03-01T00:00")
        )


@pytest.mark.parametrize(
    ("row", "counted", "start", "days", "ends"),
    [
        ("SLA-68", BERLIN, "2026-03-02T09:00", 3, "2026-03-05T23:00"),
        (
            "SLA-56",
            calendar("America/Los_Angeles", *["00:00-24:00"] * 5, d2026_07_03=""),
            "2026-07-02T18:00",
            3,
            "2026-07-09T07:00",
        ),
        ("a Friday evening", BERLIN, "2026-04-02T21:00", 1, "2026-04-07T22:00"),
    ],
)
def test_working_days_end_at_local_midnight(row: str, counted: Calendar, start: str, days: int, ends: str) -> None:
    assert from_micros(end_of_working_day(counted, instant(start), days)) == from_micros(instant(ends))


def test_a_calendar_without_working_days_is_an_error_that_ends() -> None:
    with pytest.raises(OverflowError, match="not so many working days"):
        end_of_working_day(calendar("UTC"), instant("2026-03-02T00:00"), 1)


def test_a_target_beyond_all_dates_is_an_error_that_ends() -> None:
    with pytest.raises(OverflowError, match="is not counted"):
        only(NIGHT).due(instant("2299-06-01T00:00"), HOUR_US)


# ---- against the walk


ZONES = [
    ("America/New_York", "2026-03-06", "2026-10-30"),
    ("Europe/Berlin", "2026-03-27", "2026-10-23"),
    ("Asia/Kathmandu", "1985-12-30", "2026-06-01"),
    ("Australia/Lord_Howe", "2026-04-03", "2026-10-02"),
    ("Africa/Casablanca", "2026-02-13", "2026-03-20"),
    ("Pacific/Apia", "2011-12-28", "2011-09-23"),
    ("America/Havana", "2026-03-06", "2026-10-30"),
    ("Asia/Beirut", "2026-03-27", "2026-10-23"),
]
"""Zones, and days from which on odd things happen to their clocks within a week."""
WALKED = timedelta(days=8)

MINUTES = st.integers(0, 48).map(lambda half_hours: half_hours * 30) | st.integers(0, 24 * 60)


@st.composite
def random_openings(draw: st.DrawFn) -> tuple[Opening, ...]:
    edges = sorted(draw(st.lists(MINUTES, min_size=2, max_size=4, unique=True)))
    return tuple(Opening(*pair) for pair in zip(edges[::2], edges[1::2], strict=False))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[Version]], datetime]:
    """One to three calendars, some of them edited on the way, and the instant at which the walk begins."""
    found: list[list[Version]] = []
    begins = datetime.fromisoformat(draw(st.sampled_from(draw(st.sampled_from(ZONES))[1:]))).replace(tzinfo=UTC)
    dates = [begins.date() + timedelta(days=day) for day in range(-1, WALKED.days + 1)]
    for _ in range(draw(st.integers(1, 3))):
        versions: list[Version] = []
        for from_us in [0, *sorted(draw(st.sets(st.integers(0, 8 * 24 * 60), max_size=2)))]:
            said = Calendar(
                zone=draw(st.sampled_from(ZONES))[0],
                weekly=tuple(draw(st.lists(random_openings(), min_size=7, max_size=7))),
                exceptions=draw(st.dictionaries(st.sampled_from(dates), st.just(()) | random_openings(), max_size=3)),
            )
            versions.append(Version(to_micros(begins) + from_us * MINUTE_US, said))
        found.append(versions)
    return found, begins


def walk(begins: datetime) -> Iterator[datetime]:
    return (begins + minute * MINUTE for minute in range(WALKED // MINUTE))


class Wall(NamedTuple):
    """What the clock on a wall shows from minute to minute."""

    minutes: list[datetime]
    highest: list[datetime]
    """The highest it has shown up to each minute."""
    last_shown: dict[datetime, datetime]

    def first_at_or_after(self, wall: datetime) -> datetime:
        return self.minutes[bisect_left(self.highest, wall)]

    def last_that_shows(self, wall: datetime) -> datetime:
        return self.last_shown.get(wall) or self.first_at_or_after(wall)


@cache
def watch(zone: str, begins: datetime) -> Wall:
    minutes = [begins + minute * MINUTE for minute in range(-2 * 24 * 60, WALKED // MINUTE + 2 * 24 * 60)]
    shown = [at.astimezone(zone_of(zone)).replace(tzinfo=None) for at in minutes]
    return Wall(minutes, list(accumulate(shown, max)), dict(zip(shown, minutes, strict=True)))


def open_minutes(said: Calendar, begins: datetime) -> set[datetime]:
    """Minutes in which a calendar is open, found on the clock on the wall alone."""
    found: set[datetime] = set()
    wall = watch(said.zone, begins)
    for day in range(-1, WALKED.days + 1):
        midnight = datetime.combine(begins.date() + timedelta(days=day), datetime.min.time())
        for opens, closes in said.openings(midnight.date()):
            at = wall.first_at_or_after(midnight + opens * MINUTE)
            ends = wall.last_that_shows(midnight + closes * MINUTE)
            while at < ends:
                found.add(at)
                at += MINUTE
    return found


def walked(calendars: Sequence[Sequence[Version]], begins: datetime) -> Callable[[datetime], bool]:
    """Whether a minute is open, by the walk."""
    opened = [
        [(version.from_us, open_minutes(version.calendar, begins)) for version in versions] for versions in calendars
    ]

    def is_open(at: datetime) -> bool:
        return any(at in [minutes for from_us, minutes in said if from_us <= to_micros(at)][-1] for said in opened)

    return is_open


@settings(deadline=None, max_examples=60)
@given(worlds(), st.integers(0, 4 * 24 * 60), st.integers(1, 4 * 24 * 60), st.integers(1, 3000))
def test_counting_equals_a_walk_from_minute_to_minute(
    world: tuple[list[list[Version]], datetime], start_minute: int, lasts: int, length: int
) -> None:
    calendars, begins = world
    is_open = walked(calendars, begins)
    counted = BusinessTime(calendars)
    opened = [at for at in walk(begins) if is_open(at)]
    start = begins + start_minute * MINUTE
    inside = [at for at in opened if start <= at < start + lasts * MINUTE]
    assert counted.used(to_micros(start), to_micros(start + lasts * MINUTE)) == len(inside) * MINUTE_US
    after = [at for at in opened if at >= start]
    if length <= len(after):
        assert from_micros(counted.due(to_micros(start), length * MINUTE_US)) == after[length - 1] + MINUTE
    for at in {start, begins + (start_minute + lasts) * MINUTE}:
        assert counted.is_open(to_micros(at)) == is_open(at)


SPANS = st.integers(instant("2025-01-01T00:00"), instant("2028-01-01T00:00"))


@settings(deadline=None)
@given(st.sampled_from([SHANGHAI, BERLIN, NEW_YORK, NIGHT, GAP, ALL_DAY]), SPANS, st.integers(1, 400 * HOUR_US))
def test_due_is_the_earliest_instant_at_which_the_length_is_used(counted: Calendar, start: int, length: int) -> None:
    time = only(counted)
    due = time.due(start, length)
    assert time.used(start, due) == length
    assert time.used(start, due - 1) == length - 1


@settings(deadline=None)
@given(st.sampled_from([SHANGHAI, BERLIN, NIGHT]), SPANS, SPANS, SPANS)
def test_used_time_adds_up(counted: Calendar, a: int, b: int, c: int) -> None:
    a, b, c = sorted((a, b, c))
    time = only(counted)
    assert time.used(a, b) + time.used(b, c) == time.used(a, c)


@given(SPANS, SPANS)
def test_always_is_real_time(a: int, b: int) -> None:
    assert ALWAYS.used(a, b) == max(0, b - a)
    assert ALWAYS.due(a, DAY_US) == a + DAY_US
    assert ALWAYS.is_open(a)
    assert LONGEST_GAP_US == 60 * DAY_US
