"""Printing what came from outside: imported values may hold characters that command a terminal."""

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ALL_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """`text` with control characters as `\\x1b`; line breaks and tabs stay."""
    return _CONTROLS.sub(_shown, text)


def on_one_line(text: str) -> str:
    """The same, line breaks and tabs too."""
    return _ALL_CONTROLS.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
