"""What tests of this folder share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.pipeline import Outcome, Pipeline, running, settled
from tests.end_to_end.shop import write_shop
from tests.engines import RunningStack, apart

ORDERS = 700
"""Of the shop: about 8,000 events, several seconds of work."""

StartPipeline = Callable[..., AbstractContextManager[Pipeline]]


@pytest.fixture(scope="session")
def start_pipeline(stack: RunningStack) -> StartPipeline:
    """Starts pipelines, one after the other: each has a namespace and a database of its own.

    A mapping given to it names modules that run in place of workers.
    """

    @contextmanager
    def start(entries: Mapping[str, str] | None = None) -> Iterator[Pipeline]:
        with running(stack, settled(apart(stack)), entries) as pipeline:
            yield pipeline

    return start


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Manifests of the made-up shop, in the order in which they are imported."""
    return write_shop(tmp_path_factory.mktemp("shop"), ORDERS)


@pytest.fixture(scope="session")
def undisturbed(start_pipeline: StartPipeline, shop: list[Path]) -> Outcome:
    """What the shop comes to when its files are imported in their order and nothing happens meanwhile."""
    with start_pipeline() as pipeline:
        for manifest in shop:
            pipeline.run_import(manifest)
        pipeline.drain()
        return pipeline.outcome()
