"""`aftersales scenario FILE`: small written stories, run through the same pure functions as live data.

The format is explained for its writers in tests/README.md.
"""

from streams.scenario.play import Outcome, render, run_scenario

__all__ = ["Outcome", "render", "run_scenario"]
