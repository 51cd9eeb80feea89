"""The clients of Kafka, and one sentence when they can't connect.

Must not know what the clients are for.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.errors import Refused
from streams.settings import Settings

CONNECT_S = 8.0


class Clients(Protocol):
    """Makes clients of one cluster, not started yet. Options are those of aiokafka's classes, connecting apart.

    Whatever reads and writes in a worker gets its clients here, so that a simulated broker can take Kafka's place.
    """

    def consumer(self, **options: Any) -> Any:
        """A client as `aiokafka.AIOKafkaConsumer`."""
        ...

    def producer(self, **options: Any) -> Any:
        """A client as `aiokafka.AIOKafkaProducer`."""
        ...

    def admin(self, **options: Any) -> Any:
        """A client as `aiokafka.admin.AIOKafkaAdminClient`."""
        ...


class Cluster:
    """The Kafka cluster that settings name. Raises SettingsError for settings that can't be right."""

    def __init__(self, settings: Settings) -> None:
        self._options = settings.kafka_options()

    def consumer(self, **options: Any) -> Any:
        """A consumer, not started."""
        return AIOKafkaConsumer(**self._options, **options)

    def producer(self, **options: Any) -> Any:
        """A producer, not started."""
        return AIOKafkaProducer(**self._options, **options)

    def admin(self, **options: Any) -> Any:
        """An admin client, not started."""
        return AIOKafkaAdminClient(**self._options, **options)


async def start(client: Any, settings: Settings) -> None:
    """Start a client of aiokafka. Raises Refused when no broker answers within `CONNECT_S`, or lets us in."""
    try:
        with _silence("aiokafka"):  # the refusal says it in one sentence
            async with asyncio.timeout(CONNECT_S):
                await client.start()
    except (KafkaError, OSError, TimeoutError):
        await stop(client)
        # The client says "unable to bootstrap" of a closed port and of a wrong password alike.
        raise Refused(
            f"Kafka at {settings.bootstrap_servers} can't be reached: start the embedded stack with `aftersales up`, "
            "or correct bootstrap_servers, security_protocol, or the user name and password"
        ) from None


async def stop(client: Any) -> None:
    """Stop a client, started or not."""
    # aiokafka calls it `close` in the admin client, and `stop` in the others.
    await (client.close() if hasattr(client, "close") else client.stop())


async def connect_admin(settings: Settings, client_id: str, clients: Clients | None = None) -> Any:
    """A started admin client, of `clients` or of the cluster that settings name. Raises Refused as `start` does."""
    admin = (clients or Cluster(settings)).admin(client_id=client_id)
    await start(admin, settings)
    return admin


@contextmanager
def _silence(logger: str) -> Iterator[None]:
    before = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(before)
