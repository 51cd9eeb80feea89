"""Each process is killed in the midst of its work, and what comes out is what comes out undisturbed.

A worker is held (SIGSTOP) while its input is published, then let run in short slices, until it has done some of its
work; there it is killed. So it makes no difference how fast a machine is.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from streams import codec
from streams.agents.correlate import SOURCES
from streams.domain.events import Tick
from streams.progress import Progress
from tests.end_to_end.conftest import StartPipeline
from tests.end_to_end.pipeline import APPEAR_S, POLL_S, Outcome, Pipeline, differences

pytestmark = pytest.mark.engines

BACKLOG = 100
"""Records that a process must have before it when it is killed: far more than the ticks of a few seconds."""
SLICE_S = 0.05


@contextmanager
def compared(start_pipeline: StartPipeline, undisturbed: Outcome) -> Iterator[Pipeline]:
    """A pipeline that in the end, drained, must have come to what an undisturbed one comes to."""
    with start_pipeline() as pipeline:
        yield pipeline
        pipeline.drain()
        assert differences(pipeline.outcome(), undisturbed) == []
        assert pipeline.audit().sound


def test_killed_importer_triage_and_casework_change_nothing(
    start_pipeline: StartPipeline, undisturbed: Outcome, shop: list[Path]
) -> None:
    with compared(start_pipeline, undisturbed) as pipeline:
        hold(pipeline, "triage", "casework")
        kill_importer_at_work(pipeline, shop[0])
        for manifest in shop:
            assert pipeline.run_import(manifest).events > 0
        kill_at_work(pipeline, "triage", busy_s=0.02)
        kill_at_work(pipeline, "casework")


def test_killed_correlate_clock_and_sink_change_nothing(
    start_pipeline: StartPipeline, undisturbed: Outcome, shop: list[Path]
) -> None:
    with compared(start_pipeline, undisturbed) as pipeline:
        hold(pipeline, "correlate", "sink")
        for manifest in shop:
            pipeline.run_import(manifest)
        # An announcement counts once correlate has passed it: while that one is held, it waits in the clock.
        kill(pipeline, "clock")
        assert not is_told(pipeline, "shop")
        kill_at_work(pipeline, "correlate")
        kill_at_work(pipeline, "sink")


def test_killed_engines_change_nothing(start_pipeline: StartPipeline, undisturbed: Outcome, shop: list[Path]) -> None:
    with compared(start_pipeline, undisturbed) as pipeline:
        hold(pipeline, "correlate")
        pipeline.run_import(shop[0])
        let_go(pipeline, "correlate")
        kill(pipeline, "kafka")
        pipeline.drain()
        hold(pipeline, "sink")
        pipeline.run_import(shop[1])
        wait_for_backlog(pipeline, "sink")
        let_go(pipeline, "sink")
        kill(pipeline, "clickhouse")


def hold(pipeline: Pipeline, *workers: str) -> None:
    """Stop workers in their work, until they are let go or killed."""
    for worker in workers:
        _signal(pipeline, worker, signal.SIGSTOP)


def let_go(pipeline: Pipeline, worker: str) -> None:
    """Let a worker that is held go on."""
    _signal(pipeline, worker, signal.SIGCONT)


def _signal(pipeline: Pipeline, worker: str, number: signal.Signals) -> None:
    pid = pipeline.pid(worker)
    assert pid is not None
    os.killpg(pid, number)


def kill(pipeline: Pipeline, name: str) -> None:
    """Kill a worker or an engine, and return when it is ready again."""
    pid = pipeline.kill(name)
    pipeline.wait_until_back(name, pid)


def kill_at_work(pipeline: Pipeline, worker: str, *, busy_s: float | None = None) -> None:
    """Kill a worker that is held after it has done a part of its work; return when it is ready again.

    `busy_s`: after so much processor time at the latest, for one whose first commit holds all there is to do.
    """
    pid = pipeline.pid(worker)
    began = busy_time_s(pid)

    async def work_in_slices() -> None:
        async with asyncio.timeout(APPEAR_S), Progress(pipeline.settings) as progress:
            left = most = (await progress.unread())[worker] or 0
            while left < BACKLOG or left >= most:
                if busy_s is not None and left >= BACKLOG and busy_time_s(pid) - began >= busy_s:
                    return
                let_go(pipeline, worker)
                await asyncio.sleep(SLICE_S if busy_s is None else busy_s / 4)
                hold(pipeline, worker)
                left = (await progress.unread())[worker] or 0
                assert left >= BACKLOG or left >= most, f"{worker} has done all of its {most} records in one slice"
                most = max(most, left)

    asyncio.run(work_in_slices())
    kill(pipeline, worker)


def busy_time_s(pid: int | None) -> float:
    """Processor time that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def kill_importer_at_work(pipeline: Pipeline, manifest: Path) -> None:
    """Kill an import that has published something, and not all."""
    with pipeline.begin_command("import", str(manifest)) as importer:
        while not pipeline.read(*SOURCES):
            importer.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                importer.wait(SLICE_S)
            assert importer.poll() is None, importer.communicate()
            importer.send_signal(signal.SIGSTOP)
        importer.kill()
        assert importer.wait() == -signal.SIGKILL


def wait_for_backlog(pipeline: Pipeline, worker: str) -> None:
    """Return when there is work for a worker that is held."""

    async def wait() -> None:
        async with asyncio.timeout(APPEAR_S), Progress(pipeline.settings) as progress:
            while ((await progress.unread())[worker] or 0) < BACKLOG:  # noqa: ASYNC110 - what others do is no event
                await asyncio.sleep(POLL_S)

    asyncio.run(wait())


def is_told(pipeline: Pipeline, account: str) -> bool:
    """Whether a tick says how far an account has been heard."""
    values = [record.value for record in pipeline.read("timeline")]
    ticks = [codec.decode(value) for value in values if codec.name_of(value) == Tick.NAME]
    return any(told.account == account for tick in ticks for told in tick.accounts)
