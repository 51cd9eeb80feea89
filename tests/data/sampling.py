"""Samples of the data sets, and other orders of their rows: whole entities, chosen by a seed.

An order keeps its customer, items, payments and reviews; an incident all its rows; a conversation all its messages; an
invoice all its lines, and a customer all invoices. Must not know of the pipeline.
"""

import csv
import gzip
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeAlias

from tests.data.plain_reference import Row, read_rows

Order: TypeAlias = Literal["file", "reverse", "shuffled"]
Rows: TypeAlias = dict[str, list[Row]]
"""The rows of each file of a set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Which part of a set, in which order."""

    share: float = 1.0
    seed: int = 1
    order: Order = "file"

    def takes(self, entity: str) -> bool:
        """Whether an entity is in the sample."""
        digest = sha256(f"{self.seed}:{entity}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def write_sample(source: Path, target: Path, name: str, sample: Sample) -> Path:
    """Writes the sample of a set below `target`; returns its folder."""
    folder = target / name
    folder.mkdir(parents=True)
    rows = {file.name: read_rows(file) for file in sorted((source / name).glob("*.csv.gz"))}
    chosen = _CHOICES[name](rows, sample)
    for file, content in chosen.items():
        if sample.order == "reverse":
            content.reverse()
        elif sample.order == "shuffled":
            random.Random(f"{sample.seed}:{file}").shuffle(content)
        with gzip.open(folder / file, "wt", encoding="utf-8", newline="", compresslevel=1) as out:
            writer = csv.DictWriter(out, rows[file][0].keys())
            writer.writeheader()
            writer.writerows(content)
    return folder


def _olist(rows: Rows, sample: Sample) -> Rows:
    people = {row["customer_id"]: row["customer_unique_id"] for row in rows["customers.csv.gz"]}
    taken = {id for id, person in people.items() if sample.takes(person)}
    orders = {row["order_id"] for row in rows["orders.csv.gz"] if row["customer_id"] in taken}
    keys: Mapping[str, tuple[str, set[str]]] = {
        "customers.csv.gz": ("customer_id", taken),
        "orders.csv.gz": ("customer_id", taken),
        "order_items.csv.gz": ("order_id", orders),
        "order_payments.csv.gz": ("order_id", orders),
        "order_reviews.csv.gz": ("order_id", orders),
    }
    return {
        file: [row for row in content if file not in keys or row[keys[file][0]] in keys[file][1]]
        for file, content in rows.items()
    }


def _by(entity: Callable[[Row], str]) -> Callable[[Rows, Sample], Rows]:
    return lambda rows, sample: {
        file: [row for row in content if sample.takes(entity(row))] for file, content in rows.items()
    }


_CHOICES: Mapping[str, Callable[[Rows, Sample], Rows]] = {
    "olist": _olist,
    "uci_incidents": _by(lambda row: row["number"]),
    "twcs_sample": _by(lambda row: row["conversation_id"]),
    "online_retail": _by(lambda row: row["CustomerID"] or row["InvoiceNo"].removeprefix("C")),
}
