"""A small made-up shop and its carrier, as exported files with their manifests.

Everything that real exports do to a pipeline is in them: rows that come twice, scans that know only their parcel,
threads that learn their order later, guests who turn out to be customers, orders nobody exported, rows that are spoilt.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import yaml

from tests.data.sampling import Order

START = datetime(2026, 3, 2)

SHOP = """
account: shop
marketplace: shop-de
files:
  - file: orders.csv
    events:
      - event: order
        event_id: [id, state]
        about: "order:shop:{id}"
        event_at: at
        customer: customer
        followers: ["parcel:{parcel}"]
        fields:
          status: state
          placed_at: {if: {value: state, equals: created}, then: {time: at}}
          promised_at: promised
          destination_country: country
          currency: {constant: EUR}
  - file: items.csv
    events:
      - event: order
        name: item
        event_id: [order, line]
        about: "order:shop:{order}"
        event_at: at
        fields:
          currency: {constant: EUR}
          lines:
            - {line_id: line, sku: sku, category: category, quantity: quantity, unit_price: price}
  - file: messages.csv
    events:
      - event: message
        event_id: [id]
        about: "thread:shop:{thread}"
        event_at: at
        customer: customer
        leader: "order:shop:{order}"
        text: text
        fields:
          message_id: id
          author: author
          channel: {constant: mail}
  - file: tickets.csv
    events:
      - event: ticket
        event_id: [thread, state, at]
        about: "thread:shop:{thread}"
        event_at: at
        fields:
          change: {constant: status}
          status: state
          team: team
  - file: returns.csv
    events:
      - event: return
        event_id: [id, state]
        about: "return:shop:{id}"
        leader: "order:shop:{order}"
        event_at: at
        fields:
          kind: {constant: return}
          status: state
          currency: {constant: EUR}
          refund_minor: {minor: refund, currency: {constant: EUR}}
  - file: reviews.csv
    events:
      - event: review
        event_id: [id]
        about: "review:shop:{id}"
        leader: "order:shop:{order}"
        event_at: at
        text: text
        fields: {review_id: id, score: score}
  - file: payments.csv
    events:
      - event: payment
        event_id: [id]
        about: "payment:shop:{id}"
        leader: "order:shop:{order}"
        event_at: at
        fields:
          kind: {constant: payment}
          method: {constant: card}
          currency: {constant: EUR}
          amount_minor: {minor: amount, currency: {constant: EUR}}
"""

CARRIER = """
account: carrier
files:
  - file: scans.csv
    events:
      - event: parcel
        event_id: [parcel, state, at]
        about: "parcel:{parcel}"
        leader: "order:shop:{order}"
        event_at: at
        fields: {change: {constant: checkpoint}, status: state, carrier: {constant: dhl}}
  - file: claims.csv
    events:
      - event: claim
        event_id: [id, state]
        about: "claim:carrier:{id}"
        leader: "parcel:{parcel}"
        event_at: at
        fields: {status: state, reason: {constant: not_received}, respond_by_at: respond_by}
"""

MANIFESTS = {"shop.yaml": SHOP, "carrier.yaml": CARRIER}
TEXTS = (
    "Where is my parcel? It should have been here two days ago.",
    "Das Paket ist beschädigt angekommen, ich möchte es zurückgeben.",
    "La commande n'est toujours pas arrivée, pouvez-vous m'aider ?",
    "Muchas gracias por la ayuda, todo ha llegado bien.",
)
COLUMNS = {
    "orders.csv": "id,at,customer,state,promised,country,parcel",
    "items.csv": "order,line,at,sku,category,quantity,price",
    "messages.csv": "id,thread,at,author,customer,order,text",
    "tickets.csv": "thread,at,state,team",
    "returns.csv": "id,order,at,state,refund",
    "reviews.csv": "id,order,at,score,text",
    "payments.csv": "id,order,at,amount",
    "scans.csv": "parcel,order,at,state",
    "claims.csv": "id,parcel,at,state,respond_by",
}


@dataclass
class Shop:
    """Rows by file, made by `random`."""

    random: Random
    rows: dict[str, list[list[str]]] = field(default_factory=lambda: {file: [] for file in COLUMNS})

    def add(self, file: str, *values: Any) -> None:
        row = ["" if value is None else str(value) for value in values]
        assert len(row) == len(COLUMNS[file].split(","))
        self.rows[file].append(row)

    def sell(self, number: int) -> None:
        """One order and all that comes of it."""
        random = self.random
        order, parcel = f"o{number}", f"p{number}"
        placed = START + timedelta(minutes=random.randint(0, 60 * 24 * 60))
        promised = placed + timedelta(days=5)
        customer = f"c{random.randint(0, 1 + number // 3)}"
        first = f"guest-{number}" if random.random() < 0.2 else customer
        exported = random.random() < 0.95
        if exported:
            named = parcel if random.random() < 0.5 else None
            self.add("orders.csv", order, placed, first, "created", promised, random.choice(("DE", "AT")), named)
            state = "cancelled" if random.random() < 0.05 else "approved"
            self.add("orders.csv", order, placed + timedelta(minutes=9), customer, state, None, None, named)
            for line in range(1, random.randint(2, 3)):
                sku, price = f"s{random.randint(1, 30)}", random.randint(100, 9000) / 100
                self.add("items.csv", order, line, placed, sku, f"k{sku[-1]}", random.randint(1, 3), price)
        self.add("payments.csv", f"y{number}", order, placed, random.randint(100, 9000) / 100)
        self._carry(parcel, order, placed)
        if random.random() < 0.5:
            self._talk(f"t{number}", order, customer, placed)
        if random.random() < 0.1:
            for hours, state in ((100, "requested"), (150, "received"), (160, "refunded")):
                self.add("returns.csv", f"r{number}", order, placed + timedelta(hours=hours), state, "10.00")
        if random.random() < 0.4:
            at = placed + timedelta(days=9)
            self.add("reviews.csv", f"v{number}", order, at, random.randint(1, 5), random.choice(TEXTS))

    def _carry(self, parcel: str, order: str, placed: datetime) -> None:
        at = placed
        for state in ("picked_up", "in_transit", "out_for_delivery", "delivered"):
            at += timedelta(hours=self.random.randint(6, 60))
            self.add("scans.csv", parcel, order if state == "picked_up" else None, at, state)
        if self.random.random() < 0.1:
            respond_by = at + timedelta(days=7)
            self.add("claims.csv", f"l{parcel}", parcel, at, "opened", respond_by)
            self.add("claims.csv", f"l{parcel}", parcel, at + timedelta(days=3), "won", respond_by)

    def _talk(self, thread: str, order: str, customer: str, placed: datetime) -> None:
        at, names_order = placed, self.random.choice((0, 1, None))
        for turn in range(self.random.randint(1, 4)):
            at += timedelta(minutes=self.random.randint(20, 600))
            asking = turn % 2 == 0
            self.add(
                "messages.csv",
                f"{thread}-{turn}",
                thread,
                at,
                "customer" if asking else "agent",
                customer if asking else None,
                order if turn == names_order else None,
                self.random.choice(TEXTS),
            )
            if not asking:
                self.add("tickets.csv", thread, at + timedelta(minutes=1), "resolved", "first")

    def spoil(self) -> None:
        """Rows that come twice, and rows that can't be read."""
        for rows in self.rows.values():
            rows += self.random.choices(rows, k=len(rows) // 20)
        self.add("orders.csv", "spoilt", "yesterday", "c1", "created", None, None, None)
        self.add("reviews.csv", "spoilt", "o1", START, "five", "")


T = TypeVar("T")


def write_shop(folder: Path, orders: int, order: Order = "file", *, seed: int = 1) -> list[Path]:
    """Files of a shop with so many orders; returns the manifests, in the order in which they are imported.

    In any other `order` than that of the files, rows, files and manifests come in it too.
    """
    shop = Shop(Random(seed))
    for number in range(orders):
        shop.sell(number)
    shop.spoil()

    def arrange(items: Iterable[T]) -> list[T]:
        return arranged(list(items), order, Random(seed))

    folder.mkdir(parents=True, exist_ok=True)
    for file, rows in shop.rows.items():
        with (folder / file).open("w", newline="") as out:
            csv.writer(out).writerows([COLUMNS[file].split(","), *arrange(rows)])
    for name, manifest in MANIFESTS.items():
        declared = yaml.safe_load(manifest)
        declared["files"] = arrange(declared["files"])
        (folder / name).write_text(yaml.safe_dump(declared, sort_keys=False))
    return [folder / name for name in arrange(MANIFESTS)]


def arranged(items: Sequence[T], order: Order, random: Random) -> list[T]:
    """`items` in an order."""
    match order:
        case "file":
            return list(items)
        case "reverse":
            return list(reversed(items))
        case "shuffled":
            return random.sample(items, len(items))
