"""Rules: time passes, and services do their rounds."""

from datetime import timedelta
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from fairlane.engine.breakers import Breakers, Tally
from tests.model.machine.base import Machine
from tests.model.model import breakers, dependencies, retention
from tests.model.model.breakers import REST
from tests.model.model.submission import WINDOW
from tests.store.races.scene import DAY, LEASE


class Timing(Machine):
    """The clock of the engine is at rest but for these."""

    @rule(
        seconds=st.sampled_from([0.0, 5.0, LEASE + 1, 150.0, WINDOW + 1, REST.total_seconds() + 1, 2 * DAY]),
        service=st.sampled_from(["none", "stage", "stage", "breakers", "clean-up"]),
    )
    def pass_time(self, seconds: float, service: str) -> None:
        """Let time pass, and let a service do its round."""
        self.scene.clock.advance(seconds)
        self.world.now += timedelta(seconds=seconds)
        if service == "stage":
            self.scene.stage()
            dependencies.stage(self.world)
        elif service == "breakers":
            self.write_down(self.tally)
            breakers.tell(self.world)
        elif service == "clean-up":
            gone = retention.expired(self.world, DAY)
            assert self.scene.cleaner().run_once() == len(gone)
            retention.delete(self.world, gone)
            breakers.forget(self.world, DAY)

    def write_down(self, tally: Tally) -> None:
        """Write it down like a worker in each second; a worker that has ended nothing looks in every tenth only."""
        service = Breakers(self.fl.database, uuid4(), tally, self.scene.events.append)
        for _ in range(10):
            service.run_once()
