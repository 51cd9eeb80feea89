"""A stack that is stopped goes on where it was when it is started again on the same directory."""

from pathlib import Path

import pytest

from tests.end_to_end.pipeline import BY_NOW, Outcome, Pipeline, differences, settled
from tests.engines import RunningStack, StartStack

pytestmark = pytest.mark.engines


def test_a_stack_goes_on_where_it_was_and_states_nothing_twice(
    stack: RunningStack, start_stack: StartStack, undisturbed: Outcome, shop: list[Path]
) -> None:
    key = stack.settings.pseudonym_secret().decode()

    def start() -> Pipeline:
        running = start_stack(pseudonym_key=key)
        pipeline = Pipeline(running, settled(running.settings))
        pipeline.start()
        return pipeline

    pipeline = start()
    pipeline.run_import(shop[0])
    pipeline.stack.stop()  # in the midst of the work

    pipeline = start()
    assert {file.state for file in pipeline.run_import(shop[0]).files} == {"unchanged"}
    assert pipeline.run_import(shop[1]).events > 0
    pipeline.drain()
    assert differences(pipeline.outcome(), undisturbed) == []
    before, stated = pipeline.outcome(but=BY_NOW), pipeline.audit()
    assert stated.sound
    pipeline.stack.stop()

    pipeline = start()
    pipeline.drain()
    assert differences(pipeline.outcome(but=BY_NOW), before) == []
    assert pipeline.audit() == stated
