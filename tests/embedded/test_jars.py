"""Jars are found in the nearest place that has them, and never used unless they are the locked ones."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streams.embedded import jars
from streams.embedded.jars import Jar, Stopped, fetch_jars, read_lock, repository_url
from streams.errors import Refused

CONTENT = b"content of a jar"
JAR = Jar(group="org.example", artifact="thing", version="1.0", sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty local Maven repository, no network, no pauses."""
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("AFTERSALES_MAVEN_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(jars, "PAUSE_S", 0.0)
    return tmp_path / "m2"


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of a Maven repository behind HTTP."""
    folder = tmp_path / "remote"
    folder.mkdir()
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setenv("AFTERSALES_MAVEN_URL", f"http://127.0.0.1:{server.server_port}/")
    yield folder
    server.shutdown()
    server.server_close()


def put(repository: Path, content: bytes) -> None:
    path = repository / JAR.repository_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_the_lock_names_each_jar_once() -> None:
    locked = read_lock()
    assert len({jar.file_name for jar in locked}) == len(locked) == 36
    assert all(len(jar.sha256) == 64 for jar in locked)


def test_a_jar_is_fetched_once(remote: Path, tmp_path: Path) -> None:
    put(remote, CONTENT)
    seen: list[tuple[int, int]] = []
    (path,) = fetch_jars(tmp_path / "cache", jars=[JAR], progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert seen == [(1, 1)]
    (remote / JAR.repository_path).unlink()
    assert fetch_jars(tmp_path / "cache", jars=[JAR]) == [path]


def test_the_local_repository_comes_before_the_network(local: Path, tmp_path: Path) -> None:
    put(local, CONTENT)
    (path,) = fetch_jars(tmp_path / "cache", jars=[JAR])
    assert path.read_bytes() == CONTENT


def test_a_damaged_jar_in_cache_or_local_repository_is_fetched_again(remote: Path, local: Path, tmp_path: Path) -> None:
    put(remote, CONTENT)
    put(local, b"damaged")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / JAR.file_name).write_bytes(b"damaged too")
    (path,) = fetch_jars(tmp_path / "cache", jars=[JAR])
    assert path.read_bytes() == CONTENT


def test_a_jar_with_the_wrong_sha256_is_refused(remote: Path, tmp_path: Path) -> None:
    put(remote, b"something else")
    with pytest.raises(Refused, match=r"org.example:thing:1.0.*not the locked one"):
        fetch_jars(tmp_path / "cache", jars=[JAR])
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_the_missing_jar_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"org.example:thing:1.0 is neither in .* can't be reached.*AFTERSALES_MAVEN_URL"):
        fetch_jars(tmp_path / "cache", jars=[JAR])
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_jar_that_the_repository_has_not_is_refused_at_once(remote: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"org.example:thing:1.0.*answers 404"):
        fetch_jars(tmp_path / "cache", jars=[JAR])


def test_fetching_stops_when_told(remote: Path, tmp_path: Path) -> None:
    put(remote, CONTENT)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        fetch_jars(tmp_path / "cache", jars=[JAR], stop=stop)


def test_two_may_fetch_into_one_folder_at_once(remote: Path, tmp_path: Path) -> None:
    put(remote, CONTENT)
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def fetch() -> None:
        start.wait()
        try:
            fetch_jars(tmp_path / "cache", jars=[JAR])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [JAR.file_name]


def test_a_mirror_in_mavens_settings_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AFTERSALES_MAVEN_URL")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors>'
        "<mirror><id>a</id><mirrorOf>other</mirrorOf><url>http://127.0.0.1/other</url></mirror>"
        "<mirror><id>b</id><mirrorOf>central</mirrorOf><url>http://127.0.0.1/maven/</url></mirror>"
        "</mirrors></settings>"
    )
    assert repository_url() == "http://127.0.0.1/maven"
