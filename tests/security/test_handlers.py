"""A handler's rights are those of its application, and no database row leads to code."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fairlane import Fairlane, JobContext, PermanentError, Settings
from fairlane.store.row_security import DatabaseRole
from tests.security import handlers
from tests.security.handlers import seen_by
from tests.store.as_owner import in_role
from tests.store.logins import bound_logins

PLANTED = "planted_by_an_attacker"
SEEN = {"role": DatabaseRole.APP, "nobody's": [], "acme's": ["acme"]}


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["async", "thread", "process"])
def test_a_handler_has_the_rights_of_the_application_and_not_the_worker_s(postgres_url: str, isolation: Any):
    with Fairlane(Settings(url=postgres_url, artifacts_url="memory:///")) as fl:

        def spy(ctx: JobContext, url: str) -> dict[str, object]:
            with in_role():
                return seen_by(fl)

        async def spy_async(ctx: JobContext, url: str) -> dict[str, object]:
            return spy(ctx, url)

        chosen: Any = {"async": spy_async, "thread": spy, "process": handlers.spy}[isolation]
        fl.job_type("spy", isolation=isolation, max_retries=0)(chosen)
        fl.migrate()
        for organization in ("acme", "rival"):
            fl.organizations.create(organization)
        job = fl.submit("spy", organization="acme", parameters={"url": postgres_url})
        fl.submit("spy", organization="rival", parameters={"url": postgres_url})
        assert fl.worker().drain().completed == 2
        assert fl.result(job.id, organization="acme").value == SEEN


@pytest.mark.parametrize("has_own_login", [True, False], ids=["workers' own login", "one login for all"])
def test_a_handler_can_become_the_worker_only_where_they_share_a_login(postgres_url: str, has_own_login: bool):
    with bound_logins(postgres_url) as logins:
        url, of_worker = (logins["web"], logins["workers"]) if has_own_login else (logins["jobs"], None)
        with Fairlane(Settings(url=url, worker_url=of_worker, production=True, artifacts_url="memory:///")) as fl:

            def climb(ctx: JobContext) -> str:
                with in_role(), fl.database.engine.connect() as connection:
                    connection.execute(text(f"SET LOCAL ROLE {DatabaseRole.WORKER}"))
                    return str(connection.scalar(text("SELECT current_user")))

            fl.job_type("climb", max_retries=0)(climb)
            with Fairlane(postgres_url) as administrator:
                administrator.organizations.create("acme")
            job = fl.submit("climb", organization="acme")
            fl.worker().drain()
            if has_own_login:
                message = fl.get(job.id, organization="acme").error_message
                assert 'permission denied to set role "fairlane_worker"' in str(message)
            else:
                assert fl.result(job.id, organization="acme").value == DatabaseRole.WORKER


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that appears as soon as the planted module is imported, in this process or in a child."""
    note = tmp_path / "was imported"
    code = f"from pathlib import Path\nPath({str(note)!r}).touch()\n\ndef run(ctx, **parameters): ...\n"
    (tmp_path / f"{PLANTED}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return note


def report(ctx: JobContext, month: str = "2026-11") -> str:
    return month


@pytest.mark.slow
@pytest.mark.parametrize("path", [f"{PLANTED}.run", f"{PLANTED}:run", PLANTED, "os.system", "builtins.eval"])
def test_a_handler_path_that_was_planted_in_the_database_is_never_imported(database_url: str, planted: Path, path: str):
    with Fairlane(Settings(url=database_url, artifacts_url="memory:///")) as fl:
        fl.job_type("report", dedup_window=0)(report)
        fl.migrate()
        fl.organizations.create("acme")
        victim = fl.submit("report", organization="acme")
        honest = fl.submit("report", organization="acme")
        plant(fl, path, str(victim.id))
        assert fl.worker().drain().completed == 1
        assert fl.get(honest.id, organization="acme").status == "completed"
        assert fl.get(victim.id, organization="acme").status == "queued"
        # Nor when somebody submits to what was planted, in whose own process it isn't defined.
        job = fl.submit(path, organization="acme", parameters={"month": path})
        fl.worker().drain()
        assert fl.get(job.id, organization="acme").status == "queued"
    assert PLANTED not in sys.modules
    assert not planted.exists()


def test_a_document_that_nobody_can_read_stops_no_process_that_has_the_handler(database_url: str):
    with Fairlane(Settings(url=database_url, artifacts_url="memory:///")) as fl:
        fl.job_type("report")(report)
        with Fairlane(database_url) as without_types:
            without_types.migrate()
        with fl.database.engine.begin() as owner:
            columns = "name, schema, options, registered_at"
            owner.execute(
                text(f"INSERT INTO fairlane_job_types ({columns}) VALUES ('report', 'x', 'y', :now)"),
                {"now": "2026-11-26 00:00:00+00:00"},
            )
        fl.organizations.create("acme")
        job = fl.submit("report", organization="acme")
        assert fl.worker().drain().completed == 1
        assert fl.get(job.id, organization="acme").status == "completed"
        assert [one.name for one in fl.job_types.list()] == ["report"]


def plant(fl: Fairlane, path: str, job: str) -> None:
    """A job type, the options of another and a job's type, as somebody writes them who can write to the database."""
    with fl.database.engine.begin() as owner:
        (schema, options) = owner.execute(text("SELECT schema, options FROM fairlane_job_types")).one()
        wicked = {
            "handler": path,
            "target": [PLANTED, "run"],
            "module": PLANTED,
            "py/object": path,
            "isolation": "process",
        }
        told = {"now": "2026-11-26 00:00:00+00:00", "name": path, "schema": schema}
        owner.execute(
            text(
                "INSERT INTO fairlane_job_types (name, schema, options, registered_at) "
                "VALUES (:name, :schema, :o, :now)"
            ),
            {**told, "o": options},
        )
        owner.execute(
            text("UPDATE fairlane_job_types SET options = :o, schema = :s WHERE name = 'report'"),
            {"o": json.dumps(json.loads(options) | wicked), "s": json.dumps(json.loads(schema) | wicked)},
        )
        is_victim = "CAST(id AS TEXT) IN (:job, :hex)"
        for table in ("fairlane_jobs", "fairlane_live"):
            changed = owner.execute(
                text(f"UPDATE {table} SET job_type = :name WHERE {is_victim}"),
                {"name": path, "job": job, "hex": job.replace("-", "")},
            )
            assert changed.rowcount == 1


FORGED = "Error\nERROR    fairlane:logs.py:25 acme was deleted \x1b[2J\u202e\u2028"


def forge(ctx: JobContext) -> None:
    raise type(FORGED, (Exception,), {"__module__": "x\ry"})(FORGED)


def forge_ours(ctx: JobContext) -> None:
    raise type(FORGED, (PermanentError,), {})("no paper")


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("handler", [forge, forge_ours])
def test_a_class_s_name_forges_no_line_of_a_log_and_moves_no_cursor(
    database_url: str, caplog: pytest.LogCaptureFixture, isolation: Any, handler: Any
):
    with Fairlane(Settings(url=database_url, artifacts_url="memory:///")) as fl:
        fl.job_type("forge", isolation=isolation, max_retries=0)(handler)
        fl.organizations.create("acme")
        job = fl.submit("forge", organization="acme")
        fl.worker().drain()
        found = fl.get(job.id, organization="acme")
        assert found.error_type is not None
        (group,) = fl.dead_letters.groups(organization="acme")
        entries = fl.history(job.id, organization="acme")
        names = [found.error_type, group.error_type, group.fingerprint, *(one.error_type or "" for one in entries)]
        lines = [record.getMessage() for record in caplog.records if record.name == "fairlane"]
    assert any("acme was deleted" in line for line in lines)
    assert [text for text in (*names, *lines) if not text.isprintable()] == []
