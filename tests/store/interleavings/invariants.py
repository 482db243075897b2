"""The invariants that hold after every order of every race, each by its name."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, literal, select, union_all

from fairlane import JobStatus
from fairlane.domain.statuses import LIVE, TERMINAL, EdgeState
from fairlane.store.statements.rows import STATE, STATUS, WHOLE
from fairlane.store.tables import (
    AnyRow,
    attempt_errors,
    dead_letters,
    dedup_keys,
    ended,
    execution_log,
    job_parents,
    jobs,
    live,
    results,
)
from tests.store.races.agreement import assert_all_logs_agree
from tests.store.races.scene import LEASE, Scene

_FAR = 7 * 86_400.0  # seconds; beyond every retry
_ROUNDS = 20


def hold(scene: Scene) -> None:
    """Assert what holds at any time between transactions."""
    scene.fl.database.look(each_job_stands_once)
    assert_all_logs_agree(scene.fl)
    scene.fl.database.read(_each_attempt_ends_once)
    scene.fl.database.read(_a_lease_is_of_one_running_job)
    scene.fl.database.read(_a_status_has_what_belongs_to_it)
    scene.fl.database.read(_no_child_is_orphaned)


def no_job_is_lost(scene: Scene) -> None:
    """Lose all workers, let time pass, and assert that an honest worker brings every job to its end."""
    scene.clock.advance(LEASE + 1)
    while scene.rescue() is not None:
        pass
    for _ in range(_ROUNDS):
        scene.clock.advance(_FAR)
        while scene.stage():
            pass
        if not _live(scene):
            break
        worker = scene.worker("honest", job_types=tuple(scene.fl.catalogue.mine))
        while claimed := worker.claim(10):
            scene.end(*claimed)
    assert _live(scene) == [], "no worker can bring these to their end"
    hold(scene)


def at_most(limit: int, scene: Scene) -> None:
    """The limit is not exceeded."""
    running = scene.fl.database.read(
        lambda connection: connection.execute(select(live.c.id).where(live.c.status == JobStatus.RUNNING)).all()
    )
    assert len(running) <= limit, "more run than may"


def a_dedup_key_has_one_live_owner(scene: Scene) -> None:
    """Every job here was submitted with the same parameters within the window."""
    alive = _live(scene)
    assert len(alive) <= 1, "two jobs live under one key"
    with scene.fl.database.engine.connect() as connection:
        owners = connection.scalars(select(dedup_keys.c.job_id)).all()
    if alive:
        assert owners == [alive[0].id], "the key is not that of the live job"


def _live(scene: Scene) -> Sequence[AnyRow]:
    with scene.fl.database.engine.connect() as connection:
        return connection.execute(select(live.c.id, live.c.status)).all()


def each_job_stands_once(connection: Connection) -> None:
    """A job has its facts, and one row in `live` or `ended`, where jobs of its status belong. One statement."""
    stands = Counter[tuple[object, ...]]()
    facts = set[tuple[object, ...]]()
    for table, organization, job_id, status in connection.execute(_STANDS):
        if table == jobs.name:
            facts.add((organization, job_id))
            continue
        stands[organization, job_id] += 1
        assert status in (LIVE if table == live.name else TERMINAL), f"{status} in {table}"
    assert all(number == 1 for number in stands.values()), "a job stands twice"
    assert facts == stands.keys(), "facts without a state, or a state without facts"


_STANDS: Final = union_all(
    *(
        select(literal(table.name), table.c.organization_id, table.c.id, status)
        for table, status in ((jobs, literal("")), (live, live.c.status), (ended, ended.c.status))
    )
)


def _each_attempt_ends_once(connection: Connection) -> None:
    log = connection.execute(
        select(execution_log.c.job_id, execution_log.c.attempt, execution_log.c.from_status).where(
            execution_log.c.from_status == JobStatus.RUNNING
        )
    )
    ends = Counter((row.job_id, row.attempt) for row in log)
    assert all(number == 1 for number in ends.values()), "an attempt has ended twice"
    failed = Counter(
        tuple(row) for row in connection.execute(select(attempt_errors.c.job_id, attempt_errors.c.attempt))
    )
    assert failed.keys() <= ends.keys(), "an attempt has an error and no end"
    running = connection.execute(select(live.c.id, live.c.attempt).where(live.c.status == JobStatus.RUNNING))
    assert not {(row.id, row.attempt) for row in running} & ends.keys(), "a job runs on after its attempt's end"


def _a_lease_is_of_one_running_job(connection: Connection) -> None:
    rows = connection.execute(select(live.c.status, live.c.lease_token, live.c.worker_id)).all()
    for row in rows:
        is_running = row.status == JobStatus.RUNNING
        assert (row.lease_token is not None) is is_running, "a lease without a run, or a run without a lease"
        assert (row.worker_id is not None) is is_running
    tokens = [row.lease_token for row in rows if row.lease_token is not None]
    assert len(tokens) == len(set(tokens)), "two jobs under one lease"


def _a_status_has_what_belongs_to_it(connection: Connection) -> None:
    statuses = {row.id: row.status for row in connection.execute(select(jobs.c.id, STATUS).select_from(WHOLE))}
    letters = set(connection.scalars(select(dead_letters.c.job_id)))
    with_result = set(connection.scalars(select(results.c.job_id)))
    dead = {job_id for job_id, status in statuses.items() if status == JobStatus.DEAD_LETTER}
    assert dead <= letters, "a dead letter that nobody finds"
    assert {statuses[job_id] for job_id in with_result} <= {JobStatus.COMPLETED}, "a result of what did not complete"


def _no_child_is_orphaned(connection: Connection) -> None:
    """A child waits for a parent that lives, or somebody will look at their edge; its count is that of its edges.

    A child that has ended has nothing to hear: an edge may stay watched where a revival held it and was rolled back.
    """
    found = {row.id: row for row in connection.execute(select(jobs.c.id, *STATE.values()).select_from(WHOLE))}
    edges = connection.execute(select(job_parents)).all()
    staged = {edge.parent_id for edge in edges if edge.state == EdgeState.NEW}  # `stage` tells all their children
    open_edges = Counter[object]()
    for edge in edges:
        open_edges[edge.job_id] += edge.state != EdgeState.SETTLED
        child, parent = found[edge.job_id], found[edge.parent_id]
        if edge.state == EdgeState.WATCHED and edge.parent_id not in staged:
            assert parent.status in LIVE or child.status not in LIVE, "an orphan"
            assert parent.has_children or parent.status not in LIVE, "the parent's end would not tell its child"
    for row in connection.execute(select(live.c.id, live.c.unmet_parents).where(live.c.status == JobStatus.PENDING)):
        assert row.unmet_parents == open_edges[row.id], "it waits for more or fewer parents than it has"
