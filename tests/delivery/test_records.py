"""Facts of dead letters and partitions."""

from hashlib import sha256

import msgspec
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from connectors.core import dead_row, raw_of
from streams import codec
from streams.delivery.agent import Record
from streams.delivery.dead_letters import RAW_BYTES, dead_record
from streams.errors import BadInput
from streams.partitions import partition_of

ERROR = BadInput("wrong_number", "amount: -1")


@given(st.binary(max_size=40), st.integers(1, 100))
def test_partitions_are_those_of_kafka_clients(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions


def test_a_refused_record_is_the_same_dead_letter_each_time_and_for_each_agent_its_own() -> None:
    record = Record("order", 1, 2, b"k", b"v")
    letter = dead_record("triage", record, ERROR)
    assert letter == dead_record("triage", record, ERROR)
    others = [
        dead_record("sink", record, ERROR),
        dead_record("triage", msgspec.structs.replace(record, offset=3), ERROR),
    ]
    assert letter.dead_letter_id not in {other.dead_letter_id for other in others}


def test_a_dead_letter_holds_the_beginning_of_the_bytes_and_the_size_and_hash_of_all() -> None:
    raw = bytes(range(256)) * 300
    letter = dead_record("triage", Record("order", 1, 2, b"k", raw), ERROR)
    assert letter.raw == raw[:RAW_BYTES]
    assert (letter.raw_size, letter.raw_sha256) == (len(raw), sha256(raw).hexdigest())


def test_a_refused_line_tells_its_file_and_line() -> None:
    letter = dead_row("account:shop", "orders.csv", 7, raw_of(b"a;b"), ERROR)
    assert (letter.origin_file, letter.origin_line, letter.origin_topic) == ("orders.csv", 7, None)
    assert (letter.reason, letter.detail, letter.account) == ("wrong_number", "amount: -1", "account:shop")


def test_a_mended_line_of_the_same_file_is_another_dead_letter() -> None:
    first, second = (dead_row("shop", "orders.csv", 7, raw_of(raw), ERROR) for raw in (b"a", b"b"))
    assert first.dead_letter_id != second.dead_letter_id


def test_dead_letters_are_read_as_they_were_written() -> None:
    letters = [
        dead_record("triage", Record("order", 1, 2, b"k", b"v"), ERROR),
        dead_row("shop", "f", 1, raw_of(b"a"), ERROR),
    ]
    assert [codec.decode(codec.encode(letter)) for letter in letters] == letters
