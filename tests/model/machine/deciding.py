"""Rules: people cancel, change, retry, decide about dead letters, and look."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fairlane import JobNotFound, JobStatus, OrganizationNotFound, OrganizationSuspended, Priority, Resolution
from fairlane.domain.statuses import TERMINAL
from tests.model.machine.base import ADMIN, MEMBER, PLACES, Machine, jobs, places
from tests.model.model import people as model
from tests.model.model.organizations import is_suspended
from tests.model.model.submission import why_not_submit
from tests.model.model.world import Asked, Job, WhyNot, World, find

people = st.sampled_from([MEMBER, MEMBER, ADMIN])
LATER: Final = 60.0  # seconds


class Deciding(Machine):
    """Decisions about jobs by people of the organization, and by strangers."""

    @rule(
        job=jobs,
        verb=st.sampled_from(
            ["cancel", "run now", "reschedule", "bring forward", "prioritize", "retry", "resolve", "ignore", "discard"]
        ),
        who=people,
    )
    def change(self, job: UUID, verb: str, who: Mapping[str, str]) -> None:
        """Change a job as a member or an admin; for those of another organization the job does not exist."""
        do, why_not, then = self.verbs()[verb]
        owner = self.owners[job]
        place, other = sorted(PLACES, key=lambda one: not owner.startswith(one))
        self.is_unknown(self.here[other], MEMBER[other], job, do)
        found = find(self.world, job, owner)
        if found is None:
            self.is_unknown(owner, who[place], job, do)
            return
        refusal = why_not(self.world, found, who[place])
        self.agree(refusal, lambda: do(job, organization=owner, user=who[place]))
        if refusal is None:
            then(self.world, found)

    def is_unknown(self, organization: str, user: str, job: UUID, do: Callable[..., object]) -> None:
        is_gone = do == self.fl.retry and organization in self.world.deleted
        unknown = OrganizationNotFound if is_gone else JobNotFound
        self.agree(unknown, lambda: do(job, organization=organization, user=user))
        refusal = why_not_submit(self.world, [Asked(UUID(int=0), organization, (job,), user)])
        assert refusal is not None
        self.agree(refusal, lambda: self.scene.submit(organization=organization, user=user, depends_on=job))

    @precondition(lambda self: self.dead_letters())
    @rule(nth=st.integers(0, 9))
    def retry_a_dead_letter(self, nth: int) -> None:
        letters = self.dead_letters()
        self.change(letters[nth % len(letters)], "retry", ADMIN)

    def dead_letters(self) -> list[UUID]:
        return [job.asked.id for job in self.world.jobs.values() if job.status is JobStatus.DEAD_LETTER]

    def verbs(self) -> dict[str, tuple[Callable[..., object], WhyNot, Callable[[World, Job], None]]]:
        letters = self.fl.dead_letters
        later, past = (self.world.now + timedelta(seconds=seconds) for seconds in (LATER, -LATER))
        return {
            "cancel": (self.fl.cancel, model.why_not_cancel, model.cancel),
            "run now": (self.fl.run_now, model.why_not_run_now, model.run_now),
            "reschedule": (
                partial(self.fl.reschedule, run_at=later),
                model.why_not_change,
                partial(model.reschedule, seconds=LATER),
            ),
            "bring forward": (
                partial(self.fl.reschedule, run_at=past),
                model.why_not_change,
                partial(model.reschedule, seconds=-LATER),
            ),
            "prioritize": (
                partial(self.fl.prioritize, priority="high"),
                model.why_not_change,
                partial(model.prioritize, priority=Priority.HIGH),
            ),
            "retry": (self.fl.retry, model.why_not_retry, model.retry),
            "resolve": (letters.resolve, model.why_not_decide, partial(model.decide, resolution=Resolution.RESOLVED)),
            "ignore": (letters.ignore, model.why_not_decide, partial(model.decide, resolution=Resolution.IGNORED)),
            "discard": (letters.delete, model.why_not_discard, model.discard),
        }

    @rule(place=places)
    def look(self, place: str) -> None:
        """An organization sees all of its own jobs, and no other; results only while it is not suspended."""
        organization = self.here[place]
        seen = self.fl.list(organization=organization, limit=1000).items
        mine = [job for job in self.world.jobs.values() if job.asked.organization == organization]
        assert {job.id: job.status for job in seen} == {job.asked.id: job.status for job in mine}
        locked = OrganizationSuspended if is_suspended(self.world, organization) else None
        for ended in [job for job in mine if job.status in TERMINAL][:1]:
            self.agree(locked, partial(self.fl.result, ended.asked.id, organization=organization))
