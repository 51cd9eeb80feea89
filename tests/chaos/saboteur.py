"""Carries out the faults of a plan, and heals what they left behind. The thin edge: what and when is the plan's."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from connectors.simulator.feed import truth_path
from connectors.simulator.truth import read_lines
from streams import codec
from streams.delivery.names import group_name, topic_name
from streams.embedded.files import write_file
from streams.embedded.stack import status
from streams.errors import Refused
from streams.partitions import partition_of
from streams.topics import MAX_MESSAGE_BYTES
from tests.chaos.clock_process import FILE
from tests.chaos.plan import ENGINES, NAMES, Fault, Kind, Plan
from tests.chaos.poison import ACCOUNT, Published, order, poison
from tests.chaos.scene import Scene, apart

HEAL_S = 90.0
"""Longest time until all workers are ready again."""
APPEAR_S = 6.0
"""Longest wait for a process that something is to happen to: more than the longest pause of the supervisor."""
PUBLISH_S = 30.0
HOLD_S = 10.0
"""Longest wait for an insert to be held."""
POLL_S = 0.5


class Saboteur:
    """Does what `plan` says to `scene`. Faults that find nobody to happen to are added to `missed`."""

    def __init__(self, scene: Scene, plan: Plan, missed: list[str]) -> None:
        self._scene, self._plan, self._missed, self._pipeline = scene, plan, missed, scene.pipeline
        self._frozen: set[int] = set()

    async def run(self) -> None:
        """Carry out all faults; returns at the end of the plan's time, when they are over."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(self._plan.seconds))
            for fault in self._plan.faults:
                tasks.create_task(self._do(fault))

    async def heal(self) -> None:
        """Undo everything, and return when all workers are ready. Raises TimeoutError when one is not."""
        for link in self._scene.links.values():
            await link.turn("fair")
        self._scene.gate.full = False
        self._scene.gate.release()
        self._offset_file.unlink(missing_ok=True)
        for pid in self._frozen:
            _signal(pid, signal.SIGCONT)
        present = {name for name, _ in self._states() if name not in ("kafka", "clickhouse", "supervisor")}
        if strangers := present - set(NAMES):
            await apart(lambda: self._pipeline.remove(*strangers))
        if missing := set(NAMES) - present:
            await apart(lambda: self._pipeline.add(*sorted(missing)))
        async with asyncio.timeout(HEAL_S):
            while not all(state == "ready" for _, state in self._states()):  # noqa: ASYNC110 - processes tell nobody
                await asyncio.sleep(POLL_S)

    def _states(self) -> list[tuple[str, str]]:
        found = status(self._pipeline.stack.directory)
        assert found is not None
        return [(process.name, process.state or "ready") for process in found.processes]

    @property
    def _offset_file(self) -> Path:
        return self._pipeline.stack.directory / FILE

    async def _do(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        try:
            await self._acts[fault.kind](self, fault)
        except (KeyError, ProcessLookupError, Refused, TimeoutError) as error:
            # Another fault has taken it away, or keeps it from coming.
            self._missed.append(f"{fault}: {error!r}")

    async def _pid(self, name: str) -> int:
        """The process id; waits a while for one that is not there, for others make it come and go."""
        deadline = time.monotonic() + APPEAR_S
        while (pid := self._pipeline.pid(name)) is None:
            if time.monotonic() > deadline:
                raise ProcessLookupError(name)
            await asyncio.sleep(POLL_S)
        return pid

    async def _kill(self, fault: Fault) -> None:
        os.killpg(await self._pid(fault.target), signal.SIGKILL)

    async def _terminate(self, fault: Fault) -> None:
        os.killpg(await self._pid(fault.target), signal.SIGTERM)

    async def _freeze(self, fault: Fault) -> None:
        pid = await self._pid(fault.target)
        self._frozen.add(pid)
        os.killpg(pid, signal.SIGSTOP)
        await asyncio.sleep(fault.lasts_s)
        _signal(pid, signal.SIGCONT)

    async def _remove(self, fault: Fault) -> None:
        await apart(lambda: self._pipeline.remove(fault.target))
        await asyncio.sleep(fault.lasts_s)
        await apart(lambda: self._pipeline.add(fault.target))

    async def _add(self, fault: Fault) -> None:
        await apart(lambda: self._pipeline.add(fault.target))
        await asyncio.sleep(fault.lasts_s)
        await apart(lambda: self._pipeline.remove(fault.target))

    async def _disturb(self, fault: Fault) -> None:
        link = self._scene.links[fault.target]
        await link.turn(fault.kind, fault.detail)  # type: ignore[arg-type]  # these kinds are kinds of weather
        await asyncio.sleep(fault.lasts_s)
        await link.turn("fair")

    async def _fill(self, fault: Fault) -> None:
        self._scene.gate.full = True
        await asyncio.sleep(fault.lasts_s)
        self._scene.gate.full = False

    async def _kill_unstored(self, fault: Fault) -> None:
        gate = self._scene.gate
        gate.hold()
        try:
            async with asyncio.timeout(HOLD_S):
                await gate.held.wait()
            for name in (*NAMES, *ENGINES):
                if name.startswith(fault.target) and (pid := self._pipeline.pid(name)) is not None:
                    _signal(pid, signal.SIGKILL)
        except TimeoutError:
            raise ProcessLookupError("no insert came") from None
        finally:
            # A sink that lives is told that its rows are stored, and finds no Kafka that would take its positions.
            gate.release()

    async def _poison(self, fault: Fault) -> None:
        await self._publish(poison(fault.target, fault.detail, self._scene.settings.partitions))

    async def _jump(self, fault: Fault) -> None:
        write_file(self._offset_file, str(fault.detail))
        await asyncio.sleep(fault.lasts_s)
        self._offset_file.unlink(missing_ok=True)

    async def _rehome(self, fault: Fault) -> None:
        """An order that is known changes its customer; whoever owns the old or the new one is killed meanwhile."""
        lines = await apart(lambda: list(read_lines(truth_path(self._scene.settings))))
        known = {line.about: line.customer for line in lines if line.noun == "order" and line.customer}
        if not known:
            raise ProcessLookupError("no order is known yet")
        randomness = Random(fault.detail)
        about = randomness.choice(sorted(known))
        customer = f"customer:{ACCOUNT}:{fault.detail}"
        await self._publish(Published("order", about, codec.encode(order(about, fault.detail, customer))))
        owners = await self._owners("casework", (known[about] or "", customer))
        await asyncio.sleep(randomness.uniform(0, 0.3))
        for name in owners:
            os.killpg(await self._pid(name), signal.SIGKILL)

    async def _owners(self, step: str, keys: tuple[str, ...]) -> set[str]:
        """Workers of a step that own the timelines of these customers; all of them while nobody knows."""
        partitions = {partition_of(key.encode(), self._scene.settings.partitions) for key in keys}
        owners = set()
        admin = AIOKafkaAdminClient(**self._scene.settings.kafka_options())
        with suppress(KafkaError, TimeoutError):
            try:
                await admin.start()
                (answer,) = await admin.describe_consumer_groups([group_name(self._scene.settings.namespace, step)])
                ((_, _, _, _, _, members, *_),) = answer.groups
                for _, client_id, _, _, assignment, *_ in members:
                    assigned = ConsumerProtocolMemberAssignment.decode(assignment).assignment if assignment else []
                    if any(partitions.intersection(numbers) for _, numbers in assigned):
                        owners.add(client_id)
            finally:
                await admin.close()
        return owners or {name for name in NAMES if name.startswith(step)}

    async def _publish(self, published: Published) -> None:
        """Publish until it is acknowledged; it may be there twice then."""
        topic = topic_name(self._scene.settings.namespace, published.noun)
        async with asyncio.timeout(PUBLISH_S):
            while True:
                producer = AIOKafkaProducer(**self._scene.settings.kafka_options(), max_request_size=MAX_MESSAGE_BYTES)
                try:
                    await producer.start()
                    key = published.key.encode()
                    partition = published.partition
                    if partition is None:
                        partition = partition_of(key, self._scene.settings.partitions)
                    await producer.send_and_wait(topic, published.value, key=key, partition=partition)
                    return
                except KafkaError:
                    await asyncio.sleep(POLL_S)
                finally:
                    await producer.stop()

    _acts: Mapping[Kind, Callable[["Saboteur", Fault], Awaitable[None]]] = {
        "kill": _kill,
        "terminate": _terminate,
        "freeze": _freeze,
        "remove": _remove,
        "add": _add,
        "refuse": _disturb,
        "slow": _disturb,
        "silent": _disturb,
        "cut": _disturb,
        "too_many_parts": _fill,
        "kill_unstored": _kill_unstored,
        "poison": _poison,
        "jump": _jump,
        "rehome": _rehome,
    }


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
