"""A small made-up shop: a manifest over files that a test writes, and the import of them without Kafka."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from connectors.files import FileReport, Plan, RowReader, Step, plan_import
from streams import codec

SECRET = b"a key of tests only"

ORDERS = """
account: shop
marketplace: shop-de
files:
  - file: orders.csv
    events:
      - event: order
        event_id: [id]
        about: "order:shop:{id}"
        event_at: at
        customer: who
        fields:
          status: {map: state, to: {new: created, gone: cancelled}}
          currency: {constant: EUR}
          total_minor: {minor: total, currency: {constant: EUR}}
"""
HEADER = "id,at,who,state,total\n"
GOOD = "1,2026-03-02 01:30:00,ann@example.com,new,12.50\n"


def write_manifest(folder: Path, manifest: str | dict[str, Any] = ORDERS) -> Path:
    """A manifest file in `folder`."""
    path = folder / "manifest.yaml"
    path.write_text(manifest if isinstance(manifest, str) else yaml.safe_dump(manifest))
    return path


def write_file(folder: Path, content: str | bytes, name: str = "orders.csv") -> Path:
    """A file of rows; gzipped if its name says so."""
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def plan_of(folder: Path, content: str | bytes, manifest: str = ORDERS, name: str = "orders.csv") -> Plan:
    """The plan of an import of one file."""
    write_file(folder, content, name)
    return plan_import(write_manifest(folder, manifest.replace("orders.csv", name)), folder, lambda: SECRET)


def read_step(step: Step, done: int = 0) -> tuple[list[Any], list[Any], FileReport]:
    """Events, dead letters and report of a file of which `done` rows have been imported before."""
    report = FileReport(file=step.source.file)
    reader = RowReader("shop", step, done, report)
    records = [codec.decode(record) for row in step.table.rows() for _, _, record in reader.read(row)]
    return (
        [record for record in records if record.NAME != "dead_letter"],
        [record for record in records if record.NAME == "dead_letter"],
        report,
    )


def imported(
    folder: Path, content: str | bytes, manifest: str = ORDERS, name: str = "orders.csv"
) -> tuple[list[Any], list[Any]]:
    """Events and dead letters of one file."""
    plan = plan_of(folder, content, manifest, name)
    events, dead, _ = read_step(plan.steps[0])
    return events, dead


def reasons(dead: Sequence[Any]) -> list[tuple[str, int]]:
    """Reason and line of each dead letter."""
    return [(letter.reason, letter.origin_line) for letter in dead]
