"""The form of an import manifest: what may stand where, and a precise refusal of all else.

Must not know of files on disk nor of rows: `mapping` gives the declarations their meaning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from connectors.core import cut, listed
from streams.errors import Refused
from streams.yamls import NotYaml, read_yaml

MANIFEST_BYTES = 1 << 20


class ManifestError(Refused):
    """A manifest is wrong: the text names the file, the place within it, the value, and what is allowed there."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value within a manifest, with its place."""

    file: str
    path: str
    value: Any

    def refuse(self, allowed: str) -> NoReturn:
        """Raises ManifestError: this value can't stand here, `allowed` can."""
        place = cut(self.path, 200) or "the manifest"
        raise ManifestError(f"{self.file}: {place} is {cut(repr(self.value))}; {allowed}")

    def entries(self, required: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, "Node"]:
        """Named values of which `required` must and `optional` may be there, and no other."""
        names = (*required, *optional)
        if not isinstance(self.value, dict):
            self.refuse(f"allowed is a mapping of: {', '.join(names)}")
        for name in self.value:
            if name not in names:
                Node(self.file, self._at(name), self.value[name]).refuse(f"allowed here: {', '.join(names)}")
        for name in required:
            if name not in self.value:
                self.refuse(f"{name} is missing; allowed here: {', '.join(names)}")
        return dict(self.named())

    def named(self) -> Iterator[tuple[str, "Node"]]:
        """Values under free names."""
        if not isinstance(self.value, dict) or not all(isinstance(name, str) for name in self.value):
            self.refuse("allowed is a mapping of names to values")
        for name, value in self.value.items():
            yield name, Node(self.file, self._at(name), value)

    def items(self) -> list["Node"]:
        """The values of a list that is not empty."""
        if not isinstance(self.value, list) or not self.value:
            self.refuse("allowed is a list with at least one item")
        return [Node(self.file, f"{self.path}[{index}]", value) for index, value in enumerate(self.value)]

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            self.refuse("allowed is a text (put quotes around what YAML reads as a number, a date or true/false)")
        return self.value

    def word(self, allowed: Sequence[str]) -> str:
        """One of some words."""
        if self.value not in allowed:
            self.refuse(f"allowed: {', '.join(allowed)}")
        return str(self.value)

    def texts(self) -> tuple[str, ...]:
        """A list of texts; they may be empty."""
        for item in self.items():
            if not isinstance(item.value, str):
                item.refuse("allowed is a text (in quotes)")
        return tuple(self.value)

    def integer(self) -> int:
        """A whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.refuse("allowed is a whole number")
        return self.value

    def boolean(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            self.refuse("allowed: true, false")
        return self.value

    def _at(self, name: object) -> str:
        return f"{self.path}.{name}" if self.path else str(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """A file that rows of other files are completed from: the first row of each key, in an order."""

    name: str
    file: str
    delimiter: str
    empty: frozenset[str]
    key: Node
    columns: tuple[str, ...] | None
    """Columns kept; None: all."""
    where: Node | None
    order: tuple[Node, ...]
    """Values to sort by; none: as in the file."""
    required: bool
    """A row whose key is not found is a bad row; otherwise the columns are empty."""
    node: Node


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file whose rows become events."""

    file: str
    delimiter: str
    empty: frozenset[str]
    """Values that mean that there is none."""
    join: tuple[tuple[str, Node], ...]
    """Look-up and the key by which a row finds it, in this order."""
    events: tuple[Node, ...]
    node: Node


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """An import: one account, its files in the order in which they are read, and the look-ups they share."""

    name: str
    account: str
    marketplace: str
    zone: ZoneInfo
    """Of instants that are written without one."""
    lookups: tuple[Lookup, ...]
    sources: tuple[Source, ...]


def read_manifest(path: Path) -> Manifest:
    """The manifest in a YAML file, its form checked. Raises ManifestError."""
    try:
        with path.open("rb") as file:
            content = file.read(MANIFEST_BYTES + 1)
        if len(content) > MANIFEST_BYTES:
            raise ManifestError(f"{path} has more than {MANIFEST_BYTES} bytes, which is no manifest")
        value = read_yaml(content)
    except OSError as error:
        raise ManifestError(f"the manifest {path} can't be read: {error.strerror}") from None
    except NotYaml as error:
        raise ManifestError(f"{path}, {error}") from None
    return parse_manifest(value, path.name)


def parse_manifest(value: Any, name: str = "manifest") -> Manifest:
    """The manifest that a YAML document holds, its form checked. Raises ManifestError."""
    top = Node(name, "", value).entries(("account", "files"), ("marketplace", "time_zone", "lookups"))
    lookups = tuple(_lookup(*item) for item in top["lookups"].named()) if "lookups" in top else ()
    account = top["account"].text()
    if not account.isprintable() or set(account) & set(": "):
        top["account"].refuse("allowed is a name without spaces and colons")
    sources = tuple(_source(node, [lookup.name for lookup in lookups]) for node in top["files"].items())
    if len({source.file for source in sources}) < len(sources):
        top["files"].refuse("a file may be named once")
    return Manifest(
        name=name,
        account=account,
        marketplace=top["marketplace"].text() if "marketplace" in top else "",
        zone=_zone(top["time_zone"]) if "time_zone" in top else ZoneInfo("UTC"),
        lookups=lookups,
        sources=sources,
    )


def _zone(node: Node) -> ZoneInfo:
    try:
        return ZoneInfo(node.text())
    except (ValueError, OSError, LookupError):
        node.refuse("allowed is the name of a time zone, such as Europe/Berlin or UTC")


def _delimiter(found: dict[str, Node]) -> str:
    if "delimiter" not in found:
        return ","
    if len(found["delimiter"].text()) != 1:
        found["delimiter"].refuse("allowed is one character")
    return found["delimiter"].text()


def _empty(found: dict[str, Node]) -> frozenset[str]:
    return frozenset(found["empty"].texts()) if "empty" in found else frozenset()


def _lookup(name: str, node: Node) -> Lookup:
    found = node.entries(("file", "key"), ("delimiter", "empty", "columns", "where", "order", "required"))
    return Lookup(
        name=name,
        file=found["file"].text(),
        delimiter=_delimiter(found),
        empty=_empty(found),
        key=found["key"],
        columns=found["columns"].texts() if "columns" in found else None,
        where=found.get("where"),
        order=tuple(found["order"].items()) if "order" in found else (),
        required=found["required"].boolean() if "required" in found else False,
        node=node,
    )


def _source(node: Node, lookups: Sequence[str]) -> Source:
    found = node.entries(("file", "events"), ("delimiter", "empty", "join"))
    join = tuple(found["join"].named()) if "join" in found else ()
    for name, _ in join:
        if name not in lookups:
            found["join"].refuse(f"{cut(name)} is no look-up; there are: {listed(lookups) or 'none'}")
    return Source(
        file=found["file"].text(),
        delimiter=_delimiter(found),
        empty=_empty(found),
        join=join,
        events=tuple(found["events"].items()),
        node=node,
    )
