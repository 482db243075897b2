"""The engine's rows are those of the model after each step, whatever people, workers and time do in whatever order.

Two organizations live side by side, so what leaks from one to the other shows as a difference, too.
"""

from functools import partial
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.depth import far
from tests.model.machine.deciding import Deciding
from tests.model.machine.governing import Governing


class Engine(Governing, Deciding):
    """The machine with all rules together."""


def test_the_engine_does_what_the_model_says(database_url: str, monkeypatch: pytest.MonkeyPatch):
    # What workers do by the time that it really takes would make each life another one on a busy machine.
    monkeypatch.setattr("fairlane.engine.lane_cache._REST", 0)
    run_state_machine_as_test(
        cast(type[RuleBasedStateMachine], partial(Engine, database_url)),  # it is only called
        settings=settings(
            max_examples=far(8, 20, 1_000),
            stateful_step_count=100,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
