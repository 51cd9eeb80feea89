"""Bytes that are no record, or not quite one, are refused with a reason."""

import pytest

from streams import codec
from streams.errors import BadInput
from tests.schemas.records import EXAMPLES, SCHEMAS, read, write

PARCEL = write(SCHEMAS["parcel"], read(EXAMPLES / "parcel" / "good" / "full.json"))


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (b"", "not_avro"),
        (PARCEL[:9], "not_avro"),
        (b'{"status": "delivered"}', "not_avro"),
        (b"\x00\x00\x00\x00\x07" + PARCEL[10:], "not_avro"),
        (codec.MARKER + b"\x00" * 8 + PARCEL[10:], "unknown_schema"),
        (PARCEL[:-1], "undecodable"),
        (PARCEL[:10], "undecodable"),
        (PARCEL + b"\x00", "undecodable"),
        (PARCEL + PARCEL, "undecodable"),
    ],
)
def test_bytes_that_are_no_record_are_refused(record: bytes, code: str) -> None:
    with pytest.raises(BadInput) as refusal:
        codec.decode(record)
    assert refusal.value.code == code


def test_a_record_says_what_it_is_without_being_decoded() -> None:
    assert codec.name_of(PARCEL) == "parcel"
    assert codec.name_of(PARCEL[:10]) == "parcel"
    with pytest.raises(BadInput, match="unknown_schema: fingerprint 0000000000000000"):
        codec.name_of(codec.MARKER + b"\x00" * 8)


def test_no_two_records_share_a_fingerprint() -> None:
    assert len({codec.fingerprint(schema) for schema in SCHEMAS.values()}) == len(SCHEMAS)


@pytest.mark.parametrize("kind", ["order", "unknown"])
def test_a_fact_whose_state_is_of_another_kind_is_refused(kind: str) -> None:
    values = read(EXAMPLES / "matter_fact" / "good" / "claim.json") | {"kind": kind}
    with pytest.raises(BadInput, match=f"undecodable: matter_fact: the state is not one of a {kind}"):
        codec.decode(write(SCHEMAS["matter_fact"], values))
