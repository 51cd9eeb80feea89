"""Samples of the real data sets go through the whole pipeline and give the figures that a plain script computes."""

from pathlib import Path

import pytest

from tests.data.plain_reference import SETS
from tests.data.reference_check import main

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.engines
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not at {DATA}")
@pytest.mark.parametrize("name", SETS)
def test_a_sample_gives_the_figures_of_the_plain_script(name: str) -> None:
    assert main([str(DATA), name, "--sample", "0.05", "--seed", "1"]) == 0
