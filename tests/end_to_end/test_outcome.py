"""When two outcomes are the same."""

from tests.end_to_end.pipeline import Figure, Outcome, differences

MEAN = 20.477421875
"""Of eight times of delivery in days, as ClickHouse once added it up, and below as it did another time."""


def _outcome(*rows: tuple[object, ...]) -> Outcome:
    return {"kpi_delivery": (("month", "days_taken_mean"), rows)}


def test_a_mean_that_was_added_up_in_another_order_is_the_same() -> None:
    assert differences(_outcome(("all", Figure(MEAN))), _outcome(("all", Figure(MEAN - 4e-15)))) == []


def test_a_figure_that_differs_in_a_digit_that_counts_is_found_with_both_its_rows() -> None:
    found = differences(_outcome(("all", Figure(MEAN))), _outcome(("all", Figure(MEAN + 1e-6))))
    assert [line.partition(": {")[0] for line in found] == ["kpi_delivery: only found", "kpi_delivery: only expected"]


def test_a_figure_is_not_the_same_as_none() -> None:
    assert len(differences(_outcome(("all", Figure(0.0))), _outcome(("all", None)))) == 2


def test_a_row_that_is_there_twice_is_found() -> None:
    row = "all", Figure(MEAN)
    assert len(differences(_outcome(row, row), _outcome(row))) == 1
