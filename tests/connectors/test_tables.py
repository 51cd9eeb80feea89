"""Files as they come: every kind of damage has a named outcome, and a bad row costs no other row."""

import gzip
import os
from hashlib import sha256
from pathlib import Path

import pytest

from connectors import tables
from connectors.files import BAD_ROWS_IN_SUCCESSION
from connectors.tables import BadRow, Row, open_table
from streams.delivery.dead_letters import RAW_BYTES
from streams.errors import Refused
from tests.connectors.shop import GOOD, HEADER, imported, plan_of, read_step, reasons, write_file


def test_a_row_with_too_few_or_too_many_values_is_a_dead_letter(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, HEADER + "2,2026-03-02\n" + GOOD + GOOD.replace("1,", "3,").strip() + ",x\n")
    assert [event.about for event in events] == ["order:shop:1"]
    assert reasons(dead) == [("wrong_columns", 2), ("wrong_columns", 4)]
    assert "2 values; the header has 5 columns" in dead[0].detail


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("2,2026-03-02,ann,lost,1", "unknown_value", "order.status: 'lost' is none of: new, gone"),
        ("2,2026-02-30,ann,new,1", "wrong_time", "order.event_at: '2026-02-30' is no time of the form"),
        ("2,,ann,new,1", "missing_value", "order.event_at: there is no value"),
        ("2,2026-03-02,ann,new,twelve", "wrong_number", "order.total_minor: 'twelve' is no amount"),
        ("2,2026-03-02,ann,new,1.505", "wrong_number", "has more than the 2 decimals of EUR"),
        ("a b,2026-03-02,ann,new,1", "wrong_id", "order.about: 'order:shop:a b' is not of the form"),
    ],
)
def test_a_value_that_makes_no_sense_is_a_dead_letter_that_names_it(
    tmp_path: Path, row: str, reason: str, detail: str
) -> None:
    events, dead = imported(tmp_path, f"{HEADER}{row}\n{GOOD}")
    assert len(events) == 1
    assert reasons(dead) == [(reason, 2)]
    assert detail in dead[0].detail
    assert "mend the row" in dead[0].detail


def test_ten_megabytes_in_one_field_are_one_bad_row(tmp_path: Path) -> None:
    for quote in ("", '"'):
        big = f"2,2026-03-02,{quote}{'x' * 10_000_000}{quote},new,1\n"
        events, dead = imported(tmp_path, HEADER + big + GOOD)
        assert [event.about for event in events] == ["order:shop:1"]
        assert reasons(dead) == [("field_too_large", 2)]
        assert (dead[0].raw_size, len(dead[0].raw)) == (len(big), RAW_BYTES)
        assert dead[0].raw_sha256 == sha256(big.encode()).hexdigest()


def test_a_field_over_the_bound_in_a_line_under_it_is_refused_too(tmp_path: Path) -> None:
    big = f"2,2026-03-02,{'x' * (tables.FIELD_BYTES + 1)},new,1\n"
    events, dead = imported(tmp_path, HEADER + big + GOOD)
    assert (len(events), reasons(dead)) == (1, [("field_too_large", 2)])


def test_invalid_utf8_costs_only_its_row(tmp_path: Path) -> None:
    bad = b"2,2026-03-02,M\xfcller,new,1\n"
    events, dead = imported(tmp_path, HEADER.encode() + bad + GOOD.encode())
    assert (len(events), reasons(dead)) == (1, [("invalid_utf8", 2)])
    assert dead[0].raw == bad


def test_a_nul_byte_costs_only_its_row(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, f"{HEADER}2,2026-03-02,a\0b,new,1\n{GOOD}")
    assert (len(events), reasons(dead)) == (1, [("nul_byte", 2)])


def test_lines_are_counted_right_across_quoted_line_breaks(tmp_path: Path) -> None:
    quoted = '2,2026-03-02,"ann\nof\nsomewhere",new,1\n'
    events, dead = imported(tmp_path, f"{HEADER}{quoted}\n3,never,ann,new,1\n{GOOD}")
    assert [event.about for event in events] == ["order:shop:2", "order:shop:1"]
    assert reasons(dead) == [("wrong_time", 6)]


def test_an_unclosed_quote_swallows_no_other_row(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, f'{HEADER}2,2026-03-02,"ann,new,1\n{GOOD}{GOOD.replace("1,", "3,", 1)}')
    assert [event.about for event in events] == ["order:shop:1", "order:shop:3"]
    assert reasons(dead) == [("unclosed_quote", 2)]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ('2,2026-03-02,"ann,new,1', '9,2026-03-02,"bob,new,1', [("wrong_csv", 2), ("unclosed_quote", 5)]),
        ('2,2026-03-02,"ann,new,1', '9,2026-03-02,bob,new,"', [("wrong_columns", 2), ("unclosed_quote", 5)]),
    ],
)
def test_two_quotes_without_their_partners_cost_only_their_rows(
    tmp_path: Path, first: str, last: str, expected: list[tuple[str, int]]
) -> None:
    rows = GOOD + GOOD.replace("1,", "3,", 1)
    events, dead = imported(tmp_path, f"{HEADER}{first}\n{rows}{last}\n{GOOD.replace('1,', '4,', 1)}")
    assert [event.about for event in events] == ["order:shop:1", "order:shop:3", "order:shop:4"]
    assert reasons(dead) == expected
    assert dead[0].raw == f"{first}\n".encode()
    assert "read on their own" in dead[0].detail


def test_a_value_over_the_bound_across_lines_costs_no_row_within_it(tmp_path: Path) -> None:
    rows = "".join(GOOD.replace("1,", f"{number},", 1) for number in range(10, 20_000))
    events, dead = imported(tmp_path, f'{HEADER}2,2026-03-02,"ann\n{rows}",new,1\n')
    assert len(events) == 19_990
    assert reasons(dead) == [("field_too_large", 2), ("unclosed_quote", 19_993)]


def test_a_line_too_long_behind_an_open_quote_stays_one_bad_row(tmp_path: Path) -> None:
    big = f"5,2026-03-02,ann,new,{'1' * 2_000_000}\n"
    events, dead = imported(tmp_path, f'{HEADER}2,2026-03-02,"ann,new,1\n{big}{GOOD}')
    assert [event.about for event in events] == ["order:shop:1"]
    assert reasons(dead) == [("unclosed_quote", 2), ("field_too_large", 3)]
    assert (dead[1].raw_size, dead[1].raw_sha256) == (len(big), sha256(big.encode()).hexdigest())


def test_a_line_too_long_is_cut_between_letters(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, f"{HEADER}2,2026-03-02,{'ü' * 2_000_000},new,1\n{GOOD}")
    assert (len(events), reasons(dead)) == (1, [("field_too_large", 2)])


def test_a_wrong_byte_in_a_well_quoted_row_of_several_lines_costs_that_row_alone(tmp_path: Path) -> None:
    content = HEADER.encode() + b'2,2026-03-02,"ann\n3,2026-03-02,M\xfcller,new,1\n",new,1\n' + GOOD.encode()
    events, dead = imported(tmp_path, content)
    assert [event.about for event in events] == ["order:shop:1"]
    assert reasons(dead) == [("invalid_utf8", 2)]
    assert "of line 3 " in dead[0].detail


def test_a_quote_that_stays_open_is_looked_for_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RECORD_BYTES", 1000)
    rows = "".join(GOOD.replace("1,", f"{number},", 1) for number in range(10, 100))
    events, dead = imported(tmp_path, f'{HEADER}2,2026-03-02,"ann,new,1\n{rows}')
    assert len(events) == 90
    assert reasons(dead) == [("unclosed_quote", 2)]


def test_text_behind_a_closing_quote_is_a_bad_row(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, f'{HEADER}2,2026-03-02,"ann"x,new,1\n{GOOD}')
    assert (len(events), reasons(dead)) == (1, [("wrong_csv", 2)])


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, b"\xef\xbb\xbf" + (HEADER + GOOD).encode())
    assert (len(events), dead) == (1, [])


def test_blank_lines_and_a_missing_last_line_break_change_nothing(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, f"{HEADER}\n\r\n{GOOD.strip()}")
    assert (len(events), dead) == (1, [])


def test_a_truncated_gzip_file_gives_its_rows_and_is_then_refused(tmp_path: Path) -> None:
    rows = "".join(f"{number},2026-03-02,{sha256(bytes([number % 256])).hexdigest()},new,1\n" for number in range(5000))
    whole = gzip.compress((HEADER + rows).encode())
    path = tmp_path / "orders.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    table = open_table(path)
    read: list[Row | BadRow] = []
    with pytest.raises(Refused, match=rf"orders.csv.gz breaks off at byte {len(whole) // 2}") as refusal:
        read.extend(table.rows())
    assert 0 < len(read) < 5000
    assert not any(isinstance(row, BadRow) for row in read)
    assert f"up to line {read[-1].line} are read" in str(refusal.value)


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress((HEADER + GOOD * 1000).encode()))
    whole[-5] ^= 0xFF
    path = tmp_path / "orders.csv.gz"
    path.write_bytes(whole)
    with pytest.raises(Refused, match="is damaged behind line 1001"):
        list(open_table(path).rows())


@pytest.mark.parametrize(
    ("name", "content", "refusal"),
    [
        ("orders.csv", b"", "is empty: no header line"),
        ("orders.csv.gz", gzip.compress(b""), "is empty: no header line"),
        ("orders.csv.gz", b"", "is not a gzip file: it begins with nothing"),
        ("orders.csv.gz", HEADER.encode(), "is not a gzip file: it begins with 69 64"),
        ("orders.csv", "id,at".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("orders.csv", "id,at".encode("utf-32"), "is UTF-32: save it as UTF-8"),
        ("orders.csv", b"\0\0\xfe\xff" + "id,at".encode("utf-32-be"), "is UTF-32: save it as UTF-8"),
        ("orders.csv", b"i\xffd,at\n", "the header can't be read: invalid_utf8"),
        ("orders.jsonl", b"\n", "is empty: no JSON object"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, refusal: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Refused, match=refusal):
        open_table(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"orders\.csv does not exist"):
        open_table(tmp_path / "orders.csv")


def test_what_is_no_file_is_refused_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is a folder"):
        open_table(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/null"), tmp_path / "pipe"):
        with pytest.raises(Refused, match="is no regular file"):
            open_table(path)


def test_a_wrong_delimiter_is_refused_with_the_one_that_fits(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"only one column is found by the delimiter ','; ';' would fit"):
        plan_of(tmp_path, (HEADER + GOOD).replace(",", ";"))


def test_too_many_bad_rows_in_succession_open_the_breaker(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, HEADER + "x\n" * BAD_ROWS_IN_SUCCESSION)
    with pytest.raises(Refused, match=f"{BAD_ROWS_IN_SUCCESSION} bad rows in succession, up to line 1001"):
        read_step(plan.steps[0])


def test_bad_rows_between_good_ones_do_not_open_the_breaker(tmp_path: Path) -> None:
    events, dead = imported(tmp_path, HEADER + ("x\n" * (BAD_ROWS_IN_SUCCESSION - 1) + GOOD) * 2)
    assert (len(events), len(dead)) == (2, 2 * BAD_ROWS_IN_SUCCESSION - 2)


def test_json_lines_are_rows_whose_numbers_keep_every_digit(tmp_path: Path) -> None:
    lines = (
        '{"id": 1, "at": "2026-03-02T01:30:00Z", "who": null, "state": "new", "total": 0.10}\n'
        '{"id": 2, "at": "2026-03-02T01:30:00Z", "state": "new", "total": 90071992547409.93, "more": {"x": [1]}}\n'
        "[1]\n{oops\n"
    )
    events, dead = imported(tmp_path, lines, name="orders.jsonl.gz")
    assert [event.total_minor for event in events] == [10, 9007199254740993]
    assert reasons(dead) == [("wrong_json", 3), ("wrong_json", 4)]


def test_nested_json_objects_are_columns_with_points_in_their_names(tmp_path: Path) -> None:
    path = write_file(tmp_path, '{"a": {"b": {"c": true}}, "d": "\\ud800"}\n{"a": {"b": {"c": true}}}\n', "x.jsonl")
    table = open_table(path)
    assert table.columns == ("a.b.c",)
    bad, good = table.rows()
    assert isinstance(bad, BadRow)
    assert bad.error.code == "wrong_json"
    assert not isinstance(good, BadRow)
    assert good.values == ["true"]


def test_deeply_nested_json_is_a_bad_row_and_no_crash(tmp_path: Path) -> None:
    path = write_file(tmp_path, '{"a": 1}\n' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "\n", "x.jsonl")
    _, bad = open_table(path).rows()
    assert isinstance(bad, BadRow)
