"""Whether the topics that agents need are there and fit, before anything is read.

Must not create any but changelogs.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.delivery import names
from streams.delivery.agent import Agent
from streams.delivery.dead_letters import DEAD_LETTER
from streams.errors import Refused
from streams.settings import Settings
from streams.topics import CLEANUP, MAX_MESSAGE_BYTES, Described, describe, refuse_losses

CHANGELOG = {CLEANUP: "compact", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
LOOKS = 200
LOOK_AGAIN_S = 0.05


async def check_topics(admin: AIOKafkaAdminClient, agents: Sequence[Agent[Any]], settings: Settings) -> None:
    """Raise Refused unless all topics are there and fit; create the changelogs that are missing."""
    namespace = settings.namespace
    nouns = dict.fromkeys([DEAD_LETTER, *(noun for agent in agents for noun in (*agent.inputs, *agent.outputs))])
    changelogs = {agent.name: names.changelog_name(namespace, agent.name) for agent in agents if agent.encode}
    described = await refuse_losses(admin, settings, nouns, changelogs.values())
    for agent in agents:
        inputs = {noun: described[names.topic_name(namespace, noun)].partitions for noun in agent.inputs}
        partitions = inputs[agent.inputs[0]]
        if set(inputs.values()) != {partitions}:
            raise Refused(f"the inputs of {agent.name} must have equal numbers of partitions, and have {inputs}")
        if changelog := changelogs.get(agent.name):
            there = described.get(changelog) or await _create(admin, changelog, partitions, settings.replication_factor)
            _check_changelog(agent.name, changelog, there, partitions)


def _check_changelog(agent: str, changelog: str, there: Described, partitions: int) -> None:
    if there.partitions != partitions:
        raise Refused(
            f"topic {changelog} has {there.partitions} partitions and the inputs of {agent} have {partitions}: another "
            "number of partitions is a rebuild into a new namespace"
        )
    if (policy := there.configs[CLEANUP][0]) != CHANGELOG[CLEANUP]:
        raise Refused(
            f"topic {changelog} has {CLEANUP}={policy} in place of compact, by which Kafka removes state that is "
            f"needed: set {CLEANUP}=compact with Kafka's kafka-configs, and then run `aftersales state rebuild {agent}`"
        )


async def _create(admin: AIOKafkaAdminClient, changelog: str, partitions: int, replicas: int) -> Described:
    """Create a changelog unless another worker does so right now; returns it as it is."""
    answer = await admin.create_topics([NewTopic(changelog, partitions, replicas, topic_configs=CHANGELOG)])
    for _ in range(LOOKS):
        if there := (await describe(admin, [changelog], [CLEANUP])).get(changelog):
            return there
        await asyncio.sleep(LOOK_AGAIN_S)
    raise Refused(f"topic {changelog} can't be created: {answer}")
