"""Correlate as a process of an older version, to which the schema of payments is not known yet."""

from unittest.mock import patch

from streams import codec
from streams.settings import load
from streams.workers import run

if __name__ == "__main__":
    known = {header: found for header, found in codec._readable().items() if found[0] != "payment"}
    with patch.object(codec, "_readable", lambda: known):
        run("correlate", load())
