"""A claim and an end that stand alone see for themselves what a transaction would have looked at before."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from fairlane import Backoff, Job, Submission
from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.outcomes import Completed
from fairlane.domain.reasons import pauses_on
from fairlane.store.line import Line
from fairlane.store.row_security import DatabaseRole
from fairlane.store.sql import as_given
from fairlane.store.statements import dependencies, job_types, workers
from fairlane.store.statements.claim import Claimed, Wanted, claim_on
from fairlane.store.statements.finish import Finish, complete_all
from tests.store.races.scene import Hand, Scene

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

T = TypeVar("T")
LANE = Lane("default", "acme", "report")


def on_line(scene: Scene, to: Callable[[Line], Awaitable[T]]) -> T:
    database = scene.fl.database.sibling(pool_size=1, role=DatabaseRole.WORKER)

    async def run(threads: ThreadPoolExecutor) -> T:
        line = Line(database, threads, {})
        try:
            return await to(line)
        finally:
            await line.close()

    with closing(database), ThreadPoolExecutor(1) as threads:
        return asyncio.run(run(threads))


def claimed(scene: Scene, worker: Hand) -> list[Claimed]:
    wanted = Wanted([LANE], {}, {LANE.organization: Quota(1, 0)})
    return on_line(
        scene, lambda line: claim_on(line, wanted, worker_id=worker.id, worker=worker.card.name, are_ours=True)
    )


def end_of(one: Claimed, result: str | None) -> Finish:
    return Finish(
        one.organization, one.id, one.job_type, one.lease_token, Completed(result), Backoff(), has_checkpoint=False
    )


@pytest.mark.parametrize("pause", pauses_on(LANE), ids=lambda pause: pause[0])
def test_nothing_is_claimed_of_what_was_paused_a_moment_ago(scene: Scene, pause: tuple[str, str]) -> None:
    scene.submit()
    worker = scene.worker()
    scene.write(lambda connection: job_types.pause(connection, scene.now, *pause, actor="olga", reason=""))
    assert claimed(scene, worker) == []
    scene.write(lambda connection: job_types.resume(connection, *pause))
    assert len(claimed(scene, worker)) == 1


def test_nothing_is_claimed_of_a_suspended_organization_nor_for_a_worker_that_was_given_up(scene: Scene) -> None:
    scene.submit()
    worker = scene.worker()
    scene.fl.organizations.suspend("acme", user="olga")
    assert claimed(scene, worker) == []
    scene.fl.organizations.activate("acme", user="olga")

    def remove(connection: Connection) -> None:
        workers.remove(connection, worker.id)

    scene.write(remove)
    assert claimed(scene, worker) == []


def test_a_claim_tells_what_the_job_s_user_may_do_so_that_nobody_has_to_ask(scene: Scene) -> None:
    worker = scene.worker()
    for user, role in (("ana", "member"), (None, None)):
        scene.submit(user=user)
        (one,) = claimed(scene, worker)
        assert (one.user, one.role) == (user, role)
    scene.submit()
    scene.fl.members.remove("acme", "ana", user="olga")
    (one,) = claimed(scene, worker)
    assert (one.user, one.role) == ("ana", None)


def test_of_two_leases_of_a_job_that_end_together_none_is_taken_for_the_other(scene: Scene) -> None:
    job: Job = scene.submit()
    (valid,) = claimed(scene, scene.worker())
    lost = valid._replace(lease_token=scene.worker().id)
    ends = [end_of(lost, '"lost"'), end_of(valid, None)]
    assert on_line(scene, lambda line: complete_all(line, ends)) == []
    assert scene.get(job).status == "running"
    (done,) = on_line(scene, lambda line: complete_all(line, ends[1:]))
    assert done.finish == ends[1]
    assert scene.fl.result(job.id, organization="acme").value is None


@pytest.mark.slow
def test_edges_are_looked_for_by_parent_where_all_were_of_another_parent_when_they_were_analyzed(scene: Scene) -> None:
    parent = scene.submit(delay=3600.0)
    scene.fl.submit_many(
        [Submission("report", organization="acme", user="ana", depends_on=[parent.id]) for _ in range(2_000)]
    )

    def plan(connection: Connection) -> str:
        connection.exec_driver_sql("RESET ROLE")
        connection.exec_driver_sql("ANALYZE fairlane_job_parents")
        asked = dependencies._WITH_CHILDREN.compile(connection)
        values = {**asked.params, "given": as_given([("acme", str(scene.now.year).zfill(32))] * 500)}
        return "\n".join(connection.exec_driver_sql(f"EXPLAIN {asked}", values).scalars())

    with scene.fl.database.engine.begin() as connection:
        assert "fairlane_job_parents_parent" in plan(connection)
