"""Schemas and examples as tests take them."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro

from schemas import check, freeze
from streams.codec import MARKER, fingerprint

SCHEMAS = freeze.today()
EXAMPLES = Path(check.__file__).parent / "examples"
GOOD = sorted(EXAMPLES.glob("*/good/*.json"))
BAD = sorted(EXAMPLES.glob("*/bad/*.json"))


def label(path: Path) -> str:
    """How a test of an example is called."""
    return f"{path.parent.parent.name}/{path.stem}"


def read(path: Path) -> dict[str, Any]:
    """The values of a good example."""
    return check.read(SCHEMAS[path.parent.parent.name], json.loads(path.read_text()))


def write(schema: Any, values: dict[str, Any]) -> bytes:
    """A record written by fastavro alone, without the pipeline's own structs."""
    out = io.BytesIO()
    out.write(MARKER + fingerprint(schema))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), values)
    return out.getvalue()
