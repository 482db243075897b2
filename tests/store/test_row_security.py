"""PostgreSQL holds the tenant boundary: a query that forgets it returns nothing foreign (R19)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from fairlane import (
    ConfigurationError,
    DuplicateJob,
    Fairlane,
    Job,
    JobContext,
    JobNotFound,
    JobStatus,
    OrganizationNotFound,
    Settings,
    StorageUnavailable,
    Submission,
)
from fairlane.store import row_policies, schema
from fairlane.store.row_ending import SIGNATURE
from fairlane.store.row_security import EVERYONE, SETTING, Administered, DatabaseRole, Scope, is_of_tenants
from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.tables import AnyRow, metadata, pauses
from fairlane.store.transaction import Database, reading_within
from tests.patience import PATIENCE
from tests.postgres import create_database, database_on, drop_database
from tests.store.as_owner import in_role
from tests.store.hosts import Host, django_host, psycopg2_host, psycopg_host, sqlalchemy_host
from tests.store.logins import bound_logins, owning, plain

# All other tables are under row security: a new one is, too, or says here what makes that needless.
OF_NO_ORGANIZATION = {
    "fairlane_workers": "run jobs of all organizations, and name none",
    "fairlane_users": "people, of any organizations; the application may read no more than who they are",
    "fairlane_sessions": "of users; not the application's to read",
    "fairlane_socket_tickets": "of credentials, as hashes; not the application's to read",
    "fairlane_feed_keys": "one key, of all nodes; not the application's to read",
    "fairlane_schema_version": "the number of the schema's revision",
}

# Deliberately broken: it names no organization.
EVERY_JOB = text("SELECT organization_id FROM fairlane_jobs")


def report(ctx: JobContext) -> None: ...


def application(url: str, **settings: Any) -> Fairlane:
    fl = Fairlane(Settings(url=url, artifacts_url="memory:///", **settings))
    fl.job_type("report", dedup_window=0)(report)
    return fl


@pytest.fixture
def fl(postgres_url: str) -> Iterator[Fairlane]:
    """An application, with a job of acme and one of rival."""
    with application(postgres_url) as fl:
        for organization in ("acme", "rival"):
            fl.organizations.create(organization)
            fl.members.add(organization, "ana")
            fl.submit("report", organization=organization)
        yield fl


@pytest.fixture
def logins(fl: Fairlane) -> Iterator[dict[str, str]]:
    with bound_logins(fl.database.url) as urls:
        yield urls


def rows_of(table: str) -> Callable[[Connection], Sequence[AnyRow]]:
    return lambda connection: connection.execute(text(f"SELECT * FROM {table}")).all()


def current_user(connection: Connection) -> str:
    return str(connection.scalar(text("SELECT current_user")))


def seen(database: Database, of: Scope = ()) -> list[list[str]]:
    """Return the owners of the jobs that the broken query returns: in a write, in a read, and by itself."""

    def work(connection: Connection) -> list[str]:
        return sorted(connection.execute(EVERY_JOB).scalars())

    with in_role():
        return [verb(work, of=of) for verb in (database.write, database.read, database.look)]


def test_every_table_that_carries_an_organization_is_under_forced_row_security(fl: Fairlane):
    with psycopg.connect(plain(fl.database.url)) as look:
        found = look.execute(
            "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class "
            "WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        policies = look.execute(
            "SELECT tablename, policyname, cmd, starts_with(ltrim(with_check, '('), ltrim(qual, '(')) FROM pg_policies"
        ).fetchall()
    secured = {name for name, is_forced in found if is_forced}
    assert {name for name, _ in found} - secured == OF_NO_ORGANIZATION.keys()
    # The first is the same for all organizations. Submitters lock rows of these, and change none.
    held = ("fairlane_job_types", "fairlane_jobs", "fairlane_ended")
    assert secured - {held[0]} == {table.name for table in metadata.tables.values() if is_of_tenants(table)}
    others = {(table, "fairlane_hold", "UPDATE", False) for table in held}
    # By the owner's function they end jobs.
    others |= {("fairlane_live", "fairlane_owner", "ALL", False)}
    others |= {(table, "fairlane_owner", "ALL", True) for table in ("fairlane_ended", "fairlane_dead_letters")}
    assert set(policies) == others | {(table, name.value, "ALL", True) for table in secured for name in DatabaseRole}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "role"),
    [
        ("acme", DatabaseRole.TENANT),
        ({"acme"}, DatabaseRole.TENANT),
        (["acme", "rival"], DatabaseRole.APP),
        ((), DatabaseRole.APP),
        (None, DatabaseRole.APP),
        (Administered("acme"), DatabaseRole.ADMIN),
        (EVERYONE, DatabaseRole.OPERATOR),
    ],
)
def test_a_transaction_has_the_role_of_whose_rows_it_is_open_to(fl: Fairlane, of: Scope | None, role: DatabaseRole):
    database = fl.database
    with in_role():
        for verb in (database.read, database.write, database.look):
            assert verb(current_user, of=of) == role


def test_what_the_application_may_read_of_workers_names_no_organization(fl: Fairlane):
    worker = WorkerCard(uuid4(), "w1", None, ("report",), 1)

    def introduce(connection: Connection) -> None:
        workers.register(connection, fl.database.clock, worker, 60.0)
        workers.tell_locked(connection, worker.id, ["acme", "rival"])

    fl.database.write(introduce)
    with in_role():
        shown = fl.database.read(
            lambda c: (rows_of("fairlane_workers")(c), rows_of("fairlane_locked_organizations")(c)), of="acme"
        )
        assert "rival" not in str(shown)
        assert fl.database.read(lambda c: workers.lacking_key_of(c, "acme"), of="acme") == {worker.id}
        assert fl.database.read(lambda c: workers.lacking_key_of(c, "rival"), of="acme") == frozenset()


def test_a_query_that_names_no_organization_returns_nothing_foreign(fl: Fairlane):
    assert seen(fl.database, of="acme") == [["acme"]] * 3
    assert seen(fl.database, of=["acme", "rival"]) == [["acme", "rival"]] * 3
    assert seen(fl.database, of=EVERYONE) == [["acme", "rival"]] * 3


def test_a_transaction_that_is_open_to_nobody_sees_nothing(fl: Fairlane):
    assert seen(fl.database) == [[]] * 3


def test_a_session_in_which_no_organization_was_ever_named_sees_nothing_and_writes_nothing(fl: Fairlane):
    tables = [table for table in metadata.sorted_tables if is_of_tenants(table) and table is not pauses]
    with psycopg.connect(plain(fl.database.url), autocommit=True) as session:
        filled = [table.name for table in tables if session.execute(f"TABLE {table.name} LIMIT 1").fetchone()]
        assert {"fairlane_organizations", "fairlane_members", "fairlane_jobs", "fairlane_audit"} <= set(filled)
        assert session.execute(f"SELECT current_setting('{SETTING}', true)").fetchone() == (None,)
        for role, table in product((DatabaseRole.APP, DatabaseRole.TENANT), tables):
            session.execute(f"SET ROLE {role}")
            key = "organization_id" if "organization_id" in table.c else "id"
            assert session.execute(f"TABLE {table.name}").fetchall() == []
            assert changed_by(session, f"INSERT INTO {table.name} ({key}) VALUES ('acme')") == "refused"
            assert changed_by(session, f"UPDATE {table.name} SET {key} = {key}") in {0, "refused"}
            assert changed_by(session, f"DELETE FROM {table.name}") in {0, "refused"}


def changed_by(session: psycopg.Connection[Any], statement: str) -> int | str:
    """Return how many rows the statement has changed, or "refused"."""
    try:
        return session.execute(statement).rowcount
    except InsufficientPrivilege:
        return "refused"


def test_a_large_organization_s_rows_are_guessed_as_if_there_were_no_policy(fl: Fairlane):
    with fl.database.engine.begin() as owner:
        for organizations, users in (("'acme'", "'user ' || n"), ("'tenant-' || n", "'ana'")):
            owner.execute(
                text(
                    "INSERT INTO fairlane_members (organization_id, user_id, role, permissions, created_at) "
                    f"SELECT {organizations}, {users}, 'member', '[]', now() FROM generate_series(1, 1000) AS n"
                )
            )
        owner.execute(text("ANALYZE fairlane_members"))

    def guessed(connection: Connection) -> int:
        (plan,) = connection.scalar(
            text("EXPLAIN (FORMAT JSON) SELECT FROM fairlane_members WHERE organization_id = 'acme'")
        )
        return int(plan["Plan"]["Plan Rows"])

    with in_role():
        for of in ("acme", {"acme"}):
            assert 900 < fl.database.read(guessed, of=of) < 1100


def test_rights_on_the_tables_alone_show_no_tenant_s_rows(fl: Fairlane):
    with owning(fl.database.url) as owner, psycopg.connect(plain(owner), autocommit=True) as session:
        session.execute(f"SET {SETTING} = 'acme'")
        assert session.execute("TABLE fairlane_jobs").fetchall() == []
        assert changed_by(session, "DELETE FROM fairlane_jobs") == 0


@pytest.mark.parametrize("may", ["", "WITH SET FALSE, INHERIT FALSE"], ids=["not a member", "a member without SET"])
def test_a_login_that_may_not_be_the_tenant_sees_the_same(fl: Fairlane, logins: dict[str, str], may: str):
    with psycopg.connect(plain(fl.database.url), autocommit=True) as administrator:
        if may and administrator.info.server_version < 16_00_00:
            pytest.skip("every member may take a role on before PostgreSQL 16")
        if may:
            administrator.execute(f"GRANT {DatabaseRole.TENANT} TO {make_url(logins['host']).username} {may}")
    with application(logins["host"]) as lacking:
        assert seen(lacking.database, of="acme") == [["acme"]] * 3
        assert seen(lacking.database, of=["acme", "rival"]) == [["acme", "rival"]] * 3
        assert seen(lacking.database) == [[]] * 3


@pytest.mark.parametrize("before", ["acme", EVERYONE], ids=["an organization", "an operator"])
def test_a_pooled_connection_keeps_nothing_of_the_one_before(fl: Fairlane, before: Scope):
    database = Database(fl.database.url, pool_size=1, role=DatabaseRole.APP)
    for _ in range(2):
        assert seen(database, of=before)[0]
        assert seen(database) == [[]] * 3
    with pytest.raises(ZeroDivisionError), in_role():
        database.write(lambda _: 1 // 0, of=before)
    assert seen(database) == [[]] * 3
    with pytest.raises(ConfigurationError), in_role():
        database.look(lambda connection: connection.execute(text("SELECT nonsense")), of=before)
    assert seen(database) == [[]] * 3
    database.close()


def test_a_statement_by_itself_sees_whose_rows_it_says_and_leaves_nothing_open(fl: Fairlane):
    database = Database(fl.database.url, pool_size=1, role=DatabaseRole.APP)
    mine = """
        WITH scope AS MATERIALIZED (SELECT set_config('fairlane.organizations', 'acme', true))
        SELECT organization_id FROM scope CROSS JOIN LATERAL (SELECT organization_id FROM fairlane_jobs OFFSET 0) AS of
    """
    for _ in range(2):
        assert database.write_one(mine) == [("acme",)]
        assert database.write_one("SELECT organization_id FROM fairlane_jobs") == []
        assert seen(database) == [[]] * 3
    with pytest.raises(ConfigurationError):
        database.write_one("SELECT nonsense")
    assert seen(database) == [[]] * 3
    database.close()


@pytest.mark.parametrize("odd", ["acme,rival", "", ",", "acme\0", "rival,", "*", "{acme,rival}"])
def test_a_name_that_is_no_id_opens_nothing(fl: Fairlane, odd: str):
    assert seen(fl.database, of=odd) == [[]] * 3
    assert seen(fl.database, of=[odd, "acme"]) == [["acme"]] * 3


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["", "acme,rival", "*", ()])
def test_a_name_that_is_no_id_opens_nothing_of_the_platform_s(fl: Fairlane, odd: Scope):
    """The platform's rows have an empty organization."""
    fl.users.create("olga", operator=True)
    fl.tokens.create(organization=None, as_user="olga", name="of an operator")

    def work(connection: Connection) -> list[int]:
        found = (f"SELECT FROM {table} WHERE organization_id = ''" for table in ("fairlane_tokens", "fairlane_audit"))
        return [connection.execute(text(statement)).rowcount for statement in found]

    assert fl.database.read(work, of=EVERYONE) == [1, 2]
    with in_role():
        assert fl.database.read(work, of=odd) == fl.database.look(work, of=odd) == [0, 0]
    with psycopg.connect(plain(fl.database.url), autocommit=True) as session:
        session.execute("SET fairlane.organizations = ''")
        for role in (DatabaseRole.APP, DatabaseRole.TENANT):
            session.execute(f"SET ROLE {role}")
            assert session.execute("TABLE fairlane_tokens").fetchall() == []
            assert changed_by(session, "UPDATE fairlane_tokens SET name = 'mine'") == "refused"
            assert changed_by(session, "DELETE FROM fairlane_tokens") == "refused"
            refused = "INSERT INTO fairlane_audit (organization_id) VALUES ('')"
            assert changed_by(session, refused) == "refused"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO fairlane_members VALUES ('rival', 'eve', 'admin', '[]', now())",
        "UPDATE fairlane_members SET organization_id = 'rival'",
    ],
)
def test_nothing_is_written_into_another_organization(fl: Fairlane, statement: str):
    with pytest.raises(ProgrammingError) as refused, in_role():
        fl.database.write(lambda connection: connection.execute(text(statement)), of=Administered("acme"))
    assert isinstance(refused.value.orig, InsufficientPrivilege)
    assert [member.user for member in fl.members.list("rival")] == ["ana"]


@pytest.mark.parametrize("table", ["fairlane_jobs", "fairlane_members", "fairlane_execution_log"])
def test_a_change_without_a_where_reaches_no_other_organization(fl: Fairlane, table: str):
    with in_role():
        fl.database.write(lambda connection: connection.execute(text(f"DELETE FROM {table}")), of=Administered("acme"))
    with fl.database.engine.connect() as owner:
        left = owner.execute(text(f"SELECT DISTINCT organization_id FROM {table}")).scalars().all()
    assert left == ["rival"]


@pytest.mark.parametrize("change", ["UPDATE fairlane_audit SET actor = 'nobody'", "DELETE FROM fairlane_audit"])
def test_nobody_but_the_owner_can_change_the_audit(fl: Fairlane, change: str):
    for of in ("acme", EVERYONE):
        with pytest.raises(ConfigurationError, match="may not do this"), in_role():
            fl.database.write(lambda connection: connection.execute(text(change)), of=of)


def test_workers_can_t_read_credentials(fl: Fairlane):
    database = fl.database.sibling(pool_size=1, role=DatabaseRole.WORKER)
    for table in ("fairlane_users", "fairlane_sessions", "fairlane_tokens"):
        with pytest.raises(ConfigurationError, match="may not do this"), in_role():
            database.read(rows_of(table))
    assert seen(database) == [["acme", "rival"]] * 3
    database.close()


def test_a_whole_life_goes_on_below_logins_that_are_bound(fl: Fairlane, logins: dict[str, str]):
    with application(logins["jobs"], production=True) as bound:
        job = bound.submit("report", organization="acme", user="ana", labels={"case": "7"})
        jobs = bound.submit_many(
            [bound_submission("acme"), bound_submission("rival")],
        )
        with pytest.raises(JobNotFound):
            bound.get(job.id, organization="rival")
        assert bound.explain(job.id, organization="acme").status is JobStatus.QUEUED
        assert bound.worker().drain().completed >= 5
        assert bound.get(job.id, organization="acme").status is JobStatus.COMPLETED
        assert bound.get(jobs[1].id, organization="rival").status is JobStatus.COMPLETED
        bound.organizations.pause("acme", user="ana")
        assert bound.organizations.get("acme").paused
        assert {one.id for one in bound.organizations.list()} == {"acme", "rival"}
        assert sum(bound.metrics().jobs_by_status.values()) == 5
        assert sum(bound.metrics(organization="acme").jobs_by_status.values()) == 3


def bound_submission(organization: str) -> Submission:
    return Submission("report", organization=organization)


def test_in_production_a_login_that_is_not_bound_is_refused(fl: Fairlane, logins: dict[str, str]):
    with application(fl.database.url, production=True) as careless:
        with pytest.raises(ConfigurationError, match=r"must not be one that is a superuser's .* GRANT fairlane_app"):
            careless.organizations.list()
        with pytest.raises(ConfigurationError, match="superuser"):
            careless.worker().drain()
    with application(logins["host"], production=True) as host:
        assert host.submit("report", organization="acme").organization == "acme"
        with pytest.raises(ConfigurationError, match="may not do this"):
            host.organizations.list()
        with pytest.raises(ConfigurationError, match="may not take on Fairlane's roles"):
            host.worker().drain()


def test_in_production_the_tables_owner_is_refused(fl: Fairlane, logins: dict[str, str]):
    with owning(fl.database.url) as owner:
        with application(owner, production=True) as careless:
            with pytest.raises(
                ConfigurationError, match=r"must not be one that owns Fairlane's tables, .*FAIRLANE_OWNER_URL"
            ):
                careless.submit("report", organization="acme")
            with pytest.raises(ConfigurationError, match="owns Fairlane's tables"):
                careless.worker().drain()
        # Nor a role that may take on the owner.
        with psycopg.connect(plain(fl.database.url), autocommit=True) as administrator:
            administrator.execute(f"GRANT {make_url(owner).username} TO {make_url(logins['jobs']).username}")
        with (
            application(logins["jobs"], production=True) as careless,
            pytest.raises(ConfigurationError, match="owns Fairlane's tables"),
        ):
            careless.organizations.list()


def test_in_production_a_login_that_sees_all_without_taking_on_a_role_is_refused(fl: Fairlane, logins: dict[str, str]):
    careless = make_url(logins["jobs"])
    with psycopg.connect(plain(fl.database.url), autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {careless.username}_2 LOGIN")
        owner.execute(f"GRANT {', '.join(DatabaseRole)} TO {careless.username}_2")
    url = careless.set(username=f"{careless.username}_2").render_as_string(False)
    with application(url, production=True) as inheriting:
        with pytest.raises(ConfigurationError, match=r"inherits the rights .* NOINHERIT"):
            inheriting.organizations.list()
        with pytest.raises(ConfigurationError, match="inherits the rights"):
            inheriting.worker().drain()
    with psycopg.connect(plain(fl.database.url), autocommit=True) as owner:
        owner.execute(f"DROP ROLE {careless.username}_2")


def test_workers_may_have_a_login_of_their_own(fl: Fairlane, logins: dict[str, str]):
    with application(logins["web"], production=True, worker_url=logins["workers"]) as bound:
        job = bound.submit("report", organization="acme")
        assert bound.worker().drain().completed == 3
        assert bound.get(job.id, organization="acme").status is JobStatus.COMPLETED


def test_in_production_a_worker_refuses_a_login_of_handlers_that_is_not_bound(fl: Fairlane, logins: dict[str, str]):
    with (
        application(fl.database.url, production=True, worker_url=logins["workers"]) as careless,
        pytest.raises(ConfigurationError, match=r"must not be one that is a superuser's .* GRANT fairlane_app"),
    ):
        careless.worker().drain()


def test_a_handler_whose_login_lost_its_roles_gives_the_job_back(fl: Fairlane, logins: dict[str, str]):
    web = make_url(logins["web"]).username
    with (
        application(logins["web"], production=True, worker_url=logins["workers"]) as bound,
        psycopg.connect(plain(fl.database.url), autocommit=True) as administrator,
    ):

        @bound.job_type("count", queue="count", max_retries=0)
        def count(ctx: JobContext) -> int:
            if ctx.attempt == 1:
                administrator.execute(f"REVOKE {', '.join(DatabaseRole)} FROM {web}")
                bound.database.close()
            return len(bound.list(organization="acme").items)

        job = bound.submit("count", organization="acme")
        bound.worker(queues=["count"]).drain()
        administrator.execute(f"GRANT {', '.join(set(DatabaseRole) - {DatabaseRole.WORKER})} TO {web}")
        waiting = bound.get(job, organization="acme")
        assert (waiting.status, waiting.retry_count) == ("queued", 0)
        assert "may not take on Fairlane's roles" in bound.history(job, organization="acme")[-1].message
        bound.run_now(job, organization="acme")
        bound.worker(queues=["count"]).drain()
        assert bound.get(job, organization="acme").status == "completed"


def test_the_owner_migrates_and_the_application_does_not_need_to(fl: Fairlane, logins: dict[str, str]):
    with owning(fl.database.url) as owner, application(logins["jobs"], production=True, owner_url=owner) as bound:
        bound.migrate()
        assert bound.submit("report", organization="acme").organization == "acme"


def test_a_host_s_transaction_sees_what_it_saw_before_a_submission(fl: Fairlane, logins: dict[str, str]):
    engine = create_engine(make_url(logins["host"]).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        for mine in ("", "rival"):
            connection.execute(text("SELECT set_config('fairlane.organizations', :mine, true)"), {"mine": mine})
            before = connection.execute(EVERY_JOB).scalars().all()
            job: Job = fl.submit("report", organization="acme", connection=connection)
            assert job.status is JobStatus.QUEUED
            assert connection.execute(EVERY_JOB).scalars().all() == before
            assert connection.scalar(text("SELECT current_setting('fairlane.organizations')")) == mine
    engine.dispose()
    assert fl.list(organization="acme").total == 3


of_each_driver = pytest.mark.parametrize(
    "host",
    [
        psycopg_host,
        psycopg2_host,
        partial(sqlalchemy_host, driver="postgresql+psycopg"),
        partial(django_host, atomic=True),
    ],
    ids=["psycopg", "psycopg2", "SQLAlchemy", "Django"],
)


@of_each_driver
def test_a_session_with_another_datestyle_and_without_row_security_submits_and_keeps_both(
    fl: Fairlane, logins: dict[str, str], host: Callable[[str], AbstractContextManager[Host]]
):
    theirs_are = {"DateStyle": "German, DMY", "row_security": "off"}
    with application(logins["jobs"], production=True) as shop, host(plain(logins["jobs"])) as theirs:
        for setting, value in theirs_are.items():
            theirs.execute(f"SET {setting} = {value}")
        job = shop.submit("report", organization="acme", delay=3600, connection=theirs.lent)
        assert {setting: theirs.execute(f"SHOW {setting}") for setting in theirs_are} == theirs_are
        theirs.commit()
        assert {setting: theirs.execute(f"SHOW {setting}") for setting in theirs_are} == theirs_are
        assert shop.get(job, organization="acme") == job


@pytest.mark.slow
@of_each_driver
def test_a_login_without_rights_of_its_own_submits_on_its_connection_and_has_none_afterwards(
    fl: Fairlane, logins: dict[str, str], host: Callable[[str], AbstractContextManager[Host]]
):
    login = make_url(logins["jobs"]).username
    with (
        application(logins["jobs"], production=True, lock_timeout=0.1) as shop,
        host(plain(logins["jobs"])) as theirs,
    ):
        job = shop.submit("report", organization="acme", connection=theirs.lent)
        assert theirs.execute("SELECT current_user") == login
        shop.submit_many([bound_submission("acme"), bound_submission("rival")], connection=theirs.lent)
        assert theirs.execute("SELECT current_user") == login
        with pytest.raises(OrganizationNotFound):
            shop.submit("report", organization="nobody", connection=theirs.lent)
        with pytest.raises(DuplicateJob, match="submitted before"):
            shop.submit_many([replace(bound_submission("acme"), id=job.id)], connection=theirs.lent)
        (parent,) = fl.list(organization="acme").items
        with psycopg.connect(plain(fl.database.url)) as other:
            other.execute("SELECT FROM fairlane_jobs WHERE id = %s FOR UPDATE", [parent.id])
            with pytest.raises(StorageUnavailable, match="locked"):
                shop.submit("report", organization="acme", depends_on=[parent.id], connection=theirs.lent)
        assert theirs.execute("SELECT current_user") == login
        assert theirs.execute("SELECT current_setting('fairlane.organizations')") == ""
        assert theirs.execute("SELECT has_table_privilege('fairlane_jobs', 'SELECT')") is False
        theirs.commit()
        assert (shop.list(organization="acme").total, shop.list(organization="rival").total) == (3, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "host",
    [None, psycopg_host, psycopg2_host, partial(sqlalchemy_host, driver="postgresql+psycopg")],
    ids=["Fairlane's own", "psycopg", "psycopg2", "SQLAlchemy"],
)
def test_a_submission_ends_and_releases_jobs_that_wait_though_its_session_may_delete_nothing(
    fl: Fairlane, logins: dict[str, str], host: Callable[[str], AbstractContextManager[Host]] | None
):
    with owning(fl.database.url) as owner:  # whom row security binds, too
        with application(owner) as migrating:
            migrating.migrate()
        (parent,) = fl.list(organization="acme").items
        with application(logins["jobs"], production=True) as shop:
            shop.job_type("letter")(report)
            with host(plain(logins["jobs"])) if host is not None else nullcontext() as theirs:
                lent = theirs.lent if theirs is not None else None

                def submit(job_type: str, **wish: Any) -> Job:
                    return shop.submit(job_type, organization="acme", connection=lent, **wish)

                first = submit("letter")
                policies = {
                    "run_anyway": JobStatus.QUEUED,
                    "cancel": JobStatus.CANCELED,
                    "dead_letter": JobStatus.DEAD_LETTER,
                }
                children = {one: submit("report", depends_on=[first], on_parent_failure=one) for one in policies}
                second = submit("letter", on_duplicate="replace", depends_on=[parent])
                fallen = shop.submit_many(
                    [Submission("report", organization="acme", depends_on=[first]) for _ in range(5)], connection=lent
                )
                if theirs is not None:
                    theirs.commit()
            wanted = {first.id: JobStatus.CANCELED, second.id: JobStatus.PENDING}
            wanted |= {children[one].id: status for one, status in policies.items()}
            wanted |= {job.id: JobStatus.DEAD_LETTER for job in fallen}
            assert {one: shop.get(one, organization="acme").status for one in wanted} == wanted


def test_a_host_that_has_taken_on_a_role_of_its_own_has_it_after_a_submission(fl: Fairlane, logins: dict[str, str]):
    login = make_url(logins["jobs"]).username
    role = f"{login}_role"
    with psycopg.connect(plain(fl.database.url), autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE {role}")
        administrator.execute(f"GRANT {role} TO {login}")
        with psycopg.connect(plain(logins["jobs"]), autocommit=True) as session:
            session.execute(f"SET ROLE {role}")
            assert fl.submit("report", organization="acme", connection=session).status is JobStatus.QUEUED
            assert session.execute("SELECT current_user").fetchone() == (role,)
        administrator.execute(f"DROP ROLE {role}")


def test_a_host_s_login_that_may_not_submit_is_told_what_it_lacks(fl: Fairlane, logins: dict[str, str]):
    login = make_url(logins["workers"]).username
    with psycopg.connect(plain(logins["workers"])) as session:
        with pytest.raises(
            ConfigurationError,
            match=f"The login {login} of your connection may not submit jobs.* FAIRLANE_URL .*"
            f"GRANT fairlane_app, fairlane_tenant TO {login}",
        ):
            fl.submit("report", organization="acme", connection=session)
        assert session.execute("SELECT current_user").fetchone() == (login,)


def test_a_foreign_parent_is_as_unknown_as_none(fl: Fairlane, logins: dict[str, str]):
    theirs = fl.list(organization="rival").items[0].id
    told = []
    with application(logins["jobs"]) as bound:
        for parent in (theirs, uuid4()):
            with pytest.raises(Exception, match="is not a job of organization acme") as refused:
                bound.submit("report", organization="acme", depends_on=[parent])
            told.append(str(refused.value).replace(str(parent), "…"))
    assert told[0] == told[1]


@pytest.mark.slow
def test_without_the_right_to_create_roles_the_schema_is_made_and_says_so(postgres_server: str):
    name, login = f"test_{uuid4().hex}", f"plain_{uuid4().hex}"
    create_database(postgres_server, name, template="template0")
    url = database_on(postgres_server, name)
    with psycopg.connect(plain(url), autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {login} LOGIN")
        owner.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {login}")
    theirs = make_url(url).set(username=login).render_as_string(False)
    with application(theirs) as fl:
        fl.migrate()
        fl.organizations.create("acme")
        fl.submit("report", organization="acme")
        assert fl.worker().drain().completed == 1
        assert schema.lacks_row_security(fl.database)
        with psycopg.connect(plain(url), autocommit=True) as owner:
            owner.execute(f"GRANT {', '.join(DatabaseRole)} TO {login}")
        fl.migrate()
        assert not schema.lacks_row_security(fl.database)
        assert fl.submit("report", organization="acme").organization == "acme"
        assert fl.worker().drain().completed == 1
        assert seen(fl.database) == [[]] * 3
    drop_database(postgres_server, name)
    with psycopg.connect(plain(postgres_server), autocommit=True) as owner:
        owner.execute(f"DROP ROLE {login}")


@pytest.mark.slow
def test_a_database_without_the_tenant_s_rights_is_read_as_the_app_and_mended(fl: Fairlane):
    secured = [table.name for table in metadata.sorted_tables if is_of_tenants(table)]
    with psycopg.connect(plain(fl.database.url), autocommit=True) as owner:
        for name in [*metadata.tables, "fairlane_schema_version"]:
            owner.execute(f"REVOKE ALL ON {name} FROM {DatabaseRole.TENANT}")
        for name in secured:
            owner.execute(f"DROP POLICY {DatabaseRole.TENANT} ON {name}")
    with application(fl.database.url) as later:
        assert schema.lacks_row_security(later.database)
        assert seen(later.database, of="acme") == [["acme"]] * 3
        later.migrate()
        assert not schema.lacks_row_security(later.database)
        with in_role():
            for of, role in (("acme", DatabaseRole.TENANT), (EVERYONE, DatabaseRole.OPERATOR)):
                assert later.database.read(current_user, of=of) == role
                assert later.database.read(lambda c: c.execute(text("TABLE fairlane_schema_version")).all(), of=of)
        assert seen(later.database, of="acme") == [["acme"]] * 3


def test_a_second_migration_changes_nothing(fl: Fairlane):
    assert schema.migrate(fl.database) == ("0001", "0001")
    assert seen(fl.database, of="acme") == [["acme"]] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT password_hash FROM fairlane_users",
        "INSERT INTO fairlane_users VALUES ('evil', null, true, '[]', null, now())",
        "UPDATE fairlane_users SET is_operator = true",
        "SELECT * FROM fairlane_sessions",
        "INSERT INTO fairlane_sessions VALUES ('evil', 'evil', false, now(), now())",
        "SELECT * FROM fairlane_socket_tickets",
        "SELECT * FROM fairlane_feed_keys",
        "INSERT INTO fairlane_pauses VALUES ('queue', 'default', now(), 'evil', '')",
        "DELETE FROM fairlane_pauses",
        "UPDATE fairlane_job_types SET enabled = false",
        "DELETE FROM fairlane_job_types",
        "DELETE FROM fairlane_locked_organizations",
        "INSERT INTO fairlane_locked_organizations VALUES ('acme', gen_random_uuid())",
        "UPDATE fairlane_workers SET drain_requested = true",
    ],
)
def test_a_handler_of_one_organization_has_no_right_to_logins_pauses_types_and_workers(fl: Fairlane, statement: str):
    fl.users.create("olga", operator=True, password="correct horse battery")
    with pytest.raises(ConfigurationError, match="may not do this"), in_role():
        fl.database.write(lambda connection: connection.execute(text(statement)), of="acme")
    assert [one.id for one in fl.users.list()] == ["olga"]


def test_who_is_an_operator_the_app_may_know_and_workers_too(fl: Fairlane):
    fl.users.create("olga", operator=True)
    look = text("SELECT id, is_operator, rights, disabled_at FROM fairlane_users")
    worker = fl.database.sibling(pool_size=1, role=DatabaseRole.WORKER)
    with in_role():
        for database in (fl.database, worker):
            assert database.read(lambda c: c.execute(look).one().is_operator, of="acme")
    worker.close()


def test_deleting_a_paused_organization_ends_its_pause_below_a_login_that_is_bound(
    fl: Fairlane, logins: dict[str, str]
):
    with application(logins["jobs"], production=True) as bound:
        bound.organizations.pause("acme")
        bound.organizations.delete("acme")
    assert fl.database.read(lambda c: c.execute(text("SELECT * FROM fairlane_pauses")).all(), of=EVERYONE) == []


CHANGED: Final = (
    "CREATE POLICY mine ON fairlane_jobs USING (true)",
    "ALTER POLICY fairlane_tenant ON fairlane_jobs USING (true)",
    "ALTER POLICY fairlane_operator ON fairlane_jobs TO public",
    "ALTER TABLE fairlane_jobs NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE fairlane_jobs DISABLE ROW LEVEL SECURITY",
    "ALTER POLICY fairlane_owner ON fairlane_live TO public",
    "ALTER FUNCTION fairlane_end_waiting RESET search_path",
    "ALTER FUNCTION fairlane_end_waiting SECURITY INVOKER",
    f"""CREATE OR REPLACE FUNCTION {SIGNATURE} RETURNS SETOF fairlane_ended LANGUAGE sql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'TABLE public.fairlane_ended'""",
    "DROP FUNCTION fairlane_end_waiting",
)


@pytest.mark.slow
def test_row_security_that_was_changed_is_told_refused_and_mended(
    fl: Fairlane, logins: dict[str, str], subtests: pytest.Subtests
):
    for change in CHANGED:
        with subtests.test(change):
            assert not schema.lacks_row_security(fl.database)
            with psycopg.connect(plain(fl.database.url), autocommit=True) as owner:
                owner.execute(change)
            assert schema.lacks_row_security(fl.database)
            with (
                application(logins["jobs"], production=True) as careless,
                pytest.raises(ConfigurationError, match="is not as Fairlane makes it"),
            ):
                careless.organizations.list()
            fl.migrate()
            assert not schema.lacks_row_security(fl.database)
            assert seen(fl.database, of="acme") == [["acme"]] * 3


@pytest.mark.slow
def test_a_right_too_many_is_told_and_taken_back(fl: Fairlane, subtests: pytest.Subtests):
    for change in (
        "GRANT UPDATE ON fairlane_users TO fairlane_app",
        "GRANT SELECT ON fairlane_jobs TO PUBLIC",
        "GRANT EXECUTE ON FUNCTION fairlane_end_waiting TO PUBLIC",
    ):
        with subtests.test(change):
            with psycopg.connect(plain(fl.database.url), autocommit=True) as owner:
                owner.execute(change)
            assert schema.lacks_row_security(fl.database)
            fl.migrate()
            assert not schema.lacks_row_security(fl.database)


@pytest.mark.parametrize("change", ["ALTER ROLE fairlane_app BYPASSRLS", "GRANT fairlane_operator TO fairlane_app"])
def test_a_role_that_was_let_past_row_security_is_told_and_brought_down(fl: Fairlane, change: str):
    # Roles are the whole server's: nobody else may see this.
    with fl.database.engine.connect() as owner:
        assert row_policies.is_complete(row_policies.asking(owner))
        owner.exec_driver_sql(change)
        assert not row_policies.is_complete(row_policies.asking(owner))
        assert row_policies.establish(owner)
        assert row_policies.is_complete(row_policies.asking(owner))
        owner.rollback()


def test_a_session_that_is_ended_amid_a_pipeline_is_given_up_and_nothing_is_logged(
    fl: Fairlane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver stayed in the pipeline, and the pool logged a traceback as it could not roll back there."""

    def left_in_it(pipeline: Any, _: object) -> None:
        pipeline.level -= 1
        raise psycopg.OperationalError("cannot exit pipeline mode while busy")

    def look() -> object:
        with reading_within(PATIENCE):
            return fl.database.look(lambda connection: connection.execute(text("SELECT 1")).all(), of="acme")

    def write_many() -> object:
        many = [{"n": 1}, {"n": 2}]
        return fl.database.write(lambda connection: connection.execute(text("SELECT :n"), many), of="acme")

    for work in (look, write_many):
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Pipeline, "_exit", left_in_it)
            with pytest.raises(StorageUnavailable):
                work()
        assert caplog.text == ""
        work()
