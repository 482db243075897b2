"""Plain jobs take few statements, one a chunk on PostgreSQL, and what they take for granted is proved by them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

import pytest
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH
from sqlalchemy import Connection, select

from fairlane import (
    DuplicateJob,
    Fairlane,
    InvalidParameters,
    Job,
    JobContext,
    JobStatus,
    JobTypeDisabled,
    OrganizationNotFound,
    OrganizationSuspended,
    Submission,
    SubmissionError,
)
from fairlane.domain.statuses import Role
from fairlane.store.statements import new_jobs
from fairlane.store.tables import jobs
from tests.engine.sealed_engine import FIRST
from tests.store.races.agreement import assert_log_agrees
from tests.store.races.race import answers_at_once
from tests.store.races.scene import Scene

pytestmark = pytest.mark.both_databases

# On SQLite a proof, the key, and a statement for each of three tables.
FEW = {"postgresql": 1, "sqlite": 5}


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        scene.add_type("monthly", dedup_window=300)
        scene.submit()  # registers the types
        yield scene


def are_few(fl: Fairlane, seen: list[str]) -> bool:
    return 0 < len(seen) <= FEW[fl.database.engine.dialect.name]


@contextmanager
def statements(fl: Fairlane) -> Iterator[list[str]]:
    """Collect the statements that are executed while the block runs."""
    seen: list[str] = []
    dialect: Any = fl.database.engine.dialect
    send = dialect.do_execute

    def note(cursor: Any, sql: str, *rest: Any) -> None:
        if "notify" not in sql.lower():
            seen.append(sql)
        send(cursor, sql, *rest)

    dialect.do_execute = note
    try:
        yield seen
    finally:
        del dialect.do_execute


@pytest.mark.parametrize("job_type", ["report", "monthly"])
@pytest.mark.parametrize("user", ["ana", None])
def test_it_takes_few_statements(scene: Scene, job_type: str, user: str | None):
    with statements(scene.fl) as seen:
        job = scene.submit(job_type, user=user, parameters={"n": 7})
    assert are_few(scene.fl, seen)
    assert assert_log_agrees(scene.fl, job) == job


def test_a_job_that_is_not_plain_asks_the_clock_once_for_each_way(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    clock, asked = scene.fl.database.clock, list[datetime]()
    now = clock.now

    def note(connection: Connection) -> datetime:
        asked.append(now(connection))
        return asked[-1]

    monkeypatch.setattr(clock, "now", note)
    scene.submit(delay=3600)
    assert len(asked) <= 2


def test_the_driver_keeps_how_it_reads_the_statement():
    assert len(new_jobs.statement_at_once()) <= MAX_CACHED_STATEMENT_LENGTH


def test_a_key_that_was_taken_and_ended_is_taken_over(scene: Scene):
    first = scene.submit("monthly")
    scene.fl.cancel(first.id, organization="acme")
    second = scene.submit("monthly")
    assert second.id != first.id
    assert assert_log_agrees(scene.fl, second).status is JobStatus.QUEUED


def test_a_number_of_an_enumeration_is_one(scene: Scene):
    class Retries(IntEnum):
        FEW = 3

    one, two = (scene.submit(max_retries=Retries.FEW, user=user) for user in ("ana", None))
    assert assert_log_agrees(scene.fl, one) == one
    assert assert_log_agrees(scene.fl, two) == two


def test_an_organization_with_a_limit_is_counted(scene: Scene):
    scene.fl.organizations.update("acme", max_live_jobs=10)
    with statements(scene.fl) as seen:
        scene.submit()
    assert not are_few(scene.fl, seen)


def test_what_changed_since_the_last_submission_is_seen(scene: Scene):
    scene.fl.organizations.suspend("acme")
    with pytest.raises(OrganizationSuspended):
        scene.submit()


def test_a_type_that_another_process_changed_is_read_again(scene: Scene, database_url: str):
    with Fairlane(database_url) as elsewhere:  # which has no handler of it
        assert elsewhere.submit("report", organization="acme", parameters={"n": 1}).parameters == {"n": 1}
        with Fairlane(database_url) as newer:

            @newer.job_type("report", dedup_window=0)
            def report(ctx: JobContext, month: str) -> None: ...

            newer.migrate()  # the deployment registers what a type has become
            newer.submit("report", organization="acme", parameters={"month": "May"})
        with pytest.raises(InvalidParameters, match="month"):
            elsewhere.submit("report", organization="acme", parameters={"n": 1})
        with statements(elsewhere) as seen:
            elsewhere.submit("report", organization="acme", parameters={"month": "June"})
        assert are_few(elsewhere, seen)


def test_a_role_of_its_own_is_no_permission(scene: Scene):
    scene.add_type("secret", requires_permission="secrets", dedup_window=0)
    scene.fl.members.add("acme", "eve", role=Role.MEMBER, permissions=["secrets"])
    scene.fl.members.add("acme", "max", role=Role.ADMIN)
    scene.submit("secret", user="max")
    with statements(scene.fl) as of_admin:
        scene.submit("secret", user="max")
    with statements(scene.fl) as of_member:
        scene.submit("secret", user="eve")
    assert are_few(scene.fl, of_admin)
    assert not are_few(scene.fl, of_member)


def test_an_id_that_was_submitted_before_is_refused(scene: Scene):
    submission = Submission("report", organization="acme", user="ana")
    scene.fl.submit_many([submission])
    with pytest.raises(DuplicateJob, match=str(submission.id)):
        scene.fl.submit_many([submission])
    assert scene.total() == 2


PLANNED: Final = 5  # times that PostgreSQL plans any statement, before it looks whether that was worth while


def batch(count: int, job_type: str = "report", **more: Any) -> list[Submission]:
    return [
        Submission(job_type, organization="acme", user="ana", parameters={"n": number}, **more)
        for number in range(count)
    ]


def test_a_chunk_of_a_batch_takes_no_more_than_a_job_does(scene: Scene):
    with statements(scene.fl) as seen:
        jobs = scene.fl.submit_many(batch(600, "monthly"))
    few = FEW[scene.fl.database.engine.dialect.name]
    assert (len(seen), len(set(seen))) == (3 * few, few)
    for job in (jobs[0], jobs[-1]):
        assert assert_log_agrees(scene.fl, job) == job
    assert [job.parameters["n"] for job in jobs] == list(range(600))
    assert len({job.created_at for job in jobs}) == 1


def test_postgres_plans_the_statement_once_a_connection(scene: Scene):
    if not scene.fl.database.kind.is_server:
        return
    for number in range(20):
        scene.submit("monthly", parameters={"n": number})
    plans = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'WITH scope%'"
    with ExitStack() as whole_pool:
        connections = [whole_pool.enter_context(scene.fl.database.engine.connect()) for _ in range(3)]
        found = [row for one in connections for row in one.exec_driver_sql(plans.replace("%", "%%"))]
    assert sum(row.generic_plans for row in found) > 0
    assert max(row.custom_plans for row in found) <= PLANNED


def test_jobs_of_many_kinds_take_no_more_than_one_does(scene: Scene):
    @scene.fl.job_type("letter", dedup_window=0)
    def letter(ctx: JobContext, text: str) -> None: ...

    scene.fl.migrate()
    scene.submit(organization="rival", user="rita")  # which learns that it has no keys
    kinds: list[dict[str, Any]] = [
        {"priority": "high", "timeout": None},
        {"queue": "night", "max_retries": None, "user": None},
        {"organization": "rival", "user": "rita"},
        {"job_type": "monthly", "dedup_window": 7},
        {"job_type": "monthly", "dedup_key": "mine"},
        {"job_type": "letter", "parameters": {"text": 'a\nb "c" \\ \u00e9'}},
    ]
    usual = {"job_type": "report", "organization": "acme", "user": "ana"}
    submissions = [Submission(**usual | kind) for kind in kinds]
    with statements(scene.fl) as seen:
        jobs = scene.fl.submit_many(submissions)
    assert are_few(scene.fl, seen)
    assert [scene.fl.get(job.id, organization=job.organization) for job in jobs] == jobs
    assert [(job.priority, job.queue, job.user) for job in jobs[:3]] == [
        ("high", "default", "ana"),
        ("normal", "night", None),
        ("normal", "default", "rita"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("last", [{}, {"parameters": {"n": 1}}, {"parameters": {"n": 7}}])
def test_a_batch_is_refused_whole_for_a_job_in_its_last_chunk(scene: Scene, last: dict[str, Any]):
    before = scene.submit("monthly", parameters={"n": 7})
    submissions = [*batch(400, "report"), *batch(2, "monthly")]
    refused: Submission | None = Submission("monthly", organization="acme", user="ana", **last) if last else None
    submissions.append(refused or Submission("report", organization="nowhere"))
    with pytest.raises(SubmissionError) as error:
        scene.fl.submit_many(submissions)
    assert isinstance(error.value, DuplicateJob if refused else OrganizationNotFound)
    assert error.value.index == 402
    assert [job.id for job in scene.fl.list(organization="acme", job_type="monthly").items] == [before.id]
    assert scene.total() == 2
    assert len(scene.fl.submit_many(submissions[:-1])) == 402  # the connection is as good as before


@pytest.mark.parametrize("change", ["suspended", "disabled", "no member"])
def test_a_batch_is_proved_as_one_job_is(scene: Scene, change: str):
    match change:
        case "suspended":
            scene.fl.organizations.suspend("acme")
        case "disabled":
            scene.fl.job_types.disable("report")
        case "no member":
            scene.fl.members.remove("acme", "ana")
    with pytest.raises((OrganizationSuspended, JobTypeDisabled, SubmissionError)):
        scene.fl.submit_many(batch(300))


@pytest.mark.slow
def test_two_batches_of_the_same_keys_in_opposite_orders_are_one_set_of_jobs(scene: Scene):
    submissions = batch(600, "monthly", on_duplicate="return")
    again = batch(600, "monthly", on_duplicate="return")[::-1]
    first, second = answers_at_once([lambda: scene.fl.submit_many(submissions), lambda: scene.fl.submit_many(again)])
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert [job.id for job in first] == [job.id for job in second[::-1]]
    assert scene.total() == 601


@pytest.mark.parametrize("count", [1, 2])
def test_that_there_is_no_key_is_proved_where_no_answer_is_kept(database_url: str, count: int):
    with Scene(database_url, encryption_keys=FIRST) as scene:
        scene.fl.keys.enable(organization="acme")
        scene.submit()
        scene.fl.keyring._max_age = 0.0
        for job in scene.fl.submit_many(batch(count)):
            assert '"n"' not in stored_parameters(scene, job)
            assert assert_log_agrees(scene.fl, job) == job


def test_answers_about_keys_that_grew_old_meanwhile_are_not_asked_for_again(scene: Scene):
    scene.fl.keyring._max_age = 0.0
    with statements(scene.fl) as seen:
        scene.fl.submit_many(batch(600, "monthly"))
    few = FEW[scene.fl.database.engine.dialect.name]
    assert len(set(seen) - {"BEGIN"}) <= few + 1  # one asks at first


def stored_parameters(scene: Scene, job: Job) -> str:
    wanted = select(jobs.c.parameters).where(jobs.c.id == job.id)
    return str(scene.fl.database.read(lambda connection: connection.scalar(wanted), of=job.organization))
