"""Frozen versions: today's schemas are frozen, and read all that former versions wrote."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import freeze
from schemas.compatibility import breaks
from streams import codec
from streams.errors import Refused
from tests.schemas.records import GOOD, SCHEMAS, label, read, write

SKIPPED = {"name": "skipped", "doc": "Rows skipped.", "type": "long", "default": 0}
VERSIONS = [(name, number) for name in SCHEMAS for number in range(1, len(freeze.frozen(name)) + 1)]


def changed(schema: Any, *fields: Any) -> Any:
    """A copy of a schema with further fields."""
    return schema | {"fields": [*schema["fields"], *fields]}


def stored(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_every_schema_is_frozen() -> None:
    assert not freeze.freeze(SCHEMAS), (
        "run `python -m schemas.freeze` (with --replace, if the newest versions were never released)"
    )
    assert {path.name for path in freeze.VERSIONS.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize(("name", "number"), VERSIONS)
def test_today_reads_every_frozen_version(name: str, number: int) -> None:
    former = freeze.frozen(name)[number - 1]
    assert breaks(former, SCHEMAS[name]) == []
    written = 0
    for path in GOOD:
        if path.parent.parent.name != name:
            continue
        values = read(path)
        try:
            record = write(former, values)
        except ValueError:
            continue  # It holds a symbol that the former version did not know.
        written += 1
        entry = codec.decode(record)
        if former == SCHEMAS[name]:
            assert codec.encode(entry) == record
    assert written


def bare(schema: Any) -> Any:
    """What a first version might have been: today's schema without the fields that have a default."""
    fields = [field for field in schema["fields"] if "default" not in field]
    return schema | {
        "fields": [field | {"type": bare(field["type"])} if field["name"] == "envelope" else field for field in fields]
    }


def kept(schema: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The values that a schema has fields for."""
    return {
        field["name"]: kept(field["type"], values["envelope"]) if field["name"] == "envelope" else values[field["name"]]
        for field in schema["fields"]
    }


@pytest.fixture
def bare_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package whose first versions were bare."""
    shutil.copytree(freeze.VERSIONS.parent, tmp_path / "schemas", ignore=shutil.ignore_patterns("versions", "examples"))
    stored(freeze.freeze({name: bare(schema) for name, schema in SCHEMAS.items()}, tmp_path / "schemas" / "versions"))
    assert freeze.freeze(SCHEMAS, tmp_path / "schemas" / "versions"), "today's schemas read the bare ones"
    monkeypatch.setattr(codec, "files", tmp_path.joinpath)
    codec._readable.cache_clear()
    yield
    codec._readable.cache_clear()


@pytest.mark.usefixtures("bare_versions")
@pytest.mark.parametrize("path", GOOD, ids=label)
def test_a_record_of_a_former_version_is_read_with_the_defaults_of_today(path: Path) -> None:
    schema = SCHEMAS[path.parent.parent.name]
    said = kept(bare(schema), read(path))
    entry = codec.decode(write(bare(schema), said))
    assert codec.encode(entry) == write(schema, said)


def test_the_first_version_is_numbered_one_and_a_new_field_makes_the_next(tmp_path: Path) -> None:
    schema = SCHEMAS["cursor"]
    stored(freeze.freeze({"cursor": schema}, tmp_path))
    assert freeze.frozen("cursor", tmp_path) == [schema]
    assert freeze.freeze({"cursor": schema}, tmp_path) == {}

    stored(freeze.freeze({"cursor": changed(schema, SKIPPED)}, tmp_path))
    assert freeze.frozen("cursor", tmp_path) == [schema, changed(schema, SKIPPED)]


def test_another_doc_takes_the_place_of_the_newest_version(tmp_path: Path) -> None:
    schema = SCHEMAS["cursor"]
    stored(freeze.freeze({"cursor": schema}, tmp_path))
    stored(freeze.freeze({"cursor": schema | {"doc": "Said better."}}, tmp_path))
    assert freeze.frozen("cursor", tmp_path) == [schema | {"doc": "Said better."}]


def test_a_breaking_change_is_refused_and_nothing_is_to_be_written(tmp_path: Path) -> None:
    stored(freeze.freeze(SCHEMAS, tmp_path))
    stored(freeze.freeze({"cursor": changed(SCHEMAS["cursor"], SKIPPED)}, tmp_path))
    with pytest.raises(Refused, match=r"cursor\.skipped: a field stays"):
        freeze.freeze(SCHEMAS | {"tick": changed(SCHEMAS["tick"], SKIPPED)}, tmp_path)


def test_a_version_that_was_never_released_may_be_replaced_by_anything(tmp_path: Path) -> None:
    schema = SCHEMAS["cursor"]
    stored(freeze.freeze({"cursor": schema}, tmp_path))
    stored(freeze.freeze({"cursor": changed(schema, SKIPPED)}, tmp_path))
    other = changed(schema, SKIPPED | {"name": "ignored"})
    stored(freeze.freeze({"cursor": other}, tmp_path, replace=True))
    assert freeze.frozen("cursor", tmp_path) == [schema, other]


def test_a_replacement_must_still_read_what_was_released(tmp_path: Path) -> None:
    schema = SCHEMAS["cursor"]
    stored(freeze.freeze({"cursor": schema}, tmp_path))
    stored(freeze.freeze({"cursor": changed(schema, SKIPPED)}, tmp_path))
    with pytest.raises(Refused, match="a new field needs a default"):
        freeze.freeze({"cursor": changed(schema, {"name": "x", "type": "long"})}, tmp_path, replace=True)
    with pytest.raises(Refused, match="delete the version after it"):
        freeze.freeze({"cursor": schema}, tmp_path, replace=True)


def test_a_missing_version_is_refused(tmp_path: Path) -> None:
    stored({tmp_path / "cursor" / "2.avsc": json.dumps(SCHEMAS["cursor"])})
    with pytest.raises(Refused, match="without holes"):
        freeze.freeze({"cursor": SCHEMAS["cursor"]}, tmp_path)


def test_the_command_writes_each_version_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert freeze.main(["--check"], tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    capsys.readouterr()
    assert freeze.main([], tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}/1.avsc" for name in SCHEMAS]
    assert freeze.main(["--check"], tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_the_command_refuses_a_breaking_change_with_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(freeze.freeze(SCHEMAS | {"cursor": changed(SCHEMAS["cursor"], SKIPPED)}, tmp_path))
    assert freeze.main([], tmp_path) == 2
    assert "cursor.skipped: a field stays" in capsys.readouterr().err
    assert freeze.main(["--replace"], tmp_path) == 0
