"""What contestants share: what they are told, what they read and write, and the mark of their first event.

A contestant is started as a module with a `Contest` as JSON for its argument. It reads `source` from the beginning and
writes to `counted`, for each event under the event's key, the event's number and how many events of its key there have
been so far. How many there are of each key must survive the process.
"""

import sys
import time
from pathlib import Path

import msgspec

EVENT_TYPES = ("return_requested", "parcel_scanned", "refund_issued", "message_received")


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """What a contestant is told."""

    name: str
    """Unique for each run: its consumer group, and part of the names of what it makes."""
    bootstrap_servers: str
    namespace: str
    source: str
    """Noun of the topic that is read."""
    counted: str
    """Noun of the topic that is written."""
    partitions: int
    """Of both topics."""
    folder: str
    """A folder of its own, empty."""
    way: str = ""
    """Which one, if a contestant can work in more than one way."""

    def topic(self, noun: str) -> str:
        """Full name of a topic."""
        return f"{self.namespace}.{noun}.v1"

    @property
    def changelog(self) -> str:
        """Noun of the topic that holds the counts, for a contestant that does not make one itself."""
        return f"{self.name}-changelog"

    @property
    def mark(self) -> Path:
        """The file that tells when the first event was begun."""
        return Path(self.folder) / "began.json"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event of about 300 bytes. Contestants need its number only."""

    number: int
    case_id: str
    type: str
    marketplace: str
    occurred_at: float
    amount_minor: int
    currency: str
    carrier: str
    tracking: str
    note: str


class Numbered(msgspec.Struct, frozen=True):
    """An event to one who decodes no more than is needed."""

    number: int


class Counted(msgspec.Struct, frozen=True):
    """The output for one event."""

    number: int
    count: int


class Began(msgspec.Struct, frozen=True, kw_only=True):
    """When the first event was begun."""

    at_s: float
    """By the machine's monotonic clock."""
    cpu_s: float
    """CPU time that the process had taken by then, of all its threads."""


encode = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Numbered).decode
decode_counted = msgspec.json.Decoder(Counted).decode


def told() -> Contest:
    """The contest of this process."""
    return msgspec.json.decode(sys.argv[1], type=Contest)


class Mark:
    """Leaves the mark of the first event. Called for each event or batch, before it is looked at."""

    def __init__(self, contest: Contest) -> None:
        self._file: Path | None = contest.mark

    def __call__(self) -> None:
        """Write it, the first time."""
        if self._file is not None:
            began = encode(Began(at_s=time.monotonic(), cpu_s=time.process_time()))
            unfinished = self._file.with_suffix(".new")
            unfinished.write_bytes(began)
            unfinished.replace(self._file)
            self._file = None
