"""Import and publisher with a real broker."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from connectors.files import run_import
from connectors.publisher import RECORD_BYTES, Publisher
from streams import codec, topics
from streams.delivery.names import topic_name
from streams.domain.events import Cursor, ReadThrough
from streams.errors import BadInput, Refused, Transient
from streams.partitions import partition_of
from streams.settings import PREFIX, Settings
from tests.connectors.shop import HEADER, write_file, write_manifest

pytestmark = pytest.mark.engines

DEADLINE_S = 60.0
MANY = HEADER + "".join(f"{number},2026-03-02 01:30:00,ann,new,{number}\n" for number in range(60_000))


@pytest.fixture
def installed(settings: Settings) -> Settings:
    """Settings of an installation whose topics exist."""
    settings = msgspec.structs.replace(settings, pseudonym_key="a key of tests only", pseudonym_key_file="")
    asyncio.run(topics.apply(settings, dry_run=False))
    return settings


def read(settings: Settings, noun: str) -> list[Any]:
    """All records of a topic, as they lie: (partition, offset, key, entry)."""

    async def read_all() -> list[Any]:
        name = topic_name(settings.namespace, noun)
        async with AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest"
        ) as consumer:
            places = [TopicPartition(name, p) for p in range(topics.read_topics()[noun].partitions)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[Any] = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                for batch in (await consumer.getmany(timeout_ms=1000)).values():
                    found += [(r.partition, r.offset, r.key.decode(), codec.decode(r.value)) for r in batch]
            return found

    return asyncio.run(asyncio.wait_for(read_all(), DEADLINE_S))


def event_ids(settings: Settings) -> list[str]:
    return [entry.event_id for _, _, _, entry in read(settings, "order")]


def test_an_import_announces_how_far_it_has_read_and_where_that_stands(installed: Settings, tmp_path: Path) -> None:
    write_file(tmp_path, HEADER + "".join(f"{n},2026-03-{n:02} 01:30:00,ann,new,{n}\n" for n in range(1, 29)) + "x\n")
    report = asyncio.run(run_import(installed, write_manifest(tmp_path)))
    assert (report.events, report.bad_rows, report.stopped) == (28, 1, False)
    records = read(installed, "order")
    ((_, _, key, said),) = read(installed, "read_through")
    assert isinstance(said, ReadThrough)
    assert (key, said.account, said.live, said.live_from) == ("shop", "shop", False, None)
    assert said.through_at == report.through_at == max(entry.event_at for _, _, _, entry in records)
    ends = {partition: max(offset for p, offset, *_ in records if p == partition) + 1 for partition, *_ in records}
    assert {(at.topic, at.partition): at.offset for at in said.positions} == {
        ("order", p): end for p, end in ends.items()
    }
    cursors = [entry for *_, entry in read(installed, "cursor")]
    assert isinstance(cursors[-1], Cursor)
    assert (cursors[-1].source, cursors[-1].row, cursors[-1].finished) == ("shop/orders.csv", 29, True)
    assert len(read(installed, "dead_letter")) == 1


def test_the_same_file_twice_changes_nothing_and_again_gives_the_same_ids(installed: Settings, tmp_path: Path) -> None:
    write_file(tmp_path, HEADER + "1,2026-03-02,ann,new,1\n")
    manifest = write_manifest(tmp_path)
    asyncio.run(run_import(installed, manifest))
    assert asyncio.run(run_import(installed, manifest)).files[0].state == "unchanged"
    assert len(event_ids(installed)) == 1
    asyncio.run(run_import(installed, manifest, again=True))
    first, second = event_ids(installed)
    assert first == second


def test_an_account_once_followed_stays_so_and_never_goes_back(installed: Settings, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    write_file(tmp_path, HEADER + "1,2026-03-02,ann,new,1\n")
    asyncio.run(run_import(installed, manifest))
    asyncio.run(run_import(installed, manifest, live=True))
    write_file(tmp_path, HEADER + "2,2026-03-01,ann,new,1\n")
    asyncio.run(run_import(installed, manifest))
    past, first, second = (entry for *_, entry in read(installed, "read_through"))
    assert (past.live, past.live_from) == (False, None)
    assert (first.live, second.live) == (True, True)
    assert (second.through_at, second.live_from) == (first.through_at, first.live_from)
    assert first.live_from is not None


def run_command(settings: Settings, manifest: Path) -> subprocess.Popen[bytes]:
    code = (
        "import asyncio, sys, pathlib; from connectors.files import run_import; from streams.settings import load; "
        "print(asyncio.run(run_import(load(), pathlib.Path(sys.argv[1]))).stopped)"
    )
    names = ("bootstrap_servers", "namespace", "pseudonym_key", "directory")
    environment = os.environ | {PREFIX + name.upper(): getattr(settings, name) for name in names}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(manifest)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_cursor(settings: Settings) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not read(settings, "cursor"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_import_that_is_killed_goes_on_from_its_cursor(installed: Settings, tmp_path: Path) -> None:
    write_file(tmp_path, MANY)
    manifest = write_manifest(tmp_path)
    process = run_command(installed, manifest)
    wait_for_cursor(installed)
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    report = asyncio.run(run_import(installed, manifest))
    assert report.files[0].resumed_after >= 10_000
    records = read(installed, "order")
    assert len({entry.event_id for *_, entry in records}) == 60_000
    ((*_, said),) = read(installed, "read_through")
    assert sum(at.offset for at in said.positions) == len(records)


def test_ctrl_c_ends_an_import_with_its_cursor_saved(installed: Settings, tmp_path: Path) -> None:
    write_file(tmp_path, MANY)
    manifest = write_manifest(tmp_path)
    process = run_command(installed, manifest)
    wait_for_cursor(installed)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (0, b"True\n")
    assert b"Traceback" not in err
    assert read(installed, "read_through") == []
    newest = read(installed, "cursor")[-1][-1]
    assert len(event_ids(installed)) == newest.row < 60_000


def test_records_of_a_key_keep_their_order_and_lie_where_the_default_partitioner_puts_them(installed: Settings) -> None:
    async def publish() -> None:
        async with Publisher(installed) as publisher:
            for number in range(5000):
                await publisher.publish("cursor", "a", codec.encode(cursor_of(number)))
                await publisher.publish("order", f"key {number % 7}", codec.encode(cursor_of(number)))

    asyncio.run(publish())
    assert [entry.row for *_, entry in read(installed, "cursor")] == list(range(5000))
    by_key: dict[str, list[int]] = {}
    for partition, _, key, entry in read(installed, "order"):
        assert partition == partition_of(key.encode(), 12)
        by_key.setdefault(key, []).append(entry.row)
    assert all(rows == sorted(rows) for rows in by_key.values())
    assert sum(map(len, by_key.values())) == 5000


def cursor_of(row: int) -> Cursor:
    return Cursor(source="a", file_sha256="", mapping_sha256="", row=row, finished=False)


def test_a_topic_that_is_missing_and_a_record_that_is_too_large_are_refused(settings: Settings) -> None:
    async def publish() -> None:
        async with Publisher(settings) as publisher:
            with pytest.raises(Refused, match="create the topics with `aftersales topics apply`"):
                await publisher.publish("order", "a", b"x")
            with pytest.raises(BadInput, match="record_too_large"):
                await publisher.publish("order", "a", b"x" * (RECORD_BYTES + 1))

    asyncio.run(publish())


def test_a_broker_that_does_not_answer_is_a_fault_that_may_pass() -> None:
    async def connect() -> None:
        async with Publisher(Settings(bootstrap_servers="127.0.0.1:1")):
            pass

    with pytest.raises(Transient, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        asyncio.run(connect())
