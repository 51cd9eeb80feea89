"""The names that this installation uses in Kafka. Must not know what is behind them.

Everything but `client_id` begins with the namespace, so that two installations can share a cluster.
"""


def topic_name(namespace: str, noun: str) -> str:
    """Full name of the topic that agents call `noun`."""
    return f"{namespace}.{noun}.v1"


def changelog_name(namespace: str, agent: str) -> str:
    """Full name of the topic that holds an agent's state."""
    return topic_name(namespace, f"{agent}-changelog")


def group_name(namespace: str, agent: str) -> str:
    """Consumer group of an agent."""
    return f"{namespace}-{agent}"


def transactional_id(namespace: str, agent: str, partition: int) -> str:
    """Identity of a task's producer: whoever starts one with it last owns the task."""
    return f"{namespace}-{agent}-{partition}"
