"""Whether the topics that agents need are there, before anything is read. Must not create any but changelogs."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.delivery import names
from streams.delivery.agent import Agent
from streams.delivery.dead_letters import DEAD_LETTER
from streams.errors import Refused
from streams.settings import Settings

CHANGELOG = {"cleanup.policy": "compact", "max.message.bytes": str(8 << 20)}
LOOKS = 200
LOOK_AGAIN_S = 0.05


async def check_topics(admin: AIOKafkaAdminClient, agents: Sequence[Agent[Any]], settings: Settings) -> None:
    """Raise Refused unless all topics are there and fit; create the changelogs that are missing."""
    namespace = settings.namespace
    counts = await _partition_counts(admin)
    for noun in [DEAD_LETTER, *(noun for agent in agents for noun in (*agent.inputs, *agent.outputs))]:
        if names.topic_name(namespace, noun) not in counts:
            raise Refused(
                f"topic {names.topic_name(namespace, noun)} does not exist: create the topics with "
                "`aftersales topics apply`"
            )
    for agent in agents:
        inputs = {noun: counts[names.topic_name(namespace, noun)] for noun in agent.inputs}
        partitions = inputs[agent.inputs[0]]
        if set(inputs.values()) != {partitions}:
            raise Refused(f"the inputs of {agent.name} must have equal numbers of partitions, and have {inputs}")
        if agent.encode is not None:
            changelog = names.changelog_name(namespace, agent.name)
            if changelog not in counts:
                counts[changelog] = await _create(admin, changelog, partitions, settings.replication_factor)
            if counts[changelog] != partitions:
                raise Refused(
                    f"topic {changelog} has {counts[changelog]} partitions and the inputs of {agent.name} have "
                    f"{partitions}: another number of partitions is a rebuild into a new namespace"
                )


async def _create(admin: AIOKafkaAdminClient, changelog: str, partitions: int, replicas: int) -> int:
    """Create a changelog unless another worker does so right now; returns its number of partitions."""
    answer = await admin.create_topics([NewTopic(changelog, partitions, replicas, topic_configs=CHANGELOG)])
    for _ in range(LOOKS):
        counts = await _partition_counts(admin)
        if changelog in counts:
            return counts[changelog]
        await asyncio.sleep(LOOK_AGAIN_S)
    raise Refused(f"topic {changelog} can't be created: {answer}")


async def _partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Of all topics: asking for one that does not exist could create it."""
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
