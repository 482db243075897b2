"""R20: what holds back many jobs is told of all of them at once, and is what an explanation names first."""

from collections.abc import Callable, Mapping
from uuid import UUID

import pytest

from fairlane.domain.limits import Subject
from fairlane.domain.reasons import MAINTENANCE, ReasonCode
from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.reads.service import Reads
from tests.reads.world import World


def held_by(reads: Reads, job_id: UUID) -> ReasonCode | None:
    job = reads.get(job_id, "acme")
    return reads.waiting.holds("acme", {job.job_type}).on(job)


CAUSES: Mapping[ReasonCode, Callable[[World], object]] = {
    ReasonCode.MAINTENANCE: lambda world: world.pause(*MAINTENANCE),
    ReasonCode.ORGANIZATION_SUSPENDED: lambda world: world.set_organization_status(
        "acme", OrganizationStatus.SUSPENDED
    ),
    ReasonCode.ORGANIZATION_PAUSED: lambda world: world.pause("organization", "acme"),
    ReasonCode.JOB_TYPE_PAUSED: lambda world: world.pause("job_type", "report.pdf"),
    ReasonCode.QUEUE_PAUSED: lambda world: world.pause("queue", "default"),
    ReasonCode.ORGANIZATION_MAX_RUNNING: lambda world: world.set_max_running("acme", 0),
    ReasonCode.JOB_TYPE_MAX_RUNNING: lambda world: world.limit(Subject(None, "report.pdf"), max_running=0),
    ReasonCode.JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION: lambda world: world.limit(
        Subject("acme", "report.pdf"), max_running=0
    ),
    ReasonCode.JOB_TYPE_EXECUTION_RATE: lambda world: world.limit(Subject(None, "report.pdf"), execution_rate=0),
    ReasonCode.JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION: lambda world: world.limit(
        Subject("acme", "report.pdf"), execution_rate=0
    ),
    ReasonCode.BREAKER_OPEN: lambda world: world.open_breaker("acme"),
}
WORKERS: Mapping[ReasonCode, Callable[[World], object]] = {
    ReasonCode.NO_WORKER: lambda world: None,
    ReasonCode.NO_WORKER_FOR_QUEUE: lambda world: world.start_worker(queues=("bulk",)),
    ReasonCode.NO_WORKER_FOR_JOB_TYPE: lambda world: world.start_worker(job_types=("mail.send",)),
    ReasonCode.WORKERS_STOPPING: lambda world: world.start_worker(stopping=True),
    ReasonCode.NO_WORKER_WITH_KEY: lambda world: world.lack_key(world.start_worker(), "acme"),
}


@pytest.mark.parametrize(("code", "cause"), [*CAUSES.items(), *WORKERS.items()], ids=[*CAUSES, *WORKERS])
def test_r20_a_list_names_what_the_explanation_names(
    world: World, reads: Reads, code: ReasonCode, cause: Callable[[World], object]
) -> None:
    job_id = world.submit()
    if code in CAUSES:
        world.start_worker()
    cause(world)

    assert held_by(reads, job_id) == code
    assert reads.explain(job_id, "acme").reasons[0].code == code


def test_r20_what_concerns_others_holds_nothing_back(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.start_worker()
    # The same name, but of another kind.
    for subject, name in [("organization", "rival"), ("job_type", "default"), ("queue", "report.pdf")]:
        world.pause(subject, name)
    world.open_breaker("rival")
    world.limit(Subject("rival", "report.pdf"), max_running=0)
    world.limit(Subject(None, "mail.send"), max_running=0)

    assert held_by(reads, job_id) is None


def test_r20_nothing_holds_back_what_runs_or_has_ended(world: World, reads: Reads) -> None:
    job_id = world.submit()
    claimed = world.claim(world.start_worker())
    world.pause("queue", "default")

    assert held_by(reads, job_id) is None
    world.end(claimed)
    assert (reads.get(job_id, "acme").status, held_by(reads, job_id)) == (JobStatus.COMPLETED, None)
