"""The jars of the embedded Kafka: a locked list, found on this machine or fetched, and never used unverified.

Must not know how Kafka is started. A jar is looked for in the cache folder, in the local Maven repository, then in a
repository: the one of the setting `maven_url`, else a mirror of `~/.m2/settings.xml`, else Maven Central.
"""

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from streams.errors import Refused, Transient
from streams.settings import load

LOCK = Path(__file__).with_name("kafka-4.1.1.lock")
MIRROR = "AFTERSALES_MAVEN_URL"
PARALLEL = 8
TRIES = 3
PAUSE_S = 0.5
"""Before the second try; doubled before each further one."""
CONNECT_S = 5.0
READ_S = 30.0
CHUNK_BYTES = 1 << 18

Progress = Callable[[int, int], None]
"""Called with (jars ready, jars in all) each time a jar becomes ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Jar:
    """One line of the lock: Maven coordinates and the sha256 of the file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """Where a Maven repository keeps the file."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """The locked jars: lines `group:artifact:version:sha256`; `#` begins a comment."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    jars = []
    for line in lines:
        if line and not line.startswith("#"):
            group, artifact, version, sha256 = line.split(":")
            jars.append(Jar(group=group, artifact=artifact, version=version, sha256=sha256))
    return jars


class Stopped(Exception):
    """The caller has set `stop`: not all jars are there."""


def fetch_jars(
    folder: Path,
    *,
    jars: list[Jar] | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> list[Path]:
    """Bring all jars into `folder`, each verified, and return their paths in the order of the lock.

    Two processes may fetch into one folder at once: each file appears whole, by a rename. Raises Refused, naming the
    jar, when it can't be had or is not the locked one, and Stopped soon after `stop` was set.
    """
    wanted = read_lock() if jars is None else jars
    folder.mkdir(parents=True, exist_ok=True)
    source = Source(stop or threading.Event())
    with ThreadPoolExecutor(PARALLEL) as pool:
        fetching = [pool.submit(_bring, jar, folder, source) for jar in wanted]
        try:
            for done, finished in enumerate(as_completed(fetching), start=1):
                finished.result()
                if progress is not None:
                    progress(done, len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [folder / jar.file_name for jar in wanted]


class Source:
    """The remote repository. Looked up at the first jar that is not on this machine: most starts need none."""

    def __init__(self, stop: threading.Event) -> None:
        self._url: str | None = None
        self._stop = stop

    def download(self, jar: Jar, target: Path) -> None:
        """Write the jar to `target`. Raises Transient after the last try, Refused when the repository has it not."""
        import requests

        if self._url is None:
            self._url = repository_url()
        for attempt in range(TRIES):
            try:
                return self._write(f"{self._url}/{jar.repository_path}", target)
            except requests.HTTPError as error:
                status = error.response.status_code
                if status < 500 and status != 429:
                    raise Refused(
                        f"{jar}: the Maven repository answers {status}; set {MIRROR} to one that has it"
                    ) from None
                fault = f"the Maven repository answers {status}"
            except requests.RequestException as error:
                fault = f"the Maven repository can't be reached ({type(error).__name__})"
            if attempt + 1 < TRIES and self._stop.wait(PAUSE_S * 2**attempt):
                raise Stopped
        raise Transient(fault)

    def _write(self, url: str, target: Path) -> None:
        import requests

        with requests.get(url, timeout=(CONNECT_S, READ_S), stream=True) as response:
            response.raise_for_status()
            with target.open("wb") as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    if self._stop.is_set():
                        raise Stopped
                    file.write(chunk)


def repository_url() -> str:
    """The remote repository, without a slash at its end. Raises SettingsError."""
    url = load().maven_url or _mirror(Path.home() / ".m2" / "settings.xml")
    if url:
        return url.rstrip("/")
    from jgo.constants import MAVEN_CENTRAL_URL

    return str(MAVEN_CENTRAL_URL)


def local_repository() -> Path:
    """Maven's repository on this machine, where other tools may have put the same jars."""
    return Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")


def _mirror(settings: Path) -> str | None:
    """The first mirror of Maven Central that Maven's own settings name, or None."""
    try:
        root = ElementTree.parse(settings).getroot()  # noqa: S314 - the user's own file
    except (OSError, ElementTree.ParseError):
        return None
    for mirror in root.iterfind(".//{*}mirror"):
        if mirror.findtext("{*}mirrorOf", "").split(",")[0].strip() in ("*", "central", "external:*"):
            return mirror.findtext("{*}url", "").strip() or None
    return None


def _bring(jar: Jar, folder: Path, source: Source) -> None:
    target = folder / jar.file_name
    if _verified(target, jar):
        return
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{jar.file_name}.")
    os.close(descriptor)
    part = Path(name)
    try:
        local = local_repository() / jar.repository_path
        if _verified(local, jar):
            shutil.copyfile(local, part)
        else:
            source.download(jar, part)
        if not _verified(part, jar):
            raise Refused(f"{jar}: the file fetched is not the locked one (sha256 differs from {jar.sha256}); not used")
        part.chmod(0o644)
        part.replace(target)
    except Transient as fault:
        raise Refused(
            f"{jar} is neither in {folder} nor in {local_repository()}, and {fault}: "
            f"go online once, or set {MIRROR} to a Maven repository that can be reached"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _verified(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False
