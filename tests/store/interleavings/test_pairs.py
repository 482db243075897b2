"""Every verb that changes jobs beside every other one, held open between any two of its statements.

The first goes a number of steps and is held there, while the second goes on until it has ended or waits for a lock.
Then the first goes on to its commit, or it is gone and its transaction is rolled back. At each moment in between, each
job stands once, and in the end no job is lost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count, product
from random import Random
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Connection, update

from fairlane import Job, JobNotFound, ParentNotFound
from fairlane.domain.outcomes import Completed
from fairlane.domain.statuses import OrganizationStatus
from fairlane.encryption.resealing import seal_texts
from fairlane.encryption.sealing import Ring
from fairlane.store.statements import resealing
from fairlane.store.tables import organizations
from tests.depth import far
from tests.store.emptied import empty
from tests.store.interleavings import invariants
from tests.store.interleavings.conftest import SEED, VARIABLE, NewOrder
from tests.store.interleavings.order import Turn
from tests.store.interleavings.steps import Step
from tests.store.races.scene import BROKEN, DAY, JAMMED, LEASE, START, Claimed, Hand, Scene

_PLAYS: Final = far(2, 30, 0)  # of each verb; 0: all
_MOST_STEPS: Final = 40  # of a verb whose number is not known yet
_RING: Final = Ring("acme", keys={1: bytes(32)}, active=1, secret=None, missing={}, destroyed=())


@dataclass
class Family:
    """A job and who is around it: `head` is its parent, where it was taken down, and else the job itself.

    Beside it another job runs, and a child waits for both, unless all is old. The worker of what runs is lost.
    """

    scene: Scene
    job: Job
    head: Job
    worker: Hand
    running: Sequence[Claimed]


def queued(scene: Scene) -> Family:
    worker, beside = scene.worker(), scene.submit()
    running = worker.claim()
    job = scene.submit()
    scene.submit(depends_on=[job, beside])
    scene.stage()
    return Family(scene, job, job, worker, running)


def running(scene: Scene, *, looked_at: bool = True) -> Family:
    worker, beside, job = scene.worker(), scene.submit(), scene.submit()
    scene.submit(depends_on=[job, beside])
    if looked_at:
        scene.stage()
    return Family(scene, job, job, worker, worker.claim(2))


def waiting(scene: Scene) -> Family:
    """Make a job whose retry is due and not staged; an ended parent has not told its child."""
    worker, job = scene.worker(), scene.submit()
    scene.end(*worker.claim(), outcome=JAMMED)
    beside, scheduled = scene.submit(), scene.submit(delay=60)
    running = worker.claim()
    scene.submit(depends_on=[job, beside, scheduled])
    scene.clock.advance(120)
    return Family(scene, job, job, worker, running)


def dead_letter(scene: Scene) -> Family:
    family = running(scene)
    mine, beside = sorted(family.running, key=lambda one: one.id != family.job.id)
    scene.end(mine, outcome=BROKEN)
    family.running = [beside]
    return family


def taken_down(scene: Scene) -> Family:
    worker, head, beside = scene.worker(), scene.submit(), scene.submit()
    job = scene.submit(depends_on=[head])
    scene.submit(depends_on=[job, beside])
    scene.stage()
    first, second = sorted(worker.claim(2), key=lambda one: one.id != head.id)
    scene.end(first, outcome=BROKEN)
    return Family(scene, job, head, worker, [second])


def old(scene: Scene) -> Family:
    """Somebody has decided about the dead letter, so that it may be deleted; no child waits for it."""
    job, worker = scene.dead_letter(), scene.worker()
    scene.fl.dead_letters.ignore(job.id, organization="acme")
    scene.clock.advance(DAY)
    scene.submit()
    return Family(scene, job, job, worker, worker.claim())


FAMILIES: Final[Mapping[str, Callable[[Scene], Family]]] = {
    "queued": queued,
    "running": running,
    "running with a child that nobody has looked at": partial(running, looked_at=False),
    "waiting for its retry": waiting,
    "dead letter": dead_letter,
    "taken down": taken_down,
    "old": old,
}
UNSEEN: Final = "running with a child that nobody has looked at"


def finish(family: Family) -> None:
    family.scene.end(*family.running, outcome=Completed('"done"'), has_checkpoint=False)


def finish_again(family: Family) -> None:
    """Finish twice like a worker whose commit had no answer."""
    finish(family)
    finish(family)


def reencrypt(family: Family) -> None:
    for where in resealing.COLUMNS:
        family.scene.write(partial(seal_texts, ring=_RING, where=where, after=None))


class Verb(NamedTuple):
    """A verb, and the families whose job, or whose job's surroundings, it changes."""

    call: Callable[[Family], object]
    families: Sequence[str]


VERBS: Final[Mapping[str, Verb]] = {
    "claim": Verb(lambda one: one.scene.worker("w2").claim(10), ("queued", "waiting for its retry")),
    "finish": Verb(finish, ("running", UNSEEN, "dead letter", "taken down")),
    "finish again": Verb(finish_again, ("running",)),
    "cancel": Verb(
        lambda one: one.scene.fl.cancel(one.job.id, organization="acme"),
        ("queued", "running", UNSEEN, "waiting for its retry"),
    ),
    "run now": Verb(
        lambda one: one.scene.fl.run_now(one.job.id, organization="acme"),
        ("queued", "running", "waiting for its retry"),
    ),
    "reschedule": Verb(
        lambda one: one.scene.fl.reschedule(one.job.id, START + timedelta(days=1), organization="acme"),
        ("queued", "running", "waiting for its retry"),
    ),
    "prioritize": Verb(
        lambda one: one.scene.fl.prioritize(one.job.id, "critical", organization="acme"),
        ("queued", "running", "waiting for its retry"),
    ),
    "stage": Verb(lambda one: one.scene.stage(), (UNSEEN, "waiting for its retry")),
    "rescue": Verb(lambda one: one.scene.rescue(), ("running", UNSEEN, "taken down")),
    "retry": Verb(lambda one: one.scene.fl.retry(one.job.id, organization="acme"), ("dead letter", "old")),
    "revive": Verb(lambda one: one.scene.fl.retry(one.head.id, organization="acme"), ("taken down",)),
    "delete the organization": Verb(
        lambda one: one.scene.fl.organizations.delete("acme"), ("queued", "running", "waiting for its retry")
    ),
    "clean up": Verb(lambda one: one.scene.cleaner().run_once(), ("old",)),
    "suspend the organization": Verb(lambda one: one.scene.fl.organizations.suspend("acme"), ("queued", "running")),
    "submit a child": Verb(
        lambda one: one.scene.submit(depends_on=[one.job]), ("queued", "running", "dead letter", "taken down", "old")
    ),
    "leave": Verb(lambda one: one.worker.leave(), ("running", UNSEEN, "dead letter")),
    "cancel all": Verb(
        lambda one: one.scene.fl.bulk.start("cancel", {}, organization="acme", user="olga"), ("queued", "running")
    ),
    "encrypt anew": Verb(reencrypt, ("waiting for its retry", "dead letter", "taken down")),
}


class Held(NamedTuple):
    """The first of a pair goes so many steps, and is held there; then it commits or is gone."""

    first: str
    second: str
    family: str
    steps: int
    is_gone: bool

    def __str__(self) -> str:
        end = "is gone" if self.is_gone else "commits"
        return f"{self.first!r} of a job that is {self.family!r} {end}; held after {self.steps} beside {self.second!r}"


class Choose:
    """The choice of the next turn. `look` is called between any two steps."""

    def __init__(self, held: Held, look: Callable[[], object]) -> None:
        self._held = held
        self._look = look
        self.taken = 0

    def __call__(self, turns: Mapping[Turn, Step]) -> Turn:
        self._look()
        if self.taken < self._held.steps and (0, False) in turns:
            self.taken += 1
            return 0, False
        if (1, False) in turns:
            return 1, False
        return 0, self._held.is_gone and (0, True) in turns


def in_families(first: str, second: str) -> Sequence[str]:
    """Return the families in which both find something to do, or else one of each."""
    ours, theirs = VERBS[first].families, VERBS[second].families
    return [one for one in ours if one in theirs] or [ours[0], theirs[0]]


def drawn(first: str, random: Random, lengths: Mapping[str, int]) -> Iterator[Held]:
    """Yield a few plays of a verb, which in each family has so many steps."""
    for _ in range(_PLAYS):
        second = random.choice(sorted(VERBS))
        family = random.choice(in_families(first, second))
        steps = random.randrange(1, max(lengths.get(family, _MOST_STEPS), 2))
        yield Held(first, second, family, steps, random.random() < 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("first", VERBS)
def test_a_verb_held_open_beside_each_other_one(scene: Scene, new_order: NewOrder, first: str) -> None:
    lengths = dict[str, int]()
    for held in drawn(first, Random(SEED), lengths):
        taken = play(scene, new_order, held)
        if taken < held.steps:
            lengths[held.family] = taken
    for second in () if _PLAYS else VERBS:
        for family, is_gone in product(in_families(first, second), (False, True)):
            for steps in count(1 if is_gone else 0):
                if play(scene, new_order, Held(first, second, family, steps, is_gone)) < steps:
                    break


def play(scene: Scene, new_order: NewOrder, held: Held) -> int:
    """Return how many steps the first took before the second went on: fewer, where it had ended before."""
    empty(scene.fl.database)
    scene.write(_activate)
    family = FAMILIES[held.family](scene)
    scene.clock.advance(LEASE + 1)
    choose = Choose(held, lambda: scene.fl.database.look(invariants.each_job_stands_once))
    order = new_order(choose, [0] if held.is_gone else [])
    try:
        answers = order.run(*(partial(VERBS[verb].call, family) for verb in (held.first, held.second)))
        if "clean up" not in {held.first, held.second}:
            assert not [one for one in answers if isinstance(one, JobNotFound | ParentNotFound)], "it is there"
        invariants.hold(scene)
        invariants.no_job_is_lost(scene)
    except BaseException as error:
        error.add_note(f"{held}, with {VARIABLE}={SEED}:{order}")
        raise
    return choose.taken


def _activate(connection: Connection) -> None:
    connection.execute(
        update(organizations).where(organizations.c.id == "acme").values(status=OrganizationStatus.ACTIVE)
    )
