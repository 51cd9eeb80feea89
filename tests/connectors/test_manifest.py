"""A wrong manifest is refused before anything is read, with the file, the place, the value and what is allowed."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.manifest import ManifestError, parse_manifest, read_manifest
from connectors.mapping import check_manifest
from streams.errors import Refused
from tests.connectors.shop import GOOD, HEADER, ORDERS, plan_of

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def check(change: Change) -> None:
    """Checks the shop's manifest after a change to it and to its event."""
    manifest = copy.deepcopy(yaml.safe_load(ORDERS))
    change(manifest, manifest["files"][0]["events"][0])
    check_manifest(parse_manifest(manifest, "shop.yaml"))


def test_the_manifest_without_a_change_is_right() -> None:
    check(lambda manifest, event: None)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda m, e: m.pop("account"), "the manifest is {.*; account is missing; allowed here: account, files, "),
        (lambda m, e: m.update(account="my shop"), "account is 'my shop'; allowed is a name without spaces and colons"),
        (lambda m, e: m.update(acount="x"), "acount is 'x'; allowed here: account, files, marketplace, "),
        (lambda m, e: m.update(time_zone="Berlin"), "time_zone is 'Berlin'; allowed is the name of a time zone"),
        (lambda m, e: m.update(files=[]), r"files is \[\]; allowed is a list with at least one item"),
        (lambda m, e: m["files"].append(m["files"][0]), "files is .*; a file may be named once"),
        (lambda m, e: m["files"][0].update(delimiter=";;"), r"files\[0\].delimiter is ';;'; allowed is one character"),
        (lambda m, e: m["files"][0].update(join={"x": "id"}), "x is no look-up; there are: none"),
        (lambda m, e: m["files"][0]["events"].append(e), "there is another order order; give each event"),
        (lambda m, e: e.update(event="parcels"), "event is 'parcels'; allowed: order, parcel, return, message"),
        (lambda m, e: e.pop("about"), "about is missing"),
        (lambda m, e: e.update(about=7), "about is 7; allowed is a column, a text with {column}, or one operator"),
        (lambda m, e: e.update(about="{id"), "about is '{id'; allowed are pairs of braces"),
        (lambda m, e: e.update(when={"value": "id", "is": "x"}), "when.is is 'x'; allowed here: value, present"),
        (lambda m, e: e.update(when={"value": "id"}), "allowed is value with one of: present, equals, in"),
        (lambda m, e: e.update(when={"value": "id", "in": "x"}), "when.in is 'x'; allowed is a list"),
        (lambda m, e: e.update(text="id"), "text is 'id'; allowed is text, .*, of message or review"),
        (lambda m, e: e.update(sequence={"constant": "first"}), "'first' is no whole number"),
        (lambda m, e: e.update(event_at={"decimal": "at"}), "it is of kind decimal; allowed here: text, instant"),
        (lambda m, e: e["fields"].update(state="id"), "fields.state is 'id'; allowed in order: status, placed_at"),
        (
            lambda m, e: e["fields"].update(status={"map": "state", "to": {"new": "begun"}}),
            "fields.status is .*; begun is not allowed here; allowed: unknown, created, approved",
        ),
        (
            lambda m, e: e["fields"].update(total_minor={"minor": "total", "currency": {"constant": "EURO"}}),
            "total_minor.currency is {'constant': 'EURO'}; allowed is a currency code of ISO 4217",
        ),
        (
            lambda m, e: e["fields"].update(lines=[{"line_id": "id", "sku": "id", "quantity": "id"}]),
            r"fields.lines\[0\] is {.*; unit_price is missing; it must be there in order_line",
        ),
        (
            lambda m, e: e.update(event="message", fields={"message_id": "id"}),
            "author is missing; it must be there in message",
        ),
        (lambda m, e: e["fields"].update(status={"map": "a", "first": ["b"]}), "or one operator: column, constant"),
        (
            lambda m, e: e["fields"].update(promised_at={"max": ["a", {"test": {"value": "a", "present": True}}]}),
            "boolean",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_place_the_value_and_what_is_allowed(change: Change, refusal: str) -> None:
    with pytest.raises(ManifestError, match=refusal) as error:
        check(change)
    assert str(error.value).startswith("shop.yaml: ")


def test_a_column_that_the_file_has_not_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"missing column totl; orders\.csv has id, at, who, state, total"):
        plan_of(tmp_path, HEADER + GOOD, ORDERS.replace("minor: total", "minor: totl"))


def test_a_column_that_the_file_has_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"orders\.csv has more than one column named total"):
        plan_of(tmp_path, HEADER.replace("who", "total") + GOOD, ORDERS.replace("customer: who", ""))


def test_a_refusal_shows_some_of_many_names(tmp_path: Path) -> None:
    columns = ",".join(f"c{number}" for number in range(100_000))
    with pytest.raises(Refused, match=r"missing column id; orders\.csv has c0, .* and 99,980 more$") as refusal:
        plan_of(tmp_path, columns + "\n")
    assert len(str(refusal.value)) < 1000
    with pytest.raises(ManifestError) as wrong:
        check(lambda m, e: e.update({"x" * 10_000: 1}))
    assert len(str(wrong.value)) < 1000
    with pytest.raises(ManifestError) as lost:
        check(lambda m, e: e["fields"].update(status={"map": "s", "to": {f"w{n}": f"v{n}" for n in range(10_000)}}))
    assert len(str(lost.value)) < 1000


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ("a: [", "line 1: this is no YAML"),
        ("- a", "allowed is a mapping of: account"),
        (ORDERS + "account: other\n", "line 16: 'account' is there twice"),
        (ORDERS.replace("customer: who", "customer: who\n        about: id"), "line 12: 'about' is there twice"),
        ("account: 2026-13-45", "line 1: '2026-13-45' can't be read"),
        ("a: !!timestamp x", "line 1: 'x' can't be read"),
        ("[" * 5000, "nested too deeply"),
        ("account: \x07", "no YAML"),
        ("account: !!python/name:os.system", "line 1"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str, refusal: str) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(content)
    with pytest.raises(ManifestError, match=refusal) as error:
        read_manifest(path)
    assert "manifest.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_taken_over_by_reference_may_be_replaced(tmp_path: Path) -> None:
    event = "{event: order, event_id: [id], about: 'order:shop:{id}', event_at: at}"
    path = tmp_path / "manifest.yaml"
    path.write_text(f"account: shop\nfiles:\n- {{file: a, events: [&e {event}, {{<<: *e, name: b, event_at: b}}]}}\n")
    (source,) = read_manifest(path).sources
    assert [event.value["event_at"] for event in source.events] == ["at", "b"]


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="can't be read: No such file"):
        read_manifest(tmp_path / "none.yaml")
