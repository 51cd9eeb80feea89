"""The import as a whole: what is stopped, killed or repeated gives the same events, and bad input is told of.

`Ledger` stands in for Kafka: it keeps what is published, and dies when told to. `test_import_engines` asks a broker.
"""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors import files, lookups
from connectors.files import FileReport, Import, ImportReport, Plan, plan_import
from streams import codec
from streams.domain.events import Cursor
from streams.errors import Refused
from tests.connectors.shop import HEADER, ORDERS, SECRET, plan_of, write_file

ROWS = HEADER + "".join(f"{number},2026-03-02 01:{number % 60:02}:00,ann,new,{number}\n" for number in range(1000))


class Killed(Exception):
    """The process ends here."""


class Ledger:
    """A publisher that keeps records; what is not flushed when it dies may or may not be there."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, Any]] = []
        self.left: int | None = None
        """Records until it dies; None: it lives."""

    async def publish(self, noun: str, key: str, record: bytes) -> None:
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        self.records.append((noun, key, codec.decode(record)))

    async def flush(self) -> None:
        await asyncio.sleep(0)

    def event_ids(self) -> list[str]:
        return [record.event_id for noun, _, record in self.records if noun == "order"]

    def cursor(self) -> Cursor | None:
        return next((record for noun, _, record in reversed(self.records) if noun == "cursor"), None)


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SLICE_ROWS", 10)
    monkeypatch.setattr(files, "SAVE_ROWS", 100)


def run(
    plan: Plan,
    ledger: Ledger,
    *,
    progress: Callable[[FileReport], None] = lambda report: None,
    stop_at: int | None = None,
) -> tuple[ImportReport, datetime | None]:
    """Imports a plan as `run_import` does; with `stop_at`, Ctrl-C comes after so many rows."""

    async def work() -> tuple[ImportReport, datetime | None]:
        stop = asyncio.Event()

        def watch(report: FileReport) -> None:
            if stop_at is not None and report.rows >= stop_at:
                stop.set()
            progress(report)

        running = Import(ledger, plan, watch, stop)
        for step in plan.steps:
            await running.read_file(step, ledger.cursor())
        if not running.stopped:
            await running.finish()
        return running.report(), running.newest

    return asyncio.run(work())


def test_an_import_that_is_killed_anywhere_and_begun_again_gives_the_same_events(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ROWS)
    whole = Ledger()
    run(plan, whole)
    for killed_after in (0, 1, 99, 101, 555, 1008):
        ledger = Ledger()
        ledger.left = killed_after
        with pytest.raises(Killed):
            run(plan, ledger)
        ledger.left = None
        report, newest = run(plan, ledger)
        assert set(ledger.event_ids()) == set(whole.event_ids())
        assert len(ledger.event_ids()) <= len(whole.event_ids()) + files.SAVE_ROWS
        assert newest == datetime(2026, 3, 2, 1, 59, tzinfo=UTC)
        assert report.files[0].rows == 1000


def test_the_cursor_is_never_ahead_of_the_events(tmp_path: Path) -> None:
    ledger = Ledger()
    run(plan_of(tmp_path, ROWS), ledger)
    events = 0
    for noun, _, record in ledger.records:
        events += noun == "order"
        if noun == "cursor":
            assert record.row == events


def test_a_file_that_was_imported_is_not_read_again(tmp_path: Path) -> None:
    plan, ledger = plan_of(tmp_path, ROWS), Ledger()
    run(plan, ledger)
    before = len(ledger.records)
    report, newest = run(plan_import(tmp_path / "manifest.yaml", tmp_path, lambda: SECRET), ledger)
    assert report.files[0].state == "unchanged"
    assert (len(ledger.records), newest) == (before, None)


@pytest.mark.parametrize("change", ["file", "mapping", "look-up"])
def test_a_file_that_was_imported_is_read_again_from_its_start_when_something_changed(
    tmp_path: Path, change: str
) -> None:
    manifest = "lookups: {people: {file: people.csv, key: name}}\n" + ORDERS.replace(
        "    events:", "    join: {people: who}\n    events:"
    )
    write_file(tmp_path, "name\nann\n", "people.csv")
    plan, ledger = plan_of(tmp_path, ROWS, manifest), Ledger()
    run(plan, ledger)
    match change:
        case "file":
            plan = plan_of(tmp_path, ROWS + "1000,2026-03-03,ann,new,1\n", manifest)
        case "mapping":
            plan = plan_of(tmp_path, ROWS, manifest.replace("EUR", "USD"))
        case _:
            write_file(tmp_path, "name\nbob\n", "people.csv")
            plan = plan_of(tmp_path, ROWS, manifest)
    run(plan, ledger)
    ids = ledger.event_ids()
    assert len(ids) == 2000 + (change == "file")
    assert len(set(ids)) == 1000 + (change == "file")


def test_ctrl_c_stops_behind_the_current_rows_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PROGRESS_S", 0.0)
    plan, ledger = plan_of(tmp_path, ROWS), Ledger()
    report, _ = run(plan, ledger, stop_at=500)
    assert report.stopped
    assert (report.files[0].state, report.files[0].rows, report.through_at) == ("stopped", 500, None)
    cursor = ledger.cursor()
    assert cursor is not None
    assert (cursor.row, cursor.finished) == (500, False)
    report, _ = run(plan, ledger)
    assert not report.stopped
    assert (report.files[0].resumed_after, report.files[0].events) == (500, 500)
    assert len(ledger.event_ids()) == len(set(ledger.event_ids())) == 1000


def test_an_account_is_never_read_further_than_the_present(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(hours=20)
    report, newest = run(plan_of(tmp_path, f"{ROWS}1000,{soon.isoformat()},ann,new,1\n"), ledger := Ledger())
    assert len(ledger.event_ids()) == 1001
    assert newest is not None
    assert newest <= datetime.now(UTC)
    assert report.through_at == newest


def test_a_row_of_the_future_is_a_dead_letter(tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=1, minutes=1)
    ledger = Ledger()
    _, newest = run(plan_of(tmp_path, f"{ROWS}1000,{later.isoformat()},ann,new,1\n"), ledger)
    assert newest == datetime(2026, 3, 2, 1, 59, tzinfo=UTC)
    (letter,) = (record for noun, _, record in ledger.records if noun == "dead_letter")
    assert (letter.reason, letter.origin_file, letter.origin_line) == ("in_the_future", "orders.csv", 1002)
    assert "order.event_at" in letter.detail


def test_a_file_that_changes_while_it_is_read_is_refused_and_read_again_from_its_start(tmp_path: Path) -> None:
    plan, ledger = plan_of(tmp_path, ROWS), Ledger()
    write_file(tmp_path, ROWS.replace("ann", "bob"))
    with pytest.raises(Refused, match=r"orders\.csv has changed while it was being read"):
        run(plan, ledger)
    cursor = ledger.cursor()
    assert cursor is not None
    assert (cursor.row, cursor.finished) == (0, False)
    write_file(tmp_path, ROWS)
    before = len(ledger.event_ids())
    run(plan, ledger)
    assert len(ledger.event_ids()) == before + 1000


def test_a_look_up_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = "lookups: {people: {file: people.csv, key: name}}\n" + ORDERS.replace(
        "    events:", "    join: {people: who}\n    events:"
    )

    def read_lookup(*arguments: Any) -> Any:
        write_file(tmp_path, "name\nbob\n", "people.csv")
        return lookups.read_lookup(*arguments)

    monkeypatch.setattr(files, "read_lookup", read_lookup)
    write_file(tmp_path, "name\nann\n", "people.csv")
    with pytest.raises(Refused, match=r"people\.csv has changed while it was being read"):
        plan_of(tmp_path, ROWS, manifest)


def test_progress_is_told_seldom(tmp_path: Path) -> None:
    told: list[str] = []
    run(plan_of(tmp_path, ROWS), Ledger(), progress=lambda report: told.append(report.state))
    assert told[-1] == "done"
    assert len(told) < 1000 / files.SLICE_ROWS


def test_content_ids_are_the_same_after_a_resumption(tmp_path: Path) -> None:
    manifest = ORDERS.replace("event_id: [id]", "event_id: content")
    plan = plan_of(tmp_path, HEADER + "1,2026-03-02,ann,new,1\n" * 300, manifest)
    ledger = Ledger()
    ledger.left = 250
    with pytest.raises(Killed):
        run(plan, ledger)
    ledger.left = None
    run(plan, ledger)
    assert len(set(ledger.event_ids())) == 300


def test_rows_before_the_breaker_are_kept_and_the_bad_ones_are_looked_at_again(tmp_path: Path) -> None:
    plan, ledger = plan_of(tmp_path, ROWS + "x\n" * files.BAD_ROWS_IN_SUCCESSION), Ledger()
    for _ in range(2):
        with pytest.raises(Refused, match="bad rows in succession"):
            run(plan, ledger)
        cursor = ledger.cursor()
        assert cursor is not None
        assert (cursor.row, cursor.finished) == (1000, False)
    assert len(set(ledger.event_ids())) == len(ledger.event_ids()) == 1000
    dead = {key for noun, key, _ in ledger.records if noun == "dead_letter"}
    assert len(dead) == files.BAD_ROWS_IN_SUCCESSION - 1


def test_a_truncated_file_gives_its_rows_and_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    plan, ledger = plan_of(tmp_path, ROWS, name="orders.csv.gz"), Ledger()
    path = tmp_path / "orders.csv.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(Refused, match="the gzip stream has no end"):
        run(plan_import(tmp_path / "manifest.yaml", tmp_path, lambda: SECRET), ledger)
    read = len(ledger.event_ids())
    assert 0 < read < 1000
    path.write_bytes(whole)
    run(plan, ledger)
    assert len(set(ledger.event_ids())) == 1000


def test_bad_rows_of_a_look_up_are_told_and_cost_only_themselves(tmp_path: Path) -> None:
    manifest = "lookups: {people: {file: people.csv, key: name}}\n" + ORDERS.replace(
        "    events:", "    join: {people: who}\n    events:"
    )
    write_file(tmp_path, "name,code\nann,A\nbob\n", "people.csv")
    ledger = Ledger()
    run(plan_of(tmp_path, ROWS, manifest), ledger)
    (letter,) = (record for noun, _, record in ledger.records if noun == "dead_letter")
    assert (letter.origin_file, letter.origin_line, letter.reason) == ("people.csv", 3, "wrong_columns")
    assert len(ledger.event_ids()) == 1000


def test_a_dead_letter_tells_where_its_input_stands(tmp_path: Path) -> None:
    ledger = Ledger()
    run(plan_of(tmp_path, HEADER + "1,2026-03-02,ann,new\n", name="orders.csv.gz"), ledger)
    noun, key, letter = ledger.records[0]
    assert (noun, key, letter.agent) == ("dead_letter", letter.dead_letter_id, "import")
    assert (letter.account, letter.origin_file, letter.origin_line) == ("shop", "orders.csv.gz", 2)
    assert letter.raw == b"1,2026-03-02,ann,new\n"


def test_stop_requests_are_no_concern_of_other_threads() -> None:
    failures: list[BaseException] = []

    async def block() -> None:
        with files._stop_requests() as stop:
            assert not stop.is_set()

    def work() -> None:
        try:
            asyncio.run(block())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
