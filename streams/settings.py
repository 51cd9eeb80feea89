"""Typed settings of every process: from the environment, else a file, else the embedded stack, else defaults.

Must not know what the settings are used for: it reads, checks and hides secrets.

Order, the first that has a value wins:

1. environment: `AFTERSALES_<NAME>`, upper case, e.g. `AFTERSALES_BOOTSTRAP_SERVERS`
2. a YAML file: the path in `AFTERSALES_SETTINGS`, else `aftersales.yaml` in the working directory if it is there
3. `<directory>/stack.json`, written by a running embedded stack (only `bootstrap_servers`, `clickhouse_dsn`
   and `pseudonym_key_file`)
4. the defaults below
"""

import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec
import yaml

from streams.errors import Refused

PREFIX = "AFTERSALES_"
SECRETS = frozenset({"sasl_password", "pseudonym_key"})
MAX_PORT = 65535


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
    replication_factor: int = 1
    """Of the topics that `topics apply` creates and of changelogs."""
    partitions: int = 0
    """Partitions of the topics that are split alike; 0: as `schemas/topics.yaml` says. Fixed once topics exist."""

    # Identity of this installation
    namespace: str = "aftersales"
    """First part of topic names, consumer groups and transactional ids."""
    generation: str = "g1"
    """Generation of facts that this pipeline writes; a rebuild from the source topics is a new one."""
    pseudonym_key: str = ""
    """Secret key of customer pseudonyms (HMAC-SHA256), never rotated; or a file with it:"""
    pseudonym_key_file: str = ""

    retention_days: str = ""
    """How long ClickHouse keeps the rows of a table, in days since they were stored: `message_text=30,event=400`; 0:
    for ever. Tables that are not named keep their default (`aftersales migrate` applies it)."""

    # Embedded stack
    directory: str = ".aftersales"
    """Data, logs and `stack.json` of the embedded stack."""
    cache: str = ""
    """Kafka's jars and start-up cache; empty: `$XDG_CACHE_HOME/aftersales`, else `~/.cache/aftersales`."""
    kafka_port: int = 0
    """Port of the embedded broker; 0: a free one."""
    clickhouse_port: int = 0
    kafka_heap: str = "256m"

    # Delivery
    worker_name: str = "worker"
    """Stable name of a worker process; keeps its tasks at home after a restart."""
    static_membership: bool = False
    """Join groups as a static member called `worker_name`; names must then be unique within a group."""
    session_timeout_s: float = 6.0
    heartbeat_interval_s: float = 1.0
    rebalance_timeout_s: float = 30.0
    transaction_timeout_s: float = 20.0
    deadline_s: float = 60.0
    """Longest time a join, a restore or a batch may stand still before the process ends."""
    ready_file: str = ""
    """Touched when a worker is ready, removed when it is not (a readiness probe for orchestrators)."""

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
        """The key of customer pseudonyms. Raises SettingsError when there is none."""
        if self.pseudonym_key:
            return self.pseudonym_key.encode()
        path = require(self.pseudonym_key_file, "pseudonym_key_file")
        try:
            return Path(path).read_bytes().strip()
        except OSError as error:
            raise SettingsError(f"pseudonym_key_file {path}: {error.strerror}") from None

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
            if name == "clickhouse_dsn":
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


def without_password(url: str) -> str:
    """A URL with its password replaced by `***`."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from environment, file, embedded stack and defaults; `overrides` (None is ignored) win over all.

    Raises SettingsError for an unknown name, a wrong type or an unreadable file.
    """
    env = os.environ if environment is None else environment
    names = {field.name for field in msgspec.structs.fields(Settings)}
    from_env = {key[len(PREFIX) :].lower(): value for key, value in env.items() if key.startswith(PREFIX)}
    file = Path(from_env.pop("settings", "") or "aftersales.yaml")
    from_file = _read_file(file, required=bool(env.get(PREFIX + "SETTINGS")))
    given = {key: value for key, value in overrides.items() if value is not None}
    known = from_file | {key: value for key, value in from_env.items() if key in names and value != ""} | given
    directory = Path(str(known.get("directory", ".aftersales")))
    known = _read_stack(directory) | known
    unknown = set(known) - names
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(sorted(unknown))} in {file} (known: {', '.join(sorted(names))})"
        )
    try:
        return msgspec.convert(known, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error), known)) from None


def _explain(error: str, known: Mapping[str, Any]) -> str:
    """What is wrong with which setting; a secret's value is not told."""
    reason, _, name = error.partition(" - at `$.")
    name = name.rstrip("`")
    if name not in known:
        return f"a setting is wrong: {error}"
    value = "" if name in SECRETS or name == "clickhouse_dsn" else f" is {known[name]!r}"
    choices = get_args(get_type_hints(Settings)[name])
    reason = f"choose from {', '.join(choices)}" if choices else reason.replace("`", "").lower()
    return f"{name}{value}: {reason}; correct {PREFIX}{name.upper()}, or `{name}` in the settings file"


def _read_file(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text()) or {}
    except FileNotFoundError:
        if required:
            raise SettingsError(f"settings file {file} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"settings file {file} can't be read: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {file} must hold `name: value` lines")
    return content


def _read_stack(directory: Path) -> dict[str, Any]:
    """What a running embedded stack says of itself; nothing when none runs there."""
    try:
        stack = json.loads((directory / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return {
        name: stack[name] for name in ("bootstrap_servers", "clickhouse_dsn", "pseudonym_key_file") if name in stack
    }
