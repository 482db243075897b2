"""R14, R19: an ended job is deleted at once, with all that is kept of it: `fl.delete`."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text

from fairlane import (
    Fairlane,
    IllegalTransition,
    Job,
    JobContext,
    JobNotFound,
    JobStatus,
    ParentNotFound,
    PermissionDenied,
    Settings,
)
from fairlane.store.statements import cleanup as statements
from fairlane.store.statements import dead_letters
from fairlane.store.tables import metadata
from tests.engine.worker_kit import running, until
from tests.store.races.race import answers_at_once
from tests.store.races.scene import BROKEN, Scene
from tests.store.races.test_cleanup import grow_old, refer
from tests.test_docs import DOCS, blocks_of

HOW_TO = DOCS / "how-to" / "postgresql.md"
# Whoever deleted it is to be told by the audit; its file waits for a worker's clean-up.
KEPT = {"fairlane_audit", "fairlane_doomed_files"}


def ended(scene: Scene, user: str = "ana") -> Job:
    job = scene.submit(user=user)
    scene.end(*scene.worker().claim())
    return scene.get(job)


def test_all_that_is_kept_of_it_goes(database_url: str, tmp_path: Path) -> None:
    with Fairlane(Settings(url=database_url, artifacts_url=tmp_path.as_uri())) as fl:

        @fl.job_type("report")
        def report(ctx: JobContext, name: str) -> str:
            ctx.progress(50, f"of {name}")
            ctx.log(f"for {name}")
            ctx.checkpoint({"name": name})
            ctx.artifact("report.txt", name.encode())
            return name

        fl.migrate()
        fl.organizations.create("acme")
        job = fl.submit("report", organization="acme", parameters={"name": "Ana"}, labels={"person": "ana"})
        fl.worker().drain()
        assert fl.get(job, organization="acme").status is JobStatus.COMPLETED

        async def erase() -> None:
            await fl.aio.delete(job, organization="acme")

        asyncio.run(erase())

        with pytest.raises(JobNotFound):
            fl.get(job, organization="acme")
        assert fl.list(organization="acme", label=("person", "ana")).total == 0
        with fl.database.engine.connect() as connection:
            for table in metadata.tables.values():
                if "job_id" in table.c and table.name not in KEPT:
                    found = connection.execute(select(func.count()).where(table.c.job_id == job.id)).scalar_one()
                    assert found == 0, table.name
        assert [(one.action, one.subject) for one in fl.audit.list(organization="acme")][:1] == [
            ("jobs.delete", str(job.id))
        ]


def test_one_that_has_not_ended_is_canceled_first(scene: Scene) -> None:
    job = scene.submit()
    with pytest.raises(IllegalTransition, match="is queued; cancel it before you delete it"):
        scene.fl.delete(job, organization="acme")
    scene.fl.cancel(job, organization="acme")
    scene.fl.delete(job, organization="acme")
    assert scene.total() == 0


def test_admins_and_the_system_may_and_nobody_else(scene: Scene) -> None:
    job = scene.dead_letter()
    for member in ("ana", "bea", "vic"):
        for verb in (scene.fl.delete, scene.fl.dead_letters.delete):
            with pytest.raises(PermissionDenied, match="only admins may; ask an admin of acme"):
                verb(job, organization="acme", user=member)
        action = scene.fl.bulk.start("delete", {}, organization="acme", user=member)
        assert (action.changed, action.refused) == (0, 1)
    strangers: list[tuple[str, str | None]] = [("acme", "rita"), ("rival", "rita"), ("rival", None)]
    for organization, user in strangers:
        with pytest.raises(JobNotFound):
            scene.fl.delete(job, organization=organization, user=user)
    scene.fl.delete(job, organization="acme", user="olga")
    with pytest.raises(JobNotFound):
        scene.fl.delete(job, organization="acme", user="olga")


def test_a_parent_stays_while_a_job_needs_it_and_the_sentence_says_what_to_do(scene: Scene) -> None:
    parent = ended(scene)
    child = scene.submit(depends_on=parent)
    with pytest.raises(IllegalTransition, match=f"{child.id} depends on .* is queued: wait for or cancel that one"):
        scene.fl.delete(parent, organization="acme")
    scene.end(*scene.worker().claim(), outcome=BROKEN)
    with pytest.raises(IllegalTransition, match="is dead_letter: resolve or delete that one first"):
        scene.fl.delete(parent, organization="acme")
    scene.fl.dead_letters.resolve(child, organization="acme")
    scene.fl.delete(parent, organization="acme")
    assert scene.get(child).depends_on == ()


def test_a_job_with_a_long_log_goes_in_transactions_that_others_get_between(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "_MOST", 2)
    monkeypatch.setattr(statements, "_PIECE", 1)
    job = ended(scene)  # submitted, claimed, completed
    before = scene.fl.database.commits
    scene.fl.delete(job, organization="acme", user="olga")
    assert scene.fl.database.commits - before == 2
    assert scene.total() == 0
    assert [one.action for one in scene.fl.audit.list(organization="acme")].count("jobs.delete") == 1


def test_a_dead_letter_that_is_retried_between_these_keeps_the_newest_of_its_log(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "_MOST", 2)
    monkeypatch.setattr(statements, "_PIECE", 1)
    job = scene.dead_letter()
    some = statements.delete_some

    def retry_after(connection: Connection, *given: Any) -> Sequence[UUID]:
        gone = some(connection, *given)
        if not gone:
            dead_letters.retry(connection, scene.now, "acme", job.id, actor="olga")
        return gone

    monkeypatch.setattr(statements, "delete_some", retry_after)
    with pytest.raises(IllegalTransition, match="is queued; cancel it before you delete it"):
        scene.fl.delete(job, organization="acme")
    assert [one.to_status for one in scene.fl.history(job, organization="acme")] == [
        *("running", "failed", "dead_letter", "queued")
    ]
    monkeypatch.undo()
    scene.fl.cancel(job, organization="acme")
    scene.fl.delete(job, organization="acme")


@pytest.mark.parametrize("checked", ["IMMEDIATE", "DEFERRED"])
def test_a_job_that_a_table_of_the_host_refers_to_stays_and_the_sentence_says_so(scene: Scene, checked: str) -> None:
    job, free = ended(scene), ended(scene)
    scene.write(lambda connection: refer(connection, job, checked))
    sentence = (
        f"A table of the application still refers to job {job.id} by a foreign key; "
        "delete or change the rows that refer to it first."
    )
    with pytest.raises(IllegalTransition, match=f"^{re.escape(sentence)}$"):
        scene.fl.delete(job, organization="acme")
    assert scene.get(job) == job
    assert "jobs.delete" not in [one.action for one in scene.fl.audit.list(organization="acme")]

    scene.fl.delete(free, organization="acme")
    scene.write(lambda connection: connection.execute(text("DELETE FROM orders")))
    scene.fl.delete(job, organization="acme")
    assert scene.total() == 0


@pytest.mark.parametrize("cascade", [False, True], ids=["as shown", "cascade"])
def test_the_foreign_key_that_the_guide_shows_does_what_the_guide_says(scene: Scene, cascade: bool) -> None:
    (shown,) = [one.text for one in blocks_of(HOW_TO) if "fairlane_jobs.organization_id" in one.text]
    if cascade:
        shown = shown.replace('"fairlane_jobs.id"])', '"fairlane_jobs.id"], ondelete="CASCADE")')
        assert "CASCADE" in shown
    page: dict[str, Any] = {}
    exec(shown, page)
    shipments = page["shipments"]
    job, free = ended(scene), ended(scene)
    scene.write(shipments.create)
    scene.write(lambda connection: connection.execute(insert(shipments).values(number=1, tenant="acme", job=job.id)))

    def left() -> int:
        return scene.write(
            lambda connection: connection.execute(select(func.count()).select_from(shipments)).scalar_one()
        )

    if cascade:
        scene.fl.delete(job, organization="acme")
        assert (left(), scene.total()) == (0, 1)
        return
    with pytest.raises(IllegalTransition, match="A table of the application still refers"):
        scene.fl.delete(job, organization="acme")
    grow_old(scene)
    cleaner = scene.cleaner()
    assert sum(cleaner.run_once() for _ in range(3)) == 1
    assert (scene.get(job).id, left()) == (job.id, 1)
    with pytest.raises(JobNotFound):
        scene.get(free)
    scene.write(lambda connection: connection.execute(delete(shipments)))
    assert (cleaner.run_once(), scene.cleaner().run_once(), scene.total()) == (0, 1, 0)


def test_of_a_deletion_and_a_retry_at_once_one_wins(scene: Scene) -> None:
    job = scene.submit()
    scene.end(*scene.worker().claim(), outcome=BROKEN)
    deleted, retried = answers_at_once(
        [
            lambda: scene.fl.delete(job, organization="acme"),
            lambda: scene.fl.retry(job, organization="acme"),
        ]
    )
    if deleted is None:
        assert isinstance(retried, JobNotFound)
        assert scene.total() == 0
    else:
        assert isinstance(deleted, IllegalTransition)
        assert scene.get(job).status is JobStatus.QUEUED


def test_a_child_that_is_submitted_meanwhile_keeps_its_parent_or_is_refused(scene: Scene) -> None:
    parent = ended(scene)
    deleted, child = answers_at_once(
        [lambda: scene.fl.delete(parent, organization="acme"), lambda: scene.submit(depends_on=parent)]
    )
    if deleted is None:
        assert isinstance(child, ParentNotFound)
        assert scene.total() == 0
    else:
        assert isinstance(deleted, IllegalTransition)
        assert isinstance(child, Job)
        assert scene.get(child).depends_on == (parent.id,)


@pytest.mark.slow
def test_a_process_that_is_killed_once_the_job_is_gone_leaves_its_file_to_a_worker(
    database_url: str, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    settings = {"url": database_url, "artifacts_url": storage.as_uri(), "cleanup_interval": 0.05}
    with Fairlane(Settings.model_validate(settings)) as fl:

        @fl.job_type("report")
        def report(ctx: JobContext) -> None:
            ctx.artifact("report.txt", b"about Ana")

        fl.migrate()
        fl.organizations.create("acme")
        job = fl.submit("report", organization="acme")
        fl.worker().drain()
        assert [file.read_bytes() for file in files(storage)] == [b"about Ana"]

        ended = subprocess.run([sys.executable, "-c", DELETE_AND_DIE, json.dumps(settings), str(job.id)], check=False)

        assert ended.returncode == -signal.SIGKILL
        with pytest.raises(JobNotFound):
            fl.get(job, organization="acme")
        assert len(files(storage)) == 1
        with running(fl.worker()):
            until(lambda: not files(storage))


DELETE_AND_DIE = """
import json, os, signal, sys
from fairlane import Fairlane, Settings
fl = Fairlane(Settings(**json.loads(sys.argv[1])))
fl.delete(sys.argv[2], organization="acme")
os.kill(os.getpid(), signal.SIGKILL)
"""


def files(storage: Path) -> list[Path]:
    return [path for path in storage.rglob("*") if path.is_file()]
