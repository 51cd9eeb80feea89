"""Typed settings of every process: from the environment, else a file, else the embedded stack, else defaults.

Must not know what the settings are used for: it reads, checks and hides secrets.

Order, the first that has a value wins:

1. environment: `AFTERSALES_<NAME>`, upper case, e.g. `AFTERSALES_BOOTSTRAP_SERVERS`
2. a YAML file: the path in `AFTERSALES_SETTINGS`, else `aftersales.yaml` in the working directory if it is there
3. `<directory>/stack.json`, written by a running embedded stack (only `bootstrap_servers`, `clickhouse_dsn`
   and `pseudonym_key_file`)
4. the defaults below
"""

import ipaddress
import json
import os
import ssl
from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from streams.embedded.ownership import is_owned
from streams.errors import Refused
from streams.yamls import NotYaml, read_yaml

PREFIX = "AFTERSALES_"
FILE = "settings"
"""Name of the one variable that is no setting: it says where the settings file is."""
SECRETS = frozenset({"sasl_password", "pseudonym_key", "metrics_token"})
URLS = frozenset({"clickhouse_dsn", "maven_url"})
"""They may hold a password."""
KEY_BYTES = 16
"""Shortest pseudonym key: a shorter one can be found by trying, and with it the customers behind the pseudonyms."""
MAX_PORT = 65535
MAX_PARTITIONS = 1000
MAX_RUN = 1_000_000
MAX_REPLICAS = 100
MAX_ARCHIVE_DAYS = 36_500
MIN_S, MAX_S = 0.1, 86_400.0

Port: TypeAlias = Annotated[
    int, Meta(ge=0, le=MAX_PORT, description=f"a port from 0 to {MAX_PORT}, where 0 means a free one")
]
Seconds: TypeAlias = Annotated[
    float, Meta(ge=MIN_S, le=MAX_S, description=f"a number of seconds from {MIN_S} to {MAX_S:.0f}")
]
Heap: TypeAlias = Annotated[str, Meta(pattern="^[1-9][0-9]{0,5}[kKmMgG]$", description="a size such as 256m or 2g")]


class SettingsError(Refused):
    """A setting is missing or wrong; the text names it, its value (unless secret) and what to do."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. Seconds end in `_s`; an empty string means not set."""

    # Where the servers are
    bootstrap_servers: str = ""
    """Kafka brokers, `host:port,host:port`."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = ""
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    clickhouse_dsn: str = ""
    """`http[s]://user:password@host:port/database`; the database is `aftersales` when the path is empty."""
    replication_factor: Annotated[
        int, Meta(ge=1, le=MAX_REPLICAS, description=f"a whole number from 1 to {MAX_REPLICAS}")
    ] = 1
    """Of the topics that `topics apply` creates and of changelogs."""
    partitions: Annotated[
        int, Meta(ge=0, le=MAX_PARTITIONS, description=f"a whole number from 0 to {MAX_PARTITIONS}")
    ] = 0
    """Partitions of the topics that are split alike; 0: as `schemas/topics.yaml` says. Fixed once topics exist."""

    # Identity of this installation
    namespace: str = "aftersales"
    """First part of topic names, consumer groups and transactional ids."""
    generation: str = "g1"
    """Generation of facts that this pipeline writes; a rebuild from the source topics is a new one."""
    archive_after_days: Annotated[
        int, Meta(ge=0, le=MAX_ARCHIVE_DAYS, description=f"a whole number of days from 0 to {MAX_ARCHIVE_DAYS}")
    ] = 400
    """A matter in which nothing runs is archived when nothing has come for so long: its events leave the state, which
    only knows them again. 0: never. The clock says so with each tick. The timeline is kept for 400 days."""
    pseudonym_key: str = ""
    """Secret key of customer pseudonyms (HMAC-SHA256), at least `KEY_BYTES`, never rotated; or a file with it:"""
    pseudonym_key_file: str = ""

    retention_days: str = ""
    """How long ClickHouse keeps the rows of a table, in days since they were stored: `message_text=30,event=1200`; 0:
    for ever. Tables that are not named keep their default (`aftersales migrate` applies it)."""

    # Embedded stack
    directory: str = ".aftersales"
    """Data, logs and `stack.json` of the embedded stack."""
    cache: str = ""
    """Kafka's jars and start-up cache; empty: `$XDG_CACHE_HOME/aftersales`, else `~/.cache/aftersales`."""
    maven_url: str = ""
    """Repository that Kafka's jars are fetched from; empty: Maven's own settings, else Maven Central."""
    kafka_port: Port = 0
    """Port of the embedded broker; 0: a free one."""
    clickhouse_port: Port = 0
    kafka_heap: Heap = "256m"

    # Delivery
    worker_name: str = "worker"
    """Stable name of a worker process; keeps its tasks at home after a restart."""
    static_membership: bool = False
    """Join groups as a static member called `worker_name`; names must then be unique within a group."""
    session_timeout_s: Seconds = 6.0
    heartbeat_interval_s: Seconds = 1.0
    rebalance_timeout_s: Seconds = 30.0
    transaction_timeout_s: Seconds = 20.0
    deadline_s: Seconds = 60.0
    """Longest time a join, a restore or a batch may stand still before the process ends."""
    breaker_records: Annotated[
        int, Meta(ge=0, le=MAX_RUN, description=f"a whole number from 0 to {MAX_RUN}, where 0 means never")
    ] = 1000
    """Refused records in a row after which an input topic is left alone but for probes; 0: never."""

    # Watching
    ready_file: str = ""
    """Touched when a worker is ready, removed when it is not (a readiness probe for orchestrators)."""
    metrics_port: Annotated[
        int, Meta(ge=0, le=MAX_PORT, description=f"a port from 0 to {MAX_PORT}, where 0 means no endpoint")
    ] = 0
    """Where a worker answers `/metrics` and `/healthz`; 0: nowhere."""
    metrics_host: str = "127.0.0.1"
    """Address that the endpoint listens on; beyond loopback only with a `metrics_token`."""
    metrics_token: str = ""
    """Secret that `/metrics` asks for as `Authorization: Bearer …`; empty: none."""

    @property
    def archive_after(self) -> timedelta | None:
        """`archive_after_days`, None for never."""
        return timedelta(days=self.archive_after_days) if self.archive_after_days else None

    @property
    def cache_path(self) -> Path:
        """The cache folder."""
        if self.cache:
            return Path(self.cache).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aftersales"

    def kafka_options(self) -> dict[str, Any]:
        """Connection arguments shared by all aiokafka clients. Raises SettingsError for what can't be right."""
        options: dict[str, Any] = {
            "bootstrap_servers": _checked_servers(require(self.bootstrap_servers, "bootstrap_servers")),
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            file = getattr(self, name)
            try:
                if file:
                    Path(file).open("rb").close()
            except OSError as error:
                raise SettingsError(f"{name} {file}: {error.strerror}") from None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile or None)
        except ssl.SSLError:
            raise SettingsError(f"ssl_cafile {self.ssl_cafile} holds no certificates in PEM form") from None
        if self.ssl_certfile:
            try:
                # A key that is encrypted is refused, where a prompt for its password would block.
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile or None, password="")
            except ssl.SSLError:
                raise SettingsError(
                    f"ssl_certfile {self.ssl_certfile} and ssl_keyfile {self.ssl_keyfile or '(not set)'} are not a "
                    "certificate and its key, unencrypted and in PEM form"
                ) from None
        return context

    def pseudonym_secret(self) -> bytes:
        """The key of customer pseudonyms. Raises SettingsError when there is none, or one that can be guessed."""
        if self.pseudonym_key:
            return _checked_key(os.fsencode(self.pseudonym_key), "pseudonym_key")
        path = require(self.pseudonym_key_file, "pseudonym_key_file")
        try:
            key = Path(path).read_bytes().strip()
        except OSError as error:
            raise SettingsError(f"pseudonym_key_file {path}: {error.strerror}") from None
        return _checked_key(key, f"the key in pseudonym_key_file {path}")

    def retention(self) -> dict[str, int]:
        """`retention_days` as {table: days}. Raises SettingsError when it is not of its form."""
        days: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in self.retention_days.split(","))):
            table, sign, number = (piece.strip() for piece in part.partition("="))
            if not (table and sign and number.isdecimal() and len(number) <= 6):
                raise SettingsError(f"retention_days: {part!r} is not of the form table=days, e.g. message_text=30")
            days[table] = int(number)
        return days

    def shown(self) -> dict[str, str]:
        """Every setting as text, secrets hidden."""
        shown = {}
        for name, value in msgspec.structs.asdict(self).items():
            if name in SECRETS:
                value = "(set)" if value else ""
            if name in URLS:
                value = without_password(value)
            shown[name] = str(value)
        return shown


def require(value: str, name: str) -> str:
    """`value`, or a SettingsError that says how to set it."""
    if value:
        return value
    raise SettingsError(
        f"{name} is not set: start the embedded stack with `aftersales up`, or set {PREFIX}{name.upper()}"
    )


def _checked_servers(servers: str) -> str:
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) <= MAX_PORT):
            raise SettingsError(
                f"bootstrap_servers: {server.strip()!r} is not of the form host:port, e.g. kafka-1:9092,kafka-2:9092"
            )
    return servers


def _checked_key(key: bytes, name: str) -> bytes:
    if len(key.strip()) < KEY_BYTES:
        raise SettingsError(
            f"{name} is {len(key.strip())} bytes long: it must be a secret of at least {KEY_BYTES} bytes, e.g. made by "
            "`openssl rand -hex 32`, and never change"
        )
    return key


def without_password(url: str) -> str:
    """A URL with its password replaced by `***`; `(set)` if it is not clear which part of it may be a password."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "(set)"
    if not (parts.scheme and parts.hostname) or parts.query or "@" in parts.path + parts.fragment:
        return "(set)"
    user, _, host = parts.netloc.rpartition("@")
    name, sign, _ = user.partition(":")
    return urlunsplit(parts._replace(netloc=f"{name}:***@{host}")) if sign else url


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from environment, file, embedded stack and defaults; `overrides` (None is ignored) win over all.

    Raises SettingsError for an unknown name, a wrong type or an unreadable file.
    """
    env = os.environ if environment is None else environment
    names = {field.name for field in msgspec.structs.fields(Settings)}
    from_env = {key[len(PREFIX) :].lower(): value for key, value in env.items() if key.startswith(PREFIX)}
    for name in sorted(from_env.keys() - names - {FILE}):
        raise SettingsError(_misspelt(PREFIX + name.upper(), "", [PREFIX + known.upper() for known in {*names, FILE}]))
    file = Path(from_env.pop(FILE, "") or "aftersales.yaml")
    from_file = _read_file(file, required=bool(env.get(PREFIX + FILE.upper())))
    for name in sorted(from_file.keys() - names):
        raise SettingsError(_misspelt(name, f" in {file}", names))
    given = {key: value for key, value in overrides.items() if value is not None}
    known = from_file | {key: value for key, value in from_env.items() if value != ""} | given
    directory = Path(str(known.get("directory", ".aftersales")))
    known = _read_stack(directory) | known
    try:
        settings = msgspec.convert(known, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error), known)) from None
    # Out of a file it may come with the end of its line, which no header can carry.
    settings = msgspec.structs.replace(settings, metrics_token=settings.metrics_token.strip())
    _check_together(settings)
    return settings


def _misspelt(name: str, where: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    meant = f"did you mean {near[0]}?" if near else "`aftersales doctor` prints those that there are"
    return f"{name[:80]}{where} is no setting: {meant}"


def _check_together(settings: Settings) -> None:
    """What the type of a setting does not say."""
    if settings.kafka_port and settings.kafka_port == settings.clickhouse_port:
        raise SettingsError(
            f"kafka_port and clickhouse_port are both {settings.kafka_port}: give each a port of its own, or 0"
        )
    if settings.metrics_port and not settings.metrics_token and not _is_loopback(settings.metrics_host):
        raise SettingsError(
            f"metrics_host {settings.metrics_host} can be reached from other machines: set {PREFIX}METRICS_TOKEN to a "
            "secret that metrics are to be asked for with, or metrics_host to 127.0.0.1"
        )
    for name in sorted(URLS):
        try:
            urlsplit(getattr(settings, name))
        except ValueError:
            raise SettingsError(f"{name} is no URL: correct {PREFIX}{name.upper()}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _explain(error: str, known: Mapping[str, Any]) -> str:
    """What is wrong with which setting; a secret's value is not told."""
    reason, _, name = error.partition(" - at `$.")
    name = name.rstrip("`")
    if name not in known:
        return f"a setting is wrong: {error}"
    value = "" if name in SECRETS | URLS else f" is {known[name]!r}"
    allowed = _allowed(get_type_hints(Settings, include_extras=True)[name])
    reason = allowed or reason.replace("`", "").lower()
    return f"{name}{value}: {reason}; correct {PREFIX}{name.upper()}, or `{name}` in the settings file"


def _allowed(type: Any) -> str:
    """What a setting of this type may be, for people; empty: any value of the type."""
    arguments = get_args(type)
    metas = [meta for meta in arguments if isinstance(meta, Meta)]
    if metas:
        return f"allowed is {metas[0].description}"
    return f"choose from {', '.join(arguments)}" if arguments else ""


def _read_file(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        content = read_yaml(file.read_bytes()) or {}
    except FileNotFoundError:
        if required:
            raise SettingsError(f"settings file {file} does not exist") from None
        return {}
    except OSError as error:
        raise SettingsError(f"settings file {file} can't be read: {error.strerror}") from None
    except NotYaml as error:
        raise SettingsError(f"settings file {file}, {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {file} must hold `name: value` lines")
    for name in content:
        if not isinstance(name, str):
            raise SettingsError(f"settings file {file}: {name!r} is no name of a setting")
    return content


def _read_stack(directory: Path) -> dict[str, Any]:
    """What a running embedded stack says of itself; nothing when none runs there."""
    try:
        # What a stack that was killed has left would send passwords to whoever has taken its ports.
        stack = json.loads((directory / "stack.json").read_text()) if is_owned(directory) else None
    except (OSError, ValueError):
        return {}
    if not isinstance(stack, dict):
        return {}
    names = ("bootstrap_servers", "clickhouse_dsn", "pseudonym_key_file")
    return {name: stack[name] for name in names if isinstance(stack.get(name), str)}
