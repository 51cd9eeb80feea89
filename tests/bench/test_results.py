"""What the bench makes of figures, and that its inputs are what they are said to be. Without engines."""

from datetime import UTC, datetime
from io import StringIO
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from streams.errors import Refused
from tests.bench import __main__ as bench
from tests.bench import delay, delivery, growth, sales, staged, views
from tests.bench.results import Report, Spread, Table, at_least, at_most, percentile, ratio, spread, text_of

AT = datetime(2026, 3, 2, tzinfo=UTC)


def test_a_spread_is_minimum_median_maximum() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(minimum=1.0, median=2.0, maximum=3.0)
    assert spread([4.0, 1.0]) == Spread(minimum=1.0, median=2.5, maximum=4.0)
    assert spread([]) is None


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(100, 0.99, 99), (1000, 0.99, 990), (101, 0.99, 100), (1, 0.5, 1), (2, 0.5, 1)]
)
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(
    count: int, share: float, expected: float
) -> None:
    values = [float(value) for value in range(count, 0, -1)]
    assert percentile(values, share) == expected
    assert sum(value <= expected for value in values) >= share * count


def test_no_values_have_no_percentile_and_no_ratio() -> None:
    assert percentile([], 0.99) is None
    assert ratio(1.0, None) is None
    assert ratio(1.0, 0.0) is None


def test_an_aim_is_met_at_its_bound_and_not_without_a_figure() -> None:
    assert at_most("a", 12.0, 12).met
    assert not at_most("a", 12.1, 12).met
    assert at_least("a", 40.0, 40).met
    assert not at_least("a", 39.9, 40).met
    assert not at_most("a", None, 12).met
    assert not at_least("a", None, 40).met


def test_cells_are_printed_with_three_digits_and_a_dash_for_nothing() -> None:
    cells = (0.123, 9.87, 98.76, 12345.6, 0, None, "word", spread([1.0, 2.0, 3.0]), spread([2.0]))
    printed = ["0.12", "9.9", "98.8", "12,346", "0", "-", "word", "1.0 / 2.0 / 3.0", "2.0"]
    assert [text_of(cell) for cell in cells] == printed


def test_a_report_is_printed_whole_and_comes_back_from_its_json() -> None:
    table = Table(title="Times", columns=("what", "ms"), rows=(("a", 1.5), ("b", None), ("c", spread([1.0, 3.0]))))
    report = Report(job="some", quick=True, tables=(table,), aims=(at_most("a in ms", 1.5, 1),), notes=("[odd] note",))
    screen = StringIO()
    bench.show(report, Console(file=screen, width=80, markup=False))
    printed = screen.getvalue()
    for word in ("Times", "1.0 / 2.0 / 3.0", "NOT met  a in ms: 1.5, at most 1", "[odd] note"):
        assert word in printed
    saved = bench.Saved(began_at=AT, machine="one", load=0.5, reports=(report,))
    assert msgspec.json.decode(msgspec.json.encode(saved), type=bench.Saved) == saved


def test_an_unknown_job_is_refused_with_the_names_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["speed"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(repr(job) in said for job in bench.JOBS)


def test_a_refused_job_ends_with_status_2_and_what_was_done_before_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*, quick: bool) -> Report:
        raise Refused("no broker")

    def measure(*, quick: bool) -> Report:
        return Report(job="first", quick=quick)

    monkeypatch.setattr(bench, "JOBS", {"first": measure, "second": refuse})
    file = tmp_path / "folder" / "saved.json"
    assert bench.main(["all", "--quick", "--json", str(file)]) == bench.REFUSED
    assert "bench: no broker" in capsys.readouterr().err
    saved = msgspec.json.decode(file.read_bytes(), type=bench.Saved)
    assert [(report.job, report.quick) for report in saved.reports] == [("first", True)]


def test_events_have_about_300_bytes_and_are_counted_per_key() -> None:
    events = list(delivery.make_events(500, 20))
    sizes = [len(msgspec.json.encode(event)) for event in events]
    assert 270 <= min(sizes) <= max(sizes) <= 330
    keys = [event.case_id for event in events]
    assert delivery.counts_of(iter(events)) == [keys[: at + 1].count(key) for at, key in enumerate(keys)]


def test_sales_differ_in_ids_only_and_these_are_of_one_length() -> None:
    told = [sales.sale(sales.ids_of(number), AT, answered=True) for number in range(50)]
    assert all(len(events) == sales.EVENTS for events in told)
    ids = [said.event.event_id for events in told for said in events]
    assert len({*ids}) == len(ids)
    assert len({len(id) for id in ids}) == 1
    assert len({events[0].event.about for events in told}) == 50
    assert all(events[-1].after_s == sales.LASTS_S for events in told)


def test_traffic_comes_in_order_at_its_rate_once_sales_have_got_going() -> None:
    planned = [after_s for after_s, _ in delay.planned(0, 200, 30.0, AT)]
    assert all(before <= after for before, after in pairwise(planned))
    for second in range(int(sales.LASTS_S), 30):
        assert sum(second <= after_s < second + 1 for after_s in planned) == 200


def test_a_delay_of_a_breach_counts_from_the_first_tick_past_the_due_instant() -> None:
    seen = delay.Seen()
    seen.ticks = [10.0, 11.0, 12.0]
    seen.breaches = [(10.0, 10.5), (10.1, 11.25), (12.5, 13.0)]
    assert seen.breached == [0.5, 0.25]  # the tick of the last one was not seen


def test_state_that_is_preloaded_is_what_casework_would_have() -> None:
    mould = growth.Mould(sales.EVENTS - 1)
    for number in (3, 77, 10**9):
        ids = sales.ids_of(number)
        assert dict([mould.entry(ids)]) == growth.entries_of(ids, sales.EVENTS - 1)


def test_rows_that_are_made_add_up_to_the_facts_they_are_said_to_be() -> None:
    made = {table: rows.rows(1000) for table, rows in views.ROWS.items()}
    assert sum(count for table, count in made.items() if table.endswith("_fact")) == 1000 * views.FACTS_PER_SALE
    assert all(count == int(count) for count in made.values())


def test_a_column_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="place has no column customer"):
        views.statement("place", {"id": "String"}, "g1", range(8))
    with pytest.raises(ValueError, match="no value for a column where Point"):
        views.usual("where", "Point", "g1")


def test_the_stages_of_the_pipeline_become_a_table_with_its_aim() -> None:
    reports = [
        staged.report(
            staged.Measured(10, {"sink": {"rows": (1, 2, 3)}, "pipeline": {"above fold and model": (70, above, 90)}}),
            quick=False,
        )
        for above in (79, 81)
    ]
    assert [report.aims[0].met for report in reports] == [True, False]
    assert reports[0].tables[0].rows[0] == ("sink", "rows", Spread(minimum=1, median=2, maximum=3))
    assert not staged.report(staged.Measured(10, {}), quick=False).aims[0].met
