"""Every scenario comes out as it says, and comes out the same whatever the order of arrival."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from streams.scenario import Outcome, render, run_scenario
from streams.scenario.play import Played, Scenario, play, read_scenarios
from streams.scenario.story import VERBS, show_symbol, symbols

FILES = sorted(Path(__file__).parent.glob("*.yaml"))
SCENARIOS = [scenario for file in FILES for scenario in read_scenarios(file)]
SHUFFLES = 5


def title(scenario: Scenario) -> str:
    return scenario.title


def explain(played: Played) -> str:
    return render(Outcome(played=(played,)))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=title)
def test_comes_out_as_it_says(scenario: Scenario) -> None:
    played = play(scenario)
    assert played.ok, explain(played)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=title)
def test_comes_out_the_same_in_any_order_of_arrival(scenario: Scenario) -> None:
    lasting = replace(scenario, expectations=tuple(e for e in scenario.expectations if not e.of_history))
    positions = list(range(len(scenario.arrivals)))
    orders = [positions[::-1]]
    for seed in range(SHUFFLES):
        orders.append(Random(seed).sample(positions, len(positions)))
    for order in orders:
        played = play(lasting, order)
        assert played.ok, f"arriving in the order {order}:\n{explain(played)}"


def test_every_title_is_there_once() -> None:
    titles = [scenario.title for scenario in SCENARIOS]
    assert len(set(titles)) == len(titles)


PAGE = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_page_come_out_as_they_say(example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example)
    outcome = run_scenario(path)
    assert outcome.ok, render(outcome)


def test_the_page_names_every_verb_state_and_field() -> None:
    page = PAGE.read_text()
    words = {word for verb in VERBS.values() for word in verb.fields} | set(VERBS)
    for record, name in (("ticket", "status"), ("order", "status"), ("parcel", "status"), ("return", "status")):
        words |= {show_symbol(symbol).replace("waiting ", "waiting for ") for symbol in symbols(record, name)}
    missing = {word for word in words - {"unknown"} if word not in page}
    assert not missing
