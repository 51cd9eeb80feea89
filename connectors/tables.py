"""Files of rows: CSV with a header, or one JSON object per line; either may be gzipped.

Reads row by row with the line each begins at, however broken single rows are. Must not know what the values mean.
Raises Refused for a file that can't be read as such; a row that can't be read is a BadRow among the others.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from connectors.core import Raw, raw_of, shown
from streams.delivery.dead_letters import RAW_BYTES
from streams.errors import BadInput, Refused

FIELD_BYTES = 512 << 10
"""Longest value of one column."""
LINE_BYTES = 1 << 20
"""What is read of one line; a longer line is a bad row, whose rest is only counted and hashed."""
RECORD_BYTES = 2 << 20
"""Most that is read in search of a closing quote."""
SAMPLE_ROWS = 1000
"""Rows of a JSON file that are looked at for the names of columns."""
NESTING = 8
"""Levels of JSON objects that are taken apart into columns `a.b.c`."""
DELIMITERS = (",", ";", "\t", "|")
"""Tried when a header seems to have one column only."""

TOO_LARGE = "field_too_large"
MEND = "mend the row and import the file again"
csv.field_size_limit(2 * RECORD_BYTES)  # The bounds above hold; the module's own would lose track of the row.
BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")


class Row(NamedTuple):
    """One row of a table."""

    line: int
    """Line of the file that it begins at, counted from 1."""
    values: list[str]
    """One per column of the table; empty where there is no value."""
    raw: bytes


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be read."""

    line: int
    raw: Raw
    error: BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A file that has been looked at: it exists, is what it says, and has these columns."""

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    is_json: bool

    def rows(self) -> Iterator[Row | BadRow]:
        """All rows. Raises Refused where a gzip file breaks off or is damaged; the rows before have been given."""
        with _open(self.path) as stream:
            yield from _guarded(self.path, stream, self._read(stream))

    def _read(self, stream: BinaryIO) -> Iterator[Row | BadRow]:
        lines = _Lines(stream)
        if self.is_json:
            return _json_rows(lines, self.columns)
        next(_csv_records(lines, self.delimiter), None)
        return _csv_records(lines, self.delimiter, len(self.columns))


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def open_table(path: Path, delimiter: str = ",") -> Table:
    """Looks at a file: format (by its name), header. Raises Refused: missing, empty, not a gzip, no usable header."""
    if path.is_dir():
        raise Refused(f"{path} is a folder: name a file in it")
    if not path.exists():
        raise Refused(f"{path} does not exist: give the folder that the manifest's paths start from")
    if not path.is_file():
        raise Refused(f"{path} is no regular file: save what it gives as a file")
    is_json = ".jsonl" in path.suffixes or ".ndjson" in path.suffixes
    with _open(path) as stream:
        lines = _Lines(stream)
        columns = _json_columns(lines) if is_json else _csv_columns(path, lines, delimiter)
        names = tuple(_guarded(path, stream, columns))
    if not names:
        raise Refused(f"{path} is empty: {'no JSON object' if is_json else 'no header line'} in it")
    return Table(path=path, delimiter=delimiter, columns=names, is_json=is_json)


def fitting_delimiter(table: Table) -> str | None:
    """Of a CSV file in which only one column is found: a delimiter by which there would be several, or None."""
    if table.is_json or len(table.columns) != 1:
        return None
    counts = {delimiter: len(next(csv.reader(table.columns, delimiter=delimiter))) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=counts.__getitem__)
    return best if counts[best] > 1 else None


def _open(path: Path) -> BinaryIO:
    file = path.open("rb")
    begins = file.read(4)
    magic = begins[:2]
    file.seek(0)
    if magic == b"\x1f\x8b":
        return gzip.open(file)  # type: ignore[return-value]
    if path.suffix == ".gz":
        file.close()
        raise Refused(f"{path} is not a gzip file: it begins with {magic.hex(' ') or 'nothing'}, not 1f 8b")
    if begins in UTF_32 or magic in UTF_16:
        file.close()
        raise Refused(f"{path} is {'UTF-32' if begins in UTF_32 else 'UTF-16'}: save it as UTF-8")
    return file


def _guarded(path: Path, stream: BinaryIO, items: Iterator[Any]) -> Iterator[Any]:
    """The items; damage of the gzip file underneath becomes Refused."""
    last = 0
    try:
        for item in items:
            last = getattr(item, "line", last)
            yield item
    except EOFError:
        size = path.stat().st_size
        raise Refused(
            f"{path} breaks off at byte {size}: the gzip stream has no end. The rows up to line {last} are read; "
            "get the whole file and import it again"
        ) from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise Refused(f"{path} is damaged behind line {last}: {error}. Get the file anew and import it again") from None


class _Unclosed(Exception):
    """A quote is open and RECORD_BYTES have been read."""


class _Lines:
    """Lines of a stream as text, for csv to pull; remembers the raw lines of the record that is being read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._returned: list[bytes] = []  # lines to be read again, the next one last
        self._oversize: dict[int, Raw] = {}  # by the number of the line, of which only the beginning is kept
        self._number = 0
        self.size = 0
        self.taken: list[bytes] = []
        self.problems: dict[int, BadInput] = {}
        """What is wrong with single lines of the record, by their numbers."""

    def begin(self) -> int:
        """Starts a record; returns the number of its first line."""
        self.taken.clear()
        self.size = 0
        self.problems.clear()
        if self._oversize:
            self._oversize = {number: raw for number, raw in self._oversize.items() if number > self._number}
        return self._number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.size > RECORD_BYTES:
            raise _Unclosed
        line = self._returned.pop() if self._returned else self._stream.readline(LINE_BYTES)
        if not line:
            raise StopIteration
        self._number += 1
        if self._number == 1 and line.startswith(BOM):
            line = line[len(BOM) :]
        if len(line) >= LINE_BYTES and not line.endswith(b"\n"):
            line = self._skip_rest(line)
        self.taken.append(line)
        self.size += len(line)
        try:
            text = line.decode()
            if "\0" in text:
                self.problems[self._number] = BadInput("nul_byte", f"line {self._number} holds a NUL byte; {MEND}")
        except UnicodeDecodeError as error:
            detail = f"byte {error.start + 1} of line {self._number} is no UTF-8; {MEND}"
            self.problems[self._number] = BadInput("invalid_utf8", detail)
            text = line.decode(errors="replace")
        if self._number in self._oversize:
            self.problems[self._number] = _too_long(self._oversize[self._number].size)
        return text

    def problem(self) -> BadInput | None:
        """What is wrong with the first line that something is wrong with."""
        return next(iter(self.problems.values()), None)

    def give_back(self) -> None:
        """All lines of the record but the first are read again."""
        self._returned.extend(reversed(self.taken[1:]))
        self._number -= len(self.taken) - 1
        del self.taken[1:]
        self.problems = {number: problem for number, problem in self.problems.items() if number <= self._number}

    def raw(self) -> Raw:
        """The record as it was; of a line that is too long, when the record is that line."""
        oversize = self._oversize.get(self._number) if len(self.taken) == 1 else None
        return oversize or raw_of(b"".join(self.taken))

    def _skip_rest(self, line: bytes) -> bytes:
        """What stands for a line that is too long: its beginning, with as many open quotes as the whole."""
        hashed, size, quotes = sha256(line), len(line), 0
        while part := self._stream.readline(LINE_BYTES):
            hashed.update(part)
            size += len(part)
            quotes += part.count(b'"')
            if part.endswith(b"\n"):
                break
        self._oversize[self._number] = Raw(line[:RAW_BYTES], size, hashed.hexdigest())
        return line[:RAW_BYTES] + (b'"' if (quotes + line[RAW_BYTES:].count(b'"')) % 2 else b"") + b"\n"


def _csv_records(lines: _Lines, delimiter: str, width: int | None = None) -> Iterator[Row | BadRow]:
    """Rows of `width` values; None: the header, of any number. Blank lines are none.

    Quotes that lack their partner may have made one record of many good rows. So of a record that makes no sense
    only the first line is bad, and the others are read on their own.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = lines.begin()
        values: list[str] | None = []
        try:
            values = next(reader, None)
            if values is None:
                return
            error = _misshapen(values, width, lines) if values else None
        except (_Unclosed, csv.Error) as broken:
            error = _csv_error(broken)
        if error is not None:
            if len(lines.taken) > 1:
                lines.give_back()
                error = BadInput(error.code, f"{error.detail}. The lines behind it are read on their own")
            yield BadRow(line, lines.raw(), lines.problem() or error)
        elif problem := lines.problem():
            yield BadRow(line, lines.raw(), problem)
        elif values:
            yield Row(line, values, b"".join(lines.taken))


def _csv_error(broken: Exception) -> BadInput:
    if isinstance(broken, _Unclosed) or "unexpected end" in str(broken):
        return BadInput("unclosed_quote", f"a quote is opened and not closed; {MEND}")
    return BadInput("wrong_csv", f"{broken}; {MEND}")


def _misshapen(values: list[str], width: int | None, lines: _Lines) -> BadInput | None:
    """Why these can't be the values of one row."""
    if width is not None and len(values) != width:
        return BadInput("wrong_columns", f"{len(values)} values; the header has {width} columns; {MEND}")
    if lines.size > FIELD_BYTES and max(map(len, values)) > FIELD_BYTES:
        return _too_large()
    return next((problem for problem in lines.problems.values() if problem.code == TOO_LARGE), None)


def _csv_columns(path: Path, lines: _Lines, delimiter: str) -> Iterator[str]:
    header = next(_csv_records(lines, delimiter), None)
    if isinstance(header, BadRow):
        raise Refused(f"{path}: the header can't be read: {header.error}")
    yield from header.values if header else ()


def _too_large() -> BadInput:
    return BadInput(TOO_LARGE, f"a value of more than {FIELD_BYTES} bytes; {MEND}")


def _too_long(size: int) -> BadInput:
    return BadInput(TOO_LARGE, f"a line of {size} bytes; at most {FIELD_BYTES} per value; {MEND}")


def _json_rows(lines: _Lines, columns: Sequence[str]) -> Iterator[Row | BadRow]:
    for item in _json_records(lines):
        if isinstance(item, BadRow):
            yield item
            continue
        line, record, raw = item
        values = [record.get(column, "") for column in columns]
        if len(raw) > FIELD_BYTES and max(map(len, values), default=0) > FIELD_BYTES:
            yield BadRow(line, raw_of(raw), _too_large())
        else:
            yield Row(line, values, raw)


def _json_records(lines: _Lines) -> Iterator[BadRow | tuple[int, dict[str, str], bytes]]:
    while True:
        line = lines.begin()
        text = next(lines, None)
        if text is None:
            return
        if not lines.problems and text.isspace():
            continue
        try:
            if problem := lines.problem():
                raise problem
            yield line, _flat(text), lines.taken[0]
        except BadInput as error:
            yield BadRow(line, lines.raw(), error)


def _flat(text: str) -> dict[str, str]:
    """Columns of a JSON object. Numbers stay as they are written, so that no digit is lost."""
    try:
        record = json.loads(text, parse_float=str, parse_int=str)
        if not isinstance(record, dict):
            raise BadInput("wrong_json", f"{shown(text)} is no JSON object; {MEND}")
        flat: dict[str, str] = {}
        _flatten(record, "", flat, NESTING)
        if "\\u" in text:
            "".join(flat.values()).encode()
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("wrong_json", f"{error}; {MEND}") from None
    return flat


def _flatten(record: dict[str, Any], prefix: str, flat: dict[str, str], levels: int) -> None:
    for name, value in record.items():
        match value:
            case str():
                flat[prefix + name] = value
            case None:
                flat[prefix + name] = ""
            case bool():
                flat[prefix + name] = "true" if value else "false"
            case dict() if levels:
                _flatten(value, f"{prefix}{name}.", flat, levels - 1)
            case _:
                flat[prefix + name] = json.dumps(value, ensure_ascii=False)


def _json_columns(lines: _Lines) -> Iterator[str]:
    names: dict[str, None] = {}
    for seen, item in enumerate(_json_records(lines)):
        if seen >= SAMPLE_ROWS:
            break
        if not isinstance(item, BadRow):
            names.update(dict.fromkeys(item[1]))
    yield from names
