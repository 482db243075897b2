"""Whichever statement or COMMIT loses its connection, before it took effect or after it: no job is lost (R11).

`test_promises` loses one in fifty, by chance. Here the load is small, and is played once with nothing lost; then once
for each kind of statement that each service and verb had sent, with that one lost alone. How many of them: see
`tests.depth`; `FAIRLANE_TEST_LOSS` names a single one, as a play that fails says.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final

import pytest

from tests.depth import far
from tests.engine.worker_kit import Engine, another, engine
from tests.faults.fault import ON_THE_LOOP
from tests.faults.losing import Kind, Losing, Loss
from tests.faults.play import play
from tests.store.emptied import empty

pytestmark = pytest.mark.slow

# Services and verbs, as `calls` names them.
PLACES: Final = (
    "Attempt._read_once",  # checkpoints, and what parents left
    "AttemptChannel.write_waiting",  # what handlers report
    "Breakers.run_once",
    "Bulk.get",
    "Bulk.start",
    "BulkActions.run_once",
    "Claims.claim_in_thread",
    "Cleanup.run_once",
    "Heartbeat._run",
    "JobControl.cancel",
    "Reads.get",
    "Reads.list",
    "Rescue.run_once",
    "Results._finish",
    "Scheduler.run_once",
    "Schedules.put",
    "Stage.run_once",
    "Submitter.submit_many",
    "Watch.run_once",
    "WorkerLoop._register",
    "WorkerLoop._sign_off",
)
# What a worker on PostgreSQL has threads do for its loop.
FOR_THE_LOOP: Final = ("LaneCache._prepare",)
HINTS: Final = "other"  # what no part above the store asks for; on PostgreSQL
VARIABLE: Final = "FAIRLANE_TEST_LOSS"
OPTIONS: Final[Mapping[str, Any]] = {"lease": 60.0, "cleanup_interval": 0.05}
JOBS: Final = 12  # of each kind one, and the first three have a child
_MOST: Final = far(1, 12, 0)  # losses of each place; 0: all
_LEAST: Final = 0.5  # of the losses of a place: what only chance sends is not sent in each play
_TRIES: Final = 3  # plays until a statement is sent once more that only chance has sent
_sent: dict[str, list[Kind]] = {}  # what a play without losses sends, by database

Play = Callable[[Losing], None]


def lived_through(base: Engine, faults: Losing) -> None:
    """A worker runs the load to its end, with this one loss; the books are checked."""
    empty(base.database)
    with another(base, **OPTIONS) as fl:
        play(faults, JOBS, fl)


@pytest.fixture
def plays(database_url: str) -> Iterator[Play]:
    """Plays the load on a database of this kind."""
    with engine(database_url, **OPTIONS) as base:
        yield partial(lived_through, base)


@pytest.fixture
def sent(plays: Play, database_url: str) -> list[Kind]:
    """Return all kinds of statements of the load, in the order in which they were first sent."""
    database = database_url.partition(":")[0]
    if database not in _sent:
        faults = Losing()
        plays(faults)
        _sent[database] = list(faults.sent)
    return _sent[database]


def losses(kinds: list[Kind]) -> list[Loss]:
    """First the answers of commits that wrote something: what is done again after these is easily done twice."""
    found = [Loss(kind, has_effect) for kind in kinds for has_effect in (True, False)]
    return sorted(found, key=lambda loss: -loss.kind.weight * loss.has_effect)


def has_met(plays: Play, loss: Loss, test: str) -> bool:
    """Play it; whether what was to be lost was sent."""
    for _ in range(_TRIES):
        faults = Losing(loss)
        try:
            plays(faults)
        except BaseException as error:
            error.add_note(f"{loss}.\nTo replay it: {VARIABLE}={loss.name} .venv/bin/pytest -n 0 '{test}'")
            raise
        if faults.injected:
            return True
    return False


def play_losses(of: str, plays: Play, sent: list[Kind], test: str) -> None:
    """Play with what is sent from this place, each lost alone; what no play sends again is passed over."""
    found = losses([kind for kind in sent if kind.place == of])
    assert found, "the load sends nothing from there"
    asked = os.environ.get(VARIABLE)
    turns = [loss for loss in found if asked in {None, loss.name}]
    if not turns:
        pytest.skip(f"{VARIABLE} is of another place, or of another database")
    most = min(_MOST or len(turns), len(turns))
    met = list(islice((loss for loss in turns if has_met(plays, loss, test)), most))
    unmet = [str(loss) for loss in turns if loss not in met]
    assert len(met) > most * _LEAST, f"of what was to be lost too little was sent again, not these:\n{unmet}"


@pytest.mark.parametrize("place", PLACES)
def test_no_job_is_lost_whichever_statement_is(
    place: str, plays: Play, sent: list[Kind], request: pytest.FixtureRequest
) -> None:
    play_losses(place, plays, sent, request.node.nodeid)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("place", [*ON_THE_LOOP, *FOR_THE_LOOP])
def test_no_job_is_lost_whichever_statement_on_the_loop_is(
    place: str, plays: Play, sent: list[Kind], request: pytest.FixtureRequest
) -> None:
    play_losses(place, plays, sent, request.node.nodeid)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_job_is_lost_whichever_hint_is(plays: Play, sent: list[Kind], request: pytest.FixtureRequest) -> None:
    play_losses(HINTS, plays, sent, request.node.nodeid)


def test_all_that_is_sent_comes_from_these_places(sent: list[Kind]) -> None:
    assert {kind.place for kind in sent} <= {*PLACES, *ON_THE_LOOP, *FOR_THE_LOOP, HINTS}
