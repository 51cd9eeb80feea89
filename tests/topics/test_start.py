"""Topics that would lose records, or have them in the wrong place, are refused when a worker starts."""

import asyncio

import msgspec
import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.agents import casework
from streams.delivery.names import changelog_name, topic_name
from streams.delivery.topics import check_topics
from streams.errors import Refused
from streams.settings import Settings
from streams.topics import CLEANUP, Described, Finding, apply, check_start, compare, describe, read_topics
from tests.delivery.broker import admin_of, until

PARTITIONS = 2
DAY_MS = 24 * 3600 * 1000
STEP = casework.agent("g1")


def found(noun: str, **configs: str) -> list[Finding]:
    """What is found about a topic that is as the file says, but for these configurations."""
    topic = read_topics()[noun]
    declared = topic.configs(1) | {name.replace("_", "."): value for name, value in configs.items()}
    there = Described(partitions=topic.partitions, replicas=1, configs={k: (v, True) for k, v in declared.items()})
    return [*compare({noun: topic}, {noun: there}, 1)]


@pytest.mark.parametrize(
    "configs", [{"retention_ms": "60000"}, {"cleanup_policy": "compact"}, {"retention_bytes": "9"}]
)
def test_what_removes_records_too_early_loses(configs: dict[str, str]) -> None:
    (finding,) = found("order", **configs)
    assert finding.loses


@pytest.mark.parametrize(
    "configs", [{"retention_ms": "-1"}, {"retention_ms": str(4000 * DAY_MS)}, {"segment_ms": "60000"}]
)
def test_a_longer_retention_and_other_differences_lose_nothing(configs: dict[str, str]) -> None:
    (finding,) = found("order", **configs)
    assert not finding.loses


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_compacted_topic_that_also_deletes_loses(policy: str) -> None:
    (finding,) = found("place", cleanup_policy=policy)
    assert finding.loses


def alter(settings: Settings, topic: str, **configs: str) -> None:
    """Set configurations of a topic, and wait until the broker shows them."""
    wanted = {name.replace("_", "."): value for name, value in configs.items()}

    async def change() -> None:
        async with admin_of(settings) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wanted)])

            async def is_shown() -> bool:
                shown = (await describe(admin, [topic]))[topic].configs
                return all(shown[name][0] == value for name, value in wanted.items())

            await until(is_shown, f"{topic} has {wanted}")

    asyncio.run(change())


def make(settings: Settings, topic: str, partitions: int, **configs: str) -> None:
    """Create a topic, and wait until it is there."""

    async def create() -> None:
        async with admin_of(settings) as admin:
            wanted = {name.replace("_", "."): value for name, value in configs.items()}
            await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=wanted)])

            async def is_there() -> bool:
                return bool(await describe(admin, [topic]))

            await until(is_there, topic)

    asyncio.run(create())


@pytest.fixture
def applied(settings: Settings) -> Settings:
    """Settings of an installation whose topics are as the file says."""
    small = msgspec.structs.replace(settings, partitions=PARTITIONS)
    asyncio.run(apply(small, dry_run=False))
    return small


def start(settings: Settings) -> None:
    """What casework does before it reads."""

    async def check() -> None:
        async with admin_of(settings) as admin:
            await check_topics(admin, [STEP], settings)

    asyncio.run(check())


@pytest.mark.engines
def test_topics_as_the_file_says_are_accepted_and_the_changelog_is_made(applied: Settings) -> None:
    start(applied)
    start(applied)


@pytest.mark.engines
def test_a_shorter_retention_is_refused_with_the_command_that_mends_it(applied: Settings) -> None:
    name = topic_name(applied.namespace, "timer_fact")
    alter(applied, name, retention_ms="60000")
    with pytest.raises(Refused, match=rf"{name} has retention.ms=60000 in place of .*`aftersales topics apply`"):
        start(applied)
    asyncio.run(apply(applied, dry_run=False))
    start(applied)


@pytest.mark.engines
def test_a_longer_retention_is_accepted(applied: Settings) -> None:
    alter(applied, topic_name(applied.namespace, "timer_fact"), retention_ms="-1")
    start(applied)


@pytest.mark.engines
def test_another_cleanup_policy_is_refused_by_whoever_reads_the_topic(applied: Settings) -> None:
    alter(applied, topic_name(applied.namespace, "reference"), cleanup_policy="delete")
    start(applied)
    with pytest.raises(Refused, match=r"reference.v1 has cleanup.policy=delete in place of compact"):
        asyncio.run(check_start(applied, ("timeline", "reference")))


@pytest.mark.engines
def test_another_number_of_partitions_is_refused_with_what_can_be_done(applied: Settings) -> None:
    with pytest.raises(Refused, match=r"has 2 partitions in place of 3: .* set `partitions`"):
        start(msgspec.structs.replace(applied, partitions=3))


@pytest.mark.engines
def test_a_changelog_that_deletes_is_refused_with_what_can_be_done(applied: Settings) -> None:
    make(applied, changelog_name(applied.namespace, STEP.name), PARTITIONS, cleanup_policy="delete")
    with pytest.raises(Refused, match=rf"{CLEANUP}=delete in place of compact.*`aftersales state rebuild casework`"):
        start(applied)


@pytest.mark.engines
def test_a_changelog_with_another_number_of_partitions_is_refused(applied: Settings) -> None:
    make(applied, changelog_name(applied.namespace, STEP.name), PARTITIONS + 1, cleanup_policy="compact")
    with pytest.raises(Refused, match="has 3 partitions and the inputs of casework have 2"):
        start(applied)
