"""The embedded stack: Kafka, ClickHouse and the workers of one directory, as one thing that starts and stops.

    async with Stack(settings) as stack:
        await stack.add(stack.worker("worker-1", command))
        await stack.wait()

Must not import the engines or the streams library: this process stays small, and lives as long as the stack does.

The directory holds all that the stack keeps: `kafka/`, `clickhouse/`, `log/`, `pseudonym.key`, and while it runs
`stack.json` (where the servers are; other commands read it) and `status.json` (which processes there are). Who holds
the lock on `lock` owns the directory; what the other files say counts only while somebody does.
"""

import asyncio
import contextlib
import json
import os
import select
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

import streams
from streams.embedded import kafka
from streams.embedded.files import keep_secret, write_file
from streams.embedded.jars import Progress, fetch_jars
from streams.embedded.ownership import LOCK, Owned, give_up, is_owned, own, owner
from streams.embedded.ports import HIGHEST, free_port, is_free
from streams.embedded.supervisor import Child, State, Supervisor
from streams.errors import Refused
from streams.settings import PREFIX, Settings

DATABASE = "aftersales"
PORT_TRIES = 3
"""So often are the engines started on other ports when somebody took one between its choice and its use."""
ANSWER_S = 2.0
DOWN_S = 30.0
"""Longest time `down` waits for an owner to stop before it kills it; a stop takes about 3 s."""
KILLED_S = 5.0
ENDED_S = 5.0
"""Longest time that `down` waits for the end of an owner that has stopped its stack; a program may live on after it."""
POLL_S = 0.05
SUBFOLDERS = ("kafka", "clickhouse", "log", "run")
"""Each for its owner alone, whatever the directory around them is."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process of a running stack."""

    name: str
    state: State | None
    """None for the owner once it has started: it has no supervisor."""
    pid: int | None
    """None while it has no process."""
    restarts: int = 0
    port: int | None = None
    """Of an engine."""
    metrics_port: int | None = None
    """Of a worker: where it answers /metrics and /healthz, on loopback."""
    pss_bytes: int | None = None
    """Memory, with its share of what it shares with other processes; None when that can't be read."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What runs in a directory."""

    started_at: str
    """RFC 3339, UTC."""
    processes: tuple[Process, ...]
    """The owner first, then the others in the order of their start."""


class Stack:
    """The embedded stack of `settings.directory`."""

    def __init__(
        self, settings: Settings, *, progress: Progress | None = None, detours: Mapping[str, int] | None = None
    ) -> None:
        """`progress` is called, from another thread, while Kafka's jars are fetched.

        `detours`: names of further listeners of Kafka, each with the port on loopback that it sends its clients to.
        """
        self.directory = Path(settings.directory).absolute()
        self._given = settings
        self._progress = progress
        self._detours = detours or {}
        self._supervisor = Supervisor(self.directory / "log", changed=self._write_status)
        self._lock: IO[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._metrics_ports: dict[str, int] = {}
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._serves = False

    @property
    def running(self) -> bool:
        """Whether this object owns its directory: from the beginning of `start` to the end of `stop`."""
        return self._lock is not None

    @property
    def settings(self) -> Settings:
        """The settings given, pointing at the engines of this stack, which must be started."""
        return msgspec.structs.replace(self._given, directory=str(self.directory), **self._endpoints())

    async def __aenter__(self) -> "Stack":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Own the directory, start the engines and wait until they serve. On failure everything is stopped again.

        Raises Refused: the directory is in use, a port is taken, a jar can't be had, an engine does not start.
        """
        if self._given.replication_factor > 1:
            raise Refused(
                f"replication_factor {self._given.replication_factor}: the embedded Kafka is one node, which keeps one "
                f"copy; set {PREFIX}REPLICATION_FACTOR to 1, or use another Kafka (bootstrap_servers)"
            )
        self._own()
        try:
            self._write_status()
            keep_secret(self._pseudonym_key_file)
            jars = await self._fetch_jars()
            await self._start_engines(jars)
            stack = self._endpoints() | {"pid": os.getpid(), "started_at": self._started_at}
            write_file(self.directory / "stack.json", json.dumps(stack, indent=2) + "\n", mode=0o600)
            self._serves = True
            self._write_status()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop workers, then engines, and give the directory up. Nothing happens when it is not started."""
        if self._lock is None:
            return
        (self.directory / "stack.json").unlink(missing_ok=True)
        await self._supervisor.stop()
        (self.directory / "status.json").unlink(missing_ok=True)
        give_up(self._lock)
        self._lock = None
        self._serves = False

    async def add(self, *children: Child) -> None:
        """Start further children side by side, and wait until they are ready. They stop before all earlier ones.

        Raises Refused when one of them is given up.
        """
        await self._supervisor.start(*children)

    async def remove(self, *names: str) -> None:
        """Stop these children side by side, and forget them. Raises KeyError when there is none of a name."""
        await self._supervisor.remove(*names)

    def worker(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """A child that uses this stack, and is ready when the file named by its setting `ready_file` exists.

        Its metrics are on a free port of loopback, the same one each time unless somebody takes it meanwhile.
        """
        ready_file = self.directory / "run" / f"{name}.ready"

        async def ready() -> bool:
            return ready_file.exists()

        given = {
            **_same_code(),
            PREFIX + "DIRECTORY": str(self.directory),
            PREFIX + "READY_FILE": str(ready_file),
            PREFIX + "METRICS_HOST": "127.0.0.1",
            **(environment or {}),
        }

        def prepare() -> None:
            ready_file.unlink(missing_ok=True)
            # The child's environment, which each start reads anew.
            given[PREFIX + "METRICS_PORT"] = str(self._choose_metrics_port(name))

        return Child(
            name=name,
            command=command,
            environment=given,
            ready=ready,
            prepare=prepare,
        )

    async def restart(self, name: str) -> None:
        """Stop and start one child; returns when it is ready. Raises KeyError when there is none of this name."""
        await self._supervisor.restart(name)

    def pid(self, name: str) -> int | None:
        """Process id of a child, None while it has no process. Raises KeyError when there is none of this name."""
        return self._supervisor.pid(name)

    def detour(self, name: str) -> int:
        """The port that Kafka itself listens on for the clients of a detour. Raises KeyError before the start."""
        return self._ports[_detour_name(name)]

    async def wait(self) -> None:
        """Wait until a child is given up: raises Refused then. Returns when all have been stopped."""
        await self._supervisor.wait()

    def _own(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._lock = own(self.directory)
        except Owned as owned:
            elsewhere = () if self.directory == Path(Settings().directory).absolute() else ("-d", str(self.directory))
            stop = shlex.join(("aftersales", "down", *elsewhere))
            raise Refused(f"{owned}: stop it with `{stop}`, or use another {PREFIX}DIRECTORY") from None
        # Left by an owner that was killed.
        (self.directory / "stack.json").unlink(missing_ok=True)
        for name in SUBFOLDERS:
            folder = self.directory / name
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)

    async def _fetch_jars(self) -> list[Path]:
        stop = threading.Event()
        folder = kafka.jar_folder(self._given.cache_path)
        try:
            return await asyncio.to_thread(fetch_jars, folder, progress=self._progress, stop=stop)
        finally:
            stop.set()

    async def _start_engines(self, jars: Sequence[Path]) -> None:
        configured = {"kafka": self._given.kafka_port, "clickhouse": self._given.clickhouse_port}
        for name, port in configured.items():
            if port and not is_free(port):
                raise Refused(
                    f"{name}_port {port} is taken by another process: "
                    f"stop that one, or set {PREFIX}{name.upper()}_PORT to another port, or to 0 for a free one"
                )
        for attempt in range(1, PORT_TRIES + 1):
            self._ports = choose_ports(self.directory, configured, map(_detour_name, self._detours))
            try:
                await self._supervisor.start(self._kafka(jars), self._clickhouse(), attempts=1)
            except Refused:
                if attempt == PORT_TRIES or all(is_free(port) for port in self._ports.values()):
                    raise
            else:
                return

    def _kafka(self, jars: Sequence[Path]) -> Child:
        node = kafka.Node(
            folder=self.directory / "kafka",
            jars=jars,
            port=self._ports["kafka"],
            controller_port=self._ports["kafka-controller"],
            heap=self._given.kafka_heap,
            detours=[
                kafka.Detour(name=name, port=self.detour(name), advertised_port=port)
                for name, port in self._detours.items()
            ],
        )

        async def ready() -> bool:
            return await kafka.serves(node.port)

        return Child(
            name="kafka",
            command=node.command(*kafka.startup_options(self._given.cache_path)),
            environment=kafka.ENVIRONMENT,
            folder=node.folder,
            ready=ready,
            prepare=node.lay,
        )

    def _clickhouse(self) -> Child:
        port = self._ports["clickhouse"]
        folder = self.directory / "clickhouse"
        # Made here rather than by the server, so that they are known before it serves.
        self._password("default")
        self._password("reader")

        async def ready() -> bool:
            return await _answers_ping(port)

        return Child(
            name="clickhouse",
            command=(sys.executable, "-m", "streams.embedded.clickhouse", str(folder), str(port)),
            environment={**_same_code(), "TZ": "UTC"},
            ready=ready,
        )

    @property
    def _pseudonym_key_file(self) -> Path:
        return self.directory / "pseudonym.key"

    def _password(self, user: str) -> str:
        return keep_secret(self.directory / "clickhouse" / f"{user}.password")

    def dsn(self, user: str = "default") -> str:
        """URL of ClickHouse for a user: `default` may do everything, `reader` may read tables."""
        return f"http://{user}:{self._password(user)}@127.0.0.1:{self._ports['clickhouse']}/{DATABASE}"

    def _choose_metrics_port(self, name: str) -> int:
        port = self._metrics_ports.get(name)
        if port is None or not is_free(port):
            port = self._metrics_ports[name] = free_port([*self._ports.values(), *self._metrics_ports.values()])
        return port

    def _endpoints(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": f"127.0.0.1:{self._ports['kafka']}",
            "clickhouse_dsn": self.dsn(),
            "pseudonym_key_file": str(self._pseudonym_key_file),
        }

    def _write_status(self) -> None:
        this = Process(name="supervisor", state=None if self._serves else "starting", pid=os.getpid())
        children = (
            Process(
                name=name,
                state=state,
                pid=pid,
                restarts=restarts,
                port=self._ports.get(name),
                metrics_port=self._metrics_ports.get(name),
            )
            for name, state, pid, restarts in self._supervisor.states()
        )
        status = Status(started_at=self._started_at, processes=(this, *children))
        write_file(self.directory / "status.json", msgspec.json.encode(status))


def _detour_name(name: str) -> str:
    return f"kafka-{name}"


def choose_ports(directory: Path, configured: Mapping[str, int], further: Iterable[str] = ()) -> dict[str, int]:
    """Ports of the servers by name: those configured (0: not), else those of the last start where they are free.

    They are kept in the directory, so that clients find the servers again.
    """
    file = directory / "ports.json"
    try:
        known = msgspec.json.decode(file.read_bytes(), type=dict[str, int])
    except (FileNotFoundError, msgspec.DecodeError):
        known = {}
    ports = {}
    for name in ("kafka", "kafka-controller", "clickhouse", *further):
        port = configured.get(name) or known.get(name, 0)
        ports[name] = port if 0 < port <= HIGHEST and is_free(port) else free_port()
    write_file(file, json.dumps(ports) + "\n")
    return ports


def status(directory: Path) -> Status | None:
    """What runs in a directory, with its memory now; None when no stack does."""
    if not is_owned(directory):
        return None
    pid = owner(directory)
    file = directory / "status.json"
    try:
        written = msgspec.json.decode(file.read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError):
        written = None
    if written is None or [each.pid for each in written.processes[:1]] != [pid]:
        # The owner has only just become it, and has not written yet.
        now = datetime.now(UTC).isoformat(timespec="seconds")
        written = Status(started_at=now, processes=(Process(name="supervisor", state="starting", pid=pid),))
    measured = (
        msgspec.structs.replace(process, pss_bytes=None if process.pid is None else _pss_bytes(process.pid))
        for process in written.processes
    )
    return msgspec.structs.replace(written, processes=tuple(measured))


def down(directory: Path) -> bool:
    """Ask the stack of a directory to stop, wait until it has and its owner has ended; False when none runs there.

    An owner that does not stop within DOWN_S is killed, and the kernel ends its children. Raises Refused when even
    that does not end it, it belongs to another user, or the directory does not say which process it is.
    """
    if not is_owned(directory):
        return False
    pid = owner(directory)
    if pid is None:
        if not is_owned(directory):
            return False
        raise Refused(
            f"a stack is running in {directory}, but {directory / LOCK} does not say which process it is: "
            "end `aftersales` yourself"
        )
    for number, within_s in ((signal.SIGTERM, DOWN_S), (signal.SIGKILL, KILLED_S)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise Refused(f"the stack in {directory} (process {pid}) belongs to another user") from None
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if owner(directory) != pid:
                _wait_for_end(pid)
                return True
            time.sleep(POLL_S)
    raise Refused(f"the stack in {directory} (process {pid}) does not end")


def _wait_for_end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            select.select([process], [], [], ENDED_S)
        finally:
            os.close(process)


def _pss_bytes(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, value, *_ = line.split()
            if name == "Pss:":
                return int(value) * 1024
    return None


async def _answers_ping(port: int) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /ping HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _same_code() -> dict[str, str]:
    """Environment in which a child imports this very package, also when it runs from a checkout."""
    root = str(Path(streams.__file__).parents[1])
    return {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
