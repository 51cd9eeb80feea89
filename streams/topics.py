"""The topics of `schemas/topics.yaml`, and making a broker agree with them.

Must not know what records hold, nor of changelogs: delivery creates those itself.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Literal

import msgspec
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams.delivery.names import topic_name
from streams.errors import Refused
from streams.kafka import connect_admin
from streams.settings import Settings

MAX_MESSAGE_BYTES = 8 << 20
"""Largest record batch of any topic: a move carries the past of an id."""
DAY_MS = 24 * 3600 * 1000
SEGMENTS_PER_RETENTION = 30
"""A record outlives its retention by its segment's span: by a thirtieth at most, and by no more than the next."""
MAX_SEGMENT_MS = 7 * DAY_MS
COMPACT_SEGMENT_BYTES = 64 << 20
COMPACT_LAG_MS = 7 * DAY_MS
"""An overwritten value is gone after this time, plus a segment's span."""
TOMBSTONE_MS = 7 * DAY_MS
"""A reader that was away for less than this sees every deletion."""

APPLY_S = 60.0
LOOKS = 100
LOOK_AGAIN_S = 0.1

CLEANUP, RETENTION = "cleanup.policy", ("retention.ms", "retention.bytes")
"""By these Kafka removes records."""
DYNAMIC_TOPIC_CONFIG = 1
"""Kafka's number for a value that was set on the topic itself (protocol guide, DescribeConfigs, `config_source`)."""


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic as the file declares it."""

    noun: str
    about: str
    records: tuple[str, ...]
    """Kinds of records, by the names of their schemas."""
    key: str
    """What the key of a record is, in words."""
    partitions: int
    split_alike: bool
    """Whether it has the default number of partitions: the same key lies in the same one of all such topics."""
    retention_days: int | None = None
    """None: compacted."""
    compact: bool = False
    broker_time: bool = False
    """Whether records carry the broker's time in place of the writer's."""
    producers: tuple[str, ...]
    consumers: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.compact != (self.retention_days is None):
            raise ValueError("either `retention_days` or `compact: true`")
        if self.partitions < 1 or (self.retention_days is not None and self.retention_days < 1):
            raise ValueError("`partitions` and `retention_days` are at least 1")

    def configs(self, replication_factor: int) -> dict[str, str]:
        """What the topic is configured with in Kafka; values as the broker spells them."""
        configs = {
            "max.message.bytes": MAX_MESSAGE_BYTES,
            "message.timestamp.type": "LogAppendTime" if self.broker_time else "CreateTime",
            # With three replicas an acknowledged record survives the loss of a broker, and writing goes on without one.
            "min.insync.replicas": max(1, min(2, replication_factor - 1)),
        }
        if self.retention_days is None:
            configs |= {
                "cleanup.policy": "compact",
                "segment.bytes": COMPACT_SEGMENT_BYTES,
                "segment.ms": DAY_MS,
                "max.compaction.lag.ms": COMPACT_LAG_MS,
                "delete.retention.ms": TOMBSTONE_MS,
            }
        else:
            retention_ms = self.retention_days * DAY_MS
            configs |= {
                "cleanup.policy": "delete",
                "retention.ms": retention_ms,
                "retention.bytes": -1,
                "segment.ms": min(retention_ms // SEGMENTS_PER_RETENTION, MAX_SEGMENT_MS),
            }
        return {name: str(value) for name, value in configs.items()}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in which the broker differs from the file."""

    topic: str
    """Full name."""
    what: Literal["missing", "config", "partitions", "replicas"]
    config: str = ""
    """Name of the configuration, for `config`."""
    found: str = ""
    wanted: str = ""

    @property
    def mendable(self) -> bool:
        """Whether `apply` can mend it."""
        return self.what in ("missing", "config")

    @property
    def loses(self) -> bool:
        """Whether a worker that went on could lose records: a longer retention and other differences do no harm."""
        if self.config in RETENTION:
            return self.found != "-1" and (self.wanted == "-1" or int(self.found) < int(self.wanted))
        return self.what in ("missing", "partitions") or self.config == CLEANUP

    def __str__(self) -> str:
        match self.what:
            case "missing":
                return f"{self.topic} is missing"
            case "config":
                return f"{self.topic} has {self.config}={self.found} in place of {self.wanted}"
            case "partitions":
                return (
                    f"{self.topic} has {self.found} partitions in place of {self.wanted}: keys would change their "
                    "places, so this can't be mended; set `partitions` to the number that the topics were created "
                    "with, or start a new `namespace` and fill it from the sources"
                )
            case "replicas":
                return (
                    f"{self.topic} has {self.found} replicas in place of {self.wanted}: move it with Kafka's "
                    "kafka-reassign-partitions, or correct `replication_factor`"
                )


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as a broker has it."""

    partitions: int
    replicas: int
    """Of the partition that has fewest."""
    configs: dict[str, tuple[str, bool]]
    """By configuration: (value, whether it was set on the topic itself)."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """In what a broker differed from the file, and whether that was mended."""

    findings: tuple[Finding, ...]
    applied: bool
    """True: what is mendable has been mended. False: all of it still holds."""

    @property
    def remaining(self) -> tuple[Finding, ...]:
        """What still differs."""
        return tuple(finding for finding in self.findings if not (self.applied and finding.mendable))


def read_topics(partitions: int = 0) -> dict[str, Topic]:
    """All topics of the file by their nouns. `partitions` 0: the default number of partitions stands in the file."""
    content = yaml.safe_load((files("schemas") / "topics.yaml").read_text())
    default = partitions or content["partitions"]
    return {
        noun: msgspec.convert(
            {"partitions": default, "split_alike": "partitions" not in declared, "noun": noun} | declared, Topic
        )
        for noun, declared in content["topics"].items()
    }


async def check(settings: Settings) -> Report:
    """Compare a broker with the file; changes nothing. Raises Refused when the broker can't be asked."""
    return await apply(settings, dry_run=True)


async def apply(settings: Settings, *, dry_run: bool) -> Report:
    """Create the topics that are missing and set the configurations that differ; returns what was found before.

    Nothing is changed with `dry_run`, and nothing where a topic has a wrong number of partitions: topics that are
    split in two ways are worse than missing ones. Configurations that the file does not speak of stay as they are.
    Raises Refused when no broker answers within `kafka.CONNECT_S`, does not let us in, or refuses a change.
    """
    topics = {topic_name(settings.namespace, topic.noun): topic for topic in read_topics(settings.partitions).values()}
    async with _connect(settings) as admin:
        found = now = compare(topics, await describe(admin, topics), settings.replication_factor)
        for _ in range(LOOKS):
            if dry_run or any(finding.what == "partitions" for finding in now):
                return Report(findings=now, applied=False)
            if not any(finding.mendable for finding in now):
                return Report(findings=found, applied=True)
            await _create(admin, topics, now, settings.replication_factor)
            await _alter(admin, now)
            # What the controller has accepted reaches the brokers a moment later, and so does what others changed.
            await asyncio.sleep(LOOK_AGAIN_S)
            now = compare(topics, await describe(admin, topics), settings.replication_factor)
        remaining = "; ".join(str(finding) for finding in now if finding.mendable)
        raise Refused(f"Kafka accepts the changes, and still {remaining}: is another process changing it?")


async def check_start(settings: Settings, nouns: Iterable[str]) -> None:
    """Raise Refused as `refuse_losses` does, or when the broker can't be asked."""
    async with _connect(settings) as admin:
        await refuse_losses(admin, settings, nouns)


async def refuse_losses(
    admin: AIOKafkaAdminClient, settings: Settings, nouns: Iterable[str], others: Iterable[str] = ()
) -> dict[str, Described]:
    """Look at the topics called `nouns` before they are read or written, and at `others` by their full names.

    Returns those that are there. Raises Refused, naming what mends it, for one that is missing, or that is in the file
    and has another number of partitions, another cleanup policy or a shorter retention.
    """
    wanted = {topic_name(settings.namespace, noun): noun for noun in nouns}
    described = await describe(admin, [*wanted, *others], [CLEANUP, *RETENTION])
    if missing := sorted(wanted.keys() - described):
        raise Refused(f"topics are missing: {', '.join(missing)}; create them with `aftersales topics apply`")
    declared = read_topics(settings.partitions)
    topics = {name: declared[noun] for name, noun in wanted.items() if noun in declared}
    if losses := [finding for finding in compare(topics, described, settings.replication_factor) if finding.loses]:
        advice = "" if not losses[0].mendable else ": Kafka would remove what is needed; run `aftersales topics apply`"
        raise Refused(f"{losses[0]}{advice}")
    return described


@asynccontextmanager
async def _connect(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started client. Raises Refused when it can't be had, or for what Kafka answers within the block."""
    where = f"Kafka at {settings.bootstrap_servers}"
    admin = await connect_admin(settings, "aftersales-topics")
    try:
        async with asyncio.timeout(APPLY_S):
            yield admin
    except TimeoutError:
        raise Refused(f"{where} has not done what was asked within {APPLY_S:.0f} s: look at its log") from None
    except KafkaError as error:
        raise Refused(f"{where} does not do what was asked: {error}") from error
    finally:
        await admin.close()


def compare(
    topics: Mapping[str, Topic], described: Mapping[str, Described], replication_factor: int
) -> tuple[Finding, ...]:
    """In what topics differ from the file, by their full names. Only what was asked for is compared."""
    found: list[Finding] = []
    for name, topic in topics.items():
        if (there := described.get(name)) is None:
            found.append(Finding(topic=name, what="missing"))
            continue
        if there.partitions != topic.partitions:
            wanted = str(topic.partitions)
            found.append(Finding(topic=name, what="partitions", found=str(there.partitions), wanted=wanted))
        if there.replicas < replication_factor:
            wanted = str(replication_factor)
            found.append(Finding(topic=name, what="replicas", found=str(there.replicas), wanted=wanted))
        found += [
            Finding(topic=name, what="config", config=config, found=there.configs[config][0], wanted=wanted)
            for config, wanted in topic.configs(replication_factor).items()
            if config in there.configs and there.configs[config][0] != wanted
        ]
    return tuple(found)


async def describe(
    admin: AIOKafkaAdminClient, names: Iterable[str], configs: Iterable[str] | None = None
) -> dict[str, Described]:
    """Those of the topics that exist; `configs` None: with all their configurations."""
    # All topics are listed: asking for one that does not exist could create it.
    listed = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    there = [name for name in names if listed.get(name)]
    configured = await _configs(admin, there, configs)
    return {
        name: Described(
            partitions=len(listed[name]),
            replicas=min(len(partition["replicas"]) for partition in listed[name]),
            configs=configured[name],
        )
        for name in there
    }


async def _configs(
    admin: AIOKafkaAdminClient, names: Sequence[str], wanted: Iterable[str] | None = None
) -> dict[str, dict[str, tuple[str, bool]]]:
    """Of each topic, by configuration: (value, whether it was set on the topic itself); `wanted` None: all of them."""
    if not names:
        return {}
    asked = None if wanted is None else dict.fromkeys(wanted)
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name, asked) for name in names])
    configs = {}
    for code, message, _, name, entries in (resource for response in responses for resource in response.resources):
        if code:
            raise Refused(_sentence(f"topic {name} can't be described", code, message))
        configs[name] = {entry[0]: (entry[1], entry[3] == DYNAMIC_TOPIC_CONFIG) for entry in entries}
    return configs


async def _create(
    admin: AIOKafkaAdminClient, topics: Mapping[str, Topic], found: Sequence[Finding], replication_factor: int
) -> None:
    missing = [
        NewTopic(
            finding.topic,
            topics[finding.topic].partitions,
            replication_factor,
            topic_configs=topics[finding.topic].configs(replication_factor),
        )
        for finding in found
        if finding.what == "missing"
    ]
    if not missing:
        return
    response = await admin.create_topics(missing)
    for name, code, message in response.topic_errors:
        # Someone else may create topics at the same time.
        if code not in (0, TopicAlreadyExistsError.errno):
            raise Refused(_sentence(f"topic {name} can't be created", code, message))


async def _alter(admin: AIOKafkaAdminClient, found: Sequence[Finding]) -> None:
    wanted: dict[str, dict[str, Any]] = {}
    for finding in found:
        if finding.what == "config":
            wanted.setdefault(finding.topic, {})[finding.config] = finding.wanted
    if not wanted:
        return
    # The request replaces all that was set on a topic, so what is to stay goes along.
    present = await _configs(admin, list(wanted))
    kept = {name: {config: value for config, (value, own) in present[name].items() if own} for name in wanted}
    responses = await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, kept[name] | wanted[name]) for name in wanted]
    )
    for code, message, _, name in (resource for response in responses for resource in response.resources):
        if code:
            raise Refused(_sentence(f"topic {name} can't be altered", code, message))


def _sentence(what: str, code: int, message: str | None) -> str:
    return f"{what}: {message or for_code(code).__name__}"
