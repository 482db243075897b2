"""Rules: people cancel, retry, decide about dead letters, pause and look."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fairlane import JobNotFound, JobStatus, OrganizationSuspended, ParentNotFound, Resolution
from tests.model.machine.base import OTHER, USERS, Machine, jobs, organizations
from tests.model.model import people as model
from tests.model.model.limits import is_suspended
from tests.model.model.world import Hold, Job, WhyNot, World, find

HOLDS: Sequence[Hold] = (
    *(("suspension", "acme"), ("suspension", "rival"), ("organization", "acme"), ("organization", "rival")),
    *(("queue", "default"), ("queue", "slow"), ("job_type", "report")),
)


class Deciding(Machine):
    """Members, and operators."""

    @rule(job=jobs, verb=st.sampled_from(["cancel", "retry", "resolve", "ignore", "discard"]))
    def change(self, job: UUID, verb: str) -> None:
        """By a member; to one of the other organization the job does not exist."""
        do, why_not, then = self.verbs()[verb]
        owner = self.owners[job]
        self.is_unknown(OTHER[owner], job, do)
        found = find(self.world, job, owner)
        if found is None:
            self.is_unknown(owner, job, do)
            return
        refusal = why_not(self.world, found)
        self.agree(refusal, lambda: do(job, organization=owner, user=USERS[owner]))
        if refusal is None:
            then(self.world, found)

    def is_unknown(self, organization: str, job: UUID, do: Callable[..., object]) -> None:
        user = USERS[organization]
        self.agree(JobNotFound, lambda: do(job, organization=organization, user=user))
        refusal = OrganizationSuspended if is_suspended(self.world, organization) else ParentNotFound
        self.agree(refusal, lambda: self.scene.submit(organization=organization, user=user, depends_on=job))

    @precondition(lambda self: self.dead_letters())
    @rule(nth=st.integers(0, 9))
    def retry_a_dead_letter(self, nth: int) -> None:
        letters = self.dead_letters()
        self.change(letters[nth % len(letters)], "retry")

    def dead_letters(self) -> list[UUID]:
        return [job.asked.id for job in self.world.jobs.values() if job.status is JobStatus.DEAD_LETTER]

    def verbs(self) -> dict[str, tuple[Callable[..., object], WhyNot, Callable[[World, Job], None]]]:
        letters = self.fl.dead_letters
        return {
            "cancel": (self.fl.cancel, model.why_not_cancel, model.cancel),
            "retry": (self.fl.retry, model.why_not_retry, model.retry),
            "resolve": (letters.resolve, model.why_not_decide, partial(model.decide, resolution=Resolution.RESOLVED)),
            "ignore": (letters.ignore, model.why_not_decide, partial(model.decide, resolution=Resolution.IGNORED)),
            "discard": (letters.delete, model.why_not_discard, model.discard),
        }

    @rule(holds=st.lists(st.sampled_from(HOLDS), max_size=2, unique=True))
    def hold_nothing_but(self, holds: list[Hold]) -> None:
        """Suspend or pause these; activate or resume the others."""
        verbs: Mapping[str, Any] = {
            "suspension": (self.fl.organizations.suspend, self.fl.organizations.activate),
            "organization": (self.fl.organizations.pause, self.fl.organizations.resume),
            "queue": (self.fl.queues.pause, self.fl.queues.resume),
            "job_type": (self.fl.job_types.pause, self.fl.job_types.resume),
        }
        for subject, name in sorted(self.world.held ^ set(holds)):
            hold, let_go = verbs[subject]
            (let_go if (subject, name) in self.world.held else hold)(name)
        self.world.held = set(holds)

    @rule(organization=organizations)
    def look(self, organization: str) -> None:
        """An organization sees all of its own jobs, and no other."""
        seen = self.fl.list(organization=organization, limit=1000).items
        mine = [job for job in self.world.jobs.values() if job.asked.organization == organization]
        assert {job.id: job.status for job in seen} == {job.asked.id: job.status for job in mine}
