"""Reading what a person wrote: YAML with the line of every value, instants, lengths of time, and clear refusals.

Everything is read as text, so that `2026-03-02 01:30`, `4:00` and `no` mean what they look like. Must not know what a
scenario is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, TypeAlias

import yaml

from streams.errors import Refused

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000
"""Of one file, every value counted as often as it is used (YAML can repeat one by a reference)."""
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Text:
    """A single value and where it stands (`file, line 3`)."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of values."""

    where: str
    items: "tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Entries:
    """Values by name, in the order in which they were written. No name occurs twice."""

    where: str
    entries: "tuple[tuple[Text, Value], ...]"


Value: TypeAlias = Text | Listing | Entries


def refuse(value: Value, message: str) -> NoReturn:
    """Raise Refused with the place of `value`."""
    raise Refused(f"{value.where}: {message}")


def refuse_unknown(name: Text, what: str, allowed: Iterable[str]) -> NoReturn:
    """Raise Refused: `name` is none of `allowed`; says which one may have been meant."""
    known = sorted(set(allowed))
    close = get_close_matches(name.text, known, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    refuse(name, f"{name.text!r} is no {what}.{meant} Allowed: {', '.join(known) or 'nothing'}")


# ---- files


def read_documents(path: Path) -> list[Entries]:
    """The YAML documents of a file, each a mapping. Raises Refused."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise Refused(f"{path} has {len(content)} bytes; a file of scenarios has at most {MAX_BYTES}")
    try:
        return parse_documents(content.decode(), str(path))
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text: byte {error.start} can't be read") from None


def parse_documents(content: str, name: str) -> list[Entries]:
    """The YAML documents of a text; `name` says where it came from. Raises Refused."""
    try:
        nodes = [node for node in yaml.compose_all(content, Loader=yaml.SafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Refused(f"{name}, line {line}: this is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise Refused(f"{name} is not YAML: {error}") from None
    except RecursionError:
        raise Refused(f"{name} is nested too deeply") from None
    reader = _Reader(name)
    documents = []
    for node in nodes:
        document = reader.read(node, 0)
        if not isinstance(document, Entries):
            refuse(document, "a scenario is written as `name: value` lines")
        documents.append(document)
    return documents


class _Reader:
    """Turns nodes into values and counts them."""

    def __init__(self, name: str) -> None:
        self.name, self.left = name, MAX_VALUES

    def read(self, node: yaml.Node, depth: int) -> Value:
        where = f"{self.name}, line {node.start_mark.line + 1}"
        self.left -= 1
        if self.left < 0:
            raise Refused(f"{where}: more than {MAX_VALUES} values in one file")
        if depth > MAX_DEPTH:
            raise Refused(f"{where}: nested more than {MAX_DEPTH} deep")
        match node:
            case yaml.ScalarNode():
                return Text(where, str(node.value).strip())
            case yaml.SequenceNode():
                return Listing(where, tuple(self.read(item, depth + 1) for item in node.value))
            case yaml.MappingNode():
                return Entries(where, self._pairs(node, depth))
        raise AssertionError(node)

    def _pairs(self, node: yaml.MappingNode, depth: int) -> tuple[tuple[Text, Value], ...]:
        pairs: dict[str, tuple[Text, Value]] = {}
        for key, value in node.value:
            name = as_text(self.read(key, depth + 1), "a name")
            name = Text(name.where, " ".join(name.text.split()))
            if name.text in pairs:
                refuse(name, f"{name.text!r} is there twice")
            pairs[name.text] = name, self.read(value, depth + 1)
        return tuple(pairs.values())


# ---- shapes


def as_text(value: Value, what: str) -> Text:
    """`value` as a single value. Raises Refused."""
    if not isinstance(value, Text):
        refuse(value, f"{what} is a single value, not a list or a group of values")
    if not value.text:
        refuse(value, f"{what} is empty")
    return value


def as_entries(value: Value, what: str) -> Entries:
    """`value` as values by name. Raises Refused."""
    if not isinstance(value, Entries):
        refuse(value, f"{what} is written as `name: value`")
    return value


def as_items(value: Value) -> tuple[Value, ...]:
    """The items of a list; a single value is a list of one."""
    return value.items if isinstance(value, Listing) else (value,)


# ---- time

_INSTANT = re.compile(r"(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)Z?")
_LENGTH = re.compile(r"(?:(\d+)d)? ?(?:(\d+)h)? ?(?:(\d+)m)? ?(?:(\d+(?:\.\d{1,6})?)s)?")
LENGTHS = "4h, 30m, 2d, 4h00m01s"
MAX_DAYS = 36_525
YEARS = range(1970, 3000)


def read_length(value: Value, what: str) -> timedelta:
    """A length of time such as `4h00m01s`. Raises Refused."""
    text = as_text(value, what)
    length = _length(text.text)
    if length is None:
        refuse(text, f"{text.text!r} is no length of time; write it like {LENGTHS}")
    return length


def _length(text: str) -> timedelta | None:
    found = _LENGTH.fullmatch(text)
    if not text or found is None:
        return None
    days, hours, minutes, seconds = (float(part) if part else 0.0 for part in found.groups())
    if days + hours / 24 + minutes / 1440 + seconds / 86400 > MAX_DAYS:
        return None
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def read_instant(value: Value, what: str, base: datetime | None) -> datetime:
    """An instant in UTC: `2026-03-02 01:30`; after `base` also `01:45` (on its day) or `+4h` (counted from it).

    Raises Refused.
    """
    text = as_text(value, what)
    if text.text.startswith("+"):
        length = _length(text.text[1:].strip())
        if length is None:
            refuse(text, f"{text.text!r}: after + comes a length of time like {LENGTHS}")
        if base is None:
            refuse(text, f"{text.text!r} counts from nothing; write the whole instant, e.g. 2026-03-02 01:30")
        return _checked(text, base + length)
    found = _INSTANT.fullmatch(text.text)
    try:
        if found and found[1]:
            return _checked(text, datetime.fromisoformat(f"{found[1]}T{found[2]}").replace(tzinfo=UTC))
        if found and base is not None:
            return datetime.fromisoformat(f"{base.date()}T{found[2]}").replace(tzinfo=UTC)
    except ValueError:
        found = None
    if found:
        refuse(text, f"{text.text!r} has no date; write the whole instant, e.g. 2026-03-02 {text.text}")
    refuse(text, f"{text.text!r} is no instant; write it in UTC like 2026-03-02 01:30 or 2026-03-02 01:30:05")


def _checked(text: Text, instant: datetime) -> datetime:
    if instant.year not in YEARS:
        refuse(text, f"{text.text!r} lies in the year {instant.year}; allowed are {YEARS.start} to {YEARS.stop - 1}")
    return instant


def show_instant(instant: datetime) -> str:
    """As `read_instant` reads it."""
    text = instant.strftime("%Y-%m-%d %H:%M")
    if instant.microsecond:
        return f"{text}:{instant.second:02}.{instant.microsecond:06}".rstrip("0")
    return f"{text}:{instant.second:02}" if instant.second else text


def show_length(seconds: float) -> str:
    """As `read_length` reads it: `4h00m`, `4h00m01s`, `20s`."""
    sign, rest = "-" if seconds < 0 else "", timedelta(seconds=abs(seconds))
    minutes, rest = divmod(rest, timedelta(minutes=1))
    tail = f"{rest.seconds}.{rest.microseconds:06}".rstrip("0").rstrip(".")
    if not minutes:
        return f"{sign}{tail}s"
    end = f"{'' if rest >= timedelta(seconds=10) else '0'}{tail}s" if rest else ""
    return f"{sign}{minutes // 60}h{minutes % 60:02}m{end}" if minutes >= 60 else f"{sign}{minutes}m{end}"
