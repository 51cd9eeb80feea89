"""Life and death of the embedded stack, with real engines and real signals."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.embedded.stack import Stack, down, status
from streams.errors import Refused
from streams.settings import Settings, load
from tests.engines import RunningStack, StartStack

pytestmark = pytest.mark.engines

DEADLINE_S = 60.0
ROOT = Path(__file__).parents[2]


def eventually(fact: Callable[[], Any]) -> Any:
    """The first true value of `fact`; fails when there is none within DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := fact()):
        assert time.monotonic() < deadline, "did not become true"
        time.sleep(0.05)
    return value


def processes_of(directory: Path) -> list[str]:
    """Command lines that name the directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(directory) in line:
            found.append(line)
    return found


async def produce(settings: Settings, topic: str, values: list[bytes]) -> None:
    """Write values, and return when the broker has acknowledged all. The topic is made if it is not there."""
    admin = AIOKafkaAdminClient(**settings.kafka_options())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(**settings.kafka_options(), acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def consume(settings: Settings, topic: str) -> list[bytes]:
    """All values of a topic's only partition."""
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(**settings.kafka_options(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes] = []
        while len(values) < end:
            values.append((await asyncio.wait_for(consumer.getone(), DEADLINE_S)).value)
        return values
    finally:
        await consumer.stop()


def store(settings: Settings, rows: range) -> None:
    """Insert rows into a table, which is made if it is not there."""
    client = clickhouse_connect.get_client(dsn=settings.clickhouse_dsn.replace("/aftersales", "/default"))
    client.command("CREATE DATABASE IF NOT EXISTS aftersales")
    client.command("CREATE TABLE IF NOT EXISTS aftersales.kept (n UInt64) ENGINE = MergeTree ORDER BY n")
    client.insert("aftersales.kept", [[n] for n in rows])
    client.close()


def stored(settings: Settings) -> list[int]:
    client = clickhouse_connect.get_client(dsn=settings.clickhouse_dsn)
    rows = [n for (n,) in client.query("SELECT n FROM kept ORDER BY n").result_rows]
    client.close()
    return rows


VALUES = [b"%d" % n for n in range(100)]


def test_a_start_on_a_new_directory_says_where_the_servers_are(start_stack: StartStack, tmp_path: Path) -> None:
    running = start_stack()
    loaded = load({"AFTERSALES_DIRECTORY": str(running.directory)})
    assert loaded.bootstrap_servers == running.settings.bootstrap_servers
    assert re.fullmatch(r"http://default:[0-9a-f]{64}@127\.0\.0\.1:\d+/aftersales", loaded.clickhouse_dsn)
    assert len(loaded.pseudonym_secret()) == 64
    said = json.loads((running.directory / "stack.json").read_text())
    assert set(said) == {"bootstrap_servers", "clickhouse_dsn", "pseudonym_key_file", "pid", "started_at"}
    seen = status(running.directory)
    assert seen is not None
    assert [(each.name, each.state) for each in seen.processes] == [
        ("supervisor", None),
        ("kafka", "ready"),
        ("clickhouse", "ready"),
    ]
    assert [each.pid for each in seen.processes] == [os.getpid(), running.pid("kafka"), running.pid("clickhouse")]
    running.stop()
    assert not (running.directory / "stack.json").exists()
    assert status(running.directory) is None
    assert not down(running.directory)


def test_second_start_is_refused(start_stack: StartStack) -> None:
    running = start_stack()
    with pytest.raises(Refused, match=rf"process {os.getpid()}.*`aftersales down -d {running.directory}`"):
        start_stack()
    assert running.pid("kafka") is not None


def test_a_directory_may_have_any_letters_and_signs(start_stack: StartStack, tmp_path: Path) -> None:
    name = "Grüße 你好 \\u0041 a,b;c:d & <x> 'q' \"r\" #1 50% ?a=b ${sys:user.name} $x `y` *"
    first = start_stack(directory=str(tmp_path / name), cache=str(tmp_path / "Zwischen, & 你"))
    asyncio.run(produce(first.settings, "kept", VALUES))
    store(first.settings, range(100))
    first.stop()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("G")] == [name]
    assert (tmp_path / name / "kafka" / "data" / "kept-0").is_dir()
    assert (tmp_path / name / "kafka" / "server.log").is_file()
    assert (tmp_path / name / "clickhouse" / "data" / "store").is_dir()
    second = start_stack(directory=str(tmp_path / name), cache=str(tmp_path / "Zwischen, & 你"))
    assert asyncio.run(consume(second.settings, "kept")) == VALUES
    assert stored(second.settings) == list(range(100))


def test_a_cache_that_java_could_not_name_is_refused(start_stack: StartStack, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cache folder .*/a:b has a `:`.*AFTERSALES_CACHE"):
        start_stack(cache=str(tmp_path / "a:b"))
    assert not (tmp_path / "a:b").exists()


def test_data_in_a_directory_open_to_all_is_for_its_owner_alone(start_stack: StartStack, tmp_path: Path) -> None:
    directory = tmp_path / "open"
    for folder in (directory, directory / "kafka", directory / "log"):
        folder.mkdir()
        folder.chmod(0o777)
    start_stack(directory=str(directory))
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir() if path.is_dir()}
    assert modes == dict.fromkeys(("kafka", "clickhouse", "log", "run"), 0o700)
    readable = {path.name for path in directory.iterdir() if path.is_file() and path.stat().st_mode & 0o077}
    assert readable <= {"lock", "ports.json", "status.json"}


def test_a_start_shows_itself_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def no_jars(self: Stack) -> list[Path]:
        seen.append(status(tmp_path))
        raise Refused("no jars")

    monkeypatch.setattr(Stack, "_fetch_jars", no_jars)
    (tmp_path / "status.json").write_text('{"started_at": "before", "processes": []}')
    with pytest.raises(Refused, match="no jars"):
        asyncio.run(Stack(Settings(directory=str(tmp_path))).start())
    assert seen[0] is not None
    assert [(each.name, each.state, each.pid) for each in seen[0].processes] == [
        ("supervisor", "starting", os.getpid())
    ]
    assert json.loads((tmp_path / "lock").read_text() or "0") == 0


def test_restart_keeps_data_ports_and_secrets(start_stack: StartStack) -> None:
    first = start_stack()
    before = first.settings
    asyncio.run(produce(before, "kept", VALUES))
    store(before, range(100))
    first.stop()
    second = start_stack()
    assert second.settings == before
    assert asyncio.run(consume(second.settings, "kept")) == VALUES
    assert stored(second.settings) == list(range(100))


@pytest.mark.parametrize("name", ["kafka", "clickhouse"])
def test_killed_engine_is_started_again_with_all_it_has_acknowledged(start_stack: StartStack, name: str) -> None:
    running = start_stack()
    asyncio.run(produce(running.settings, "kept", VALUES))
    store(running.settings, range(100))
    killed = running.pid(name)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    def again() -> bool:
        seen = status(running.directory)
        assert seen is not None
        return any(each.name == name and each.state == "ready" and each.restarts == 1 for each in seen.processes)

    eventually(again)
    assert running.pid(name) not in (None, killed)
    assert asyncio.run(consume(running.settings, "kept")) == VALUES
    assert stored(running.settings) == list(range(100))


def test_restart_of_one_child_gives_it_a_new_process(start_stack: StartStack) -> None:
    running = start_stack()
    before = running.pid("clickhouse"), running.pid("kafka")
    running.restart("clickhouse")
    assert running.pid("clickhouse") not in (None, before[0])
    assert running.pid("kafka") == before[1]


@pytest.mark.parametrize("setting", ["kafka_port", "clickhouse_port"])
def test_a_configured_port_that_is_taken_is_refused(start_stack: StartStack, tmp_path: Path, setting: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Refused, match=rf"{setting} {port} is taken.*AFTERSALES_{setting.upper()}"):
            start_stack(**{setting: port})
    assert processes_of(tmp_path) == []


def test_a_worker_is_ready_when_its_file_is_there(start_stack: StartStack) -> None:
    running = start_stack()
    script = (
        "import os, pathlib, signal; pathlib.Path(os.environ['AFTERSALES_READY_FILE']).touch();"
        " assert os.environ['AFTERSALES_DIRECTORY'] and os.environ['COLOUR'] == 'red'; signal.pause()"
    )
    worker = running.stack.worker("worker-1", (sys.executable, "-c", script), {"COLOUR": "red"})
    running.run(running.stack.add(worker))
    pid = running.pid("worker-1")
    assert pid is not None
    running.stop()
    assert not psutil.pid_exists(pid)


class Runner:
    """A stack in a process of its own, in an environment without any `java`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        environment = {name: text for name, text in os.environ.items() if name != "JAVA_HOME"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded.runner", str(directory)],
            cwd=ROOT,
            env=environment | {"PATH": str(directory)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def modules(self) -> set[str]:
        """The modules that it has imported; waits until the engines are ready."""
        assert self.process.stdout is not None
        return set(json.loads(self.process.stdout.readline()))


StartRunner = Callable[[], Runner]


@pytest.fixture
def start_runner(tmp_path: Path) -> Iterator[StartRunner]:
    runners: list[Runner] = []

    def start() -> Runner:
        runners.append(Runner(tmp_path / "stack"))
        return runners[-1]

    yield start
    for runner in runners:
        runner.process.kill()
        runner.process.communicate()


def test_the_supervisor_is_small_and_needs_no_java_of_the_path(start_runner: StartRunner) -> None:
    runner = start_runner()
    assert not runner.modules() & {"faust", "mode", "aiokafka", "chdb", "pandas", "pyarrow", "numpy", "aiohttp"}
    seen = status(runner.directory)
    assert seen is not None
    for each in seen.processes:
        print(f"{each.name}: {(each.pss_bytes or 0) >> 20} MiB")
    bounds = {"supervisor": 40, "kafka": 260, "clickhouse": 340}
    assert {each.name: (each.pss_bytes or 0) >> 20 <= bounds[each.name] for each in seen.processes} == dict.fromkeys(
        bounds, True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(start_runner: StartRunner, number: signal.Signals) -> None:
    runner = start_runner()
    runner.modules()
    runner.process.send_signal(number)
    assert runner.process.wait(DEADLINE_S) == 0
    assert processes_of(runner.directory) == []
    assert not (runner.directory / "stack.json").exists()


def test_a_signal_during_the_start_stops_everything(start_runner: StartRunner) -> None:
    runner = start_runner()
    eventually(lambda: len(processes_of(runner.directory)) == 3)
    runner.process.send_signal(signal.SIGINT)
    assert runner.process.wait(DEADLINE_S) == 0
    assert processes_of(runner.directory) == []


def test_down_stops_a_stack_of_another_process(start_runner: StartRunner) -> None:
    runner = start_runner()
    runner.modules()
    assert down(runner.directory)
    assert runner.process.wait(DEADLINE_S) == 0
    assert processes_of(runner.directory) == []


def test_after_a_killed_owner_nothing_runs_and_a_start_succeeds(
    start_runner: StartRunner, start_stack: StartStack
) -> None:
    runner = start_runner()
    runner.modules()
    runner.process.kill()
    runner.process.wait()
    eventually(lambda: not processes_of(runner.directory))
    assert (runner.directory / "stack.json").exists()
    assert status(runner.directory) is None
    assert not down(runner.directory)
    running: RunningStack = start_stack(directory=str(runner.directory))
    assert json.loads((running.directory / "stack.json").read_text())["pid"] == os.getpid()
