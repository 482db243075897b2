"""Rules: operators hold, limit and delete; breakers open and are closed; members come and go."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import MultipleResults, multiple, precondition, rule

from fairlane.domain.breaker import Outcomes, Pair
from fairlane.domain.limits import Subject
from fairlane.domain.outcomes import Outcome
from fairlane.domain.statuses import Role
from fairlane.engine.breakers import Tally
from tests.model.machine.base import ALL_RIGHTS, JOB_TYPES, MEMBER, PLACES, job_types, leases, places, spent
from tests.model.machine.running import Running, hands, outcomes
from tests.model.machine.submitting import Submitting
from tests.model.model import breakers
from tests.model.model import organizations as model
from tests.model.model.breakers import REST
from tests.model.model.world import Hold, Member
from tests.store.races.scene import Claimed

HOLDS: Sequence[Hold] = (
    *[("suspension", place) for place in PLACES],
    *[("organization", place) for place in PLACES],
    *(("queue", "default"), ("queue", "slow")),
    *[("job_type", name) for name in JOB_TYPES],
)
LIMITS = (
    *[Subject(place, None) for place in PLACES],
    *[Subject(None, name) for name in JOB_TYPES],
    *[Subject(place, name) for place in PLACES for name in JOB_TYPES],
)
few_limits = st.dictionaries(st.sampled_from(LIMITS), st.integers(0, 2), max_size=2)
MEMBERS = (*[ALL_RIGHTS] * 3, Member(Role.MEMBER), Member(Role.VIEWER), None)


class Governing(Submitting, Running):
    """Operators; a host that tells who belongs to whom."""

    @rule(
        holds=st.lists(st.sampled_from(HOLDS), max_size=2, unique=True),
        limits=few_limits,
    )
    def restrict_nothing_but(self, holds: list[Hold], limits: dict[Subject, int]) -> None:
        """Hold and limit these, and nothing else."""
        self.hold({(subject, self.here.get(name, name)) for subject, name in holds})
        self.limit(self.of_here(limits))

    def of_here(self, limits: Mapping[Subject, int]) -> dict[Subject, int]:
        return {Subject(self.here.get(place or ""), name): most for (place, name), most in limits.items()}

    def hold(self, holds: set[Hold]) -> None:
        """Suspend or pause these; activate or resume the others."""
        verbs: Mapping[str, Any] = {
            "suspension": (self.fl.organizations.suspend, self.fl.organizations.activate),
            "organization": (self.fl.organizations.pause, self.fl.organizations.resume),
            "queue": (self.fl.queues.pause, self.fl.queues.resume),
            "job_type": (self.fl.job_types.pause, self.fl.job_types.resume),
        }
        for subject, name in sorted(self.world.held ^ holds):
            hold, let_go = verbs[subject]
            (let_go if (subject, name) in self.world.held else hold)(name)
        self.world.held = holds

    def limit(self, limits: dict[Subject, int]) -> None:
        """Limit how many jobs may run at once; running jobs beyond the limit finish."""
        for subject in self.world.limits.keys() | limits.keys():
            organization, job_type = subject
            if organization in self.world.deleted:
                continue  # nobody changes it any more, and nothing of it starts
            most = limits.get(subject)
            if job_type is not None:
                self.fl.job_types.limit(job_type, organization=organization, max_running=most)
            elif organization is not None:
                self.fl.organizations.update(organization, max_running=most)
        self.world.limits = limits

    @rule(target=leases, place=places, hand=hands, limits=few_limits)
    def crowd_under_limits(self, place: str, hand: int, limits: dict[Subject, int]) -> MultipleResults[Claimed]:
        """More jobs than may run, of both types."""
        self.limit(self.of_here(limits))
        self.submit([self.ask(place, (), "system", job_type=name) for name in JOB_TYPES * 2], "own")
        return multiple(*self.start_all(hand))

    @rule(place=places, member=st.sampled_from(MEMBERS))
    def change_the_member(self, place: str, member: Member | None) -> None:
        """Change the member: a job submitted before is refused at its start if the member has lost the right."""
        key = self.here[place], MEMBER[place]
        if member is not None:
            self.set_member(*key, member)
        else:
            assert self.fl.members.remove(*key) is (key in self.world.members)
            self.world.members.pop(key, None)

    @precondition(lambda self: not self.world.deleted or model.is_left_over(self.world))
    @rule(place=places)
    def delete_an_organization(self, place: str) -> None:
        """Delete an organization and found another in its place; later, delete again what waits in the first."""
        if self.world.deleted:
            self.delete(*self.world.deleted)
            return
        deleted, self.here[place] = self.here[place], f"{place} again"
        self.delete(deleted)
        self.agree(model.why_not_delete(self.world, deleted), lambda: self.fl.organizations.delete(deleted))
        self.fl.organizations.create(self.here[place])
        self.let_people_in(place)

    def delete(self, organization: str) -> None:
        assert model.why_not_delete(self.world, organization) is None
        self.fl.organizations.delete(organization)
        model.delete_organization(self.world, organization)

    @rule(place=places, job_type=job_types, ends=st.sampled_from([(0, 10), (0, 10), (4, 4), (10, 4), None]))
    def hear_of_other_workers(self, place: str, job_type: str, ends: tuple[int, int] | None) -> None:
        """Count attempts that completed and failed elsewhere; or let an operator close the breaker."""
        pair = Pair(self.here[place], job_type)
        if ends is None:
            self.close(pair)
            return
        tally = Tally()
        tally.add_all({pair: Outcomes(*ends)})
        self.write_down(tally)
        breakers.write_down(self.world, [breakers.written(self.world, pair, *ends)])

    @rule(target=spent, place=places, job_type=job_types, hand=hands, outcome=outcomes)
    def try_after_an_outage(self, place: str, job_type: str, hand: int, outcome: Outcome) -> MultipleResults[Claimed]:
        """Let all attempts elsewhere fail, let the breaker rest, and try the jobs that waited."""
        self.hear_of_other_workers(place, job_type, (0, 10))
        self.pass_time(REST.total_seconds(), "none")
        self.submit([self.ask(place, (), "system", job_type=job_type) for _ in range(2)], "own")
        claimed = self.start_all(hand)
        for lease in claimed:
            self.finish(lease, outcome)
        self.pass_time(0.0, "breakers")
        return multiple(*claimed)

    def close(self, pair: Pair) -> None:
        was_open = breakers.is_open(self.world, pair)
        assert self.fl.job_types.close_breaker(pair.job_type, organization=pair.organization) is was_open
        if was_open:
            breakers.close(self.world, pair)
