"""What commands write, and what they look for."""

from typing import Any

from streams import codec
from streams.delivery.agent import Record, Send
from streams.delivery.local import Local
from streams.domain.events import Retry
from tests.identity.made import NOW


def retry(matter: str, customer: str) -> Send:
    """The entry of `quarantine retry`."""
    return Send("timeline", customer.encode(), codec.encode(Retry(matter=matter, asked_at=NOW, by="lee")))


def original(local: Local, letter: Any) -> Record:
    """The record that a dead letter is about."""
    (found,) = (
        record
        for record in local.records(letter.origin_topic)
        if (record.partition, record.offset) == (letter.origin_partition, letter.origin_offset)
    )
    return found
