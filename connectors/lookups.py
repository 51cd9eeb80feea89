"""Look-up files of an import: the first row of each key, in a declared order, kept in memory.

Must not know of events.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.core import raw_of
from connectors.expressions import NUMBER, Condition, Scope, Values, compile_condition, compile_expression, compile_text
from connectors.manifest import Lookup, Manifest
from connectors.tables import BadRow, Table
from streams.errors import BadInput, Refused

LOOKUP_ROWS = 2_000_000
"""Keys of one look-up."""
LOOKUP_BAD_ROWS = 1000
"""Bad rows of one look-up; with more, the file is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundLookup:
    """A look-up that has been read."""

    columns: tuple[str, ...]
    """Names by which rows that are joined to it know its columns."""
    rows: Mapping[str, list[str]]
    """The columns by key."""
    required: bool
    bad: tuple[BadRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledLookup:
    """The declaration of a look-up, as closures."""

    key: Callable[[Values], str]
    where: Condition | None
    order: tuple[Callable[[Values], Any], ...]


def file_scope(
    manifest: Manifest, file: str, empty: frozenset[str], columns: Sequence[str] | None, secret: bytes = b""
) -> Scope:
    """What values over a file with these columns may refer to; None: any name, to check the form alone."""
    return Scope(
        file=file,
        columns=None if columns is None else {name: at for at, name in enumerate(columns)},
        account=manifest.account,
        secret=secret,
        zone=manifest.zone,
        empty=empty,
        own=len(columns or ()),
        width=len(columns or ()),
    )


def compile_lookup(lookup: Lookup, scope: Scope) -> CompiledLookup:
    """The look-up over columns of its file. Raises ManifestError."""
    return CompiledLookup(
        key=compile_text(lookup.key, scope),
        where=compile_condition(lookup.where, scope) if lookup.where else None,
        order=tuple(compile_expression(node, scope).get for node in lookup.order),
    )


def read_lookup(manifest: Manifest, lookup: Lookup, table: Table) -> FoundLookup:
    """The first row of each key. Raises ManifestError, and Refused for a file with too many keys or bad rows."""
    scope = file_scope(manifest, lookup.file, lookup.empty, table.columns).extended((NUMBER,))
    compiled = compile_lookup(lookup, scope)
    kept = lookup.columns or table.columns
    columns = [scope.column(lookup.node, name) for name in kept]
    best: dict[str, tuple[tuple[Any, ...], list[str]]] = {}
    bad: list[BadRow] = []
    for number, row in enumerate(table.rows(), 1):
        try:
            if isinstance(row, BadRow):
                raise row.error
            ranked = _rank(compiled, [*row.values, number])
        except BadInput as error:
            bad.append(row if isinstance(row, BadRow) else BadRow(row.line, raw_of(row.raw), error))
            if len(bad) > LOOKUP_BAD_ROWS:
                raise Refused(f"{table.path}: more than {LOOKUP_BAD_ROWS} bad rows; line {row.line}: {error}") from None
            continue
        if ranked is None:
            continue
        key, rank = ranked
        if key not in best or rank < best[key][0]:
            best[key] = rank, [get(row.values) for get in columns]
            if len(best) > LOOKUP_ROWS:
                raise Refused(f"{table.path}: more than {LOOKUP_ROWS} keys are no look-up; use fewer columns or files")
    return FoundLookup(
        columns=tuple(f"{lookup.name}.{name}" for name in kept),
        rows={key: values for key, (_, values) in best.items()},
        required=lookup.required,
        bad=tuple(bad),
    )


def _rank(lookup: CompiledLookup, values: Values) -> tuple[str, tuple[Any, ...]] | None:
    """Key of a row and what it is sorted by; None if it does not count."""
    if lookup.where is not None and not lookup.where(values):
        return None
    key = lookup.key(values)
    return (key, tuple((value is None, value) for value in (get(values) for get in lookup.order))) if key else None
