"""Rows that the application's own login plants in its organization: they stop no other organization's jobs or feed."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Column, Connection, Table, Uuid, bindparam, delete, func, insert, literal, select, text, update

from fairlane import Fairlane, JobContext, Settings, Submission
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.engine.cleanup import Cleanup
from fairlane.engine.stage import Stage
from fairlane.store.row_ending import END_WAITING
from fairlane.store.row_rights import HOLD, rights_of
from fairlane.store.row_security import SETTING, Administered, DatabaseRole
from fairlane.store.statements.workers import LostWorker, rescue_worker, running_jobs
from fairlane.store.tables import audit, ended, execution_log, job_parents, job_types, jobs, live, members, metadata
from fairlane.store.transaction import Database
from tests.api.routes import routes
from tests.api.served import Api
from tests.realtime.stream import Stream
from tests.store.as_owner import in_role
from tests.store.logins import bound_logins, plain
from tests.store.races.scene import Scene

NEWEST: Final = 2**63 - 1
LAST: Final = 2**31 - 1
DEEP: Final = "repeat('[', 990) || repeat(']', 990)"  # deeper than Python reads
JOB: Final = {
    "organization_id": "'acme'",
    "queue": "'default'",
    "job_type": "'greet'",
    "status": "'queued'",
    "ready": "true",
    "priority": "2",
    "run_at": "now()",
    "parameters": "'{}'",
    "labels": "'{}'",
    "attempt": "0",
    "retry_count": "0",
    "rescue_count": "0",
    "unmet_parents": "0",
    "on_parent_failure": "'dead_letter'",
    "log_sequence": "1",
    "created_at": "now()",
}
DUE: Final = {"ready": "false", "next_retry_at": "now()"}
PENDING: Final = {"status": "'pending'", "ready": "false"}
CHILD: Final = PENDING | {"unmet_parents": "1"}
LOST: Final = {
    "status": "'running'",
    "ready": "false",
    "worker_id": "gen_random_uuid()",
    "lease_token": "gen_random_uuid()",
    "started_at": "now()",
}
STATE: Final = (  # what both tables of states need
    "organization_id, id, queue, job_type, created_at, priority, run_at, attempt, retry_count, rescue_count, "
    "log_sequence"
)
WORKER: Final = "(SELECT id FROM fairlane_workers LIMIT 1)"
ENDED: Final = (jobs, live, ended)
BACK: Final = (*ENDED, live)  # a job that has ended, and one more live row of it
ENTRY: Final = "organization_id, job_id, sequence, to_status, at, actor, message, attempt"


def job(*tables: Table, **values: str) -> str:
    """Statements that plant a job in these tables; by default as it should be: its facts, and its one state."""
    given = {"id": f"'{uuid4()}'"} | JOB | values
    statements = []
    for table in tables or (jobs, live):
        if table is ended:  # which only the function writes
            key = f"'acme', {given['id']}, {given['status']}"
            statements.append(f"SELECT {END_WAITING}({key}, 'canceled', now(), 'x', 'x', 'x', 'x', NULL)")
            continue
        names, held = zip(*((one, value) for one, value in given.items() if one in table.c), strict=True)
        statements.append(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(held)})")
    return "; ".join(statements)


def family(parent: Sequence[Table] = ENDED, child: Sequence[Table] = (), of: Any = None, **values: str) -> str:
    """A parent in these tables, with values `of` its own, and a child of it whose edge stage has not looked at."""
    ids = [f"'{uuid4()}'" for _ in range(2)]
    planted = job(*parent, id=ids[0], **(of or {})), job(*child, id=ids[1], **(CHILD | values))
    edge = "INSERT INTO fairlane_job_parents (organization_id, job_id, parent_id, state)"
    return "; ".join((*planted, f"{edge} VALUES ('acme', {ids[1]}, {ids[0]}, 'new')"))


def entry(source: str, *, sequence: str = "2", status: str = "'queued'", at: str = "now()", number: str = "") -> str:
    """An entry of the log for each of the jobs, with a number of its own if one is given."""
    given = f"'acme', id, {sequence}, {status}, {at}, 'x', 'x', 0 FROM {source}"
    if not number:
        return f"INSERT INTO fairlane_execution_log ({ENTRY}) SELECT {given}"
    return f"INSERT INTO fairlane_execution_log (id, {ENTRY}) OVERRIDING SYSTEM VALUE SELECT {number}, {given}"


# Each finds a job of acme that runs, one that is ready and one that waits.
PLANTED: Final = {
    **{f"a ready job with {name} {value}": job(**{name: value}) for name, value in (
        *(("attempt", f"{LAST}"), ("log_sequence", f"{LAST}"), ("run_at", "'-infinity'")),
        *(("run_at", "'4000-01-01 BC'"), ("run_at", "'infinity'"), ("created_at", "'-infinity'")),
        *(("deferrals", f"{LAST}"), ("retry_count", f"{LAST}"), ("timeout_seconds", "'NaN'"), ("priority", "99")),
    )},
    "a retry that is due at the end of the log": job(**DUE, log_sequence=f"{LAST}"),
    "a retry that is due before all time": job(**DUE | {"next_retry_at": "'-infinity'"}),
    "a retry that is due after all time": job(**DUE | {"next_retry_at": "'infinity'"}),
    "a scheduled job before all time": job(**PENDING, run_at="'-infinity'"),
    "a scheduled job at the end of the log": job(**PENDING, log_sequence=f"{LAST}"),
    "a child at the end of the log": family(log_sequence=f"{LAST}"),
    "a child with fewest parents": family(unmet_parents=f"{-LAST - 1}"),
    "a child with a policy that nobody knows": family(on_parent_failure="'bogus'"),
    "a child of an ended parent": family(),
    "a live parent with a status that nobody knows": family((jobs, live), of={"status": "'bogus'"}),
    "a live parent that has ended": family((jobs, live), of={"status": "'completed'"}),
    **{f"a lost job with {name}": job(**LOST, **{name: f"{LAST}"}) for name in ("rescue_count", "log_sequence")},
    "a lost job that ran for ever": job(**LOST | {"started_at": "'-infinity'"}),
    **{f"a change of {change}": f"UPDATE fairlane_live SET {change} WHERE status <> 'running'" for change in (
        *(f"log_sequence = {LAST}", "run_at = '-infinity'", "run_at = 'infinity'", "status = 'bogus'"),
        "ready = false, next_retry_at = '-infinity'",
    )},
    "a ready job with labels in labels": job(labels=DEEP),
    "a ready job without facts": job(live),
    "a retry that is due without facts": job(live, **DUE),
    "a scheduled job without facts": job(live, **PENDING),
    "a lost job without facts": job(live, **LOST),
    "a job without a state": job(jobs),
    "a ready job that has ended": job(*BACK),
    "a scheduled job that has ended": job(*BACK, **PENDING),
    "a retry that is due of a job that has ended": job(*BACK, **DUE),
    "a child that has ended": family(child=BACK),
    "a child of a parent with labels in labels": family(of={"labels": DEEP}),
    "the next entry of a ready job": entry("fairlane_jobs"),
    "a log that a job begins anew": "UPDATE fairlane_live SET log_sequence = 0 WHERE ready",
    "the next numbers of the log": entry(
        "fairlane_jobs, generate_series(1, 50) AS next",
        sequence="100 + next",
        number="(SELECT max(id) FROM fairlane_execution_log) + row_number() OVER ()",
    ),
    "the sequence of the log": f"SELECT setval('fairlane_execution_log_id_seq', {NEWEST})",
}  # fmt: skip


def greet(ctx: JobContext) -> None: ...


@pytest.fixture
def logins(postgres_url: str) -> Iterator[dict[str, str]]:
    with bound_logins(postgres_url) as urls:
        yield urls


def is_planted(login: str, statement: str) -> bool:
    """Return True if the database let acme execute this."""
    with psycopg.connect(plain(login), autocommit=True) as session:
        session.execute("SELECT set_config(%s, 'acme', false)", [SETTING])
        try:
            session.execute(statement)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ForeignKeyViolation):
            return False
    return True


def run_jobs_of_rival(fl: Fairlane) -> None:
    parent = fl.submit("greet", organization="rival")
    child = fl.submit("greet", organization="rival", depends_on=[parent])
    for _ in range(2):  # the second one runs what the first one made ready
        fl.worker().drain()
    assert [fl.get(one.id, organization="rival").status for one in (parent, child)] == ["completed"] * 2


def rescue_from(workers: Database, worker_id: UUID) -> None:
    """Take back what the lost worker ran, as another worker does."""

    def rescue(connection: Connection) -> None:
        held = running_jobs(connection, worker_id, 10)
        rescue_worker(connection, workers.clock, Random(1), LostWorker(worker_id, "lost"), held)

    with in_role():
        workers.write(rescue)


@pytest.mark.slow
def test_rows_that_the_application_plants_stop_no_other_organization_s_jobs(
    postgres_url: str, logins: dict[str, str], caplog: pytest.LogCaptureFixture
):
    settings = Settings(url=logins["web"], worker_url=logins["workers"], production=True, artifacts_url="memory:///")
    with (
        Fairlane(settings) as fl,
        closing(fl.database.sibling(pool_size=1, url=logins["workers"], role=DatabaseRole.WORKER)) as workers,
        psycopg.connect(plain(postgres_url), autocommit=True) as administrator,
    ):
        fl.job_type("greet", dedup_window=0)(greet)
        with Fairlane(postgres_url) as owner:
            for organization in ("acme", "rival"):
                owner.organizations.create(organization)
        stopped: dict[str, str] = {}
        for name, statement in PLANTED.items():
            caplog.clear()
            for table in (job_parents, execution_log, live, ended, jobs):
                administrator.execute(f"DELETE FROM {table.name}")
            canceled = fl.submit("greet", organization="acme")
            held = fl.submit("greet", organization="rival")
            lost = uuid4()
            running = ", ".join(f"{key} = {value}" for key, value in (LOST | {"worker_id": f"'{lost}'"}).items())
            administrator.execute(f"UPDATE fairlane_live SET {running}")
            fl.cancel(canceled.id, organization="acme")  # so that its rescue ends it
            fl.submit("greet", organization="acme")
            fl.submit("greet", organization="acme", delay=3600)
            if is_planted(logins["host"], statement):
                try:
                    run_jobs_of_rival(fl)
                    rescue_from(workers, lost)
                    assert fl.get(held.id, organization="rival").status == "queued"
                    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []
                except Exception as error:  # noqa: BLE001 - all that failed are told together
                    stopped[name] = f"{type(error).__name__}: {error}"[:200]
    assert stopped == {}


def test_the_application_plants_no_job_without_facts(postgres_url: str, logins: dict[str, str]):
    with Fairlane(postgres_url) as owner:
        owner.organizations.create("acme")
        owner.job_type("greet")(greet)
        owner.migrate()
    assert is_planted(logins["host"], job())
    assert not is_planted(logins["host"], job(live))


RUNNING: Final = "FROM fairlane_live WHERE status = 'running'"
# Each would hold the key of a job that runs, until the session's transaction ends.
UNDER_WAY: Final = {
    "a second state": f"""
INSERT INTO fairlane_ended ({STATE}, status, finished_at) SELECT {STATE}, 'canceled', now() {RUNNING}""",
    "a dead letter": f"""
INSERT INTO fairlane_dead_letters
  (organization_id, job_id, job_type, reason, error_type, fingerprint, entered_at, resolution)
SELECT organization_id, id, job_type, 'x', 'x', 'x', now(), 'pending' {RUNNING}""",
    "a result": f"""
INSERT INTO fairlane_results (organization_id, job_id, value, at) SELECT organization_id, id, '1', now() {RUNNING}""",
    "an end": f"""
SELECT {END_WAITING}(organization_id, id, status, 'canceled', now(), 'x', 'x', 'x', 'x', NULL) {RUNNING}""",
}


@pytest.mark.slow
def test_no_open_transaction_of_the_application_holds_up_the_end_of_a_job(postgres_url: str, logins: dict[str, str]):
    settings = Settings(url=logins["web"], worker_url=logins["workers"], production=True, artifacts_url="memory:///")
    with (
        Fairlane(settings) as fl,
        psycopg.connect(plain(logins["host"])) as session,
    ):

        @fl.job_type("plant", max_retries=0)
        def plant(ctx: JobContext, planted: str, fail: bool) -> None:
            session.execute("SELECT set_config(%s, 'acme', false)", [SETTING])
            with suppress(psycopg.errors.InsufficientPrivilege), session.transaction():
                session.execute(UNDER_WAY[planted])
            if fail:
                raise ValueError

        with Fairlane(postgres_url) as owner:
            owner.organizations.create("acme")
        for planted in UNDER_WAY:
            for fail in (False, True):
                job = fl.submit("plant", parameters={"planted": planted, "fail": fail}, organization="acme")
                fl.worker().drain()
                status = fl.get(job.id, organization="acme").status
                assert status == ("dead_letter" if fail else "completed")


@pytest.mark.parametrize("has_checkpoint", [False, True], ids=["plain end", "decided end"])
def test_a_job_that_has_ended_stays_as_it_ended_where_a_planted_live_row_of_it_ends(
    database_url: str, has_checkpoint: bool
):
    with Scene(database_url) as scene:
        job, other = scene.submit(), scene.submit()
        claimed = scene.worker().claim(2)
        end = (
            f"INSERT INTO fairlane_ended ({STATE}, status, finished_at, canceled_by) "
            f"SELECT {STATE}, 'canceled', run_at, 'ana' FROM fairlane_live WHERE organization_id = 'acme' AND id = :id"
        )
        scene.write(lambda connection: connection.execute(text(end).bindparams(bindparam("id", job.id, type_=Uuid))))
        scene.end(*claimed, has_checkpoint=has_checkpoint)
        ended_as = scene.get(job)
        assert (ended_as.status, ended_as.canceled_by) == ("canceled", "ana")
        assert scene.get(other).status == "completed"
        assert scene.write(lambda connection: connection.scalar(select(func.count()).select_from(live))) == 0
        for key in (execution_log.c.job_id, ended.c.id, jobs.c.id):  # its log tells of two ends
            gone = delete(key.table).where(key.table.c.organization_id == "acme", key == job.id)
            scene.write(partial(Connection.execute, statement=gone))


OLD_KEY: Final = """
INSERT INTO fairlane_idempotency_keys (organization_id, user_id, key, request_hash, job_ids, created_at)
VALUES ('acme', 'ana', 'x', 'x', '[]', now() - interval '2 days')"""
# What the application's session may lock. Job types are all organizations' (a known limit).
HOLDABLE: Final = [
    table
    for table in metadata.sorted_tables
    if table is not job_types
    and any(right == HOLD or "UPDATE" in right for right in rights_of(DatabaseRole.APP, table))
]


@pytest.mark.slow
@pytest.mark.parametrize("table", HOLDABLE, ids=str)
def test_rows_that_the_application_holds_stop_no_other_organization_s_jobs(
    postgres_url: str, logins: dict[str, str], caplog: pytest.LogCaptureFixture, table: Table
):
    settings = Settings(url=logins["web"], worker_url=logins["workers"], production=True, artifacts_url="memory:///")
    with (
        Fairlane(settings) as fl,
        closing(fl.database.sibling(pool_size=1, url=logins["workers"], role=DatabaseRole.WORKER)) as workers,
        psycopg.connect(plain(postgres_url), autocommit=True) as administrator,
        psycopg.connect(plain(logins["host"])) as session,
    ):
        fl.job_type("greet", dedup_window=0)(greet)
        with Fairlane(postgres_url) as owner:
            for organization in ("acme", "rival"):
                owner.organizations.create(organization)
        lost = uuid4()
        for organization in ("acme", "rival"):
            parent = Submission("greet", organization=organization)
            fl.submit_many([parent, Submission("greet", organization=organization, depends_on=parent)])
        assert is_planted(logins["host"], job(*BACK))
        # Canceled, so that their rescue ends them and tells their children.
        held = LOST | {"worker_id": f"'{lost}'", "cancel_requested_at": "now()", "cancel_requested_by": "'ana'"}
        running = ", ".join(f"{key} = {value}" for key, value in held.items())
        administrator.execute(f"UPDATE fairlane_live SET {running} WHERE status = 'queued'")
        fl.submit("greet", organization="acme", depends_on=fl.submit("greet", organization="acme"))
        assert is_planted(logins["host"], "; ".join((job(*BACK), job(*ENDED), OLD_KEY)))
        session.execute("SELECT set_config(%s, 'acme', false)", [SETTING])
        session.execute(f"SELECT FROM {table.name} FOR UPDATE")
        run_jobs_of_rival(fl)
        rescue_from(workers, lost)
        statuses = {one.status for one in fl.list(organization="rival").items}
        assert statuses == {"completed", "canceled", "dead_letter"}
        with in_role():
            Cleanup(workers, ObjectStorage("memory:///"), retention=0.0).run_once()
        assert fl.list(organization="rival", status="completed").total == 0
        assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


# What a session may hold for as long as it likes, of a retried parent and of a child that is to be revived.
OF_REVIVALS: Final = {
    **{f"{name} {lock}": f"SELECT FROM {held} {lock}" for lock in ("FOR UPDATE", "FOR KEY SHARE") for name, held in (
        ("parent and child", "fairlane_jobs WHERE id IN (%(parent)s, %(child)s)"),
        ("the child", "fairlane_jobs WHERE id = %(child)s"),
        ("its dead letter", "fairlane_dead_letters WHERE job_id = %(child)s"),
        ("its edge", "fairlane_job_parents WHERE job_id = %(child)s"),
    )},
    "a second state of the child": f"""
INSERT INTO fairlane_live ({STATE}, status, ready, unmet_parents)
SELECT {STATE}, 'pending', false, 1 FROM fairlane_ended WHERE id = %(child)s""",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("held", OF_REVIVALS.values(), ids=OF_REVIVALS)
def test_rows_that_a_session_holds_stop_no_other_organization_s_revivals(postgres_url: str, held: str):
    with Scene(postgres_url) as scene, psycopg.connect(plain(postgres_url)) as session:
        parents = [scene.dead_letter(), scene.dead_letter(organization="rival", user="rita")]
        children = [scene.submit(organization=one.organization, user=None, depends_on=[one]) for one in parents]
        with psycopg.connect(plain(postgres_url)) as holding:  # so that the retries leave the children
            holding.execute("SELECT FROM fairlane_jobs WHERE id = ANY(%s) FOR UPDATE", [[one.id for one in children]])
            for parent in parents:
                scene.fl.retry(parent.id, organization=parent.organization)
        assert session.execute(held, {"parent": parents[0].id, "child": children[0].id}).rowcount > 0
        stage = Stage(scene.fl.database, scene.fl.database.hint)
        for _ in parents:
            stage.run_once()
        assert scene.get(children[1], "rival").status == "pending"
        session.rollback()
        while stage.run_once():
            pass
        assert scene.get(children[0]).status == "pending"


@pytest.mark.parametrize("status", ["completed", "dead_letter", "canceled"])
def test_a_job_that_was_planted_twice_and_without_a_log_is_explained_as_it_lives(database_url: str, status: str):
    ended_too = (
        f"INSERT INTO fairlane_ended ({STATE}, status, finished_at) SELECT {STATE}, '{status}', run_at "
        "FROM fairlane_live"
    )
    with Scene(database_url) as scene:
        running = scene.submit()
        scene.worker().claim()
        told = {
            running.id: "Worker w1 has run it since 2026-11-01 12:00:00 UTC (attempt 1); it has reported no progress.",
            scene.submit().id: "Nothing blocks it; it is number 1 of acme's report jobs in queue default",
            scene.submit(delay=3600).id: "It starts no earlier than 2026-11-01 13:00:00 UTC.",
        }
        scene.write(lambda connection: connection.exec_driver_sql(ended_too))
        scene.write(lambda connection: connection.execute(delete(execution_log)))
        for job, sentence in told.items():
            assert scene.fl.explain(job, organization="acme").summary.startswith(sentence)
        scene.write(lambda connection: connection.execute(delete(live)))
        for job in told:
            assert "its log does not say why" in scene.fl.explain(job, organization="acme").summary
        scene.write(lambda connection: connection.execute(delete(ended)))
        scene.write(lambda connection: connection.execute(delete(jobs)))


def test_a_child_whose_edge_was_held_learns_of_its_parent_s_end_by_the_clean_up(postgres_url: str):
    with Scene(postgres_url) as scene, psycopg.connect(plain(postgres_url)) as session:
        parent = Submission("report", organization="acme")
        _, child = scene.fl.submit_many([parent, Submission("report", organization="acme", depends_on=parent)])
        session.execute("SELECT FROM fairlane_job_parents FOR UPDATE")
        scene.end(*scene.worker().claim())
        scene.stage()
        assert scene.get(child).status == "pending"
        session.rollback()
        assert scene.cleaner().run_once() == 1
        assert scene.get(child).status == "queued"


# Each would be a job that a worker seems to hold, and that no worker can end, rescue or make ready.
HELD: Final = {
    **{f"a running job with {name} {value}": job(**LOST | {"worker_id": WORKER, name: value}) for name, value in (
        *(("lease_token", "NULL"), ("started_at", "NULL"), ("worker_id", "NULL"), ("worker_id", WORKER)),
    )},
    "a running job without its lease": "UPDATE fairlane_live SET lease_token = NULL WHERE status = 'running'",
    "a running job without its start": "UPDATE fairlane_live SET started_at = NULL WHERE status = 'running'",
    "a running job of no worker": "UPDATE fairlane_live SET worker_id = NULL WHERE status = 'running'",
    "a waiting job that begins to run": "UPDATE fairlane_live SET status = 'running' WHERE status = 'pending'",
    "a scheduled job with a lease": job(**PENDING, run_at="'1980-01-01'", lease_token="gen_random_uuid()"),
    "a retry with a lease": job(**DUE, lease_token="gen_random_uuid()"),
    "a ready job of a worker": job(worker_id=WORKER),
    "a waiting job that takes a lease": "UPDATE fairlane_live SET lease_token = id WHERE status = 'pending'",
}  # fmt: skip


def test_the_application_writes_no_job_that_a_worker_holds(postgres_url: str, logins: dict[str, str]):
    settings = Settings(url=logins["web"], worker_url=logins["workers"], production=True, artifacts_url="memory:///")
    written: list[str] = []
    with Fairlane(settings) as fl:

        @fl.job_type("plant")
        def plant(ctx: JobContext) -> None:
            written.extend(name for name, statement in HELD.items() if is_planted(logins["host"], statement))

        fl.job_type("greet", dedup_window=0)(greet)
        with Fairlane(postgres_url) as owner:
            owner.organizations.create("acme")
        planting = fl.submit("plant", organization="acme")
        fl.submit("greet", organization="acme", delay=3600)
        fl.worker().drain()
        assert fl.get(planting.id, organization="acme").status == "completed"
    assert written == []


def test_rows_that_the_application_plants_silence_no_other_organization_s_feed(postgres_url: str, logins: Any):
    alert = "organization_id, kind, size, bound, at"
    planted = [
        entry("fairlane_jobs", status="'bogus'"),
        entry("fairlane_jobs", at="'infinity'"),
        entry("fairlane_jobs", at="'-infinity'"),
        entry("fairlane_jobs", number=f"{NEWEST}"),
        f"INSERT INTO fairlane_alerts ({alert}) VALUES ('acme', 'x', 1, 1, 'infinity')",
        f"INSERT INTO fairlane_alerts (id, {alert}) OVERRIDING SYSTEM VALUE VALUES ({NEWEST}, 'acme', '', 1, 1, now())",
    ]
    with (
        Api(postgres_url) as api,
        closing(Stream(api, api.token("member"), "/organizations/acme")),
        closing(Stream(api, api.token("other-member", "other"), "/organizations/other")) as others,
    ):
        api.fl.submit("report", organization="acme")
        for statement in planted:
            is_planted(logins["host"], statement)
            job = api.fl.submit("report", organization="other")
            others.wait_for(str(job.id))


@pytest.mark.slow
def test_facts_without_a_state_are_no_job_to_anybody(database_url: str):
    with Api(database_url) as api:
        first = api.fl.submit("report", organization="acme")
        api.fl.submit("report", organization="acme", depends_on=first)
        planted = uuid4()
        facts = select(*(literal(planted, Uuid) if one is jobs.c.id else one for one in jobs.c)).where(
            jobs.c.organization_id == "acme", jobs.c.id == first.id
        )
        edges = update(job_parents).where(job_parents.c.organization_id == "acme").values(parent_id=planted)
        for statement in (insert(jobs).from_select([one.name for one in jobs.c], facts), edges):
            api.fl.database.write(partial(Connection.execute, statement=statement), of=Administered("acme"))
        admin = api.as_("admin")
        told: dict[str, object] = {}
        for route in routes(api):
            if (
                route.method == "GET"
                and set(route.parameters) <= {"organization", "job"}
                and "events" not in route.path
            ):
                path = route.path.format(organization="acme", job=planted).removeprefix("/api/v1")
                answer = admin.get(path)
                if answer.status_code != 404 if "job" in route.parameters else answer.is_server_error:
                    told[path] = answer.text
        assert told == {}
        assert planted not in {one.id for one in api.fl.list(organization="acme").items}
        child = admin.post("/organizations/acme/jobs", json={"job_type": "report", "depends_on": [f"{planted}"]})
        assert child.json()["type"].endswith("parent-not-found")


OTHERS: Final = (("acme", "alice"), ("rival", "gus"))
UNREADABLE: Final = {
    "no JSON": "nonsense",
    "arrays in arrays": "[" * 100_000 + "]" * 100_000,
    "less deep arrays": '{"n": ' + "[" * 250 + "]" * 250 + "}",
    "digits": '{"n": ' + "9" * 5000 + "}",
    "a list": "[1]",
    "half a surrogate pair": r'{"n": "\ud800"}',
    "nothing": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("column", [jobs.c.parameters, jobs.c.labels], ids=["parameters", "labels"])
def test_a_job_of_which_nobody_can_read_a_text_is_shown_and_canceled_like_any_other(
    database_url: str, column: Column[str]
):
    with Api(database_url) as api:
        admin = api.as_("admin")
        told: dict[str, str] = {}
        for name, planted in UNREADABLE.items():
            one, other, third = (api.fl.submit("report", organization="acme", labels={"a": "b"}) for _ in range(3))
            change = update(jobs).where(jobs.c.organization_id == "acme").values({column: planted})
            api.fl.database.write(partial(Connection.execute, statement=change), of=Administered("acme"))
            shown = admin.get(f"/organizations/acme/jobs/{one.id}")
            assert shown.json()[column.name] == {column.name: "[unreadable]"}, name
            answers = {
                **{
                    path: admin.get(path)
                    for route in routes(api)
                    if route.method == "GET"
                    and set(route.parameters) <= {"organization", "job"}
                    and "events" not in route.path
                    for path in [route.path.format(organization="acme", job=one.id).removeprefix("/api/v1")]
                },
                "cancel": admin.post(f"/organizations/acme/jobs/{one.id}/cancellation"),
                "bulk": admin.post(
                    "/organizations/acme/bulk-actions", json={"action": "cancel", "filter": {"status": ["queued"]}}
                ),
            }
            told |= {f"{name}: {path}": one.text for path, one in answers.items() if one.is_server_error}
            api.run()
            assert {api.fl.get(job.id, organization="acme").status for job in (one, other, third)} == {"canceled"}
        assert told == {}


@pytest.mark.slow
@pytest.mark.parametrize("planted", UNREADABLE.values(), ids=UNREADABLE)
def test_a_dead_letter_whose_parameters_nobody_can_read_is_retried_with_others(database_url: str, planted: str):
    with Api(database_url) as api:
        job = api.fl.submit("report", organization="acme")
        change = update(jobs).where(jobs.c.organization_id == "acme").values(parameters=planted)
        api.fl.database.write(partial(Connection.execute, statement=change), of=Administered("acme"))
        api.run()
        assert api.fl.get(job.id, organization="acme").status == "dead_letter"
        api.fl.retry(job.id, organization="acme", parameters={"month": "2026-12"})
        api.run()
        assert api.fl.get(job.id, organization="acme").status == "completed"


def test_entries_of_the_audit_that_nobody_can_read_hide_no_others(database_url: str):
    with Api(database_url) as api:
        for number, planted in enumerate(UNREADABLE.values()):
            entry = {"organization_id": "acme", "id": uuid4(), "at": datetime.now(UTC), "actor": "x", "origin": "x"}
            texts = {"before": planted, "after": None} if number % 2 else {"before": None, "after": planted}
            planting = insert(audit).values(**entry, action="x", subject="planted", **texts)
            api.fl.database.write(partial(Connection.execute, statement=planting), of=Administered("acme"))
        api.fl.cancel(api.fl.submit("report", organization="acme").id, organization="acme")
        admin, path = api.as_("admin"), "/organizations/acme/audit"
        listed = admin.get(path).json()["items"]
        assert [json.loads(line) for line in admin.get(f"{path}/export").text.splitlines()] == listed
        read = [one["before"] or one["after"] for one in listed if one["subject"] == "planted"]
        assert {tuple(one.items()) for one in read} == {(("before", "[unreadable]"),), (("after", "[unreadable]"),)}
        assert "jobs.cancel" in {one["action"] for one in listed}


@pytest.mark.slow
@pytest.mark.parametrize(
    "planted",
    [{"role": "king"}, {"permissions": "nonsense"}, {"permissions": "[[]]"}, {"permissions": "[" * 100_000}],
    ids=["role", "no JSON", "no names", "deep"],
)
def test_a_membership_that_nobody_can_read_is_none_and_stops_no_other_s_job(database_url: str, planted: dict[str, str]):
    with Api(database_url) as api:
        api.fl.organizations.create("rival")
        for organization, user in (("acme", "mallory"), ("acme", "alice"), ("rival", "gus")):
            api.fl.members.add(organization, user)
        theirs = api.fl.submit("report", organization="acme", user="mallory")
        others = [api.fl.submit("report", organization=one, user=user) for one, user in OTHERS]
        change = update(members).where(members.c.organization_id == "acme", members.c.user_id == "mallory")
        planting = change.values(planted)
        api.fl.database.write(partial(Connection.execute, statement=planting), of=Administered("acme"))
        api.run()
        assert api.fl.get(theirs.id, organization="acme").status == "dead_letter"
        assert {api.fl.get(job.id, organization=job.organization).status for job in others} == {"completed"}
        assert "mallory" not in {one.user for one in api.fl.members.list("acme")}
        assert api.fl.members.add("acme", "mallory").role == "member"
        assert api.fl.submit("report", organization="acme", user="mallory").status == "queued"


@pytest.mark.parametrize("column", ["before", "after"])
def test_the_application_writes_no_entry_of_the_audit_that_nobody_can_read(
    postgres_url: str, logins: dict[str, str], column: str
):
    entry = "organization_id, id, at, actor, origin, action, subject"
    with Fairlane(postgres_url) as owner:
        owner.organizations.create("acme")
    with psycopg.connect(plain(logins["host"]), autocommit=True) as session:
        session.execute("SELECT set_config(%s, 'acme', false)", [SETTING])
        plant = (
            f"INSERT INTO fairlane_audit ({entry}, {column}) "
            "VALUES ('acme', gen_random_uuid(), now(), 'x', 'x', 'x', 'x', %s)"
        )
        for planted in ("nonsense", "", "[1]", "1", "null"):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidTextRepresentation)):
                session.execute(plant, [planted])
        for usual in (None, '{"name": "a"}'):
            session.execute(plant, [usual])


def test_the_application_writes_no_timeout_that_never_comes_or_has_passed(postgres_url: str, logins: dict[str, str]):
    with Fairlane(postgres_url) as owner:
        owner.organizations.create("acme")
    written = {
        timeout
        for timeout in ("NaN", "Infinity", "-Infinity", "-1", "0", "0.5", "60")
        if is_planted(logins["host"], job(jobs, timeout_seconds=f"'{timeout}'"))
    }
    assert written == {"0.5", "60"}
    assert is_planted(logins["host"], job(jobs, timeout_seconds="NULL"))
