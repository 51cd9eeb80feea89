"""What `schemas/topics.yaml` says fits together."""

import re
import typing

import msgspec
import pytest

from streams import codec, topics
from streams.delivery.names import topic_name
from streams.domain import events
from streams.topics import MAX_SEGMENT_MS, Topic, read_topics

TOPICS = read_topics()
RECORDS = {entry.NAME for entry in (*codec.EVENTS, *codec.ENTRIES)}
AGENTS = {"triage", "correlate", "casework"}
COMMANDS = {"import", "topics apply", "dlq replay", "quarantine retry", "matter recall"}
PROGRAMS = AGENTS | COMMANDS | {"connectors", "clock", "executor", "sink", "policy"}
PERSONAL_DAYS = 30


def inputs(agent: str) -> set[str]:
    return {noun for noun, topic in TOPICS.items() if agent in topic.consumers}


def test_every_kind_of_record_has_a_topic_and_every_topic_known_records() -> None:
    assert {record for topic in TOPICS.values() for record in topic.records} == RECORDS


def test_a_topic_is_named_after_its_record() -> None:
    assert [noun for noun, topic in TOPICS.items() if topic.records[0] != noun] == ["timeline"]


def test_producers_and_consumers_are_parts_of_the_pipeline() -> None:
    for topic in TOPICS.values():
        assert topic.producers, topic.noun
        assert {*topic.producers, *topic.consumers} <= PROGRAMS, topic.noun


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_the_inputs_of_an_agent_are_split_alike(agent: str) -> None:
    assert inputs(agent)
    assert all(TOPICS[noun].split_alike for noun in inputs(agent))
    assert {TOPICS[noun].partitions for noun in inputs(agent)} == {TOPICS["timeline"].partitions}


def test_the_timeline_carries_all_events_that_correlate_reads() -> None:
    source_events = {event.NAME for event in typing.get_args(events.SourceEvent)}
    assert source_events == inputs("correlate") - {"place_message"}
    assert set(TOPICS["timeline"].records) == source_events | {"move", "retry", "recall", "tick", "reference"}


def test_personal_data_is_kept_for_a_short_time() -> None:
    for noun in ("message_text", "dead_letter"):
        assert (TOPICS[noun].retention_days or PERSONAL_DAYS + 1) <= PERSONAL_DAYS


def test_what_is_read_again_from_its_beginning_is_kept_for_ever() -> None:
    assert {noun for noun, topic in TOPICS.items() if topic.compact} == {"place", "read_through", "reference", "cursor"}


def test_full_names_are_names_that_kafka_takes() -> None:
    assert topic_name("aftersales", "order") == "aftersales.order.v1"
    assert all(re.fullmatch(r"[a-z_]{1,100}", noun) for noun in TOPICS)


def test_another_default_number_of_partitions_changes_those_that_are_split_alike_only() -> None:
    for noun, topic in read_topics(partitions=3).items():
        assert topic.partitions == (3 if topic.split_alike else TOPICS[noun].partitions)


def test_a_compacted_topic_keeps_what_a_week_of_absence_would_miss() -> None:
    configs = TOPICS["place"].configs(replication_factor=1)
    assert configs["cleanup.policy"] == "compact"
    assert configs["delete.retention.ms"] == str(7 * topics.DAY_MS)
    assert "retention.ms" not in configs


@pytest.mark.parametrize("noun", [noun for noun, topic in TOPICS.items() if not topic.compact])
def test_a_record_outlives_its_retention_by_little(noun: str) -> None:
    configs = TOPICS[noun].configs(replication_factor=1)
    assert configs["cleanup.policy"] == "delete"
    assert int(configs["retention.ms"]) == (TOPICS[noun].retention_days or 0) * topics.DAY_MS
    assert int(configs["segment.ms"]) <= min(MAX_SEGMENT_MS, int(configs["retention.ms"]) // 30)


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_writing_goes_on_without_one_broker(replicas: int, in_sync: str) -> None:
    assert TOPICS["order"].configs(replicas)["min.insync.replicas"] == in_sync


@pytest.mark.parametrize(
    "wrong",
    [{"retention_days": 1, "compact": True}, {"retention_days": None}, {"partitions": 0}, {"retention_days": 0}],
)
def test_a_topic_is_either_compacted_or_deleted_and_has_partitions(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"retention_days"):
        msgspec.structs.replace(TOPICS["order"], **wrong)


def test_a_misspelt_line_of_the_file_is_refused() -> None:
    declared = msgspec.to_builtins(TOPICS["order"])
    with pytest.raises(msgspec.ValidationError, match="retention_day"):
        msgspec.convert(declared | {"retention_day": 3}, Topic)
