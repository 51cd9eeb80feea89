"""The order in which things arrive, and how often, changes nothing of what is known in the end."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.data.sampling import Order, Sample, write_sample
from tests.end_to_end.conftest import ORDERS, StartPipeline
from tests.end_to_end.pipeline import BY_NOW, Outcome, Pipeline, differences
from tests.end_to_end.shop import arranged, write_shop

pytestmark = pytest.mark.engines

DATA = Path(__file__).parents[3] / "shared" / "data"
MANIFESTS = Path(__file__).parents[1] / "data"
SHARES = {"olist": 0.03, "uci_incidents": 0.01, "twcs_sample": 0.2, "online_retail": 0.002}
"""Of each set: some hundreds of events."""


@pytest.mark.parametrize("order", ["reverse", "shuffled"])
def test_the_shop_comes_to_the_same_in_every_order(
    start_pipeline: StartPipeline, undisturbed: Outcome, tmp_path: Path, order: Order
) -> None:
    with start_pipeline() as pipeline:
        for manifest in write_shop(tmp_path, ORDERS, order):
            pipeline.run_import(manifest)
        pipeline.drain()
        assert differences(pipeline.outcome(), undisturbed) == []
        assert pipeline.audit().sound


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not at {DATA}")
def test_real_data_come_to_the_same_in_every_order(start_pipeline: StartPipeline, tmp_path: Path) -> None:
    outcomes: dict[Order, Outcome] = {}
    orders: Sequence[Order] = ("file", "reverse", "shuffled")
    for order in orders:
        with start_pipeline() as pipeline:
            for name in arranged(list(SHARES), order, Random(1)):
                folder = write_sample(DATA, tmp_path / order, name, Sample(share=SHARES[name], order=order))
                assert pipeline.run_import(MANIFESTS / f"{name}.yaml", base=folder).events > 100
            pipeline.drain()
            outcomes[order] = pipeline.outcome()
            assert pipeline.audit().sound
    for order in orders[1:]:
        assert differences(outcomes[order], outcomes["file"]) == [], order


def test_what_is_imported_twice_changes_nothing(start_pipeline: StartPipeline, shop: list[Path]) -> None:
    with start_pipeline() as pipeline:
        once = known(pipeline, shop, again=False)
        assert known(pipeline, shop, again=False) == once
        twice = known(pipeline, shop, again=True)
        assert differences(twice[0], once[0]) == []
        assert twice[1:] == once[1:]


def known(pipeline: Pipeline, manifests: Sequence[Path], *, again: bool) -> tuple[Outcome, int, int, object]:
    """After an import: what the views hold, revisions too; the number of statements; the events that are stored."""
    for manifest in manifests:
        pipeline.run_import(manifest, again=again)
    pipeline.drain()
    audit = pipeline.audit()
    assert audit.sound
    events = pipeline.ask("SELECT kind, count(), uniqExact(event_id) FROM event FINAL GROUP BY kind ORDER BY kind")
    return pipeline.outcome(but=BY_NOW), audit.facts, audit.source_events, events
