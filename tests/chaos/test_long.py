"""What takes long: servers that are away for minutes, full disks, whole data sets in every order.

Deselected in a plain run of the tests; `make chaos-long` runs them.
"""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streams.clickhouse import connect
from streams.progress import Progress
from tests.chaos.plan import FIRSTS, KAFKA_LINKS, TRANSACTION_TIMEOUTS_S, Fault, Kind, Plan
from tests.chaos.round import Notes, check_scene, left_behind, played
from tests.chaos.scene import Scene
from tests.data.sampling import Order, Sample, write_sample
from tests.end_to_end.conftest import StartPipeline, start_pipeline
from tests.end_to_end.pipeline import Outcome, Pipeline, differences
from tests.end_to_end.shop import arranged

__all__ = ["start_pipeline"]  # a fixture

pytestmark = [pytest.mark.engines, pytest.mark.long]

BEFORE_S, AFTER_S = 10.0, 10.0
"""Of undisturbed work around a fault."""
SLEEP_S = 11.0
"""Beyond the session time-out, within the longer transaction time-out: who wakes up goes on with its transaction."""
REST_S = 15.0
CLICKHOUSE_AWAY_S = 600.0
BROKER_AWAY_S = 300.0
DISK_FULL_S = 40.0
DISK_BYTES = 384 << 20
NO_ROOM = re.compile(r"No space left on device|NOT_ENOUGH_SPACE|not enough space", re.IGNORECASE)
LOOK_S = 5.0
MANY_TIMES = 10
"""So much less than the sink, which stands still, has casework before it at the end: however slow the machine is."""
DATA = Path(__file__).parents[3] / "shared" / "data"
MANIFESTS = Path(__file__).parents[1] / "data"
SETS = ("olist", "uci_incidents", "twcs_sample", "online_retail")
WORK_OFF_S = 3600.0


def plan_of(lasts_s: float, *faults: tuple[Kind, str]) -> Plan:
    """A plan in which these happen at once and last equally long."""
    return Plan(
        seed=1,
        seconds=BEFORE_S + lasts_s + AFTER_S,
        static_membership=True,
        transaction_timeout_s=TRANSACTION_TIMEOUTS_S[0],
        faults=tuple(Fault(at_s=BEFORE_S, kind=kind, target=target, lasts_s=lasts_s) for kind, target in faults),
    )


def play(directory: Path, plan: Plan, beside: Callable[[Scene], Coroutine[Any, Any, None]] | None = None) -> Notes:
    """Play a plan; nothing must have made a difference."""

    async def run() -> Notes:
        notes = Notes()
        async with played(plan, directory, notes, *([beside] if beside else [])) as scene:
            checked = await check_scene(scene)
        behind = left_behind(directory).total()
        print(f"\n{checked.events:,} events, {checked.facts:,} facts, {notes.restarts} restarts, {behind} left behind")
        assert checked.differences == []
        assert checked.events > 1000
        assert notes.missed == []
        return notes

    return asyncio.run(run())


@pytest.mark.parametrize("static", [False, True])
def test_who_sleeps_or_is_cut_off_for_too_long_is_told_that_others_took_over(tmp_path: Path, static: bool) -> None:
    sleepers = ("correlate-2", "casework-2", "casework-3", "triage-2")
    faults = [Fault(at_s=BEFORE_S, kind="freeze", target=name, lasts_s=SLEEP_S) for name in sleepers]
    faults.append(Fault(at_s=BEFORE_S + SLEEP_S + REST_S, kind="silent", target="firsts", lasts_s=SLEEP_S))
    plan = Plan(
        seed=1,
        seconds=BEFORE_S + SLEEP_S + REST_S + SLEEP_S + AFTER_S,
        static_membership=static,
        transaction_timeout_s=TRANSACTION_TIMEOUTS_S[1],
        faults=tuple(faults),
    )
    play(tmp_path / "stack", plan)
    told = left_behind(tmp_path / "stack")
    assert [name for name in (*sleepers, *FIRSTS) if not told[name]] == []


def test_clickhouse_is_away_for_ten_minutes_and_casework_goes_on(tmp_path: Path) -> None:
    behind: list[tuple[int, int]] = []

    async def watch(scene: Scene) -> None:
        async with Progress(scene.settings) as progress:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEFORE_S + CLICKHOUSE_AWAY_S):
                    while True:
                        unread = await progress.unread()
                        behind.append((unread["casework"] or 0, unread["sink"] or 0))
                        await asyncio.sleep(LOOK_S)

    play(tmp_path / "stack", plan_of(CLICKHOUSE_AWAY_S, ("refuse", "clickhouse")), watch)
    assert len(behind) > CLICKHOUSE_AWAY_S / LOOK_S / 2
    casework, sink = behind[-1]
    assert casework * MANY_TIMES < sink


@pytest.mark.parametrize("kind", ["refuse", "silent"])
def test_the_broker_is_away_for_five_minutes(tmp_path: Path, kind: Kind) -> None:
    notes = play(tmp_path / "stack", plan_of(BROKER_AWAY_S, *((kind, link) for link in KAFKA_LINKS)))
    assert notes.restarts > 0


@pytest.mark.parametrize("engine", ["kafka/data", "clickhouse"])
def test_a_disk_is_full_for_a_while(tmp_path: Path, engine: str) -> None:
    directory = tmp_path / "stack"

    async def fill(scene: Scene) -> None:
        await asyncio.sleep(BEFORE_S)
        ballast = directory / engine / "ballast"
        try:
            async with asyncio.timeout(DISK_FULL_S):
                while True:
                    # Again and again: what stops for want of room gives some back.
                    await asyncio.to_thread(fill_up, ballast)
                    await asyncio.sleep(LOOK_S / 10)
        except TimeoutError:
            ballast.unlink()

    with small_disk(directory / engine):
        play(directory, plan_of(DISK_FULL_S), fill)
    logs = [log.read_text(errors="replace") for log in (directory / "log").iterdir()]
    assert any(NO_ROOM.search(text) for text in logs), "nobody noticed that the disk was full"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of `DISK_BYTES` in `folder`; skips where one can't be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily, for a second Ctrl-C may leave processes behind for a moment that still have files open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(ballast: Path) -> None:
    """Let a file grow until nothing fits on its disk any more."""
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        for block in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(block)):
                    pass
    os.sync()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not at {DATA}")
def test_whole_data_sets_come_to_the_same_in_every_order(start_pipeline: StartPipeline, tmp_path: Path) -> None:
    outcomes: dict[Order, Outcome] = {}
    orders: Sequence[Order] = ("file", "reverse", "shuffled")
    for order in orders:
        with start_pipeline() as pipeline:
            events, began = 0, time.monotonic()
            for name in arranged(list(SETS), order, Random(1)):
                folder = write_sample(DATA, tmp_path / order, name, Sample(order=order))
                imported = pipeline.run_import(MANIFESTS / f"{name}.yaml", base=folder).events
                assert imported > 100
                events += imported
            imported_s = time.monotonic() - began
            asyncio.run(work_off(pipeline))
            print(f"\n{order}: {events:,} events in {imported_s:.0f} s, worked off at {time.monotonic() - began:.0f} s")
            outcomes[order] = figures(pipeline)
            assert pipeline.audit().sound
    for order in orders[1:]:
        assert differences(outcomes[order], outcomes["file"]) == [], order


async def work_off(pipeline: Pipeline) -> None:
    """Return when nothing is left to do."""
    async with Progress(pipeline.settings) as progress:
        await progress.wait_until_drained(WORK_OFF_S)


def figures(pipeline: Pipeline) -> Outcome:
    """All rows of KPI views; of views of present facts, which are large, a sum of what their rows hash to."""
    found = dict(pipeline.outcome(views="kpi\\_%"))
    with connect(pipeline.settings) as client:
        views = client.query(
            "SELECT table, groupArray(name) FROM system.columns WHERE database = currentDatabase()"
            " AND table LIKE 'current\\_%' AND name != 'revision' GROUP BY table"
        ).result_rows
        for view, columns in views:
            hashed = f"cityHash64(tuple({', '.join(columns)}))"
            answer = client.query(f"SELECT count(), sum({hashed}) FROM {view}")
            found[view] = ("rows", "hashes"), tuple(map(tuple, answer.result_rows))
    return found
