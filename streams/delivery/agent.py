"""What the author of an agent writes: a declaration and pure functions. Nothing here knows of Kafka, time or recovery.

    def decide(record: Record, state: State[Place]) -> Effects[Place]:
        place = state.get(record.key) or Place()
        ...
        return Effects(changes={record.key: place}, sends=[Send(TIMELINE, customer, record.value)])

    correlate = Agent(name="correlate", inputs=("order", "parcel"), outputs=("timeline",), decide=decide, ...)

Topics are named by their noun (`order`), as in `schemas/topics.yaml`; delivery adds namespace and version.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of an input topic."""

    topic: str
    """Noun of the topic, e.g. `order`."""
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Send(msgspec.Struct, frozen=True, gc=False):
    """One record to be written. `partition` None: by the hash of the key (Kafka's default partitioner)."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


class State(Protocol[T_co]):
    """The state of one task, read only. A plain dict will do in tests."""

    def get(self, key: bytes, /) -> T_co | None:
        """The value of `key` as the decisions so far have left it, or None."""
        ...


class Due(msgspec.Struct, frozen=True, gc=False):
    """An instant at which a key of the state wants to be looked at again."""

    clock: str
    """Name of the clock that this instant is measured on; casework has one per account."""
    at: int
    """Microseconds since 1970."""


class Effects(msgspec.Struct, Generic[T], frozen=True):
    """What a decision wants done: all of it happens, or nothing."""

    changes: Mapping[bytes, T | None] = {}
    """New values of state keys; None deletes."""
    sends: Sequence[Send] = ()
    advance: Mapping[str, int] = {}
    """Clocks that this record moves forward, and to which instant (microseconds). Before the record's own changes
    count, every due instant up to there is worked off, in order, by `Agent.due`."""


NOTHING: Effects[Any] = Effects()


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent(Generic[T]):
    """The declaration of an agent.

    `decide` raises BadInput for a record that can never be processed: the record becomes a dead letter and the task
    goes on. Any other exception is a bug: `quarantine`, if given, may turn it into effects (set one key aside);
    otherwise, or if it returns None, the process ends and nothing of the batch is committed.
    """

    name: str
    inputs: tuple[str, ...]
    """Topics read, all with the same number of partitions and the same key space."""
    outputs: tuple[str, ...]
    """Topics written; a Send to another one is a bug."""
    decide: Callable[[Record, State[T]], Effects[T]]
    encode: Callable[[T], bytes] | None = None
    """State value to bytes; None: the agent keeps no state and has no changelog."""
    decode: Callable[[bytes], T] | None = None
    dues: Callable[[bytes], Sequence[Due]] | None = None
    """The due instants in an encoded state value, each once, without decoding the rest of it."""
    marks: Mapping[int, str] = field(default_factory=dict)
    """Which state values are counted, and as what, by the first byte of their encoding: {1: "quarantined_matters"}."""
    due: Callable[[Due, bytes, State[T]], Effects[T]] | None = None
    """Called with (due instant, key, state) when a clock passed it; the key's new value must not hold the same due."""
    bounds: frozenset[str] = frozenset()
    """Codes of BadInput by which one key has reached a bound: they say nothing of the topic, and open no breaker."""
    quarantine: Callable[[Record | tuple[Due, bytes], Exception, State[T]], Effects[T] | None] | None = None

    def __post_init__(self) -> None:
        if (self.encode is None) != (self.decode is None):
            raise ValueError(f"agent {self.name}: encode and decode go together")
        if (self.dues is None) != (self.due is None):
            raise ValueError(f"agent {self.name}: dues and due go together")
        if (self.dues is not None or self.marks) and self.encode is None:
            raise ValueError(f"agent {self.name}: due instants and marks need state")
