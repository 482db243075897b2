"""What `fairlane migrate` and `fairlane check` say of row security, until it binds the application's login."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from fairlane.store.row_advice import ROLES, what_is_missing
from fairlane.store.row_security import Role
from tests.cli.conftest import Run
from tests.postgres import create_database, database_on, drop_database


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

    server.admin.execute(f"REVOKE {Role.TENANT} FROM {server.jobs}")
    slow = (
        f"It is on. The login {server.jobs} may not take on {Role.TENANT}, so lists of large organizations take long."
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
            ("shop", False, ["fairlane_app", "fairlane_worker"], True, []),
            f"CREATE ROLE fairlane_app NOLOGIN; CREATE ROLE fairlane_worker NOLOGIN; GRANT {ROLES} TO shop;",
        ),
        (("shop", True, ["fairlane_app"], False, []), "Run `fairlane migrate` as shop"),
        (("shop", True, [], False, ["REVOKE x FROM fairlane_app"]), "REVOKE x FROM fairlane_app; then run"),
    ],
)
def test_the_one_cause_that_applies_is_told(state: tuple[object, ...], advice: str) -> None:
    told = what_is_missing(lambda _, values: [state] if "jobs" in values else [])
    assert told is not None
    assert advice in told
