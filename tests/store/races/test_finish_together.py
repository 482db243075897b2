"""Ends that are written together have the effects that they would have alone, and none stops another."""

from collections.abc import Sequence
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, select, update

from fairlane import Backoff, JobStatus
from fairlane.domain.outcomes import (
    Completed,
    ErrorReport,
    Failed,
    Lost,
    Outcome,
    Refused,
    Released,
    Snoozed,
    Stopped,
    TimedOut,
)
from fairlane.domain.poison import RescueDecision
from fairlane.store.statements import attempts
from fairlane.store.statements.cancel import cancel
from fairlane.store.statements.finish import Finish, Finished, finish
from fairlane.store.statements.locks import lock_job
from fairlane.store.tables import attempt_errors, checkpoints, dead_letters, ended, execution_log, jobs, live, results
from tests.store.races.race import Race
from tests.store.races.scene import BROKEN, JAMMED, Claimed, Scene, Work, key_of

DEAD_LETTER, QUEUED, RUNNING = JobStatus.DEAD_LETTER, JobStatus.QUEUED, JobStatus.RUNNING
SLOW = ErrorReport("TimeoutError", 'ran past 5 s: "it\'s\tlate" \\ \u2028 é', "Traceback …", fingerprint="slow")
OUTCOMES: tuple[Outcome, ...] = (
    Completed(),
    Completed('{"pages": 7}'),
    BROKEN,
    JAMMED,
    Failed(ErrorReport("ServerBusy", "", retry_after=7.5)),
    TimedOut(SLOW),
    Stopped(),
    Snoozed(90.0, "no paper"),
    Snoozed(0.0),
    Released("released at shutdown"),
    Refused("Organization not found"),
    Lost("w2"),
    Lost("w2", RescueDecision(is_poison=True)),
)
_OWN = {"id", "job_id", "lease_token"}


class Steady(Random):
    """Draws the lower bound, so that the order of the draws says nothing."""

    def uniform(self, a: float, b: float) -> float:
        return a


def ending(scene: Scene, ends: Sequence[Finish]) -> Work[list[Finished]]:
    return lambda connection: finish(connection, scene.now, ends, Steady())


def end_of(claimed: Claimed, outcome: Outcome, *, has_checkpoint: bool = True) -> Finish:
    """The same of every twin, so that it says nothing of which job it is."""
    key = (claimed.organization, claimed.id, claimed.job_type, claimed.lease_token)
    return Finish(*key, outcome, Backoff(base=60.0), "w1", has_checkpoint)


def running(scene: Scene, number: int, organization: str, user: str, **options: Any) -> list[Claimed]:
    for _ in range(number):
        scene.submit(organization=organization, user=user, **options)
    return [one for one in scene.worker(slots=number).claim(number) if one.organization == organization]


def canceling(scene: Scene, claimed: Claimed, user: str) -> Work[JobStatus]:
    key = (claimed.organization, claimed.id)
    return lambda connection: cancel(connection, scene.now, *key, actor=user, reason="late")


def checkpoint(scene: Scene, claimed: Claimed) -> Work[bool]:
    return lambda connection: attempts.set_checkpoint(connection, scene.now, key_of(claimed), '{"page": 7}')


def rename(scene: Scene, claimed: Claimed, job_id: UUID) -> Claimed:
    """Give a job another id."""

    def work(connection: Connection) -> None:
        facts = (jobs.c.organization_id == claimed.organization) & (jobs.c.id == claimed.id)
        row = connection.execute(select(jobs).where(facts)).one()
        connection.execute(jobs.insert().values({**row._asdict(), "id": job_id}))  # its live row refers to it
        for table, column in ((live, "id"), (execution_log, "job_id")):
            mine = (table.c.organization_id == claimed.organization) & (table.c[column] == claimed.id)
            connection.execute(update(table).where(mine).values({column: job_id}))
        connection.execute(jobs.delete().where(facts))

    scene.write(work)
    return claimed._replace(id=job_id)


def left_of(scene: Scene, job_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of a job, without the columns that tell it from its twin."""
    found = {}
    with scene.fl.database.engine.begin() as connection:
        for table in (jobs, live, ended, execution_log, attempt_errors, dead_letters, results, checkpoints):
            key = table.c.job_id if "job_id" in table.c else table.c.id
            order = table.c.sequence if table is execution_log else key
            rows = connection.execute(select(table).where(key == job_id).order_by(order)).mappings()
            found[table.name] = [{name: row[name] for name in row if name not in _OWN} for row in rows]
    return found


@pytest.mark.slow
def test_ends_that_are_written_together_leave_what_they_leave_one_by_one(scene: Scene) -> None:
    together, singly = list[Finish](), list[Finish]()
    random = Random(7)
    for organization, user in (("acme", "ana"), ("rival", "rita")):
        for max_retries in (0, 3):
            claimed = running(scene, 4 * len(OUTCOMES), organization, user, max_retries=max_retries)
            pairs = zip(claimed[::2], claimed[1::2], strict=True)
            for twins, outcome in zip(pairs, OUTCOMES * 2, strict=True):
                is_asked, has_checkpoint = random.random() < 0.4, random.random() < 0.5
                for one, ends in zip(twins, (together, singly), strict=True):
                    if is_asked:
                        scene.write(canceling(scene, one, user))
                    if has_checkpoint:
                        scene.write(checkpoint(scene, one))
                    ends.append(end_of(one, outcome, has_checkpoint=has_checkpoint))

    done = scene.write(ending(scene, together))
    for alone in singly:
        done += scene.write(ending(scene, [alone]))

    transitions = {one.finish.job_id: one.transition for one in done}
    for end, twin in zip(together, singly, strict=True):
        assert transitions[end.job_id] == transitions[twin.job_id] is not None
        assert left_of(scene, end.job_id) == left_of(scene, twin.job_id)


def test_a_plain_completion_leaves_what_one_leaves_that_is_decided_by_itself(scene: Scene) -> None:
    failing = running(scene, 2, "acme", "ana", priority="high")
    scene.write(ending(scene, [end_of(one, JAMMED) for one in failing]))
    scene.clock.advance(61)
    scene.stage()
    plain, decided = scene.worker().claim(2)
    for one, has_checkpoint in ((plain, False), (decided, True)):
        (done,) = scene.write(ending(scene, [end_of(one, Completed("7"), has_checkpoint=has_checkpoint)]))
        assert done.transition is not None
    assert left_of(scene, plain.id) == left_of(scene, decided.id)


def test_ends_that_are_written_together_change_nothing_where_the_lease_was_lost(scene: Scene) -> None:
    claimed = running(scene, 10, "acme", "ana")
    late = [end_of(one._replace(lease_token=uuid4()), BROKEN) for one in claimed[:5]]

    done = scene.write(ending(scene, [*late, *(end_of(one, BROKEN) for one in claimed[5:])]))

    assert {one.finish.job_id for one in done if one.transition is None} == {one.job_id for one in late}
    assert not any(one.is_locked for one in done)
    assert [scene.get(one.id).status for one in claimed] == [RUNNING] * 5 + [DEAD_LETTER] * 5


def test_jobs_of_two_organizations_with_one_id_are_not_taken_for_each_other(database_url: str) -> None:
    """An id alone is no key."""
    scene = Scene(database_url)  # whose look at all logs at its end goes by id alone
    mine, theirs = running(scene, 5, "acme", "ana"), running(scene, 5, "rival", "rita")
    theirs = [rename(scene, other, one.id) for one, other in zip(mine, theirs, strict=True)]

    scene.write(ending(scene, [end_of(one, BROKEN) for one in mine]))
    assert {scene.get(one.id).status for one in mine} == {DEAD_LETTER}
    assert {scene.get(one.id, "rival").status for one in theirs} == {RUNNING}

    scene.write(ending(scene, [end_of(one, JAMMED) for one in theirs]))
    assert {scene.get(one.id, "rival").status for one in theirs} == {QUEUED}
    assert {len(scene.fl.history(one.id, organization="rival")) for one in theirs} == {4}
    scene.fl.close()


def test_a_failed_end_whose_row_somebody_holds_is_left_alone_and_written_later(scene: Scene, race: Race) -> None:
    ends = [end_of(one, JAMMED) for one in running(scene, 8, "acme", "ana")]
    held = ends[3]
    with race.open() as host:
        lock_job(host, "acme", held.job_id)
        batch = race.passes(lambda: scene.write(ending(scene, ends)))
    left = [one.finish for one in batch.result() if one.is_locked]
    assert left == ([] if race.serial else [held])
    assert all(one.transition is not None for one in scene.write(ending(scene, left)))
    assert {scene.get(one.job_id).status for one in ends} == {QUEUED}


def test_a_result_of_a_job_whose_facts_a_host_holds_is_left_alone_and_written_later(scene: Scene, race: Race) -> None:
    ends = [end_of(one, Completed('"x"'))._replace(has_checkpoint=False) for one in running(scene, 8, "acme", "ana")]
    held = ends[3]
    with race.open() as host:
        host.execute(select(jobs.c.id).where(jobs.c.id == held.job_id).with_for_update())
        batch = race.passes(lambda: scene.write(ending(scene, ends)))
    left = [one.finish for one in batch.result() if one.is_locked]
    assert left == ([] if race.serial else [held])
    assert all(one.transition is not None for one in scene.write(ending(scene, left)))
    assert {scene.get(one.job_id).status for one in ends} == {JobStatus.COMPLETED}


def test_a_cancel_that_holds_the_row_is_found_when_the_end_is_written_again(scene: Scene, race: Race) -> None:
    claimed = running(scene, 8, "acme", "ana")
    ends = [end_of(one, JAMMED) for one in claimed]
    with race.open() as requesting:
        canceling(scene, claimed[3], "ana")(requesting)
        batch = race.passes(lambda: scene.write(ending(scene, ends)))
    scene.write(ending(scene, [one.finish for one in batch.result() if one.is_locked]))
    assert scene.get(ends[3].job_id).status == JobStatus.CANCELED
    assert sum(scene.get(one.job_id).status == QUEUED for one in ends) == 7
