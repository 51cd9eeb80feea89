"""A chain of two small agents, and its worker: `python -m tests.delivery.chain first` (settings from the environment).

`first` reads `a` and `b` with one state and sends to `mid` by another key; `second` counts what arrives there.
In the folder FAILURES, if set, each place that is to fail once leaves a mark. With MENDED, poison can be read; with
SLOW_S, `first` takes so long for each record.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from streams import settings
from streams.delivery.agent import Agent, Effects, Record, Send, State
from streams.errors import BadInput

POISON = b"poison"
MENDED, SLOW_S = "MENDED" in os.environ, float(os.environ.get("SLOW_S", "0"))
encode = msgspec.json.Encoder(order="deterministic").encode


class Step(msgspec.Struct, frozen=True):
    """What both agents send: which record, and its count so far in its topic and in all."""

    topic: str
    partition: int
    offset: int
    key: str
    count: int
    all: int


def _count(record: Record, state: State[dict[str, int]]) -> tuple[dict[str, int], Step]:
    before = state.get(record.key) or {}
    counts = {**before, record.topic: before.get(record.topic, 0) + 1}
    return counts, Step(
        record.topic,
        record.partition,
        record.offset,
        record.key.decode(),
        counts[record.topic],
        sum(counts.values()),
    )


def decide_first(record: Record, state: State[dict[str, int]]) -> Effects[dict[str, int]]:
    """The value of a record is the key it is sent on with."""
    _fail_once(record)
    time.sleep(SLOW_S)
    if record.value == POISON and not MENDED:
        raise BadInput("poison", f"at offset {record.offset}")
    counts, step = _count(record, state)
    return Effects(changes={record.key: counts}, sends=[Send("mid", record.value, encode(step))])


def decide_second(record: Record, state: State[dict[str, int]]) -> Effects[dict[str, int]]:
    """Counts by key."""
    counts, step = _count(record, state)
    return Effects(changes={record.key: counts}, sends=[Send("out", record.key, encode(step))])


def _fail_once(record: Record) -> None:
    folder = os.environ.get("FAILURES")
    if folder and record.offset % 97 == 50:
        mark = Path(folder) / f"{record.topic}-{record.partition}-{record.offset}"
        if not mark.exists():
            mark.touch()
            raise RuntimeError("a bug that goes away")


decode = msgspec.json.Decoder(dict[str, int]).decode
FIRST: Agent[Any] = Agent(
    name="first", inputs=("a", "b"), outputs=("mid",), decide=decide_first, encode=encode, decode=decode
)
SECOND: Agent[Any] = Agent(
    name="second", inputs=("mid",), outputs=("out",), decide=decide_second, encode=encode, decode=decode
)
AGENTS = {agent.name: agent for agent in (FIRST, SECOND)}

if __name__ == "__main__":
    from streams.delivery.worker import run_worker

    run_worker([AGENTS[name] for name in sys.argv[1:]], settings.load())
