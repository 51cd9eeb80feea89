"""Real data through the whole pipeline, and its figures compared with reference figures.

    python -m tests.data.reference_check DATA_DIR [--sample 0.05 --seed 1] [--order file|reverse|shuffled] [SET ...]

Starts the embedded stack with all workers, imports a set, waits until everything is worked off, asks KPI views and
current states by SQL, and compares each figure that reference.json defines for the set. For a sample the reference is
computed from the same rows by `plain_reference`, which reproduces reference.json from the whole sets. Exit status 0
only when all agree. DATA_DIR: any folder of the same layout.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.files import run_import
from streams.cli.pipeline import start_pipeline
from streams.clickhouse import connect
from streams.embedded.stack import Stack
from streams.progress import Progress
from streams.settings import Settings, load
from tests.data import pipeline_figures, plain_reference
from tests.data.pipeline_figures import FROM_EVENTS
from tests.data.plain_reference import EXEMPT, SETS, Figures, differences, expected_of, leaves
from tests.data.sampling import Sample, write_sample
from tests.data.stages import cpu_seconds, describe

MANIFESTS = Path(__file__).parent
DRAIN_S = 1800.0
SHOWN = 10
"""Differences shown of a block."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the check; exit status 1 when a figure differs."""
    parser = argparse.ArgumentParser(prog="reference_check", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, help="folder with the data sets and reference.json")
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"sets to check: {', '.join(SETS)}; else all of them")
    parser.add_argument("--sample", type=float, default=1.0, help="share of orders, incidents, conversations, invoices")
    parser.add_argument("--seed", type=int, default=1, help="of the sample and of the shuffled order")
    parser.add_argument("--order", choices=["file", "reverse", "shuffled"], default="file", help="order of the rows")
    given = parser.parse_intermixed_args(arguments)
    sample = Sample(share=given.sample, seed=given.seed, order=given.order)
    names = given.sets or SETS
    if unknown := set(names) - set(SETS):
        parser.error(f"no such set: {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    wrong = 0
    for name in names:
        with _folder(given.data, name, sample) as folder:
            expected = _expected(given.data, name, folder, sample)
            found = asyncio.run(_through_the_pipeline(name, folder))
        wrong += compare(name, expected, found)
    print(f"{'all figures agree' if not wrong else f'{wrong} figures differ'}")
    for reasons, words in ((EXEMPT, "not compared"), (FROM_EVENTS, "asked of events")):
        for block, reason in reasons.items():
            if block.partition("/")[0] in names:
                print(f"{words}: {block}: {reason}")
    return 1 if wrong else 0


def compare(name: str, expected: Figures, found: Figures) -> int:
    """Prints agreement block by block; returns the number of figures that differ."""
    wrong = 0
    for block, figures in expected.items():
        differing = list(differences(figures, found.get(block), block))
        wrong += len(differing)
        print(f"{name}/{block}: {leaves(figures) - len(differing)} agree, {len(differing)} differ")
        for place, one, other in differing[:SHOWN]:
            print(f"    {name}/{place}: expected {one}, the pipeline has {other}")
    return wrong


def _expected(data: Path, name: str, folder: Path, sample: Sample) -> Figures:
    reference = data / "reference.json"
    if sample.share >= 1 and reference.exists():
        return expected_of(json.loads(reference.read_text()), name)
    return plain_reference.FIGURES[name](folder)


@contextmanager
def _folder(data: Path, name: str, sample: Sample) -> Iterator[Path]:
    """The folder of a set as it is imported."""
    if sample.share >= 1 and sample.order == "file":
        yield data / name
        return
    with tempfile.TemporaryDirectory() as target:
        yield write_sample(data, Path(target), name, sample)


async def _through_the_pipeline(name: str, folder: Path) -> Figures:
    with tempfile.TemporaryDirectory() as directory:
        stack = Stack(_settings(directory))
        try:
            await start_pipeline(stack, lambda text: None)
            before, began = cpu_seconds(stack), time.monotonic()
            report = await run_import(stack.settings, MANIFESTS / f"{name}.yaml", base=folder)
            imported = time.monotonic()
            async with Progress(stack.settings) as progress:
                await progress.wait_until_drained(DRAIN_S)
            done_s = time.monotonic() - began
            print(
                f"{name}: {report.events:,} events and texts, {report.bad_rows} bad rows; imported in"
                f" {imported - began:.1f} s, worked off after {done_s:.1f} s: {report.events / done_s:,.0f} events/s"
            )
            print(f"{name}: {describe(before, cpu_seconds(stack), report.events)}")
            client = connect(stack.settings)
            try:
                return pipeline_figures.FIGURES[name](lambda select: _rows(client, select))
            finally:
                client.close()
        finally:
            await stack.stop()


def _rows(client: Any, select: str) -> Sequence[Sequence[Any]]:
    rows: Sequence[Sequence[Any]] = client.query(select).result_rows
    return rows


def _settings(directory: str) -> Settings:
    """Of a stack of its own: what the environment says of servers is not meant for it."""
    return load({}, directory=directory)


if __name__ == "__main__":
    sys.exit(main())
