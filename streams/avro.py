"""Avro bodies to values and back, by functions made for one schema: their source is written from it and compiled once.

A general reader asks the schema what to do at every field; these have done so beforehand, and are several times faster.
What they write is, byte for byte, what any writer of Avro writes (Avro 1.12 specification, "Binary encoding"). What has
an unknown symbol or branch, a negative length, or a number that is longer than it need or may be, is refused.

A schema is plain JSON, resolved: every type stands where it is used. Unions are of null and something, or of records.
Must not know what schemas there are.
"""

import struct
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

Reader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
"""Reads what lies at a position: the value, and the position behind it. Raises one of `DAMAGE`."""
Writer: TypeAlias = Callable[[Any], bytes]
"""Raises ValueError, TypeError, KeyError, AttributeError or OverflowError for a value that the schema does not take."""

Layout: TypeAlias = Callable[[str, Mapping[str, str]], str]
"""Of the name of a record and the expressions of its fields: the expression of what is made of it."""

DAMAGE = (IndexError, KeyError, ValueError, OverflowError, struct.error)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

MAX_DECIMAL_BYTES = 11
"""What 24 digits need. A longer one is no amount, and turning it into digits takes time that grows with its square."""
MAX_VARINT_BYTES = 10
EIGHT_BYTES_FROM, EIGHT_BYTES_TO = 1 << 49, 1 << 56
"""Numbers, as they are written, that take eight bytes of seven bits: instants of the years 1979 to 3111."""
ONE_BYTE = 64
"""Symbols of an enum, or branches of a union, whose number is read as one byte."""
CACHED = 1 << 12
"""Instants and amounts kept in both forms: facts repeat them."""

_EXACT = Context(prec=2 * MAX_DECIMAL_BYTES + 10)


def struct_reader(schema: Any, shape: type[msgspec.Struct]) -> Reader:
    """Reads records of `schema` as `shape`: instants as aware datetimes in UTC, decimals as Decimal.

    A field of the schema is the field of the struct with its name, or of a struct within it; a record that is no field
    of the struct gives its fields to it (an envelope).
    """
    source = _ReaderSource(None, lambda _: "EPOCH + {raw} * MICROSECOND", "to_decimal({raw}, {precision}, {scale})", {})
    source.put(1, f"return {source.record(1, schema, shape)}, p")
    return source.compile("read(d, p)")  # type: ignore[no-any-return]


def reader(
    schema: Any, layout: Layout, instant: Callable[[str], str], decimal: str, names: Mapping[str, Any]
) -> Reader:
    """Reads records of `schema` as whatever `layout` makes of them; a record within a record gives its fields to it.

    `decimal`, and `instant` of the field's name, are expressions of `{raw}`: the microseconds since 1970, and the
    unscaled bytes, big-endian; of a decimal also of `{precision}` and `{scale}`. All may use `names`.
    """
    source = _ReaderSource(layout, instant, decimal, names)
    source.put(1, f"return {source.record(1, schema, None)}, p")
    return source.compile("read(d, p)")  # type: ignore[no-any-return]


def struct_writer(schema: Any, shape: type[msgspec.Struct], header: bytes = b"") -> Writer:
    """Writes values of `shape`, as `struct_reader` reads them, behind `header`."""
    source = _WriterSource()
    parts = [source.bind("header", header), *source.record(1, schema, shape, "s")]
    source.put(1, f"return b''.join(({', '.join(parts)},))")
    return source.compile("write(s)")  # type: ignore[no-any-return]


class _Source:
    """Source text of one function, and the names that it uses."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.lines: list[str] = []
        self.names = dict(names)
        self._count = 0

    def put(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def new(self) -> str:
        """A variable."""
        self._count += 1
        return f"v{self._count}"

    def bind(self, name: str, value: Any) -> str:
        """A global name for `value`."""
        self._count += 1
        self.names[f"{name}{self._count}"] = value
        return f"{name}{self._count}"

    def compile(self, signature: str) -> Any:
        """The function of this signature."""
        text = "\n".join([f"def {signature}:", *self.lines])
        exec(compile(text, f"<avro: {signature}>", "exec"), self.names)  # noqa: S102  the text is made above
        return self.names[signature.partition("(")[0]]


class _ReaderSource(_Source):
    """`d` is the bytes, `p` the position, `n` a number as it was read."""

    def __init__(
        self, layout: Layout | None, instant: Callable[[str], str], decimal: str, names: Mapping[str, Any]
    ) -> None:
        super().__init__({**_READING, **names})
        self._layout, self._instant, self._decimal, self._given = layout, instant, decimal, names

    def record(self, depth: int, schema: Any, shape: type[msgspec.Struct] | None) -> str:
        """Expression of a record whose fields have been read."""
        values = self._fields(depth, schema, shape)
        if shape is None:
            assert self._layout is not None
            return self._layout(schema["name"], values)
        expression = self._construct(shape, values)
        if values:
            raise TypeError(f"{shape.__name__} has no field for {', '.join(values)}")
        return expression

    def _fields(self, depth: int, schema: Any, shape: type[msgspec.Struct] | None) -> dict[str, str]:
        hints = _hints(shape)
        values: dict[str, str] = {}
        for field in schema["fields"]:
            name, kind = field["name"], field["type"]
            if _is_record(kind) and name not in hints:
                values |= self._fields(depth, kind, shape)
            else:
                values[name] = self.new()
                self._value(depth, kind, name, hints.get(name), values[name])
        return values

    def _construct(self, shape: type[msgspec.Struct], values: dict[str, str]) -> str:
        hints = typing.get_type_hints(shape)
        arguments = [
            f"{name}={values.pop(name) if name in values else self._construct(hints[name], values)}"
            for name in shape.__struct_fields__
        ]
        return f"{self.bind(shape.__name__, shape)}({', '.join(arguments)})"

    def _value(self, depth: int, kind: Any, name: str, hint: Any, into: str) -> None:
        match kind:
            case list() if len(kind) <= ONE_BYTE:
                self._union(depth, kind, name, hint, into)
            case {"logicalType": "timestamp-micros"}:
                self._instant_value(depth, name, into)
            case {"logicalType": "decimal", "precision": precision, "scale": scale}:
                raw = self._slice(depth)
                expression = self._decimal.format(raw=raw, precision=precision, scale=scale)
                self.put(depth, f"{into} = {expression}", "p = q")
            case {"type": "enum", "symbols": symbols} if len(symbols) <= ONE_BYTE:
                table = self.bind(name, {2 * index: symbol for index, symbol in enumerate(symbols)})
                self.put(depth, f"{into} = {table}[d[p]]", "p += 1")
            case {"type": "array", "items": items}:
                self._array(depth, items, name, hint, into)
            case {"type": "record"}:
                self.put(depth, f"{into} = {self.record(depth, kind, hint)}")
            case "string":
                self.put(depth, f"{into} = {self._slice(depth)}.decode()", "p = q")
            case "bytes":
                self.put(depth, f"{into} = {self._slice(depth)}", "p = q")
            case "long" | "int":
                self.put(depth, "n = d[p]", "p += 1")
                self.put(depth, f"if n & 128: n, p = {'number' if kind == 'long' else 'small_number'}(d, p - 1)")
                self.put(depth, f"{into} = n >> 1 ^ -(n & 1)")
            case "double":
                self.put(depth, f"{into} = double(d, p)[0]", "p += 8")
            case "boolean":
                self.put(depth, f"{into} = BOOLEANS[d[p]]", "p += 1")
            case _:
                raise TypeError(f"no reader for {kind}")

    def _slice(self, depth: int) -> str:
        """Expression of bytes whose length has been read; their end is `q`."""
        self.put(depth, "n = d[p]", "p += 1", "if n & 129: n, p = length(d, p - 1)", "q = p + (n >> 1)")
        return "d[p:q]"

    def _instant_value(self, depth: int, name: str, into: str) -> None:
        # Eight bytes of seven bits, as nearly all instants are, are joined in three steps.
        self.put(depth, "n = from_bytes(d[p:p + 8], 'little')", "if n & 0x8080808080808080 == 0x0080808080808080:")
        self.put(
            depth + 1,
            "n = n & 0x007F007F007F007F | n >> 1 & 0x3F803F803F803F80",
            "n = n & 0x00003FFF00003FFF | n >> 2 & 0x0FFFC0000FFFC000",
            "n = n & 0x000000000FFFFFFF | n >> 4 & 0x00FFFFFFF0000000",
            "p += 8",
        )
        self.put(depth, "else: n, p = number(d, p)", "n = n >> 1 ^ -(n & 1)")
        self.put(depth, f"{into} = {self._instant(name).format(raw='n')}")

    def _union(self, depth: int, kinds: list[Any], name: str, hint: Any, into: str) -> None:
        if "null" not in kinds:
            hints = typing.get_args(hint) or [None] * len(kinds)
            pairs = zip(kinds, hints, strict=True)
            readers = {2 * index: self._reader(kind, of) for index, (kind, of) in enumerate(pairs)}
            self.put(depth, f"{into}, p = {self.bind(name, readers)}[d[p]](d, p + 1)")
            return
        inner = next(index for index, kind in enumerate(kinds) if kind != "null")
        self.put(depth, "n = d[p]", "p += 1", f"if n == {2 * inner}:")
        self._value(depth + 1, kinds[inner], name, _without_none(hint), into)
        self.put(depth, f"elif n == {2 * kinds.index('null')}: {into} = None")
        self.put(depth, "else: raise ValueError(f'no branch {n >> 1} in a union')")

    def _reader(self, schema: Any, shape: type[msgspec.Struct] | None) -> Reader:
        source = _ReaderSource(self._layout, self._instant, self._decimal, self._given)
        source.put(1, f"return {source.record(1, schema, shape)}, p")
        return source.compile("read(d, p)")  # type: ignore[no-any-return]

    def _array(self, depth: int, items: Any, name: str, hint: Any, into: str) -> None:
        found, item = self.new(), self.new()
        self.put(depth, "if d[p]:", f"    {found} = []", "    while d[p]:")
        self.put(
            depth + 2, "n = d[p]", "if n & 129: n, p = block(d, p)", "else: n, p = n >> 1, p + 1", "for _ in range(n):"
        )
        self._value(depth + 3, items, name, next(iter(typing.get_args(hint)), None), item)
        self.put(depth + 3, f"{found}.append({item})")
        self.put(depth, f"    {into} = tuple({found})", f"else: {into} = ()", "p += 1")


def _is_record(kind: Any) -> bool:
    return isinstance(kind, dict) and kind["type"] == "record"


def _hints(shape: type[msgspec.Struct] | None) -> dict[str, Any]:
    """Types of the fields of a struct, and of the structs within it that its record does not know of."""
    if shape is None:
        return {}
    own = {name: hint for name, hint in typing.get_type_hints(shape).items() if name in shape.__struct_fields__}
    inner = [hint for hint in own.values() if isinstance(hint, type) and issubclass(hint, msgspec.Struct)]
    return {name: hint for struct in inner for name, hint in _hints(struct).items()} | own


def _without_none(hint: Any) -> Any:
    return next((branch for branch in typing.get_args(hint) if branch is not type(None)), None)


def _number(d: bytes, p: int, bits: int = 64) -> tuple[int, int]:
    """A number of several bytes, still with its sign in the lowest bit."""
    value = shift = 0
    for position in range(p, p + MAX_VARINT_BYTES):
        byte = d[position]
        value |= (byte & 127) << shift
        if byte < 128:
            if not byte and shift:
                raise ValueError("a number is not in its shortest form")
            if value >> bits:
                raise ValueError(f"a number of more than {bits} bits")
            return value, position + 1
        shift += 7
    raise ValueError(f"a number of more than {MAX_VARINT_BYTES} bytes")


def _small_number(d: bytes, p: int) -> tuple[int, int]:
    return _number(d, p, 32)


def _length(d: bytes, p: int) -> tuple[int, int]:
    value, p = _number(d, p)
    if value & 1:
        raise ValueError("a negative length")
    return value, p


def _block(d: bytes, p: int) -> tuple[int, int]:
    """How many items follow. A negative count is followed by a size in bytes."""
    value, p = _number(d, p)
    if value & 1:
        _, p = _number(d, p)
    return abs(value >> 1 ^ -(value & 1)), p


@lru_cache(CACHED)
def to_decimal(raw: bytes, precision: int, scale: int) -> Decimal:
    """A decimal of its unscaled bytes. Raises ValueError for one of more digits than `precision`."""
    return Decimal(to_unscaled(raw, precision)).scaleb(-scale, _EXACT)


def to_unscaled(raw: bytes, precision: int) -> int:
    """The unscaled number of a decimal. Raises ValueError for one of more digits than `precision`."""
    if len(raw) > MAX_DECIMAL_BYTES:
        raise ValueError(f"a decimal of {len(raw)} bytes; at most {MAX_DECIMAL_BYTES}")
    unscaled = int.from_bytes(raw, "big", signed=True)
    if abs(unscaled) >= 10**precision:
        raise ValueError(f"a decimal of more than {precision} digits")
    return unscaled


_READING: Mapping[str, Any] = {
    "EPOCH": EPOCH,
    "MICROSECOND": MICROSECOND,
    "BOOLEANS": {0: False, 1: True},
    "from_bytes": int.from_bytes,
    "double": struct.Struct("<d").unpack_from,
    "number": _number,
    "small_number": _small_number,
    "length": _length,
    "block": _block,
    "to_decimal": to_decimal,
}


class _WriterSource(_Source):
    """`s` is the struct, `x` a value, `n` a number."""

    def __init__(self) -> None:
        super().__init__(_WRITING)

    def record(self, depth: int, schema: Any, shape: type[msgspec.Struct], value: str) -> list[str]:
        """Expressions of the bytes of a record, one after the other; `value` is the struct's."""
        own, parts = _hints(shape), list[str]()
        for field in schema["fields"]:
            name, kind = field["name"], field["type"]
            if _is_record(kind) and name not in own:
                parts += self.record(depth, kind, shape, value)
            else:
                parts += self._value(depth, kind, own[name], f"{value}.{_path(shape, name)}")
        return parts

    def _value(self, depth: int, kind: Any, hint: Any, value: str) -> list[str]:
        into = self.new()
        match kind:
            case list() if "null" in kind:
                return self._optional(depth, kind, _without_none(hint), value)
            case list():
                pairs = zip(kind, typing.get_args(hint), strict=True)
                writers = {shape: struct_writer(of, shape, number(i)) for i, (of, shape) in enumerate(pairs)}
                expression = f"{self.bind('writers', writers)}[type({value})]({value})"
            case {"logicalType": "timestamp-micros"}:
                expression = f"instant({value})"
            case {"logicalType": "decimal", "precision": precision, "scale": scale}:
                expression = f"decimal({value}, {precision}, {scale})"
            case {"type": "enum", "symbols": symbols}:
                table = {symbol: number(index) for index, symbol in enumerate(symbols)}
                expression = f"{self.bind('symbols', table)}[{value}]"
            case {"type": "array", "items": items}:
                expression = f"array({value}, {self._item(items, typing.get_args(hint)[0])}) if {value} else b'\\0'"
            case {"type": "record"}:
                return self.record(depth, kind, hint, value)
            case "string" | "bytes":
                size = self.new()
                self.put(depth, f"{into} = {value}{'.encode()' if kind == 'string' else ''}", f"n = len({into})")
                self.put(depth, f"{size} = NUMBERS[n] if n < SHORT else number(n)")
                return [size, into]
            case "long" | "int":
                self.put(depth, f"n = {value}")
                expression = f"NUMBERS[n] if 0 <= n < SHORT else {'number' if kind == 'long' else 'small_number'}(n)"
            case "double":
                expression = f"double({value})"
            case "boolean":
                expression = f"b'\\1' if {value} else b'\\0'"
            case _:
                raise TypeError(f"no writer for {kind}")
        self.put(depth, f"{into} = {expression}")
        return [into]

    def _optional(self, depth: int, kinds: list[Any], hint: Any, value: str) -> list[str]:
        inner = next(index for index, kind in enumerate(kinds) if kind != "null")
        into, given = self.new(), self.new()
        self.put(depth, f"{given} = {value}", f"if {given} is None: {into} = {number(kinds.index('null'))!r}", "else:")
        parts = self._value(depth + 1, kinds[inner], hint, given)
        self.put(depth + 1, f"{into} = {' + '.join([repr(number(inner)), *parts])}")
        return [into]

    def _item(self, items: Any, hint: Any) -> str:
        if _is_record(items):
            return self.bind("item", struct_writer(items, hint))
        source = _WriterSource()
        source.put(1, f"return {' + '.join(source._value(1, items, hint, 's'))}")
        return self.bind("item", source.compile("write(s)"))


def _path(shape: type[msgspec.Struct], name: str) -> str:
    """How a field is reached from a struct: `name`, or `key.name` if it lies in a struct within."""
    if name in shape.__struct_fields__:
        return name
    hints = typing.get_type_hints(shape)
    return next(
        f"{outer}.{name}" for outer in shape.__struct_fields__ if name in getattr(hints[outer], "__struct_fields__", ())
    )


def number(value: int, bits: int = 64) -> bytes:
    """An Avro `long`. Raises OverflowError for one of more bits."""
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise OverflowError(f"{value} has more than {bits} bits")
    rest, out = value << 1 ^ value >> (bits - 1), bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _small(value: int) -> bytes:
    return number(value, 32)


@lru_cache(CACHED)
def _instant(instant: datetime) -> bytes:
    n = (instant - EPOCH) // MICROSECOND << 1
    if not EIGHT_BYTES_FROM <= n < EIGHT_BYTES_TO:
        return number(n >> 1)
    # The reverse of what a reader does: 56 bits are parted in three steps, and all bytes but the last are marked.
    n = n & 0x000000000FFFFFFF | (n & 0x00FFFFFFF0000000) << 4
    n = n & 0x00003FFF00003FFF | (n & 0x0FFFC0000FFFC000) << 2
    n = n & 0x007F007F007F007F | (n & 0x3F803F803F803F80) << 1
    return (n | 0x0080808080808080).to_bytes(8, "little")


@lru_cache(CACHED)
def _decimal(value: Decimal, precision: int, scale: int) -> bytes:
    scaled = value.scaleb(scale, _EXACT)
    unscaled = int(scaled)
    if unscaled != scaled or abs(unscaled) >= 10**precision:
        raise ValueError(f"{value} is no decimal of {precision} digits, {scale} of them behind the point")
    raw = unscaled.to_bytes((unscaled + (unscaled < 0)).bit_length() // 8 + 1, "big", signed=True)
    return number(len(raw)) + raw


def _array(values: tuple[Any, ...], write: Writer) -> bytes:
    return b"".join((number(len(values)), *map(write, values), b"\0"))


SHORT = 1 << 12
"""Numbers from here on are not looked up."""

_WRITING: Mapping[str, Any] = {
    "SHORT": SHORT,
    "NUMBERS": [number(value) for value in range(SHORT)],
    "number": number,
    "small_number": _small,
    "instant": _instant,
    "decimal": _decimal,
    "double": struct.Struct("<d").pack,
    "array": _array,
}
