"""Connecting to Kafka: one sentence when it can't be done.

Must not know what the clients are for.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.errors import Refused
from streams.settings import Settings

CONNECT_S = 8.0


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
    await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())


async def connect_admin(settings: Settings, client_id: str) -> AIOKafkaAdminClient:
    """A started admin client. Raises Refused as `start` does."""
    admin = AIOKafkaAdminClient(**settings.kafka_options(), client_id=client_id)
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
