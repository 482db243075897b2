"""Jobs of the platform: they belong to no organization, have all guarantees, and are the operators' alone (R19)."""

import copy
import pickle
from collections.abc import Callable, Collection, Mapping
from uuid import UUID

import pytest

from fairlane import (
    PLATFORM,
    Fairlane,
    FairlaneError,
    InvalidParameters,
    Job,
    JobContext,
    JobNotFound,
    JobStatus,
    Membership,
    OrganizationNotFound,
    OrganizationStatus,
    ParentNotFound,
    PermissionDenied,
    Role,
    Standing,
    Submission,
)
from fairlane.domain.events import JobEnded, JobStarted
from fairlane.testing import ManualClock
from tests.engine.handlers import organization_here
from tests.engine.worker_kit import QUICK, Engine
from tests.store.races.scene import START
from tests.tenancy.test_unknown_organizations import CHANGES_OF_MEMBERS, READS, VERBS

pytestmark = pytest.mark.both_databases

TEXT = PLATFORM.value
OPERATOR = "olga"
# What the platform does not have, although organizations do.
NOT_ITS_OWN: dict[str, Callable[[Fairlane], object]] = {
    "organizations.update": lambda fl: fl.organizations.update(PLATFORM, name="Ours"),
    "organizations.suspend": lambda fl: fl.organizations.suspend(PLATFORM),
    "organizations.activate": lambda fl: fl.organizations.activate(PLATFORM),
    "organizations.pause": lambda fl: fl.organizations.pause(PLATFORM),
    "organizations.resume": lambda fl: fl.organizations.resume(PLATFORM),
    "organizations.delete": lambda fl: fl.organizations.delete(PLATFORM),
    "members.add": lambda fl: fl.members.add(PLATFORM, "ana"),
    "members.update": lambda fl: fl.members.update(PLATFORM, "ana", role="admin"),
    "members.remove": lambda fl: fl.members.remove(PLATFORM, "ana"),
    "members.list": lambda fl: fl.members.list(PLATFORM),
    "tokens.create": lambda fl: fl.tokens.create(organization=PLATFORM, as_user=OPERATOR, name="ours"),
    "tokens.list": lambda fl: fl.tokens.list(organization=PLATFORM),
    "keys.enable": lambda fl: fl.keys.enable(organization=PLATFORM),
    "keys.rotate": lambda fl: fl.keys.rotate(organization=PLATFORM),
    "keys.list": lambda fl: fl.keys.list(organization=PLATFORM),
    "keys.destroy": lambda fl: fl.keys.destroy(organization=PLATFORM),
    "keys.reencrypt": lambda fl: fl.keys.reencrypt(organization=PLATFORM),
}
Change = Callable[[Fairlane, Job, str | None], object]
CHANGES: dict[str, Change] = {
    "cancel": lambda fl, job, user: fl.cancel(job, organization=PLATFORM, user=user),
    "run_now": lambda fl, job, user: fl.run_now(job, organization=PLATFORM, user=user),
    "reschedule": lambda fl, job, user: fl.reschedule(job, START, organization=PLATFORM, user=user),
    "prioritize": lambda fl, job, user: fl.prioritize(job, "high", organization=PLATFORM, user=user),
    "retry": lambda fl, job, user: fl.retry(job, organization=PLATFORM, user=user),
    "resolve": lambda fl, job, user: fl.dead_letters.resolve(job, organization=PLATFORM, user=user),
    "delete": lambda fl, job, user: fl.delete(job, organization=PLATFORM, user=user),
}


@pytest.fixture
def engine(fl: Engine) -> Engine:
    """An engine with the member ana, the admin boss, an operator, and three job types."""
    fl.members.add("acme", "boss", role="admin")
    fl.users.create(OPERATOR, operator=True)

    @fl.job_type("rollup", dedup_window=0)
    async def rollup(ctx: JobContext, days: int = 1) -> dict[str, object]:
        ctx.log(f"rolling up {days} days")
        ctx.artifact("days.txt", str(days))
        return {
            "days": days,
            "is_platform": ctx.organization is PLATFORM,
            "parents": [one.result for one in ctx.parents],
        }

    @fl.job_type("failing", dedup_window=0, max_retries=0)
    def failing(ctx: JobContext) -> None:
        raise ValueError("no disk")

    fl.job_type("isolated", isolation="process")(organization_here)
    fl.submit("failing", organization="acme")
    return fl


def test_a_job_of_the_platform_lives_like_any_other(engine: Engine):
    job = engine.submit("rollup", organization=PLATFORM, parameters={"days": 7})
    child = engine.submit("rollup", organization=PLATFORM, user=OPERATOR, depends_on=job)
    isolated = engine.submit("isolated", organization=PLATFORM)
    assert job.organization is PLATFORM
    assert "waits for its parent rollup" in engine.explain(child, organization=PLATFORM).summary

    engine.worker().drain()

    assert engine.value(job) == {"days": 7, "is_platform": True, "parents": []}
    assert engine.value(child)["parents"] == [engine.value(job)]
    assert engine.value(isolated) is True
    assert engine.artifact(job, "days.txt", organization=PLATFORM) == b"7"
    assert [one.message for one in engine.log_lines(job, organization=PLATFORM)] == ["rolling up 7 days"]
    assert engine.way(child) == ["pending", "queued", "running", "completed"]
    assert {one.organization for one in engine.list(organization=PLATFORM).items} == {PLATFORM}
    ended = [one for one in engine.events.all if isinstance(one, JobStarted | JobEnded) and one.job_id == job.id]
    assert [one.organization is PLATFORM for one in ended] == [True, True]


def test_a_dead_letter_of_the_platform_is_retried_canceled_and_deleted(engine: Engine):
    job = engine.submit("failing", organization=PLATFORM)
    engine.worker().drain()
    (letter,) = engine.dead_letters.list(organization=PLATFORM).items
    assert letter.organization is PLATFORM
    assert {one.organization for one in engine.dead_letters.groups_of_all().items} == {PLATFORM, "acme"}
    assert engine.retry(letter.job_id, organization=letter.organization, user=OPERATOR).status == "queued"
    assert engine.cancel(job, organization=PLATFORM, user=OPERATOR).status == "canceled"
    engine.delete(job, organization=PLATFORM, user=OPERATOR)
    assert engine.list(organization=PLATFORM).total == 0
    entries = [one for one in engine.audit.list(organization=None) if one.subject == str(job.id)]
    assert [one.action for one in entries] == ["jobs.delete", "jobs.cancel", "jobs.retry"]


def test_many_jobs_of_the_platform_are_submitted_and_canceled_together(engine: Engine):
    both = [Submission("rollup", organization=one) for one in (PLATFORM, "acme")]
    jobs = engine.submit_many(both)
    assert [job.organization for job in jobs] == [PLATFORM, "acme"]
    assert engine.bulk.start("cancel", {}, organization=PLATFORM, user=OPERATOR).changed == 1
    assert [engine.look(job).status for job in jobs] == ["canceled", "queued"]


async def test_a_job_of_the_platform_is_submitted_on_an_event_loop(engine: Engine):
    jobs = [await engine.aio.submit("rollup", organization=PLATFORM) for _ in range(3)]
    assert {job.id for job in jobs} == {job.id for job in engine.list(organization=PLATFORM).items}


@pytest.mark.parametrize("user", ["ana", "boss", "nobody", ""])
def test_only_operators_and_trusted_code_submit_and_change_jobs_of_the_platform(
    engine: Engine, user: str, subtests: pytest.Subtests
):
    with pytest.raises(PermissionDenied, match="is no operator, and the platform's jobs are theirs alone"):
        engine.submit("rollup", organization=PLATFORM, user=user)
    with pytest.raises(PermissionDenied):
        engine.schedules.put("nightly", "rollup", organization=PLATFORM, every=3600, user=user)
    job = engine.submit("failing", organization=PLATFORM)
    engine.worker().drain()
    for name, change in CHANGES.items():
        with subtests.test(name), pytest.raises(JobNotFound):
            change(engine, job, user)
    assert engine.look(job).status == "dead_letter"
    assert engine.list(organization=PLATFORM).total == 1


def test_an_operator_who_is_one_no_more_submits_nothing_and_their_job_does_not_start(engine: Engine):
    job = engine.submit("rollup", organization=PLATFORM, user=OPERATOR)
    engine.users.update(OPERATOR, operator=False)
    with pytest.raises(PermissionDenied):
        engine.submit("rollup", organization=PLATFORM, user=OPERATOR)
    engine.worker().drain()
    (letter,) = engine.dead_letters.list(organization=PLATFORM).items
    assert (letter.job_id, engine.look(job).status) == (job.id, "dead_letter")
    assert "Permission denied" in letter.reason


def test_a_disabled_operator_submits_nothing(engine: Engine):
    engine.users.update(OPERATOR, disabled=True)
    with pytest.raises(PermissionDenied):
        engine.submit("rollup", organization=PLATFORM, user=OPERATOR)


def test_parents_and_children_stay_within_the_platform(engine: Engine):
    theirs, ours = engine.submit("rollup", organization="acme"), engine.submit("rollup", organization=PLATFORM)
    for organization, parent in (("acme", ours), (PLATFORM, theirs)):
        with pytest.raises(ParentNotFound):
            engine.submit("rollup", organization=organization, depends_on=parent)


def test_no_organization_knows_a_job_of_the_platform(engine: Engine, subtests: pytest.Subtests):
    job = engine.submit("rollup", organization=PLATFORM)
    engine.worker().drain()
    for name, read in {
        "get": engine.get,
        "history": engine.history,
        "explain": engine.explain,
        "result": engine.result,
        "cancel": engine.cancel,
    }.items():
        with subtests.test(name), pytest.raises(JobNotFound):
            read(job.id, organization="acme")
    assert engine.list(organization="acme").total == 1


def test_numbers_of_all_count_the_platform_and_those_of_an_organization_do_not(engine: Engine):
    engine.submit("rollup", organization=PLATFORM)
    sizes = {one: engine.metrics(organization=one).jobs_by_status[JobStatus.QUEUED] for one in (None, PLATFORM, "acme")}
    assert sizes == {None: 2, PLATFORM: 1, "acme": 1}
    (one,) = [one for one in engine.reads.overview().organizations if one.organization != "acme"]
    assert (one.organization is PLATFORM, one.ready) == (True, 1)


def test_the_platform_is_in_no_list_of_organizations(engine: Engine):
    engine.submit("rollup", organization=PLATFORM)
    assert [one.id for one in engine.organizations.list()] == ["acme"]
    assert engine.members.of(OPERATOR) == ()
    assert (engine.organizations.get(PLATFORM).name, engine.organizations.get(PLATFORM).weight) == ("platform", 1)


def test_a_schedule_of_the_platform_submits_its_jobs_as_an_operator(database_url: str, clock: ManualClock):
    with Engine(database_url, clock=clock) as engine:
        engine.job_type("rollup")(organization_here)
        engine.users.create(OPERATOR, operator=True)
        made = engine.schedules.put("nightly", "rollup", organization=PLATFORM, every=3600, user=OPERATOR)
        assert made.organization is PLATFORM
        clock.advance(3601)
        engine.worker().drain()
        (job,) = engine.list(organization=PLATFORM).items
        assert (job.user, engine.value(job)) == (OPERATOR, True)
        assert [one.organization for one in engine.schedules.list(organization=None)] == [PLATFORM]


def test_a_forgotten_organization_and_text_like_the_platform_s_are_refused(engine: Engine, subtests: pytest.Subtests):
    job = engine.submit("rollup", organization=PLATFORM)
    with pytest.raises(OrganizationNotFound, match="There is no organization ''"):
        engine.submit("rollup", organization="")
    submissions: dict[str, Callable[[Fairlane, str], object]] = {
        "submit": lambda fl, name: fl.submit("rollup", organization=name),
        "submit_many": lambda fl, name: fl.submit_many([Submission("rollup", organization=name)]),
        "schedules.put": lambda fl, name: fl.schedules.put("nightly", "rollup", organization=name, every=3600),
        "get": lambda fl, name: fl.get(job.id, organization=name),
    }
    for name, verb in (READS | VERBS | CHANGES_OF_MEMBERS | submissions).items():
        with subtests.test(name), pytest.raises(FairlaneError, match="is no organization's id"):
            verb(engine, TEXT)
    assert engine.list(organization=PLATFORM).total == 1


def test_the_platform_is_no_organization(engine: Engine, subtests: pytest.Subtests):
    waiting = engine.submit("rollup", organization=PLATFORM)
    for name, verb in NOT_ITS_OWN.items():
        with subtests.test(name), pytest.raises(InvalidParameters, match="The platform is no organization"):
            verb(engine)
    with pytest.raises(FairlaneError):
        engine.organizations.create(PLATFORM)
    assert engine.look(waiting).status == "queued"


def test_the_platform_is_one_value():
    assert pickle.loads(pickle.dumps(PLATFORM)) is copy.deepcopy(PLATFORM) is PLATFORM
    assert (PLATFORM == TEXT, hash(PLATFORM) == hash(TEXT), bool(PLATFORM)) == (True, True, True)


class Host:
    """A directory that knows acme and ana, and remembers all that it was asked."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        self.asked |= set(ids)
        return {one: Standing(OrganizationStatus.ACTIVE) for one in ids if one == "acme"}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        self.asked |= {organization for organization, _ in pairs}
        return {pair: Membership(Role.ADMIN) for pair in pairs if pair == ("acme", "ana")}


def test_a_host_s_directory_is_never_asked_about_the_platform(database_url: str):
    host = Host()
    with Engine(database_url, directory=host, **QUICK) as fl:
        fl.users.create(OPERATOR, operator=True)
        fl.job_type("rollup", dedup_window=0)(organization_here)
        jobs = [fl.submit("rollup", organization=PLATFORM, user=user) for user in (None, OPERATOR)]
        theirs = fl.submit("rollup", organization="acme", user="ana")
        with pytest.raises(PermissionDenied, match="is no operator"):
            fl.submit("rollup", organization=PLATFORM, user="ana")
        assert fl.explain(jobs[0], organization=PLATFORM).reasons[0].code == "no_worker"
        fl.worker().drain()
        assert [fl.value(job) for job in (*jobs, theirs)] == [True, True, False]
        with pytest.raises(JobNotFound):
            fl.get(UUID(int=0), organization=PLATFORM)
        assert [one.id for one in fl.organizations.list()] == []
    assert host.asked == {"acme"}
