"""R9: whatever fails, is canceled or ends at the same moment in a graph, no child waits for a parent that has ended."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from fairlane import FairlaneError, IllegalTransition, Job, JobStatus, ParentPolicy, Submission
from fairlane.domain.outcomes import Completed, Outcome, Snoozed, Stopped
from fairlane.domain.statuses import ENDED_BADLY, TERMINAL, EdgeState
from fairlane.store.tables import job_parents
from tests.depth import far
from tests.store.races.agreement import assert_log_agrees
from tests.store.races.race import answers_at_once
from tests.store.races.scene import BROKEN, JAMMED, Claimed, Scene

FAILURES = (BROKEN, JAMMED)
FATES: Sequence[Outcome] = (Completed(), *FAILURES, Snoozed(1.0), Stopped())
LAST_CANCEL = 3


@dataclass(frozen=True)
class Node:
    """A job. `parents` are some of those before it in the graph; `canceled_in`: the wave in which a person does so."""

    parents: frozenset[int]
    policy: ParentPolicy
    fate: Outcome
    canceled_in: int | None


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    return [
        Node(
            draw(st.frozensets(st.integers(0, place - 1), max_size=4)) if place else frozenset(),
            draw(st.sampled_from(ParentPolicy)),
            draw(st.sampled_from(FATES)),
            draw(st.none() | st.integers(0, LAST_CANCEL)),
        )
        for place in range(draw(st.integers(2, 8)))
    ]


# One database serves all graphs: each has ended before the next begins.
@settings(
    max_examples=far(25, 60, 10_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=graphs(), together=st.booleans())
def test_no_child_waits_for_a_parent_that_has_ended(scene: Scene, graph: list[Node], together: bool):
    jobs = submit(scene, graph, together=together)
    live_through(scene, graph, jobs)
    ended = [assert_log_agrees(scene.fl, job) for job in jobs]
    assert {job.status for job in ended} <= TERMINAL
    assert unsettled(scene, jobs) == []
    for node, job in zip(graph, ended, strict=True):
        assert_heard(node, job, [ended[parent] for parent in sorted(node.parents)])


def submit(scene: Scene, graph: Sequence[Node], *, together: bool) -> list[Job]:
    """Submit the graph as one batch, or job by job."""
    asked: list[Submission] = []
    for node in graph:
        parents = [asked[parent] for parent in sorted(node.parents)]
        asked.append(
            Submission("report", organization="acme", depends_on=parents, on_parent_failure=node.policy, max_retries=1)
        )
    return scene.fl.submit_many(asked) if together else [scene.fl.submit_many([one])[0] for one in asked]


def live_through(scene: Scene, graph: Sequence[Node], jobs: Sequence[Job]) -> None:
    """Run the graph in waves: running jobs end in two concurrent transactions, and people cancel beside them."""
    fates = {job.id: node.fate for node, job in zip(graph, jobs, strict=True)}
    hand = scene.worker()
    for wave in count():
        claimed = hand.round(100)
        if not claimed and wave > LAST_CANCEL:
            break
        canceled = [job for node, job in zip(graph, jobs, strict=True) if node.canceled_in == wave]
        calls: list[Callable[[], object]] = [
            *(partial(end, scene, part, fates) for part in (claimed[::2], claimed[1::2]) if part),
            *(partial(scene.fl.cancel, job.id, organization="acme") for job in canceled),
        ]
        answers = answers_at_once(calls) if calls else []
        refusals = [answer for answer in answers if isinstance(answer, FairlaneError)]
        assert all(isinstance(refusal, IllegalTransition) for refusal in refusals), (
            "only what has ended is not canceled"
        )
        scene.clock.advance(150)  # any retry is due by then
        assert hand.beat()
        scene.stage()
    hand.leave()


def end(scene: Scene, claimed: Sequence[Claimed], fates: Mapping[UUID, Outcome]) -> None:
    """Alike ones together; what another transaction holds is tried again, as workers do."""
    alike = defaultdict[int, list[Claimed]](list)
    for one in claimed:
        # What snoozes or just stops does so once.
        outcome = fates[one.id] if one.attempt == 1 or fates[one.id] in FAILURES else Completed()
        alike[FATES.index(outcome)].append(one)
    for place, mine in alike.items():
        left = mine
        while left:
            done = scene.end(*left, outcome=FATES[place])
            locked = {one.finish.lease_token for one in done if one.is_locked}
            left = [one for one in mine if one.lease_token in locked]


def unsettled(scene: Scene, jobs: Sequence[Job]) -> list[UUID]:
    """The jobs that were not told of the end of a parent."""
    mine = job_parents.c.job_id.in_([job.id for job in jobs])
    with scene.fl.database.engine.begin() as connection:
        return list(
            connection.scalars(select(job_parents.c.job_id).where(mine, job_parents.c.state != EdgeState.SETTLED))
        )


def assert_heard(node: Node, job: Job, parents: Sequence[Job]) -> None:
    """It ran if its policy lets it, and did not if a parent that ended badly forbade it."""
    fell = any(parent.status in ENDED_BADLY for parent in parents) and node.policy is not ParentPolicy.RUN_ANYWAY
    if fell:
        assert job.attempt == 0
        assert job.status == JobStatus.CANCELED or node.policy is ParentPolicy.DEAD_LETTER
    else:
        assert job.error_type != "ParentEnded"
        assert job.attempt > 0 or node.canceled_in is not None
