"""Casework as a process, with rules that fail on one matter."""

from unittest.mock import patch

from streams.agents import casework
from streams.domain.fold import fold
from streams.domain.history import Folded, History, Horizon, References
from streams.settings import load
from streams.workers import run

UNLUCKY = "thread:unlucky:1"
WHY = "the rules fail on this one"


def fail_on_one(history: History, references: References, horizon: Horizon) -> Folded:
    """The rules, but for a matter with the id UNLUCKY."""
    if UNLUCKY in history:
        raise ArithmeticError(WHY)
    return fold(history, references, horizon)


if __name__ == "__main__":
    with patch.object(casework, "fold", fail_on_one):
        run("casework", load())
