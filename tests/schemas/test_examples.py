"""The examples of `schemas/examples`: good ones come back as they were, bad ones are refused for the reason given."""

import json
import random
from pathlib import Path

import pytest

from schemas import check
from streams import codec
from streams.errors import BadInput
from tests.schemas.records import BAD, EXAMPLES, GOOD, SCHEMAS, label, read, write

FEWEST_BAD = 4
DAMAGES = 60


def test_every_record_has_a_minimal_and_a_full_good_example_and_several_bad_ones() -> None:
    for name in SCHEMAS:
        good = {path.stem for path in (EXAMPLES / name / "good").iterdir()}
        assert good >= {"minimal", "full"}, name
        assert len(list((EXAMPLES / name / "bad").iterdir())) >= FEWEST_BAD, name
    assert {path.name for path in EXAMPLES.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_minimal_example_leaves_out_what_has_a_default_and_a_full_one_nothing(name: str) -> None:
    def left_out(file: str) -> set[str]:
        record = json.loads((EXAMPLES / name / "good" / f"{file}.json").read_text())
        parts = [(SCHEMAS[name], record)]
        if "envelope" in record:
            parts.append((SCHEMAS[name]["fields"][0]["type"], record["envelope"]))
        return {field["name"] for schema, part in parts for field in schema["fields"] if field["name"] not in part}

    assert not left_out("full")
    assert left_out("minimal") or not any("default" in field for field in SCHEMAS[name]["fields"])


@pytest.mark.parametrize("path", GOOD, ids=label)
def test_a_good_example_comes_back_as_it_was(path: Path) -> None:
    name = path.parent.parent.name
    record = write(SCHEMAS[name], read(path))
    entry = codec.decode(record)
    assert codec.name_of(record) == name
    assert codec.encode(entry) == record
    assert codec.decode(codec.encode(entry)) == entry


@pytest.mark.parametrize("path", BAD, ids=label)
def test_a_bad_example_is_refused_for_its_reason(path: Path) -> None:
    example = json.loads(path.read_text())
    assert example.keys() == {"why", "error", "record"}
    assert example["why"]
    with pytest.raises(BadInput) as refusal:
        check.read(SCHEMAS[path.parent.parent.name], example["record"])
    assert example["error"] in str(refusal.value)


def test_every_kind_of_state_has_an_example() -> None:
    kinds = {
        codec.decode(write(SCHEMAS["matter_fact"], read(path))).key.kind for path in GOOD if "matter_fact" in str(path)
    }
    assert kinds == set(codec.STATES)


@pytest.mark.parametrize("path", GOOD, ids=label)
def test_a_damaged_record_is_decoded_or_refused_but_never_an_accident(path: Path) -> None:
    record = write(SCHEMAS[path.parent.parent.name], read(path))
    randomness = random.Random(path.stem)
    codes = set()
    for _ in range(DAMAGES):
        damaged = bytearray(record)
        damaged[randomness.randrange(len(damaged))] = randomness.randrange(256)
        del damaged[randomness.randrange(len(damaged) // 2, len(damaged) * 2) :]
        try:
            codec.decode(bytes(damaged))
        except BadInput as error:
            codes.add(error.code)
    assert codes
    assert codes <= {"not_avro", "unknown_schema", "undecodable"}


@pytest.mark.parametrize(
    ("schema", "value", "code"),
    [
        ({"type": "long", "logicalType": "timestamp-micros"}, "yesterday", "wrong_instant"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "0001-01-01T00:00:00+14:00", "out_of_range"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "NaN", "wrong_decimal"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "100", "out_of_range"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "1E+30", "out_of_range"),
        ("double", float("nan"), "out_of_range"),
        ("double", True, "wrong_type"),
        ("int", True, "wrong_type"),
        ("null", "", "wrong_type"),
    ],
)
def test_a_value_that_would_not_come_back_is_refused(schema: object, value: object, code: str) -> None:
    record = {"name": "thing", "type": "record", "fields": [{"name": "value", "type": schema}]}
    with pytest.raises(BadInput) as refusal:
        check.read(record, {"value": value})
    assert refusal.value.code == code
    assert "thing.value" in str(refusal.value)
