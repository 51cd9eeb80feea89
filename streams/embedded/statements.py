"""What an HTTP request to ClickHouse asks for, told from the text alone: one statement, its format, its inserted data.

Must not know the engine or the network. It reads ClickHouse's tokens, not its grammar; the engine checks the rest.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

TOKEN = re.compile(
    rb"""
    (?P<skip> \s+ | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )
  | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` | (\$\w*\$).*?\3 )
  | (?P<word> [A-Za-z_\x80-\xff][\w\x80-\xff]* )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)


class NotAllowed(ValueError):
    """A statement that this endpoint does not carry out: ClickHouse's code, and its name with a text."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}. ({name})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Insert:
    """An INSERT with data: the statement up to the data, the data's format, and the part of the data beside it."""

    head: str
    format: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A statement without data: its text without the FORMAT clause, and that clause's format (None: not given)."""

    text: str
    format: str | None
    verb: str
    """First word, upper case; empty for an empty statement or one that begins with a parenthesis."""
    words: frozenset[str]
    """All words outside quotes, upper case."""


@dataclass(frozen=True, slots=True)
class Token:
    text: bytes
    """A word in upper case, a sign, or `'` for anything quoted."""
    start: int
    end: int
    depth: int
    """Open parentheses and brackets around it."""


def read_statement(sql: bytes, formats: Collection[str]) -> Statement | Insert:
    """Take one statement apart. `formats` are the names of the engine's formats; it knows them in any case.

    Raises NotAllowed for several statements, and for reading or writing files beside the data (INTO OUTFILE, FROM
    INFILE), which an embedded engine would do where a server leaves it to its client. Raises UnicodeDecodeError when
    the statement is not UTF-8.
    """
    tokens: list[Token] = []
    for token in _tokens(sql):
        if tokens and tokens[0].text == b"INSERT" and (insert := _insert(sql, tokens, token)):
            return insert
        tokens.append(token)
    words = [token.text for token in tokens]
    if (end := _first(words, b";")) is not None:
        if end + 1 < len(words):
            raise NotAllowed(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        sql, tokens, words = sql[: tokens[end].start], tokens[:end], words[:end]
    _refuse_files(words)
    text, format_ = _cut_format(sql, tokens, formats)
    verb = words[0].decode() if words and words[0].isalpha() else ""
    return Statement(text=text.decode(), format=format_, verb=verb, words=frozenset(map(bytes.decode, words)))


def _tokens(sql: bytes) -> Iterator[Token]:
    depth = 0
    for match in TOKEN.finditer(sql):
        if match["skip"] is not None:
            continue
        text = b"'" if match["quoted"] is not None else match.group().upper()
        if text in (b")", b"]"):
            depth -= 1
        yield Token(text, match.start(), match.end(), depth)
        if text in (b"(", b"["):
            depth += 1


def _insert(sql: bytes, before: list[Token], token: Token) -> Insert | None:
    """The INSERT whose last token before the data is `token`, or None if the data does not begin there."""
    names = (b"INTO", b"TABLE", b".")
    last, before_last = before[-1].text, before[-2].text if len(before) > 1 else b""
    if token.depth:
        return None
    if last == b"FORMAT" and before_last not in names:
        start, format_ = before[-1].start, sql[token.start : token.end].decode()
    elif token.text == b"VALUES" and last not in names:
        start, format_ = token.start, "Values"
    else:
        return None
    words = [token.text for token in before]
    _refuse_files(words)
    if b"SELECT" in words or b";" in words:
        return None
    # One line break after the format's name belongs to the statement, not to the data.
    data = re.sub(rb"^[ \t\r]*\n?", b"", sql[token.end :], count=1)
    return Insert(head=sql[:start].decode(), format=format_, data=data)


def _cut_format(sql: bytes, tokens: list[Token], formats: Collection[str]) -> tuple[bytes, str | None]:
    """Cut the FORMAT clause out of a statement: at its end, or before its settings."""
    for index in range(len(tokens) - 2, -1, -1):
        clause, name = tokens[index], tokens[index + 1]
        if clause.text != b"FORMAT" or clause.depth:
            continue
        follows = tokens[index + 2].text if index + 2 < len(tokens) else b"SETTINGS"
        text = sql[name.start : name.end].decode(errors="replace")
        if follows == b"SETTINGS" and (known := _known(text.strip('`"'), formats)):
            return sql[: clause.start] + sql[name.end :], known
    return sql, None


def _known(name: str, formats: Collection[str]) -> str | None:
    """The name as the engine writes it, or None if it has no such format."""
    return next((format_ for format_ in formats if format_.lower() == name.lower()), None)


def _refuse_files(words: list[bytes]) -> None:
    pairs = set(pairwise(words))
    if (b"INTO", b"OUTFILE") in pairs or (b"FROM", b"INFILE") in pairs:
        raise NotAllowed(48, "NOT_IMPLEMENTED", "INTO OUTFILE and FROM INFILE are the client's part, not the server's")


def _first(words: list[bytes], word: bytes) -> int | None:
    return words.index(word) if word in words else None
