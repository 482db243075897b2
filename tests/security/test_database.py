"""SQL of an application's own login: it reaches no row of operators or the platform, changes nobody's rights (R19).

Rows of operators have an empty organization: their tokens, the audit of what they did, limits for all. Rows of the
platform's jobs have its name.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Boolean, Column, DateTime, Float, Integer, Table, TypeDecorator, Uuid, make_url

from fairlane import PLATFORM, Fairlane, Settings
from fairlane.store.row_ending import END_WAITING, SIGNATURE
from fairlane.store.row_rights import HOLD, SUBMITTERS, rights_of
from fairlane.store.row_security import SETTING, DatabaseRole, is_of_tenants
from fairlane.store.tables import metadata, pauses
from tests.store.logins import bound_logins, owning, plain

OPERATORS_ALONE: Final = ("", PLATFORM.value)
NOBODY: Final[set[str]] = set()
# Values of the setting that name no organization, or acme alone.
NAMING_NOBODY: Final = [
    *("", " ", ",", ",,", " , ", "\t,\n", ",\n", "\N{FULLWIDTH COMMA}", "," * 100_000, "acme" * 10_000),
    *("''", "'',''", '""', '"",""', "{}", "{,}", '{""}', "{acme}", "{NULL}", "NULL", "NULL,", "\\,", "\\0"),
    *("%", "*", "' OR true --", "')), ('", "organization_id"),
    *(",platform", "platform", ",platform,", ",,platform", "\\,platform", '",platform"', "',platform'", "{,platform}"),
    *(" ,platform", ",platform ", ",PLATFORM", "\N{FULLWIDTH COMMA}platform"),
]
NAMING_ACME: Final = [
    "acme",
    "acme,",
    ",acme",
    "acme,,acme",
    "acme,''",
    "acme,NULL",
    "acme,*",
    "acme,platform",
    "acme,,platform",
]
# What a login says to get rid of its bounds.
ESCAPES: Final = [
    *("RESET ROLE", "SET ROLE NONE", "RESET ALL", "DISCARD ALL", "SET SESSION AUTHORIZATION DEFAULT"),
    *(f"SET ROLE {role}" for role in (DatabaseRole.OPERATOR, DatabaseRole.WORKER)),
    f"RESET {SETTING}",
    "SET row_security = off",
    "SET session_replication_role = replica",
    "SET search_path = pg_temp, public",
]
TABLES: Final = [table for table in metadata.sorted_tables if is_of_tenants(table) and table is not pauses]
SAMPLES: Final = ((Boolean, False), (Integer, 1), (Float, 1.0), (DateTime, "now"), (Uuid, "0" * 32))

Session = psycopg.Connection[Any]


def key_of(table: Table) -> str:
    return "organization_id" if "organization_id" in table.c else "id"


def sample(column: Column[Any], organization: str) -> object:
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    return next((value for of, value in SAMPLES if isinstance(kind, of)), f"of {organization}")


def insert(session: Session, table: Table, organization: str) -> None:
    """Insert a row with a value in each column that needs one."""
    needed = (one for one in table.c if not (one.nullable or one.identity or one.server_default))
    values = {one.name: sample(one, organization) for one in needed} | {key_of(table): organization}
    names, literals = map(sql.Identifier, values), map(sql.Literal, values.values())
    head = sql.SQL("INSERT INTO {} ({})").format(sql.Identifier(table.name), sql.SQL(", ").join(names))
    session.execute(head + sql.SQL(" VALUES ({})").format(sql.SQL(", ").join(literals)))


@pytest.fixture
def logins(postgres_url: str) -> Iterator[dict[str, str]]:
    """Logins of a database in which each table has rows that operators alone see, a row of acme and one of rival."""
    with psycopg.connect(plain(postgres_url), autocommit=True) as administrator:
        administrator.execute("SET session_replication_role = replica")  # so that no row needs its job
        for table in TABLES:
            for organization in (*OPERATORS_ALONE, "acme", "rival"):
                insert(administrator, table, organization)
        administrator.execute("INSERT INTO fairlane_job_types VALUES ('report', '{}', '{}', true, now())")
    with bound_logins(postgres_url) as urls:
        yield urls


@pytest.fixture(params=["a login that inherits the role", DatabaseRole.APP, DatabaseRole.TENANT])
def session(request: pytest.FixtureRequest, logins: dict[str, str]) -> Iterator[Session]:
    """A session of a login that has the application's rights, or of one that has taken on a role."""
    role = request.param if request.param in set(DatabaseRole) else None
    with psycopg.connect(plain(logins["jobs" if role else "host"]), autocommit=True) as session:
        if role is not None:
            session.execute(f"SET ROLE {role}")
        yield session


def name(session: Session, names: str, *, is_local: bool = False) -> None:
    session.execute("SELECT set_config(%s, %s, %s)", (SETTING, names, is_local))


def seen_in(session: Session, table: Table) -> set[str]:
    """Return the organizations whose rows of the table the session sees; none if it may not read the table."""
    try:
        return {row[0] for row in session.execute(f"SELECT {key_of(table)} FROM {table.name}").fetchall()}
    except psycopg.errors.InsufficientPrivilege:
        return set()


def seen(session: Session) -> set[str]:
    return {whose for table in TABLES for whose in seen_in(session, table)}


@pytest.mark.slow
def test_a_setting_that_names_no_organization_opens_no_row(session: Session):
    for names in NAMING_NOBODY:
        name(session, names)
        assert seen(session) == NOBODY, names[:20]
    for names in NAMING_ACME:
        name(session, names)
        assert seen(session) <= {"acme"}, names


@pytest.mark.slow
def test_no_setting_lets_a_row_of_the_platform_be_written(session: Session):
    for names in (*NAMING_NOBODY, *NAMING_ACME):
        name(session, names)
        for table, organization in product(TABLES, OPERATORS_ALONE):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                insert(session, table, organization)


def test_a_name_of_a_savepoint_or_of_a_transaction_ends_with_it(session: Session):
    with session.transaction():
        name(session, "acme", is_local=True)
        with session.transaction(force_rollback=True):
            name(session, "rival", is_local=True)
        assert seen(session) == {"acme"}
    assert seen(session) == NOBODY


@pytest.mark.slow
@pytest.mark.parametrize("escape", ESCAPES)
def test_a_login_with_the_application_s_rights_alone_gets_rid_of_no_bound(logins: dict[str, str], escape: str):
    with psycopg.connect(plain(logins["host"]), autocommit=True) as session:
        name(session, "acme")
        try:
            session.execute(escape)
        except psycopg.errors.InsufficientPrivilege:
            assert session.execute("SELECT current_user").fetchone() == (make_url(logins["host"]).username,)
        assert seen_or_refused(session) <= {"acme"}


def seen_or_refused(session: Session) -> set[str]:
    try:
        return seen(session)
    except psycopg.errors.InsufficientPrivilege:  # `row_security = off` has it refused instead of narrowed
        return NOBODY


def test_no_function_of_the_session_s_own_is_shown_a_row_of_others(session: Session):
    """A condition that is as cheap as it can be would be evaluated before the policy, if PostgreSQL let it."""
    told: list[str] = []
    session.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    name(session, "acme")
    with session.transaction(force_rollback=True):
        session.execute(
            "CREATE FUNCTION pg_temp.tell(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS "
            "$$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
        )
        for table in TABLES:
            with suppress(psycopg.errors.InsufficientPrivilege), session.transaction():
                session.execute(f"SELECT FROM {table.name} WHERE pg_temp.tell({key_of(table)}::text)")
    assert set(told) == {"acme"}


# What submits and reads has no need of; each is said by a session that has named acme.
NOT_GRANTED: Final = [
    *("UPDATE fairlane_organizations SET weight = 1000", "UPDATE fairlane_organizations SET max_live_jobs = NULL"),
    *("INSERT INTO fairlane_organizations (id) VALUES ('acme')", "DELETE FROM fairlane_organizations"),
    "INSERT INTO fairlane_members (organization_id, user_id, role) VALUES ('acme', 'eve', 'admin')",
    *("UPDATE fairlane_members SET role = 'admin'", "DELETE FROM fairlane_members"),
    *("UPDATE fairlane_tokens SET user_id = 'eve'", "UPDATE fairlane_tokens SET revoked_at = NULL"),
    *("INSERT INTO fairlane_tokens (organization_id) VALUES ('acme')", "DELETE FROM fairlane_tokens"),
    *(f"UPDATE fairlane_job_types SET {one}" for one in ("options = '{}'", "schema = '{}'", "enabled = false")),
    *("UPDATE fairlane_job_types SET name = 'mine'", "UPDATE fairlane_job_types SET name = name"),
    *("DELETE FROM fairlane_job_types", "TRUNCATE fairlane_job_types"),
    "INSERT INTO fairlane_job_types VALUES ('new', '{}', '{}', false, now())",
    "INSERT INTO fairlane_job_types VALUES ('report', '{}', '{}', false, now()) ON CONFLICT DO NOTHING",
    *(
        "UPDATE fairlane_organization_keys SET wrapped_key = ''",
        "INSERT INTO fairlane_limits VALUES ('acme', 'x', '{}')",
    ),
    *("UPDATE fairlane_schedules SET user_id = 'ana'", "UPDATE fairlane_bulk_actions SET needs = NULL"),
    *("UPDATE fairlane_jobs SET submitted_by = 'ana'", "UPDATE fairlane_jobs SET organization_id = 'acme'"),
    *("UPDATE fairlane_jobs SET parameters = '{}'", "DELETE FROM fairlane_jobs", "TRUNCATE fairlane_jobs CASCADE"),
    *("UPDATE fairlane_live SET priority = 0", "UPDATE fairlane_live SET lease_token = NULL"),
    *("UPDATE fairlane_ended SET status = 'completed'", "DELETE FROM fairlane_ended", "TRUNCATE fairlane_ended"),
    *("DELETE FROM fairlane_live", "TRUNCATE fairlane_live"),
    # What a worker writes by a job's key as the job ends.
    *(f"INSERT INTO fairlane_{one} DEFAULT VALUES" for one in ("ended", "dead_letters", "results", "attempt_errors")),
    *("UPDATE fairlane_dead_letters SET note = note", "SELECT FROM fairlane_dead_letters FOR KEY SHARE"),
    *("UPDATE fairlane_execution_log SET actor = 'ana'", "DELETE FROM fairlane_execution_log"),
    *("CREATE TABLE public.mine ()", "ALTER TABLE fairlane_jobs DISABLE ROW LEVEL SECURITY"),
]


def test_who_submits_changes_no_organization_member_token_or_type_and_deletes_nothing(session: Session):
    name(session, "acme")
    for statement in NOT_GRANTED:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(statement)
        assert session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.slow
def test_who_submits_locks_no_table_against_others(session: Session):
    for table in metadata.sorted_tables:
        for mode in ("ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE", "SHARE UPDATE EXCLUSIVE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
                session.execute(f"LOCK TABLE {table.name} IN {mode} MODE")


@pytest.mark.slow
def test_a_right_that_is_not_in_the_table_is_not_there(postgres_url: str):
    """Of each role and table, whether PostgreSQL would let it, against what `row_rights` says."""
    with psycopg.connect(plain(postgres_url)) as administrator:
        for role, table in product(DatabaseRole, metadata.sorted_tables):
            said = rights_of(role, table)
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
                asked = administrator.execute("SELECT has_table_privilege(%s, %s, %s)", [role, table.name, right])
                assert asked.fetchone() == (right in said,), (role, table.name, right)
            for right, column in product(("INSERT", "UPDATE"), table.c):
                query = "SELECT has_column_privilege(%s, %s, %s, %s)"
                may = administrator.execute(query, [role, table.name, column.name, right]).fetchone()
                is_held = HOLD in said and right == "UPDATE" and column is next(iter(table.primary_key))
                is_said = is_held or not {right, f"{right} ({column.name})"}.isdisjoint(said)
                assert may == (is_said,), (role, table.name, column.name, right)


# How a job may end by the function, and how not: the status before and after, and the moment.
ENDS: Final = {
    ("pending", "canceled", "now()"): True,
    ("pending", "dead_letter", "now()"): True,
    ("queued", "canceled", "now()"): True,
    ("queued", "dead_letter", "now()"): True,
    ("queued", "completed", "now()"): False,
    ("queued", "bogus", "now()"): False,
    ("queued", "canceled", "'infinity'"): False,
    ("queued", "canceled", "'-infinity'"): False,
    ("queued", "canceled", "NULL"): False,
    ("running", "canceled", "now()"): False,
    ("running", "dead_letter", "now()"): False,
}


@pytest.mark.slow
@pytest.mark.parametrize("names", ["", "rival,other", "acme"])
@pytest.mark.parametrize(
    "of_owner",
    [
        "",
        f"ALTER ROLE {{0}} INHERIT; REVOKE {DatabaseRole.WORKER} FROM {{0}}; GRANT {DatabaseRole.WORKER} TO {{0}}",
        "ALTER ROLE {0} SUPERUSER",
    ],
    ids=["bound", "inherits the worker's role", "superuser"],
)
def test_who_submits_ends_waiting_jobs_of_organizations_that_it_has_named_and_no_others(
    postgres_url: str, names: str, of_owner: str
):
    """Be the function's owner bound by row security, or see all by a role that it inherits, or be above it."""
    ids = {(of, *how): uuid4() for of, how in product(("acme", "rival"), ENDS)}
    with psycopg.connect(plain(postgres_url), autocommit=True) as administrator, owning(postgres_url) as owner:
        for (of, status, *_), job in ids.items():
            administrator.execute(
                "WITH facts AS (INSERT INTO fairlane_jobs (organization_id, id, queue, job_type, parameters, labels, "
                "on_parent_failure, created_at) VALUES (%s, %s, 'default', 'report', '{}', '{}', 'cancel', now()) "
                "RETURNING organization_id, id, queue, job_type, created_at) "
                "INSERT INTO fairlane_live (organization_id, id, queue, job_type, created_at, status, ready, priority, "
                "run_at) SELECT *, %s, false, 0, now() FROM facts",
                [of, job, status],
            )
        with Fairlane(Settings(url=owner)) as fl:
            fl.migrate()
        if of_owner:
            administrator.execute(of_owner.format(make_url(owner).username))
        for role in SUBMITTERS:
            with administrator.transaction(force_rollback=True):
                administrator.execute(f"SET LOCAL ROLE {role}")
                name(administrator, names)
                ended = {
                    key
                    for key, job in ids.items()
                    if administrator.execute(
                        f"SELECT FROM {END_WAITING}(%s, %s, %s, %s, {key[3]}, 'ana', 'x', 'x', 'x', NULL)",
                        [key[0], job, *key[1:3]],
                    ).rowcount
                }
                assert ended == {key for key in ids if key[0] in names and ENDS[key[1:]]}
                administrator.execute("RESET ROLE")
                for table, there in {
                    "live": ids.keys() - ended,
                    "ended": ended,
                    "dead_letters": {key for key in ended if key[2] == "dead_letter"},
                }.items():
                    key = "job_id" if table == "dead_letters" else "id"
                    found = administrator.execute(f"SELECT {key} FROM fairlane_{table}").fetchall()
                    assert {one for (one,) in found} == {ids[one] for one in there}, table


@pytest.mark.parametrize("role", DatabaseRole)
def test_only_who_submits_may_end_jobs_by_the_function(postgres_url: str, role: DatabaseRole):
    with psycopg.connect(plain(postgres_url)) as administrator:
        asked = administrator.execute("SELECT has_function_privilege(%s, %s, 'EXECUTE')", [role, SIGNATURE])
        assert asked.fetchone() == (role in SUBMITTERS,)


def test_what_the_planner_knows_of_others_rows_is_not_shown(
    logins: dict[str, str], session: Session, postgres_url: str
):
    with psycopg.connect(plain(postgres_url), autocommit=True) as administrator:
        administrator.execute("ANALYZE")
    name(session, "acme")
    shown = session.execute("SELECT tablename FROM pg_stats WHERE tablename LIKE 'fairlane_%'").fetchall()
    assert {one for (one,) in shown} & {table.name for table in TABLES} == set()
