"""`scenario FILE`: written stories through the rules, and what came out otherwise than expected."""

from pathlib import Path

from streams.scenario import render, run_scenario


def run(file: Path) -> int:
    """Print the outcome. Exit status 1 when something came out otherwise. Raises Refused for a file with a mistake."""
    outcome = run_scenario(file)
    print(render(outcome))
    return 0 if outcome.ok else 1
