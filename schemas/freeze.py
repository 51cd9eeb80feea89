"""Frozen versions of the schemas: what may already stand in topics, `schemas/versions/<record>/<n>.avsc`.

    python -m schemas.freeze            writes the next version of each schema that has changed
    python -m schemas.freeze --replace  the newest versions were never released: writes them anew
    python -m schemas.freeze --check    writes nothing; exit status 1 when there is something to write

A version is resolved: the envelope stands in it, so that it reads alone. A change that can't read all former versions
is refused (exit status 2). Must not know what records are for.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.compatibility import breaks
from streams.codec import ENTRIES, EVENTS, fingerprint, resolve
from streams.errors import Refused

VERSIONS = Path(__file__).parent / "versions"


def today() -> dict[str, Any]:
    """The resolved schema of each record, as it stands in `schemas/`."""
    return {entry.NAME: resolve(entry.NAME) for entry in (*EVENTS, *ENTRIES)}


def frozen(name: str, folder: Path = VERSIONS) -> list[Any]:
    """The frozen versions of a record, from the first on. Raises Refused when one is missing in between."""
    paths = sorted((folder / name).glob("*.avsc"), key=lambda path: int(path.stem))
    if [int(path.stem) for path in paths] != list(range(1, len(paths) + 1)):
        raise Refused(f"versions of {name} are not numbered from 1 on without holes: restore {folder / name}")
    return [json.loads(path.read_text()) for path in paths]


def freeze(schemas: Mapping[str, Any], folder: Path = VERSIONS, *, replace: bool = False) -> dict[Path, str]:
    """Texts of the files to be written under `folder`, by path; empty when all are up to date. Writes nothing.

    A schema with a new fingerprint becomes the next version. One whose bytes are the same (docs or added defaults)
    takes the place of the newest version, for a reader finds a version by its fingerprint. With `replace`, the newest
    version of each counts as never released. Raises Refused for a schema that can't read all former versions.
    """
    refused: list[str] = []
    texts: dict[Path, str] = {}
    for name, schema in schemas.items():
        versions = frozen(name, folder)
        if versions and versions[-1] == schema:
            continue
        binding = versions[:-1] if replace else versions
        reasons = {reason: None for former in binding for reason in breaks(former, schema)}
        refused += reasons
        number = len(binding) + 1
        if binding and fingerprint(binding[-1]) == fingerprint(schema):
            number -= 1
            if replace:
                refused.append(f"{name}: its bytes are those of version {number}: delete the version after it")
        texts[folder / name / f"{number}.avsc"] = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    if refused:
        raise Refused("schemas can't be frozen:\n  " + "\n  ".join(refused))
    return texts


def main(arguments: Sequence[str] | None = None, folder: Path = VERSIONS) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m schemas.freeze", description="Freeze versions of the schemas.")
    parser.add_argument("--replace", action="store_true", help="the newest versions were never released")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if there is something to do")
    options = parser.parse_args(arguments)
    try:
        texts = freeze(today(), folder, replace=options.replace)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    for path, text in texts.items():
        print(path.relative_to(folder))
        if not options.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return 1 if options.check and texts else 0


if __name__ == "__main__":
    sys.exit(main())
