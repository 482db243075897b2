"""A worker that may start nothing asks nothing between its polls, and starts what is let go at once."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import make_url

from fairlane.domain.events import WorkerStarted
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, Hold, engine, running, started, until
from tests.engine.worker_store import nothing
from tests.storm.proxy import Proxy

HOUR = 3600.0
NO_UPKEEP = {"lease": HOUR, "stage_interval": HOUR, "watch_interval": HOUR}
QUIET = 0.5  # seconds

LetGo = Callable[[], object]


class Scene:
    """An engine with a clock of its own, and two types of jobs: of "pdf" the test says how long each runs."""

    def __init__(self, fl: Engine, clock: ManualClock) -> None:
        self.fl, self.clock, self.hold = fl, clock, Hold()
        fl.organizations.create("rival")
        nothing(fl)
        self.hold.job_type(fl, "pdf")
        self.first, self.second = fl.give("pdf"), fl.give("pdf")

    def pause(self) -> LetGo:
        self.fl.job_types.pause("pdf")
        return lambda: self.fl.job_types.resume("pdf")

    def suspend(self) -> LetGo:
        self.fl.organizations.suspend("acme")
        return lambda: self.fl.organizations.activate("acme")

    def allow_none(self) -> LetGo:
        self.fl.job_types.limit("pdf", max_running=0)
        return lambda: self.fl.job_types.limit("pdf", max_running=1)

    def allow_one(self) -> LetGo:
        self.fl.organizations.update("acme", max_running=1)
        return lambda: self.hold.let_go(self.first)

    def allow_one_a_minute(self) -> LetGo:
        self.fl.job_types.limit("pdf", execution_rate=1, execution_rate_window=60)
        return lambda: self.clock.advance(60)


HOLDS = [Scene.pause, Scene.suspend, Scene.allow_none, Scene.allow_one, Scene.allow_one_a_minute]


@pytest.mark.slow
@pytest.mark.parametrize("hold_back", HOLDS)
def test_what_is_held_back_starts_when_it_is_let_go_and_holds_up_no_other(
    database_url: str, hold_back: Callable[[Scene], LetGo]
) -> None:
    clock = ManualClock()
    with engine(database_url, clock=clock, lease=HOUR) as fl:
        scene = Scene(fl, clock)
        let_go = hold_back(scene)
        next_one = scene.second if hold_back in {Scene.allow_one, Scene.allow_one_a_minute} else scene.first
        with running(fl.worker()):
            if next_one is scene.second:
                started(fl, scene.first)
            for _ in range(2):
                assert fl.ended(fl.give("work", organization="rival")).status == "completed"
            assert fl.look(next_one).attempt == 0
            let_go()
            started(fl, next_one)


@pytest.mark.slow
@pytest.mark.parametrize("hold_back", [None, *HOLDS])
def test_a_worker_that_may_start_nothing_asks_nothing_between_its_polls(
    postgres_url: str, proxy: Proxy, hold_back: Callable[[Scene], LetGo] | None
) -> None:
    there = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port, query={})
    worker_url, clock = there.render_as_string(hide_password=False), ManualClock()

    def is_quiet() -> bool:
        before = proxy.asked
        time.sleep(QUIET)
        return proxy.asked == before

    with engine(postgres_url, worker_url=worker_url, clock=clock, poll_interval=HOUR, **NO_UPKEEP) as fl:
        scene = Scene(fl, clock)
        if hold_back is not None:
            hold_back(scene)
        with running(fl.worker()):
            fl.events.wait(WorkerStarted)
            until(is_quiet)
            assert fl.ended(fl.give("work", organization="rival")).status == "completed"
            until(is_quiet)
