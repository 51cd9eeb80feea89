"""Kafka and ClickHouse of a job's own, in a folder that is removed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from streams.settings import load
from tests.engines import RunningStack


@contextmanager
def engines() -> Iterator[tuple[RunningStack, Path]]:
    """The engines, and a folder for what else the job writes. What the environment says of servers is not meant."""
    with TemporaryDirectory(prefix="aftersales-bench-") as folder:
        stack: RunningStack | None = None
        try:
            with whole():
                stack = RunningStack(load({}, directory=f"{folder}/stack"))
            yield stack, Path(folder)
        finally:
            if stack is not None:
                with whole():
                    stack.stop()


@contextmanager
def whole() -> Iterator[None]:
    """Ctrl-C counts at the end of the block: processes whose start or stop was cut in two would be lost from sight."""
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise KeyboardInterrupt
