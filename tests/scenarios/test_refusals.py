"""What a scenario may not say is refused with file, line, value and what is allowed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.errors import Refused
from streams.scenario import render, run_scenario
from streams.scenario import text as text_module
from streams.scenario.text import Text, read_instant, read_length, show_instant, show_length

HEAD = "scenario: a title\nevents:\n  - {at: 2026-03-02 01:30, customer writes: T1, customer: anna}\n"
EXPECT = "expect:\n  first response of T1: breached\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "story.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "holds no scenario", id="empty file"),
        pytest.param("- a\n", "line 1: a scenario is written as", id="a list"),
        pytest.param("scenario: [", "line 1: this is not YAML", id="broken YAML"),
        pytest.param(HEAD, "line 1: 'expect' is missing", id="nothing expected"),
        pytest.param(HEAD + "expect: {}\n", "line 4: a scenario expects at least one thing", id="empty expectations"),
        pytest.param("scenario: a\nevents: []\nexpect: {}\n", "line 2: a story has at least one event", id="no events"),
        pytest.param(HEAD + EXPECT + "untill: 2026-03-03 00:00\n", "line 6.*Did you mean 'until'", id="unknown part"),
        pytest.param(HEAD + EXPECT + "expect: {}\n", "line 6: 'expect' is there twice", id="a part twice"),
        pytest.param(
            HEAD + "  - {at: 02:00, agent anwsers: T1}\n" + EXPECT,
            "line 4: 'agent anwsers' is no verb. Did you mean 'agent answers'",
            id="unknown verb",
        ),
        pytest.param(HEAD + "  - {at: 02:00}\n" + EXPECT, "line 4: an event says what happens", id="no verb"),
        pytest.param(
            HEAD + "  - {at: 02:00, note: T1, agent answers: T1}\n" + EXPECT,
            "line 4: an event says one thing: 'note' or 'agent answers'",
            id="two verbs",
        ),
        pytest.param(HEAD + "  - {note: T1}\n" + EXPECT, "line 4: an event says when", id="no instant"),
        pytest.param(
            HEAD + "  - {at: 25:00, note: T1}\n" + EXPECT, "line 4: '25:00' is no instant", id="no such time of day"
        ),
        pytest.param(
            HEAD + "  - {at: 2026-02-30 01:00, note: T1}\n" + EXPECT, "'2026-02-30 01:00' is no inst", id="no such day"
        ),
        pytest.param(HEAD + "  - {at: 9999-01-01 01:00, note: T1}\n" + EXPECT, "year 9999", id="far future"),
        pytest.param(HEAD + "  - {at: +4 hours, note: T1}\n" + EXPECT, "after \\+ comes a length", id="no such length"),
        pytest.param(
            "scenario: a\nevents: [{at: 01:30, note: T1}]\n" + EXPECT, "line 2: '01:30' has no date", id="no date"
        ),
        pytest.param(
            HEAD + "  - {at: 02:00, ticket: T1, status: resolvd}\n" + EXPECT,
            "line 4: 'resolvd' is no status. Did you mean 'resolved'",
            id="unknown status",
        ),
        pytest.param(
            HEAD + "  - {at: 02:00, ticket: T1, stat: open}\n" + EXPECT, "no field of 'ticket'. Did", id="unknown field"
        ),
        pytest.param(HEAD + "  - {at: 02:00, parcel: P1}\n" + EXPECT, "'parcel' needs 'scan'", id="missing field"),
        pytest.param(HEAD + "  - {at: 02:00, order: T1}\n" + EXPECT, "'T1' is a thread already", id="name of another"),
        pytest.param(HEAD + "  - {at: 02:00, order: O 1}\n" + EXPECT, "'O 1': a name is one word", id="two words"),
        pytest.param(HEAD + "  - {at: 02:00, order: }\n" + EXPECT, "order is empty", id="empty name"),
        pytest.param(
            HEAD + "  - {at: 02:00, note: T1, of order: O1, of parcel: P1}\n" + EXPECT, "an 'of' already", id="two of"
        ),
        pytest.param(HEAD + "  - {same as: 2}\n" + EXPECT, r"same as 2: only .* \(1 to 1\)", id="same as itself"),
        pytest.param(
            HEAD + "  - {same as: 1, note: T1}\n" + EXPECT, "'note' is no field beside", id="same as, and more"
        ),
        pytest.param(
            HEAD + "  - {at: 02:00, payment: Y1, amount: 15 euro}\n" + EXPECT,
            "such as 15.00 USD, not",
            id="no currency",
        ),
        pytest.param(
            HEAD + "  - {at: 02:00, payment: Y1, amount: NaN EUR}\n" + EXPECT, "an amount", id="an amount that is none"
        ),
        pytest.param(
            HEAD + "expect:\n  first respons of T1: met\n",
            "line 5: 'first respons' is no timer. Did you mean 'first response'",
            id="unknown timer",
        ),
        pytest.param(
            HEAD + "expect:\n  w75 of first response of T1: met\n", "'w75' is no level of a timer", id="unknown level"
        ),
        pytest.param(HEAD + "expect:\n  first response of T2: met\n", "'T2' is no name of this", id="unknown name"),
        pytest.param(HEAD + "expect:\n  first response of T1: meet\n", "Did you mean 'met'", id="unknown result"),
        pytest.param(
            HEAD + "expect:\n  first response of T1: {dew: 05:30}\n",
            "line 5: 'dew' is no field of",
            id="unknown fact field",
        ),
        pytest.param(
            HEAD + "expect:\n  first response of T1: {due: 05:30}\n", "'05:30' has no date", id="expected without date"
        ),
        pytest.param(HEAD + "expect:\n  weather: fine\n", "'weather' is no expectation", id="unknown expectation"),
        pytest.param(HEAD + "expect:\n  - breached\n", "line 5: an expectation is written as", id="a bare word"),
        pytest.param(HEAD + "expect:\n  customer of T1: bob\n", "'bob' is no customer", id="unknown customer"),
        pytest.param(HEAD + "expect:\n  stated about T1: [cases]\n", "Did you mean 'case'", id="unknown kind of fact"),
        pytest.param(
            HEAD + EXPECT + "until: 2026-03-02 01:00\n", "line 6: until 2026-03-02 01:00 is before", id="ends too early"
        ),
        pytest.param(HEAD + EXPECT + "ticks: 1s\n", "line 6: that is more than 20000 ticks", id="too many ticks"),
        pytest.param(HEAD + EXPECT + "ticks: 0s\n", "line 6: that is more than 20000 ticks", id="no time passes"),
        pytest.param(
            HEAD + EXPECT + "targets: {first respond: 2h}\n",
            "'first respond' is no field of targets. Did you mean",
            id="unknown target",
        ),
        pytest.param(HEAD + EXPECT + "targets: {first response: 0s}\n", "at least one second", id="no target"),
        pytest.param(
            HEAD + EXPECT + "targets: [{from: 2026-03-02 00:00}, {first response: 2h}]\n",
            "each version holds from later",
            id="targets that go back",
        ),
        pytest.param("scenario: " + "[" * 2000, "not YAML|nested too deeply", id="nested without end"),
        pytest.param("scenario: " + "[" * 20 + "]" * 20, "nested more than 8 deep", id="nested deeply"),
        pytest.param("scenario: &a [*a]\n", "nested more than 8 deep", id="a list within itself"),
    ],
)
def test_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        run_scenario(written(tmp_path, text))
    assert str(refused.value).startswith(str(tmp_path / "story.yaml"))


def test_a_value_that_is_repeated_without_end_is_refused(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 6)]
    with pytest.raises(Refused, match="more than 50000 values"):
        run_scenario(written(tmp_path, "\n".join(levels)))


def test_a_file_that_is_missing_too_large_or_no_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="can't be read: No such file"):
        run_scenario(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="not UTF-8"):
        run_scenario(tmp_path / "bytes.yaml")
    monkeypatch.setattr(text_module, "MAX_BYTES", 10)
    with pytest.raises(Refused, match="at most 10"):
        run_scenario(written(tmp_path, HEAD + EXPECT))


def test_what_comes_out_otherwise_is_shown_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "expect:\n  first response of T1: {result: met, due: 2026-03-02 05:30}\n")
    outcome = run_scenario(path)
    assert not outcome.ok
    assert render(outcome) == "\n".join(
        [
            "FAILS  a title",
            f"       first response of T1  ({path}, line 5)",
            "         expected  result met, due 2026-03-02 05:30",
            "         found     result breached, due 2026-03-02 05:30",
            "1 scenario, 1 failed",
        ]
    )


@pytest.mark.parametrize(
    "expectation",
    [
        "first response of T1: {elapsed: 1h}",
        "first response of T1: nothing",
        "history of first response of T1: [running]",
        "history of first response of T1: [running, breached, withdrawn]",
        "customer of T1: unknown",
        "order O1: created",
        "stated about T1: [case, first response]",
        "dead letters: 0",
        "dead letters: [wrong_id]",
        "matter of O1: O1",
        "case T1: {reopen count: 1}",
    ],
)
def test_an_expectation_that_does_not_hold_fails(tmp_path: Path, expectation: str) -> None:
    refused = "  - {at: 02:00, order: O1, of parcel: P1, status: created}\n"
    outcome = run_scenario(written(tmp_path, f"{HEAD}{refused}expect:\n  - dead letters: 1\n  - {expectation}\n"))
    assert [result.ok for result in outcome.played[0].results] == [True, False]


def test_a_dead_letter_that_nobody_speaks_of_fails_the_scenario(tmp_path: Path) -> None:
    refused = "  - {at: 02:00, order: O1, of parcel: P1, status: created}\n"
    (played,) = run_scenario(written(tmp_path, HEAD + refused + EXPECT)).played
    assert [(result.name, result.found) for result in played.results if not result.ok] == [
        ("dead letters", "wrong_leader")
    ]


@given(st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31)))
def test_an_instant_is_read_as_it_is_shown(instant: datetime) -> None:
    instant = instant.replace(tzinfo=UTC)
    assert read_instant(Text("here", show_instant(instant)), "at", None) == instant


@given(st.timedeltas(timedelta(0), timedelta(days=1000)))
@example(timedelta(0))
@example(timedelta(microseconds=1))
@example(timedelta(minutes=1, microseconds=1))
def test_a_length_of_time_is_read_as_it_is_shown(length: timedelta) -> None:
    assert read_length(Text("here", show_length(length.total_seconds())), "elapsed") == length
