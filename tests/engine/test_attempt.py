"""The timeout of an attempt counts from the start of its handler (R6)."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fairlane.domain.outcomes import Outcome, TimedOut
from fairlane.engine import attempt as module
from fairlane.engine.attempt import Attempt
from fairlane.engine.context import JobContext
from fairlane.engine.executors.base import START_LIMIT, Call, Execution, OnEnd
from fairlane.engine.reports import Interruption
from fairlane.jobtypes.job_type import ErrorClasses, JobType
from fairlane.jobtypes.options import Isolation, Options
from tests.engine.recording import inputs


class Coming(Execution):
    """A handler whose process comes up when the test says so, and that ends when it is asked to."""

    def __init__(self, call: Call, on_end: OnEnd) -> None:
        super().__init__(call, on_end)
        self.started = None

    def interrupt(self, reason: Interruption) -> None:
        self.tell(None, asyncio.CancelledError())

    def abandon(self) -> None: ...


class Time:
    """The time and the loop of an attempt: its one timer goes off while time passes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []

    def monotonic(self) -> float:
        return self.now

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> SimpleNamespace:
        timer = (self.now + seconds, function, args)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, function, args = self.timers.pop(0)
            function(*args)
        self.now = end


class Scene:
    """An attempt whose process is still coming up."""

    def __init__(self, time: Time, timeout: float | None) -> None:
        self.time = time
        self.outcomes: list[Outcome] = []
        self.execution: Coming | None = None
        executors = {Isolation.PROCESS: SimpleNamespace(begin=self._begin)}
        slots = SimpleNamespace(loop=time, executors=executors, stop_grace=5.0, on_end=self._on_end)
        job_type: JobType[..., Any] = JobType(
            "test", work, Options(isolation=Isolation.PROCESS), ErrorClasses(), pytest.fail
        )
        self.attempt = Attempt(cast("Any", slots), job_type, inputs(timeout=timeout))
        self.attempt.begin()
        self.attempt.set_deadline()

    def come_up(self) -> None:
        assert self.execution is not None
        self.execution.started = self.time.now

    def _begin(self, call: Call, on_end: OnEnd) -> Execution:
        self.execution = Coming(call, on_end)
        self.execution.entered = self.time.now
        return self.execution

    def _on_end(self, _: Attempt, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def work(ctx: JobContext) -> None: ...


@pytest.fixture(params=[2.0, 300.0, None])
def scene(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Scene:
    time = Time()
    monkeypatch.setattr(module, "time", time)
    return Scene(time, request.param)


def message(outcome: Outcome) -> str:
    assert isinstance(outcome, TimedOut)
    return outcome.error.message


def test_a_process_that_never_comes_up_is_stopped_at_last(scene: Scene) -> None:
    scene.time.go_on(START_LIMIT - 1)
    assert scene.outcomes == []
    scene.time.go_on(3)
    assert message(*scene.outcomes) == "its handler had not begun after 60 s"


def test_the_timeout_counts_from_when_the_handler_begins(scene: Scene) -> None:
    scene.time.go_on(START_LIMIT - 1)
    scene.come_up()
    timeout = scene.attempt.inputs.timeout
    scene.time.go_on(1000.0 if timeout is None else timeout - 0.1)
    assert scene.outcomes == []
    scene.time.go_on(0.2)
    assert [message(one) for one in scene.outcomes] == (
        [] if timeout is None else [f"ran past its timeout of {timeout:g} s"]
    )


def test_the_wait_for_a_process_is_no_time_in_which_it_should_have_come_up(scene: Scene) -> None:
    assert scene.execution is not None
    scene.execution.entered = None
    scene.time.go_on(2 * START_LIMIT)
    scene.execution.entered = scene.time.now
    scene.time.go_on(START_LIMIT - 1)
    assert scene.outcomes == []
    scene.time.go_on(3)
    assert message(*scene.outcomes).startswith("its handler had not begun after")


def test_a_handler_that_ended_in_time_did_not_run_past_its_timeout(scene: Scene) -> None:
    """A thread of its own judged its result for ten minutes, and the history told of its timeout."""
    scene.come_up()
    assert scene.execution is not None
    scene.execution.ended = scene.time.now + 1
    scene.time.go_on(1000.0)
    assert [message(one) for one in scene.outcomes] == (
        [] if scene.attempt.inputs.timeout is None else ["its result was still being encoded after 600 s"]
    )
