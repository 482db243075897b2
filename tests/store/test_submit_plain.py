"""The plain job takes one statement, and what that statement takes for granted is proved by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from fairlane import Fairlane, InvalidParameters, JobContext, JobStatus, OrganizationSuspended
from fairlane.domain.statuses import Role
from tests.store.races.agreement import assert_log_agrees
from tests.store.races.scene import Scene

pytestmark = pytest.mark.both_databases


@pytest.fixture
def scene(postgres_url: str) -> Iterator[Scene]:
    with Scene(postgres_url) as scene:
        scene.add_type("monthly", dedup_window=300)
        scene.submit()  # registers the types
        yield scene


@contextmanager
def statements(fl: Fairlane) -> Iterator[list[str]]:
    """Those that are executed meanwhile."""
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
def test_it_takes_one_statement(scene: Scene, job_type: str, user: str | None):
    with statements(scene.fl) as seen:
        job = scene.submit(job_type, user=user, parameters={"n": 7})
    assert len(seen) == 1
    assert assert_log_agrees(scene.fl, job) == job


def test_the_driver_keeps_how_it_reads_the_statement(scene: Scene):
    with statements(scene.fl) as seen:
        scene.submit()
    assert len(seen[0]) <= MAX_CACHED_STATEMENT_LENGTH


def test_a_key_that_was_taken_and_ended_is_taken_over(scene: Scene):
    first = scene.submit("monthly")
    scene.fl.cancel(first.id, organization="acme")
    second = scene.submit("monthly")
    assert second.id != first.id
    assert assert_log_agrees(scene.fl, second).status is JobStatus.QUEUED


def test_an_organization_with_a_limit_is_counted(scene: Scene):
    scene.fl.organizations.update("acme", max_live_jobs=10)
    with statements(scene.fl) as seen:
        scene.submit()
    assert len(seen) > 1


def test_what_changed_since_the_last_submission_is_seen(scene: Scene):
    scene.fl.organizations.suspend("acme")
    with pytest.raises(OrganizationSuspended):
        scene.submit()


def test_a_type_that_another_process_changed_is_read_again(scene: Scene, postgres_url: str):
    with Fairlane(postgres_url) as elsewhere:  # which has no handler of it
        assert elsewhere.submit("report", organization="acme", parameters={"n": 1}).parameters == {"n": 1}
        with Fairlane(postgres_url) as newer:

            @newer.job_type("report", dedup_window=0)
            def report(ctx: JobContext, month: str) -> None: ...

            newer.migrate()  # the deployment registers what a type has become
            newer.submit("report", organization="acme", parameters={"month": "May"})
        with pytest.raises(InvalidParameters, match="month"):
            elsewhere.submit("report", organization="acme", parameters={"n": 1})
        with statements(elsewhere) as seen:
            elsewhere.submit("report", organization="acme", parameters={"month": "June"})
        assert len(seen) == 1


def test_a_role_of_its_own_is_no_permission(scene: Scene):
    scene.add_type("secret", requires_permission="secrets", dedup_window=0)
    scene.fl.members.add("acme", "eve", role=Role.MEMBER, permissions=["secrets"])
    scene.fl.members.add("acme", "max", role=Role.ADMIN)
    scene.submit("secret", user="max")
    with statements(scene.fl) as of_admin:
        scene.submit("secret", user="max")
    with statements(scene.fl) as of_member:
        scene.submit("secret", user="eve")
    assert len(of_admin) == 1 < len(of_member)
