"""What the user `reader` may ask: to read tables, and nothing that reaches files, networks or other users' secrets.

Must not know the network. The engine's `readonly` stops writes but lets a query open any file and any address, and a
table of the database `default` may be a file's name. So the engine parses the statement (EXPLAIN AST), and here every
node of the tree must be of a kind, and every function and table of a name, that is on a list.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from streams.embedded.statements import NotAllowed


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NODES = _names("""
    SelectWithUnionQuery SelectQuery SelectIntersectExceptQuery Subquery WithElement ExpressionList Function Literal
    Identifier TableIdentifier TablesInSelectQuery TablesInSelectQueryElement TableExpression TableJoin ArrayJoin
    SampleRatio OrderByElement WindowDefinition WindowListElement Asterisk QualifiedAsterisk ColumnsRegexpMatcher
    ColumnsListMatcher ColumnsTransformerList ColumnsExceptTransformer ColumnsReplaceTransformer
    ColumnsReplaceTransformer::Replacement Explain DescribeQuery ShowTables
""")
"""Kinds of nodes that show all that is in them. Not among them: settings, whose values may be expressions, and APPLY,
which hides the function that it applies."""

CATEGORIES = frozenset(
    {
        "Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional", "Dates and Times", "Distance", "Encoding",
        "Financial", "Geo", "Hash", "IP Address", "JSON", "Logical", "Map", "Mathematical", "Null", "Random Number",
        "Rounding", "String", "String Replacement", "String Search", "String Splitting", "Time Series", "Time Window",
        "Tuple", "Type Conversion", "URL", "UUID",
    }
)  # fmt: skip
"""The engine's categories of functions whose result depends on their arguments alone, the clock and chance."""

FUNCTIONS = _names("""
    bar countDigits currentDatabase currentUser currentSchemas displayName finalizeAggregation formatReadableDecimalSize
    formatReadableQuantity formatReadableSize formatReadableTimeDelta hostName identity ignore indexHint isConstant
    lowCardinalityIndices lowCardinalityKeys materialize neighbor parseTimeDelta revision rowNumberInAllBlocks
    rowNumberInBlock runningAccumulate runningDifference toColumnTypeName toTypeName transform uptime user
    variantElement variantType version visibleWidth
    _CAST exists lambda
""")
"""Functions of other categories, and what the parser calls functions."""

TABLE_FUNCTIONS = _names("generateSeries generate_series numbers numbers_mt values view zeros zeros_mt")

_TABLE_FUNCTIONS = frozenset(map(str.lower, TABLE_FUNCTIONS))

SYSTEM_TABLES = _names("""
    aggregate_function_combinators collations columns contributors data_type_families databases formats functions
    keywords licenses numbers numbers_mt one settings table_engines table_functions tables time_zones zeros zeros_mt
""")

SETTINGS = _names("""
    aggregate_functions_null_for_empty cast_string_to_dynamic_use_inference date_time_input_format
    date_time_output_format decimal_check_overflow extremes final group_by_use_nulls join_use_nulls max_block_size
    max_bytes_to_read max_execution_time max_memory_usage max_result_bytes max_result_rows max_rows_to_read
    max_threads output_format_arrow_string_as_string output_format_binary_write_json_as_string
    output_format_csv_crlf_end_of_line output_format_decimal_trailing_zeros output_format_json_quote_64bit_integers
    output_format_json_quote_decimals output_format_json_quote_denormals
    output_format_native_use_flattened_dynamic_and_json_serialization read_overflow_mode result_overflow_mode
    session_timezone timeout_overflow_mode
""")

READER_LIMITS = {"max_execution_time": 30, "max_memory_usage": 1 << 30, "max_result_bytes": 256 << 20}
"""In seconds and bytes. A request may only lower them; 0, which means none to the engine, leaves them as they are."""

FORMATS = _names("""
    Arrow ArrowStream CSV CSVWithNames CSVWithNamesAndTypes JSON JSONColumns JSONColumnsWithMetadata JSONCompact
    JSONCompactColumns JSONCompactEachRow JSONCompactEachRowWithNames JSONCompactEachRowWithNamesAndTypes
    JSONCompactStrings JSONEachRow JSONLines JSONObjectEachRow JSONStrings JSONStringsEachRow Markdown Native NDJSON
    Null Parquet Pretty PrettyCompact PrettyNoEscapes PrettySpace RowBinary RowBinaryWithNames
    RowBinaryWithNamesAndTypes TabSeparated TabSeparatedRaw TabSeparatedWithNames TabSeparatedWithNamesAndTypes TSKV
    TSV TSVRaw TSVWithNames TSVWithNamesAndTypes Values Vertical XML
""")
"""Output formats that need no schema: with others the engine writes one to a file."""

FIRST_DATABASE = "information_schema"
"""Where an unqualified name of a table is looked for when the request names no database."""

FUNCTIONS_QUERY = """
SELECT name, alias_to, is_aggregate, categories FROM system.functions FORMAT JSONCompactEachRow
"""
COMBINATORS_QUERY = "SELECT name FROM system.aggregate_function_combinators FORMAT JSONCompactEachRow"

_NUMBER = re.compile(r"\d{1,18}(\.\d{1,6})?")
_NODE = re.compile(r" *([A-Za-z:]+)(?: ([^ ]*))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """The functions that this engine has, in lower case."""

    allowed: frozenset[str]
    """Those of TABLE_FUNCTIONS too."""
    refused: frozenset[str]
    aggregate: re.Pattern[str]
    """Names of aggregate functions, with combinators behind them."""

    @classmethod
    def of(cls, functions: Iterable[tuple[str, str, int, str]], combinators: Iterable[str]) -> "Catalogue":
        """`functions`: the rows of FUNCTIONS_QUERY, `combinators` those of COMBINATORS_QUERY."""
        rows = list(functions)
        category = {name: categories for name, _, _, categories in rows}
        aggregates = {name for name, _, is_aggregate, _ in rows if is_aggregate}
        allowed = set(FUNCTIONS | TABLE_FUNCTIONS)
        for name, alias_to, _, categories in rows:
            if (categories or category.get(alias_to)) in CATEGORIES or (alias_to or name) in FUNCTIONS:
                allowed.add(name)
        allowed_lower = {name.lower() for name in allowed}
        every_lower = {name.lower() for name in category}
        names, suffixes = ("|".join(sorted(map(re.escape, each))) for each in (aggregates, combinators))
        return cls(
            allowed=frozenset(allowed_lower),
            refused=frozenset(every_lower - allowed_lower - {name.lower() for name in aggregates}),
            aggregate=re.compile(f"(?:{names})(?:{suffixes})*", re.IGNORECASE),
        )


def check_database(database: str) -> str:
    """The database of a reader's request. Raises NotAllowed for those in which a name may be a file or a secret."""
    if database in ("default", "system"):
        raise _denied(f"database {database}: name another one in the request, e.g. database=aftersales")
    return database or FIRST_DATABASE


def check_settings(names: Iterable[str]) -> None:
    """Raises NotAllowed for a setting that is not on the list: some hold expressions or paths."""
    for name in names:
        if name not in SETTINGS:
            raise _denied(f"setting {name}")


def check_format(name: str) -> None:
    """Raises NotAllowed for an output format that is not on the list."""
    if name not in FORMATS:
        raise _denied(f"format {name}")


def limited(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings of a reader's request with limits at READER_LIMITS or below. Raises NotAllowed for no numbers."""
    limits = {}
    for name, limit in READER_LIMITS.items():
        asked = settings.get(name, "0")
        if not _NUMBER.fullmatch(asked):
            raise NotAllowed(36, "BAD_ARGUMENTS", f"{name}: {asked!r} is no number")
        limits[name] = asked if 0 < float(asked) <= limit else str(limit)
    return {**settings, **limits}


def check_reading(tree: Iterable[str], words: Collection[str], catalogue: Catalogue) -> None:
    """`tree` is the statement's syntax tree as EXPLAIN AST prints it, line by line, and `words` are its own words.

    Raises NotAllowed for anything that is not on the lists. A name with a line break or blank in it can add lines or
    cut names short, which gets more refused, never less: nothing comes between a table expression and its function.
    """
    before = ""
    for depth, line in enumerate(tree):
        match = _NODE.match(line)
        kind, name = (match[1], match[2] or "") if match else ("", "")
        if kind not in NODES or (kind == "ShowTables" and (depth > 0 or "WHERE" in words)):
            raise _denied(f"{kind or line.strip()} in a statement")
        lower = name.lower()
        if kind == "Function" and before == "TableExpression" and lower not in _TABLE_FUNCTIONS:
            raise _denied(f"table function {name}")
        before = kind
        if kind == "Function" and not (lower in catalogue.allowed or catalogue.aggregate.fullmatch(name)):
            raise _denied(f"function {name}")
        if kind in ("Identifier", "TableIdentifier"):
            # A function's name alone may be given to a higher-order function; a column of that name can be qualified.
            if kind == "Identifier" and lower in catalogue.refused:
                raise _denied(f"function {name} (a column of this name: qualify it with its table)")
            database, _, rest = name.partition(".")
            if rest and (database == "default" or (database == "system" and rest.split(".")[0] not in SYSTEM_TABLES)):
                raise _denied(f"table {name}")


def _denied(what: str) -> NotAllowed:
    return NotAllowed(497, "ACCESS_DENIED", f"reader: Not enough privileges for {what}")
