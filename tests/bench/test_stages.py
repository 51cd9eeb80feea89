"""The measure of stages measures all of them; figures themselves depend on the machine and are no matter of tests."""

from functools import cache

from tests.bench import stages

EVENTS = 1500


@cache
def measured() -> stages.Measured:
    """One round of a small market."""
    return stages.measure(EVENTS, 1, lambda text: None)


def test_every_step_of_every_stage_has_a_figure() -> None:
    table = measured().cpu_us
    assert set(table) == {"casework", "correlate", "sink", "triage", "pipeline"}
    steps = {(stage, step) for stage, found in table.items() for step in found}
    assert steps >= {
        ("correlate", "decode"),
        ("correlate", "check"),
        ("correlate", "decide"),
        ("correlate", "state encode"),
        ("casework", "take"),
        ("casework", "fold"),
        ("casework", "difference"),
        ("casework", "delivery"),
        ("sink", "rows"),
        ("sink", "insert"),
        ("triage", "language"),
    }
    assert all("kafka" in table[stage] for stage in ("casework", "correlate", "sink", "triage"))


def test_what_is_called_per_event_is_counted() -> None:
    calls = measured().calls
    assert measured().events == EVENTS
    assert calls["correlate check"] == calls["casework take"] == 1
    assert calls["casework fold"] >= 1
    assert calls["sink rows"] > 1


def test_the_pipeline_is_the_sum_of_its_stages() -> None:
    table = measured().cpu_us
    own = sum(table[stage]["all but fold and model"].middle for stage in ("casework", "correlate", "sink", "triage"))
    pipeline = table["pipeline"]
    assert abs(pipeline["above fold and model"].middle - own) < 0.01
    apart = table["casework"]["fold"].middle + table["triage"]["language"].middle
    assert abs(pipeline["all"].middle - own - apart) < 0.01


def test_functions_are_their_own_again_after_taping() -> None:
    before = [getattr(module, name) for module, name, _ in stages.STEPS]
    with stages.Tape().running():
        assert [getattr(module, name) for module, name, _ in stages.STEPS] != before
    assert [getattr(module, name) for module, name, _ in stages.STEPS] == before
