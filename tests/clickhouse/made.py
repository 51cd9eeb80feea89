"""Events and facts made with few words, and stored through the rows that the sink writes."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from streams.domain import events, facts
from streams.rows import row_of
from streams.sink import insert_rows

ACCOUNT = "shop-de"
MARKETPLACE = "amazon-de"


def at(text: str) -> datetime:
    """`2024-05-01 10:00`, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def store(client: Any, entries: Iterable[Any]) -> None:
    """Insert the row of each, in order, one insert per table."""
    rows = defaultdict(list)
    for entry in entries:
        row = row_of(entry)
        rows[row.table].append(row.values)
    for table, values in rows.items():
        insert_rows(client, table, values)


def ask(client: Any, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of an answer."""
    return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]


def record(client: Any, sql: str, **parameters: Any) -> dict[str, Any]:
    """The only row of an answer, by column."""
    answer = client.query(sql, parameters=parameters)
    (row,) = answer.result_rows
    return dict(zip(answer.column_names, row, strict=True))


def envelope(about: str, event_at: str, **fields: Any) -> dict[str, Any]:
    """Fields of an envelope; taken in at the same instant."""
    instant = at(event_at)
    return {
        "event_id": f"{about} {event_at}",
        "event_at": instant,
        "ingested_at": instant,
        "account": ACCOUNT,
        "marketplace": MARKETPLACE,
        "about": about,
        **fields,
    }


def matter_fact(
    state: Any,
    about: str,
    item: str = "",
    *,
    revision: int = 1,
    withdrawn: bool = False,
    generation: str = "g1",
) -> facts.MatterFact:
    """A statement of `state`."""
    return facts.MatterFact(
        generation=generation,
        about=about,
        key=facts.MatterKey(kind=state.KIND, item=item),
        revision=revision,
        withdrawn=withdrawn,
        cause="events",
        fold_version=1,
        state=state,
    )


def place(id: str, customer: str, matter: str | None = None, revision: int = 1) -> events.Place:
    """Where `id` belongs; it heads its matter unless told otherwise."""
    return events.Place(
        id=id,
        customer=customer,
        matter=matter or id,
        revision=revision,
        provisional=customer.startswith("provisional:"),
    )


def order(number: str, placed_at: str, status: str = "delivered", **fields: Any) -> facts.MatterFact:
    """A fact of order `number`; instants as text."""
    about = f"order:{ACCOUNT}:{number}"
    given = {name: at(value) if name.endswith("_at") else value for name, value in fields.items()}
    state: dict[str, Any] = {
        "account": ACCOUNT,
        "marketplace": MARKETPLACE,
        "status": status,
        "placed_at": at(placed_at),
        "currency": "EUR",
        "destination_country": "DE",
        "line_count": 1,
        "parcel_count": 1,
        "goods_total": Decimal("10.000000"),
        "freight_total": Decimal("2.500000"),
        **given,
    }
    return matter_fact(facts.OrderState(**state), about)


def order_line(number: str, line_id: str, line_at: str, **fields: Any) -> facts.MatterFact:
    """A fact of a line of order `number`."""
    state: dict[str, Any] = {
        "account": ACCOUNT,
        "marketplace": MARKETPLACE,
        "sku": "A",
        "quantity": 1,
        "unit_price": Decimal("10.000000"),
        "line_at": at(line_at),
        "currency": "EUR",
        **{name: at(value) if name.endswith("_at") else value for name, value in fields.items()},
    }
    return matter_fact(facts.OrderLineState(**state), f"order:{ACCOUNT}:{number}", line_id)


def timer(
    case_id: str, timer: str, started_at: str, elapsed_s: float | None, result: str, **fields: Any
) -> facts.TimerFact:
    """A fact of a timer with a target of four hours."""
    start = at(started_at)
    state: dict[str, Any] = {
        "account": ACCOUNT,
        "marketplace": "",
        "started_at": start,
        "result": result,
        "target_s": 14400,
        "elapsed_s": elapsed_s,
        **{name: at(value) if name.endswith("_at") else value for name, value in fields.items()},
    }
    return facts.TimerFact(
        generation="g1",
        about=case_id,
        key=facts.TimerKey(case_id=case_id, timer=timer),
        revision=1,
        withdrawn=False,
        cause="time",
        fold_version=1,
        state=facts.TimerState(**state),
    )
