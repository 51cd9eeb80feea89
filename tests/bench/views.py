"""Job 4, second part: how long each KPI view takes at so many facts.

Rows are made inside ClickHouse, in the tables that the views read, for sales with eight facts each: one order with a
line, a parcel, a payment and a timer of its delivery; half of them a conversation with two timers, a review, a claim; a
quarter a return. Beside them stand eight events and four places for each sale.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from clickhouse_connect.driver.exceptions import DatabaseError

from streams.clickhouse import connect, migrate
from tests.bench.engines import engines
from tests.bench.results import Cell, Report, Spread, Table, spread

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FACTS, QUICK_FACTS = (100_000, 1_000_000, 10_000_000), (8_000, 16_000)
FACTS_PER_SALE = 8
TIMES = 3
VIEW_S = 60
"""For a view, once; one that takes longer is not measured."""
CHUNK_SALES = 125_000
"""Made by one statement."""
MERGES_S = 120.0
"""For the merges after the rows have been made."""
LOOK_EVERY_S = 0.2

_AT = "toDateTime64('2024-06-01 00:00:00', 6, 'UTC') + toIntervalSecond(sale * 7919 % 46656000)"
"""When a sale was made: somewhere in 18 months."""


class Made(NamedTuple):
    """How the rows of a table are made. In expressions `number` is the row and `sale` the number of its sale."""

    per_sale: Fraction
    columns: Mapping[str, str]
    """Expressions; other columns of the table have a usual value (see `usual`)."""
    sale: str = ""
    """The sale of row `number`; empty: rows are spread evenly."""

    def rows(self, sales: int) -> int:
        """Of the first `sales`."""
        return int(sales * self.per_sale)

    def sale_of_row(self) -> str:
        """Expression for the sale of row `number`."""
        return self.sale or f"intDiv(number * {self.per_sale.denominator}, {self.per_sale.numerator})"


def _after(days: str) -> str:
    return f"{_AT} + toIntervalSecond(toInt64(({days}) * 86400))"


def _one_of(*values: str) -> str:
    return f"[{', '.join(repr(value) for value in values)}][1 + intHash32(sale) % {len(values)}]"


ORDER, THREAD = "concat('order:shop:', toString(sale))", "concat('thread:shop:', toString(sale))"
DAYS_TAKEN = "1 + sale % 97 / 12"
_KINDS = ("order", "payment", "parcel", "return", "message", "message", "review", "ticket")
_PLACES = ("order", "return", "review", "thread")
_CASE_TIMER = "number % 2 = 1"

ROWS: Mapping[str, Made] = {
    "order_fact": Made(
        Fraction(1),
        {
            "about": ORDER,
            "status": _one_of("delivered", "delivered", "delivered", "shipped", "cancelled"),
            "approved_at": _after("0.02"),
            "shipped_at": _after("0.8"),
            "delivered_at": f"if(sale % 9 = 0, NULL, {_after(DAYS_TAKEN)})",
            "promised_at": _after("6"),
            "destination_country": _one_of("DE", "FR", "IT", "ES", "NL"),
            "destination_region": "concat('region-', toString(sale % 40))",
            "goods_total": "19.90",
        },
    ),
    "order_line_fact": Made(
        Fraction(1),
        {
            "about": ORDER,
            "item": "'1'",
            "sku": "concat('sku-', toString(intHash32(sale) % 5000))",
            "seller": "concat('seller-', toString(sale % 200))",
            "category": "concat('category-', toString(sale % 60))",
            "unit_price": "19.90",
            "ship_by_at": _after("1"),
        },
    ),
    "parcel_fact": Made(
        Fraction(1), {"about": "concat('parcel:', toString(sale))", "delivered_at": _after(DAYS_TAKEN)}
    ),
    "payment_fact": Made(
        Fraction(1),
        {"about": "concat('payment:shop:', toString(sale))", "kind": "'payment'", "method": _one_of("card", "invoice")},
    ),
    "case_fact": Made(
        Fraction(1, 2),
        {
            "about": THREAD,
            "item": THREAD,
            "channel": _one_of("email", "chat", "marketplace"),
            "team": "concat('team-', toString(sale % 8))",
            "priority": _one_of("normal", "high", "low"),
            "category": _one_of("delivery", "return", "product"),
        },
    ),
    "review_fact": Made(
        Fraction(1, 2),
        {"about": "concat('review:shop:', toString(sale))", "score": "1 + sale % 5", "asked_at": _after("-1")},
    ),
    "claim_fact": Made(Fraction(1, 2), {"about": "concat('claim:shop:', toString(sale))"}),
    "return_fact": Made(
        Fraction(1, 4),
        {
            "about": "concat('return:shop:', toString(sale))",
            "kind": _one_of("return", "return", "cancellation"),
            "reason": _one_of("too_small", "damaged", "late"),
            "refunded_at": f"if(sale % 5 = 0, NULL, {_after('9')})",
        },
    ),
    "return_line_fact": Made(
        Fraction(1, 4),
        {
            "about": "concat('return:shop:', toString(sale))",
            "item": "'1'",
            "sku": "concat('sku-', toString(intHash32(sale) % 5000))",
            "category": "concat('category-', toString(sale % 60))",
            "unit_price": "19.90",
            "line_at": _after("8"),
        },
    ),
    # Even rows: of the delivery of each order; odd ones: both timers of every second sale's conversation.
    "timer_fact": Made(
        Fraction(2),
        {
            "about": f"if({_CASE_TIMER}, {THREAD}, {ORDER})",
            "case_id": f"if({_CASE_TIMER}, {THREAD}, {ORDER})",
            "timer": f"if({_CASE_TIMER}, if(number % 4 = 1, 'first_response', 'resolution'), 'delivery')",
            "level": "'result'",
            "cycle": "1",
            "result": _one_of("met", "met", "met", "breached", "running"),
            "due_at": _after("0.5"),
            "stopped_at": f"if(result = 'running', NULL, {_after('sale % 89 / 100')})",
            "elapsed_s": "if(result = 'running', NULL, sale % 89 * 864)",
        },
        f"if({_CASE_TIMER}, intDiv(number, 4) * 2, intDiv(number, 2))",
    ),
    "place": Made(
        Fraction(len(_PLACES)),
        {
            "id": f"concat({list(_PLACES)}[1 + number % {len(_PLACES)}], ':shop:', toString(sale))",
            "customer": "concat('customer:shop:', toString(intHash32(sale) % 1000003))",
            "matter": ORDER,
            "provisional": "sale % 50 = 0",
        },
    ),
    "event": Made(
        Fraction(len(_KINDS)),
        {
            "kind": f"{list(_KINDS)}[1 + number % {len(_KINDS)}]",
            "event_id": "toString(reinterpretAsUUID(sipHash128(number)))",
            "about": f"concat({list(_PLACES)}[1 + number % {len(_PLACES)}], ':shop:', toString(sale))",
            "body": "'{}'",
        },
    ),
}


def usual(column: str, kind: str, generation: str) -> str:
    """The expression for a column of which `ROWS` says nothing, by its name, else by its type."""
    named = {
        "generation": repr(generation),
        "account": _one_of("shop", "shop-fr", "desk", "carrier"),
        "marketplace": _one_of("amazon-de", "amazon-fr", "ebay-de", "zalando-de", "otto-de"),
        "cause": "'events'",
        "currency": "'EUR'",
        "amount_minor": "1990",
        "score_max": "5",
        "withdrawn": "false",
    }
    if column in named:
        return named[column]
    if kind.startswith(("Nullable", "LowCardinality(Nullable")):
        return "NULL"
    if kind.startswith("DateTime64"):
        return _AT
    if kind.startswith("Array"):
        return "[]"
    if kind in ("String", "LowCardinality(String)"):
        return "''"
    if kind.startswith(("Int", "UInt", "Float", "Decimal", "Bool")):
        return "1"
    raise ValueError(f"no value for a column {column} {kind}")


def statement(table: str, types: Mapping[str, str], generation: str, sales: range) -> str:
    """Makes the rows of these sales."""
    made = ROWS[table]
    begin, end = made.rows(sales.start), made.rows(sales.stop)
    if unknown := made.columns.keys() - types.keys():
        raise ValueError(f"table {table} has no column {', '.join(sorted(unknown))}")
    columns = {name: made.columns.get(name) or usual(name, kind, generation) for name, kind in types.items()}
    values = ", ".join(f"{expression} AS `{name}`" for name, expression in columns.items())
    names = ", ".join(f"`{name}`" for name in columns)
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM"
        f" (SELECT number, {made.sale_of_row()} AS sale FROM numbers({begin}, {end - begin}))"
    )


def run(*, quick: bool) -> Report:
    """Run the job."""
    sizes = QUICK_FACTS if quick else FACTS
    with engines() as (stack, _):
        settings = stack.settings
        migrate(settings)
        with connect(settings) as client:
            views = _views(client)
            found: dict[str, list[Cell]] = {view: [] for view in views}
            slow: dict[str, int] = {}
            for before, facts in pairwise((0, *sizes)):
                _make(client, settings.generation, before, facts)
                for view in views:
                    # One that was too slow would be slower still with more.
                    taken = None if view in slow else _spread_ms(client, view)
                    if taken is None:
                        slow.setdefault(view, facts)
                    found[view].append(taken)
                    said = f"more than {VIEW_S} s" if taken is None else f"{taken} ms"
                    print(f"views: {view} at {facts:,} facts: {said}", flush=True)
    rows: list[tuple[Cell, ...]] = [(view, *cells) for view, cells in found.items()]
    shown = Table(
        title="Whole KPI views (minimum / median / maximum)",
        columns=("view", *(f"ms at {facts:,} facts" for facts in sizes)),
        rows=tuple(rows),
    )
    notes = (f"{view} is not through after {VIEW_S} s at {facts:,} facts" for view, facts in slow.items())
    return Report(job="views", quick=quick, tables=(shown,), notes=tuple(notes))


def _make(client: "Client", generation: str, before: int, facts: int) -> None:
    """Make facts, with what stands beside them, until there are as many as `facts`; `before` are there."""
    types = {table: _types(client, table) for table in ROWS}
    end = facts // FACTS_PER_SALE
    for begin in range(before // FACTS_PER_SALE, end, CHUNK_SALES):
        chunk = range(begin, min(end, begin + CHUNK_SALES))
        print(f"views: making {chunk.stop * FACTS_PER_SALE:,} of {facts:,} facts", flush=True)
        for table, columns in types.items():
            client.command(statement(table, columns, generation, chunk))
    _check(client, facts)
    _settle(client)


def _views(client: "Client") -> list[str]:
    answer = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'kpi\\_%' ORDER BY name"
    )
    return [name for (name,) in answer.result_rows]


def _types(client: "Client", table: str) -> dict[str, str]:
    """Types of the columns that a row is to be given."""
    answer = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND default_kind = ''"
        f" AND table = '{table}' ORDER BY position"
    )
    return {str(name): str(kind) for name, kind in answer.result_rows}


def _check(client: "Client", facts: int) -> None:
    """Raise unless there are so many different facts, and each view has something to say of them."""
    tables = [table for table in ROWS if table.endswith("_fact")]
    found = sum(int(client.query(f"SELECT count() FROM {table} FINAL").result_rows[0][0]) for table in tables)
    if found != facts:
        raise RuntimeError(f"{found:,} facts were made in place of {facts:,}")


def _settle(client: "Client") -> None:
    """Wait until the rows just made are merged as far as they are going to be by themselves."""
    deadline = monotonic() + MERGES_S
    while monotonic() < deadline and client.query("SELECT count() FROM system.merges").result_rows[0][0]:
        sleep(LOOK_EVERY_S)


def _spread_ms(client: "Client", view: str) -> Spread | None:
    """To compute all rows of a view, and to receive them; None: it takes longer than `VIEW_S`."""
    taken: list[float] = []
    for _ in range(TIMES):
        if (ms := _time_ms(client, view)) is None:
            return None
        taken.append(ms)
    return spread(taken)


def _time_ms(client: "Client", view: str) -> float | None:
    began = monotonic()
    try:
        rows = client.query(f"SELECT * FROM {view} SETTINGS max_execution_time = {VIEW_S}").result_rows
    except DatabaseError as error:
        if "TIMEOUT_EXCEEDED" not in str(error):
            raise
        return None
    taken_ms = (monotonic() - began) * 1000
    if not rows:
        raise RuntimeError(f"the view {view} is empty: the rows made are not what it reads")
    return taken_ms
