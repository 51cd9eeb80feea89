"""Feeding the pipeline from the simulated market: its history at once, then live, for as long as it is let.

Effect first, then what is remembered of it: a crash in between publishes records again that are the same records. What
a start needs to go on with stands in `<directory>/simulator`: `course.json` (from which seed, since when, at what pace)
and `truth.jsonl` (what was published). Must not know how records are carried, nor what the pipeline makes of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec

from connectors.publisher import Publisher
from connectors.simulator.catalogue import ACCOUNTS
from connectors.simulator.market import ORDERS_PER_DAY, Market
from connectors.simulator.pace import Pace
from connectors.simulator.planned import Planned
from connectors.simulator.truth import Truth
from streams.embedded.files import write_file
from streams.errors import Refused
from streams.settings import Settings

BLOCK = 1000
"""Records published before the broker's acknowledgement is waited for and they are remembered."""
REST_S = 1.0
HEARD_EVERY_S = 5.0
"""How often each account says that it has been read up to now."""
CATCH_UP = timedelta(hours=1)
"""After a longer pause the market has stood still for all but this much of it."""
CLAIMED_AHEAD = timedelta(minutes=1)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a market is to be like; fixed once it has been started."""

    seed: int = 1
    history_days: int = 90
    orders_per_day: float = ORDERS_PER_DAY
    speed: float = 240.0
    """Days of the market in a day, once it is live: 240 makes about one event a second of the usual orders."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """A market that has been started."""

    plan: Plan
    live_at: datetime
    """When it was first started: history lies before."""
    claimed_at: datetime
    """Up to here, in real time, records may have been published at this pace: it is fixed for them."""
    pace: Pace

    @property
    def market(self) -> Market:
        """The market from its beginning."""
        start_at = self.live_at - timedelta(days=self.plan.history_days)
        return Market(seed=self.plan.seed, start_at=start_at, orders_per_day=self.plan.orders_per_day)

    def claimed(self, now: datetime) -> "Course":
        """This course, with `now` claimed, and held if nobody followed it for longer than `CATCH_UP`."""
        if now <= self.claimed_at:
            return self
        pace = self.pace
        if now - self.claimed_at > CATCH_UP:
            pace = pace.held(self.claimed_at, now - CATCH_UP)
        return msgspec.structs.replace(self, pace=pace, claimed_at=now + CLAIMED_AHEAD)


class Outlet(Protocol):
    """Where records go; `connectors.publisher.Publisher` is one."""

    async def publish(self, noun: str, key: str, record: bytes) -> None:
        """Take a record; it counts after `flush`."""

    async def flush(self) -> None:
        """Return when everything is acknowledged."""

    async def read_through(
        self, account: str, through_at: datetime, live: bool, live_from: datetime | None = None
    ) -> None:
        """Say that an account has been read up to an instant."""


Progress = Callable[[int, datetime], None]
"""Called with the number of records published so far and the instant up to which the market is published."""
Rest = Callable[[float], Awaitable[None]]


def place_of(settings: Settings) -> Path:
    """The folder in which the simulator keeps its course and its truth."""
    return Path(settings.directory) / "simulator"


def truth_path(settings: Settings) -> Path:
    """The file that tells what was published, for `connectors.simulator.truth.compare`."""
    return place_of(settings) / "truth.jsonl"


async def feed(
    settings: Settings,
    plan: Plan | None = None,
    *,
    until_s: float | None = None,
    stop: asyncio.Event | None = None,
    progress: Progress | None = None,
) -> None:
    """Publish the market of `plan` (None: the usual one) until `stop` is set.

    `until_s`: at most this many seconds after the present has been reached for the first time; 0 publishes what is
    due and ends. A second start goes on where the first one ended. Raises Refused if another simulator is at work
    here or the market was started with another plan, Transient if Kafka does not take a record.
    """
    folder, stop = place_of(settings), stop or asyncio.Event()
    folder.mkdir(parents=True, exist_ok=True)

    async def rest(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)

    with Truth(truth_path(settings)) as truth:
        course = open_course(folder, plan or Plan(), datetime.now(UTC))
        async with Publisher(settings) as publisher:
            feeder = Feeder(publisher, truth, course, folder, now=lambda: datetime.now(UTC), rest=rest, stop=stop)
            await feeder.run(until_s, progress or (lambda published, reached: None))


def open_course(folder: Path, plan: Plan, now: datetime) -> Course:
    """The course in `folder`; at the first start a new one that goes live now. Raises Refused for another plan."""
    file = folder / "course.json"
    try:
        course = msgspec.json.decode(file.read_bytes(), type=Course)
    except FileNotFoundError:
        live_at = now.replace(microsecond=0)
        course = Course(plan=plan, live_at=live_at, claimed_at=live_at, pace=Pace.going_live(live_at, plan.speed))
        _save(folder, course)
    except msgspec.DecodeError as error:
        raise Refused(f"{file} can't be read ({error}); remove the folder {folder} and the stack's data") from None
    if course.plan != plan:
        raise Refused(
            f"the market in {folder} was started with {_shown(course.plan)}, not with {_shown(plan)}; "
            f"start it as before, or begin anew in another directory"
        )
    return course


def _shown(plan: Plan) -> str:
    return ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(plan).items())


def _save(folder: Path, course: Course) -> None:
    write_file(folder / "course.json", msgspec.json.encode(course))


class Feeder:
    """The loop. `now` and `rest` are the present and the way to wait, so that a test needs neither."""

    def __init__(
        self,
        outlet: Outlet,
        truth: Truth,
        course: Course,
        folder: Path,
        *,
        now: Callable[[], datetime],
        rest: Rest,
        stop: asyncio.Event,
    ) -> None:
        self._outlet, self._truth, self._course, self._folder = outlet, truth, course, folder
        self._now, self._rest, self._stop = now, rest, stop
        self._coming: Iterator[Planned] = islice(course.market, truth.count, None)
        self._next = next(self._coming)

    async def run(self, until_s: float | None, progress: Progress) -> None:
        """Publish what is due, again and again."""
        end_at: datetime | None = None
        heard_at: datetime | None = None
        while not self._stop.is_set():
            now = self._now()
            caught_up = await self._publish_due(now)
            progress(self._truth.count, min(now, self._course.pace.to_real(self._next.publish_at)))
            if not caught_up:
                continue
            if end_at is None and until_s is not None:
                end_at = now + timedelta(seconds=until_s)
            ending = end_at is not None and now >= end_at
            if heard_at is None or ending or now - heard_at >= timedelta(seconds=HEARD_EVERY_S):
                heard_at = now
                for account in ACCOUNTS:
                    await self._outlet.read_through(account, now, True, self._course.live_at)
            if ending:
                return
            await self._rest(REST_S)

    async def _publish_due(self, now: datetime) -> bool:
        """Publish at most a block of what is due; returns whether that was all."""
        claimed = self._course.claimed(now)
        if claimed is not self._course:
            _save(self._folder, claimed)
            self._course = claimed
        block: list[Planned] = []
        while len(block) < BLOCK and self._course.pace.to_real(self._next.publish_at) <= now:
            block.append(self._course.pace.place(self._next))
            self._next = next(self._coming)
        for planned in block:
            await self._outlet.publish(planned.noun, planned.key, planned.record)
        await self._outlet.flush()
        self._truth.append(block)
        return len(block) < BLOCK
