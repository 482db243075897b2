"""Parents' ends, and how their children learn of them: R9."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from fairlane import JobStatus
from fairlane.domain.statuses import ENDED_BADLY, TERMINAL, EdgeState, ParentPolicy
from tests.model.model.world import DeadLetter, Job, World, children_of, move, queue


def settle(world: World, ended: Iterable[Job]) -> None:
    """Tell the children, and theirs in turn where one ends by it."""
    wave = list(ended)
    while wave:
        told: dict[UUID, list[Job]] = {}
        for parent in wave:
            for child in children_of(world, parent.asked.id):
                if child.parents[parent.asked.id] is not EdgeState.SETTLED:
                    child.parents[parent.asked.id] = EdgeState.SETTLED
                    told.setdefault(child.asked.id, []).append(parent)
        heard = [(world.jobs[child], parents) for child, parents in told.items()]
        wave = [child for child, parents in heard if child.status is JobStatus.PENDING and _ends(world, child, parents)]


def _ends(world: World, child: Job, parents: Sequence[Job]) -> bool:
    """Return True if its parents' ends end a pending job."""
    culprits = frozenset(parent.asked.id for parent in parents if parent.status in ENDED_BADLY)
    if culprits and child.asked.policy is ParentPolicy.CANCEL:
        move(world, child, JobStatus.CANCELED)
    elif culprits and child.asked.policy is ParentPolicy.DEAD_LETTER:
        move(world, child, JobStatus.DEAD_LETTER)
        child.dead_letter = DeadLetter(culprits)
    elif not child.unmet and child.run_at <= world.now:
        queue(world, child)
    return child.status in TERMINAL


def stage(world: World) -> None:
    """Make due jobs ready, and look at the edges whose parents may have ended before."""
    for job in world.jobs.values():
        if job.status is JobStatus.PENDING and not job.unmet and job.run_at <= world.now:
            queue(world, job)
        if job.due is not None and job.due.latest <= world.now:
            job.ready, job.due = True, None
    new = {parent for job in world.jobs.values() for parent, state in job.parents.items() if state is EdgeState.NEW}
    settle(world, [world.jobs[parent] for parent in new if world.jobs[parent].status in TERMINAL])
    for job in world.jobs.values():
        job.parents = {
            parent: EdgeState.WATCHED if state is EdgeState.NEW else state for parent, state in job.parents.items()
        }
