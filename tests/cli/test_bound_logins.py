"""`fairlane migrate` and `fairlane check` report row security until it binds the application's login."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from fairlane.store.row_ending import END_WAITING, SIGNATURE
from fairlane.store.row_logins import ROLES, what_is_missing
from fairlane.store.row_security import DatabaseRole
from tests.cli.conftest import Run
from tests.postgres import create_database, database_on, drop_database, start_postgres, stop_postgres


@dataclass(frozen=True)
class Server:
    """An empty database, with a login that is to own the tables and one for applications, neither of which has more."""

    admin: psycopg.Connection
    url: str
    owner: str
    jobs: str

    def url_of(self, login: str) -> str:
        return make_url(self.url).set(username=login).render_as_string(hide_password=False)


@pytest.fixture
def server(postgres_server: str, postgres_template: str) -> Iterator[Server]:  # the template's migration made the roles
    suffix = uuid4().hex
    name = f"test_{suffix}"
    create_database(postgres_server, name, template="template0")
    url = database_on(postgres_server, name)
    made = Server(
        psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(False), autocommit=True),
        url,
        f"shop_{suffix}",
        f"jobs_{suffix}",
    )
    made.admin.execute(f"CREATE ROLE {made.owner} LOGIN")
    made.admin.execute(f"CREATE ROLE {made.jobs} LOGIN NOINHERIT")
    made.admin.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {made.owner}")
    yield made
    made.admin.execute(f"DROP OWNED BY {made.owner}")
    made.admin.execute(f"DROP ROLE {made.owner}, {made.jobs}")
    made.admin.close()
    drop_database(postgres_server, name)


def sentence(run: Run, subject: str, *, code: int) -> str:
    (found,) = [
        one["sentence"] for one in run("check", "--json", code=code).json["findings"] if one["subject"] == subject
    ]
    return str(found)


SHOP = """
from fairlane import Fairlane

fl = Fairlane()

@fl.job_type("report")
def report(ctx): ...
"""


@pytest.mark.slow
def test_each_step_to_row_security_is_told_until_it_is_on(
    run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_of_this_test.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)

    def checked(*, code: int) -> list[str]:
        told = []
        for production, subject in (("0", "row security"), ("1", "row security" if code == 0 else "database")):
            monkeypatch.setenv("FAIRLANE_PRODUCTION", production)
            told.append(sentence(run, subject, code=code))
        return told

    of_owner = f"GRANT {ROLES} TO {server.owner}; then run `fairlane migrate` again"
    monkeypatch.setenv("FAIRLANE_URL", server.url_of(server.owner))
    assert of_owner in run("migrate").stdout

    monkeypatch.setenv("FAIRLANE_OWNER_URL", server.url_of(server.owner))
    monkeypatch.setenv("FAIRLANE_URL", server.url_of(server.jobs))
    server.admin.execute(f"GRANT {ROLES} TO {server.jobs}")
    assert of_owner in run("migrate", "--app", "shop_of_this_test", code=1).stderr
    assert all(of_owner in one for one in checked(code=1))

    server.admin.execute(f"GRANT {ROLES} TO {server.owner}")
    printed = run("migrate").stdout
    assert printed.startswith(f"The schema of postgresql://{server.owner}:***@")
    assert "Row security is now on." in printed
    assert checked(code=0) == [f"It is on; login {server.jobs} is bound by it."] * 2

    server.admin.execute(f"REVOKE {DatabaseRole.TENANT} FROM {server.jobs}")
    slow = (
        f"It is on. The login {server.jobs} may not take on {DatabaseRole.TENANT}, "
        "so lists of large organizations take long."
    )
    assert all(slow in one for one in checked(code=0))
    server.admin.execute(f"REVOKE {ROLES} FROM {server.jobs}")
    assert all(f"The login {server.jobs} may not take on Fairlane's roles" in one for one in checked(code=1))


def test_in_production_a_database_without_tables_is_to_be_migrated(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_PRODUCTION", "1")
    monkeypatch.setenv("FAIRLANE_URL", server.url_of(server.jobs))
    assert "has no Fairlane schema yet" in sentence(run, "database", code=1)


def test_a_login_above_row_security_and_artifacts_in_the_working_directory_are_noted(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_URL", postgres_url)
    assert "is a superuser's" in sentence(run, "row security", code=0)
    assert "a folder of this working directory" in sentence(run, "artifacts", code=0)
    monkeypatch.setenv("FAIRLANE_ARTIFACTS_URL", "memory:///")
    assert sentence(run, "artifacts", code=0) == "memory:/// takes files and gives them back."


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        (
            ("shop", False, ["fairlane_app", "fairlane_worker"], True),
            f"CREATE ROLE fairlane_app NOLOGIN; CREATE ROLE fairlane_worker NOLOGIN; GRANT {ROLES} TO shop;",
        ),
        (("shop", True, ["fairlane_app"], False), "Run `fairlane migrate` as shop"),
    ],
)
def test_the_one_cause_that_applies_is_told(state: tuple[object, ...], advice: str) -> None:
    told = what_is_missing(lambda _, values: [state] if "jobs" in values else [])
    assert told is not None
    assert advice in told


# What somebody said by SQL, and what `fairlane check` tells of it.
FAULTS = {
    **{
        f"ALTER ROLE fairlane_app {one}": f"fairlane_app has {one}"
        for one in ("LOGIN", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS", "SUPERUSER")
    },
    "GRANT pg_monitor TO fairlane_worker": "fairlane_worker is a member of pg_monitor",
    "GRANT fairlane_app TO jobs WITH ADMIN OPTION": "jobs may give fairlane_app to others",
    "GRANT SELECT ON fairlane_jobs TO fairlane_app WITH GRANT OPTION": (
        "fairlane_app has GRANT OPTION FOR SELECT on fairlane_jobs"
    ),
    "GRANT UPDATE (name) ON fairlane_job_types TO fairlane_app WITH GRANT OPTION": (
        "fairlane_app has GRANT OPTION FOR UPDATE (name) on fairlane_job_types"
    ),
    "GRANT UPDATE ON fairlane_jobs TO fairlane_app": "fairlane_app has UPDATE on fairlane_jobs",
    "GRANT DELETE ON fairlane_jobs TO PUBLIC": "PUBLIC has DELETE on fairlane_jobs",
    "REVOKE INSERT ON fairlane_audit FROM fairlane_operator": "fairlane_operator lacks INSERT on fairlane_audit",
    "ALTER POLICY fairlane_app ON fairlane_jobs USING (true)": "the policies of fairlane_jobs were changed",
    f"ALTER FUNCTION {END_WAITING} SECURITY INVOKER": f"the function {END_WAITING} is missing or was changed",
    f"ALTER FUNCTION {END_WAITING} OWNER TO jobs": f"{END_WAITING} belongs to jobs",
}


def rights_told(run: Run) -> str | None:
    """Return the sentence of `fairlane check` about rights that Fairlane did not grant, if nothing is wrong."""
    told = [one["sentence"] for one in run("check", "--json").json["findings"] if one["subject"] == "rights"]
    return str(told[0]) if told else None


def say_what_revokes(server: Server, told: str | None) -> None:
    said = re.search(r"say as an administrator: (.*)\.$", told or "")
    assert said is not None, told
    server.admin.execute(said[1])


@pytest.fixture
def bound(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Row security is on, in production."""
    server.admin.execute(f"GRANT {ROLES} TO {server.owner}, {server.jobs}")
    monkeypatch.setenv("FAIRLANE_OWNER_URL", server.url_of(server.owner))
    monkeypatch.setenv("FAIRLANE_URL", server.url_of(server.jobs))
    monkeypatch.setenv("FAIRLANE_PRODUCTION", "1")
    return server


@pytest.mark.slow
def test_a_login_that_may_only_submit_is_sound_and_each_refusal_names_the_role_it_lacks(
    run: Run, bound: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("migrate")
    run("orgs", "create", "acme")
    roles = [DatabaseRole.ADMIN, DatabaseRole.OPERATOR, DatabaseRole.WORKER]
    bound.admin.execute(f"REVOKE {', '.join(roles)} FROM {bound.jobs}")
    told = run("check", "--json").json["findings"]
    assert not [one for one in told if one["grade"] == "wrong"]
    (login,) = [one["sentence"] for one in told if one["subject"] == "login"]
    assert login.startswith(f"Login {bound.jobs} submits and reads; it can't change an organization")
    assert f"GRANT {', '.join(roles)} TO {bound.jobs}; " in login

    refused = run("members", "add", "bo", "-o", "acme", "--role", "member", code=1).stderr
    assert (
        f"needs {DatabaseRole.ADMIN}. Say as an administrator: GRANT {DatabaseRole.ADMIN} TO {bound.jobs}; " in refused
    )
    refused = run("workers", "list", code=1).stderr
    assert (
        f"needs {DatabaseRole.OPERATOR}. Say as an administrator: GRANT {DatabaseRole.OPERATOR} TO {bound.jobs}; "
        in refused
    )
    monkeypatch.setenv("FAIRLANE_PRODUCTION", "0")
    bound.admin.execute(f"REVOKE {DatabaseRole.APP}, {DatabaseRole.TENANT} FROM {bound.jobs}")
    refused = run("jobs", "list", "-o", "acme", code=1).stderr
    assert (
        f"needs {DatabaseRole.APP}, {DatabaseRole.TENANT}. Say as an administrator: GRANT {DatabaseRole.APP}, "
        in refused
    )


@pytest.mark.slow
def test_default_privileges_of_the_host_survive_migrate(run: Run, bound: Server) -> None:
    with psycopg.connect(bound.url_of(bound.owner).replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(f"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, REFERENCES ON TABLES TO {bound.jobs}")
        owner.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC")
        preset = owner.execute("SELECT defaclnamespace, defaclacl::text FROM pg_default_acl ORDER BY 1").fetchall()
        assert len(preset) == 2
        run("migrate")
        told = rights_told(run)
        assert told is not None
        assert f"did not grant and leaves as they are: {bound.jobs}. " in told  # PUBLIC has nothing there any more
        say_what_revokes(bound, told)
        assert rights_told(run) is None
        run("migrate")
        assert rights_told(run) is None
        left = owner.execute("SELECT defaclnamespace, defaclacl::text FROM pg_default_acl ORDER BY 1").fetchall()
        assert left == preset
        owner.execute("CREATE TABLE orders (id int)")
    with psycopg.connect(bound.url_of(bound.jobs).replace("+psycopg", ""), autocommit=True) as jobs:
        assert jobs.execute("SELECT * FROM orders").fetchall() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("granted", "holders", "revoked"),
    [
        (
            ("GRANT SELECT ON fairlane_users, fairlane_jobs TO {jobs}",),
            "{jobs}",
            "SELECT ON fairlane_jobs, fairlane_users",
        ),
        (
            (f"GRANT EXECUTE ON FUNCTION {END_WAITING} TO {{jobs}}",),
            "{jobs}",
            f"EXECUTE ON FUNCTION {SIGNATURE}",
        ),
        (("GRANT UPDATE (name) ON fairlane_job_types TO {jobs}",), "{jobs}", "UPDATE (name) ON fairlane_job_types"),
        (
            (
                "GRANT SELECT ON fairlane_jobs TO {jobs} WITH GRANT OPTION",
                "SET ROLE {jobs}",
                "GRANT SELECT ON fairlane_jobs TO PUBLIC",
            ),
            "PUBLIC, {jobs}",
            "SELECT ON fairlane_jobs FROM PUBLIC",
        ),
    ],
)
def test_rights_that_fairlane_did_not_grant_are_told_and_left(
    run: Run, bound: Server, granted: tuple[str, ...], holders: str, revoked: str
) -> None:
    run("migrate")
    assert rights_told(run) is None
    for statement in granted:
        bound.admin.execute(statement.format(jobs=bound.jobs))
    bound.admin.execute("RESET ROLE")
    run("migrate")
    told = rights_told(run)
    assert told is not None
    assert f"leaves as they are: {holders.format(jobs=bound.jobs)}. " in told
    assert f"REVOKE {revoked}" in told
    assert sentence(run, "row security", code=0) == f"It is on; login {bound.jobs} is bound by it."
    say_what_revokes(bound, told)
    assert rights_told(run) is None


@pytest.mark.slow
def test_a_right_that_a_role_of_fairlane_granted_on_is_not_taken_from_others(run: Run, bound: Server) -> None:
    run("migrate")
    bound.admin.execute(f"GRANT SELECT ON fairlane_jobs TO {DatabaseRole.APP} WITH GRANT OPTION")
    bound.admin.execute(f"SET ROLE {DatabaseRole.APP}")
    bound.admin.execute(f"GRANT SELECT ON fairlane_jobs TO {bound.jobs}")
    bound.admin.execute("RESET ROLE")
    run("migrate")
    told = rights_told(run)
    assert f"{DatabaseRole.APP} has GRANT OPTION FOR SELECT on fairlane_jobs" in sentence(run, "row security", code=0)
    say_what_revokes(bound, told)
    run("migrate")
    assert sentence(run, "row security", code=0) == f"It is on; login {bound.jobs} is bound by it."


@pytest.fixture
def own_server(run_directory: Path) -> Iterator[str]:
    """A server of this test's own: roles are the whole server's, and other tests go by them."""
    data = run_directory / f"own_{uuid4().hex}"
    url = start_postgres(data)
    with psycopg.connect(url, autocommit=True) as administrator:
        administrator.execute("CREATE ROLE shop LOGIN CREATEROLE")
        administrator.execute("CREATE ROLE jobs LOGIN NOINHERIT")
        administrator.execute("GRANT CREATE, USAGE ON SCHEMA public TO shop")
    yield url
    stop_postgres(data)


@pytest.mark.slow
def test_whatever_was_changed_by_sql_is_named_with_what_mends_it(
    run: Run, own_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_URL", make_url(own_server).set(username="shop").render_as_string(False))
    run("migrate")
    wrong = {}
    with psycopg.connect(own_server, autocommit=True) as administrator:
        administrator.execute(f"GRANT {ROLES} TO jobs")
        administrator.execute("GRANT REFERENCES ON fairlane_jobs TO jobs")  # for a table of the host's
        monkeypatch.setenv("FAIRLANE_OWNER_URL", make_url(own_server).set(username="shop").render_as_string(False))
        monkeypatch.setenv("FAIRLANE_URL", make_url(own_server).set(username="jobs").render_as_string(False))
        sound = sentence(run, "row security", code=0)
        assert sound == "It is on; login jobs is bound by it."
        for fault, what in FAULTS.items():
            administrator.execute(fault)
            told = sentence(run, "row security", code=0)
            said = re.search("Say as an administrator: (.*); then run `fairlane migrate`", told)
            if said is not None:
                administrator.execute(said[1])
            run("migrate")
            after = sentence(run, "row security", code=0)
            if f"is not as Fairlane makes it: {what}. " not in told or after != sound:
                wrong[fault] = told, after
    assert wrong == {}
