"""What the comparison with reference figures rests on; the data sets themselves are no part of the tests."""

import csv
import gzip
from pathlib import Path

import pytest

from connectors.manifest import read_manifest
from connectors.mapping import check_manifest
from tests.data.plain_reference import EXEMPT, SETS, differences, expected_of, leaves, percentile, read_rows, top
from tests.data.reference_check import MANIFESTS
from tests.data.sampling import Sample, write_sample


@pytest.mark.parametrize("name", SETS)
def test_the_manifests_of_the_sets_are_of_the_right_form(name: str) -> None:
    check_manifest(read_manifest(MANIFESTS / f"{name}.yaml"))


def test_percentiles_lie_between_the_closest_ranks() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([1, 2], 0.9) == pytest.approx(1.9)
    assert percentile([7], 0.95) == 7
    assert percentile([], 0.5) is None


def test_every_missing_superfluous_and_different_figure_is_named() -> None:
    expected = {"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2]}
    found = {"a": 1, "b": {"c": 4, "x": 5}, "e": [1, 3]}
    assert list(differences(expected, found)) == [
        ("b/c", 2, 4),
        ("b/d", 3, None),
        ("b/x", None, 5),
        ("e/1", 2, 3),
    ]
    assert leaves(expected) == 5


def test_of_the_largest_those_that_tie_with_the_last_may_be_named_or_not() -> None:
    values = {"a": 9, "b": 5, "c": 5, "d": 1}
    assert top(values, 2) == {"a": 9, "b": 5, "c": 5}
    place = "outbound_by_brand_top20"
    assert list(differences({"a": 9, "c": 5}, top(values, 2), place)) == []
    assert list(differences({"a": 9, "c": 5}, {"a": 9, "b": 6, "c": 5}, place)) == [(f"{place}/b", None, 6)]


def test_exempt_figures_are_left_out_and_nothing_else() -> None:
    reference = {
        "olist": {"_def": {}, "rows": {"orders": 1}, "weighted": {"orders": 2.5, "late_share_of_delivered": 0.1}}
    }
    assert "olist/weighted/orders" in EXEMPT
    assert expected_of(reference, "olist") == {"rows": {"orders": 1}, "weighted": {"late_share_of_delivered": 0.1}}


def write_shop(folder: Path) -> None:
    """A made-up set in the layout of online_retail."""
    folder.mkdir(parents=True)
    with gzip.open(folder / "lines.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["InvoiceNo", "CustomerID", "Quantity"])
        writer.writerows([number // 3, number // 30 if number % 2 else "", number] for number in range(3000))


def test_a_sample_holds_whole_entities_and_is_the_same_for_a_seed_in_any_order(tmp_path: Path) -> None:
    write_shop(tmp_path / "data" / "online_retail")
    whole = read_rows(tmp_path / "data" / "online_retail" / "lines.csv.gz")
    taken = {}
    for order in ("file", "reverse", "shuffled"):
        sample = Sample(share=0.3, seed=7, order=order)
        folder = write_sample(tmp_path / "data", tmp_path / order, "online_retail", sample)
        taken[order] = read_rows(folder / "lines.csv.gz")
    assert taken["file"] == taken["reverse"][::-1] != taken["shuffled"]
    numbers = {row["Quantity"] for row in taken["file"]}
    assert numbers == {row["Quantity"] for row in taken["shuffled"]}
    assert 0 < len(numbers) < len(whole)
    customers = {row["CustomerID"] for row in taken["file"]} - {""}
    assert all(row["Quantity"] in numbers for row in whole if row["CustomerID"] in customers)
