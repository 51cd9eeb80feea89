"""Making a real broker agree with `schemas/topics.yaml`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams import kafka, topics
from streams.delivery.names import topic_name
from streams.errors import Refused
from streams.settings import Settings
from streams.topics import Report, apply, check, read_topics

T = TypeVar("T")

LOG_APPEND_TIME = 1
PARTITIONS = 2
DEADLINE_S = 30.0


@pytest.fixture
def small(settings: Settings) -> Settings:
    """Few partitions, for the sake of the machine."""
    return msgspec.structs.replace(settings, partitions=PARTITIONS)


def ask(settings: Settings, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
    async def asked() -> T:
        admin = AIOKafkaAdminClient(**settings.kafka_options())
        await admin.start()
        try:
            return await question(admin)
        finally:
            await admin.close()

    return asyncio.run(asked())


def partitions(settings: Settings) -> dict[str, int]:
    """Number of partitions of each topic in the namespace."""
    described = ask(settings, lambda admin: admin.describe_topics())
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["topic"].startswith(f"{settings.namespace}.")
    }


def configs(settings: Settings, noun: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic_name(settings.namespace, noun))
    [response] = ask(settings, lambda admin: admin.describe_configs([resource]))
    return {entry[0]: entry[1] for entry in response.resources[0][4]}


def create(settings: Settings, noun: str, count: int, **configured: str) -> None:
    topic = NewTopic(topic_name(settings.namespace, noun), count, 1, topic_configs=configured)
    response = ask(settings, lambda admin: admin.create_topics([topic]))
    assert response.topic_errors[0][1] == 0
    deadline = time.monotonic() + DEADLINE_S
    while topic.name not in partitions(settings):  # The broker shows it a moment later.
        assert time.monotonic() < deadline


@pytest.mark.engines
def test_a_check_names_what_is_missing_and_creates_nothing(small: Settings) -> None:
    report = asyncio.run(check(small))
    assert {(finding.topic, finding.what) for finding in report.findings} == {
        (topic_name(small.namespace, noun), "missing") for noun in read_topics()
    }
    assert report.remaining == report.findings
    assert partitions(small) == {}


@pytest.mark.engines
def test_all_topics_are_created_as_the_file_says_and_then_nothing_is_left_to_do(small: Settings) -> None:
    assert (asyncio.run(apply(small, dry_run=True))).applied is False
    report = asyncio.run(apply(small, dry_run=False))
    assert report.applied
    assert report.remaining == ()
    declared = read_topics(PARTITIONS)
    assert partitions(small) == {
        topic_name(small.namespace, noun): topic.partitions for noun, topic in declared.items()
    }
    for noun in ("order", "message_text", "place", "clock_probe"):
        assert declared[noun].configs(replication_factor=1).items() <= (configs(small, noun)).items()

    assert (asyncio.run(apply(small, dry_run=False))).findings == ()
    assert (asyncio.run(check(small))).findings == ()


@pytest.mark.engines
def test_a_drifted_configuration_is_set_again_and_what_others_have_set_stays(small: Settings) -> None:
    create(small, "order", PARTITIONS, **{"retention.ms": "1000", "compression.type": "zstd"})
    report = asyncio.run(apply(small, dry_run=False))
    drift = [finding for finding in report.findings if finding.config == "retention.ms"]
    assert [str(finding) for finding in drift] == [
        f"{topic_name(small.namespace, 'order')} has retention.ms=1000 in place of {400 * topics.DAY_MS}"
    ]
    now = configs(small, "order")
    assert now["retention.ms"] == str(400 * topics.DAY_MS)
    assert now["compression.type"] == "zstd"


@pytest.mark.engines
def test_a_wrong_number_of_partitions_is_explained_and_nothing_is_changed(small: Settings) -> None:
    create(small, "order", PARTITIONS + 1)
    report = asyncio.run(apply(small, dry_run=False))
    assert not report.applied
    [wrong] = [finding for finding in report.findings if not finding.mendable]
    assert "has 3 partitions in place of 2" in str(wrong)
    assert "set `partitions` to the number that the topics were created with" in str(wrong)
    assert partitions(small) == {topic_name(small.namespace, "order"): PARTITIONS + 1}


@pytest.mark.engines
def test_too_few_replicas_are_reported_and_not_touched(small: Settings) -> None:
    asyncio.run(apply(small, dry_run=False))
    report = asyncio.run(check(msgspec.structs.replace(small, replication_factor=3)))
    replicas = [finding for finding in report.findings if finding.what == "replicas"]
    assert len(replicas) == len(read_topics())
    assert "has 1 replicas in place of 3" in str(replicas[0])


@pytest.mark.engines
def test_two_commands_at_once_both_succeed(small: Settings) -> None:
    async def both() -> tuple[Report, Report]:
        return await asyncio.gather(apply(small, dry_run=False), apply(small, dry_run=False))

    reports = asyncio.run(both())
    assert all(report.applied for report in reports)
    assert (asyncio.run(check(small))).findings == ()


@pytest.mark.engines
def test_what_the_broker_refuses_is_told_in_its_words(small: Settings) -> None:
    with pytest.raises(Refused, match=r"order\.v1 can't be created: .*replication factor"):
        asyncio.run(apply(msgspec.structs.replace(small, replication_factor=3), dry_run=False))


@pytest.mark.engines
def test_probes_of_the_clock_carry_the_brokers_time(small: Settings) -> None:
    asyncio.run(apply(small, dry_run=False))
    topic = topic_name(small.namespace, "clock_probe")

    async def probe() -> Any:
        producer: Any = AIOKafkaProducer(**small.kafka_options())
        consumer: Any = AIOKafkaConsumer(topic, **small.kafka_options(), auto_offset_reset="earliest")
        async with producer, consumer:
            await producer.send_and_wait(topic, b"probe", timestamp_ms=1)
            return await asyncio.wait_for(consumer.getone(), DEADLINE_S)

    record = asyncio.run(probe())
    assert record.timestamp_type == LOG_APPEND_TIME
    assert record.timestamp > 1


@pytest.mark.parametrize(
    "settings",
    [
        Settings(bootstrap_servers="127.0.0.1:1"),
        Settings(bootstrap_servers="nowhere.invalid:9092"),
        Settings(
            bootstrap_servers="127.0.0.1:1",
            security_protocol="SASL_PLAINTEXT",
            sasl_username="seller",
            sasl_password="x",
        ),
    ],
    ids=["closed port", "unknown host", "closed port with a password"],
)
def test_an_absent_broker_is_one_sentence(settings: Settings) -> None:
    with pytest.raises(Refused, match=r"^Kafka at .* can't be reached: [^\n]*$"):
        asyncio.run(check(settings))


@pytest.mark.engines
def test_a_broker_that_does_not_take_the_password_is_one_sentence(small: Settings) -> None:
    strict = msgspec.structs.replace(
        small, security_protocol="SASL_PLAINTEXT", sasl_username="seller", sasl_password="wrong"
    )
    with pytest.raises(Refused, match=r"can't be reached: .* the user name and password$"):
        asyncio.run(check(strict))


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "CONNECT_S", 0.2)

    async def ask_a_silent_server() -> None:
        async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as silent:
            port = silent.sockets[0].getsockname()[1]
            await check(Settings(bootstrap_servers=f"127.0.0.1:{port}"))

    with pytest.raises(Refused, match="can't be reached"):
        asyncio.run(ask_a_silent_server())


def test_a_missing_address_says_how_to_set_it() -> None:
    with pytest.raises(Refused, match="AFTERSALES_BOOTSTRAP_SERVERS"):
        asyncio.run(check(Settings()))
