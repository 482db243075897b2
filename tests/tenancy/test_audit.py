"""The audit is written in the transaction of what it tells of: what can't be audited is not done (R19)."""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import select

import fairlane
from fairlane import Fairlane
from fairlane.domain.breaker import Breaker
from fairlane.domain.statuses import Role
from fairlane.engine.system.bulk_steps import BulkSteps
from fairlane.store.statements import audit, breakers, bulk_actions
from fairlane.store.tables import metadata
from tests.engine.sealed_engine import FIRST
from tests.store.races.scene import Scene

PACKAGE = Path(fairlane.__path__[0])
PASSWORD = "correct horse battery"
Verbs = dict[str, Callable[[], object]]


class Unwritten(Exception):
    """The audit takes no entry."""


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Yield a scene with something to do for each of `verbs`."""
    with Scene(database_url, encryption_keys=FIRST) as scene:
        yield scene


@pytest.mark.slow
def test_what_can_not_be_audited_is_not_done(scene: Scene):
    reached: set[tuple[str, int]] = set()

    def refuse(*_: object, **__: object) -> NoReturn:
        caller = sys._getframe(1)
        reached.add((caller.f_code.co_filename, caller.f_lineno))
        raise Unwritten

    todo, before = verbs(scene), everything(scene.fl)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "record", refuse)
        for name, verb in todo.items():
            with suppress(Unwritten):
                verb()
                pytest.fail(f"{name} was done, and nobody wrote it down")
            assert everything(scene.fl) == before, name
    assert [place for place in audited() if not reached & place] == [], "here nobody knows what happens"


def test_the_audit_tells_what_was_before(scene: Scene):
    fl = scene.fl
    fl.users.create("root", operator=True)
    fl.users.delete("root")
    token, _ = fl.tokens.create(organization="acme", as_user="ana", name="robot", scopes=["jobs:read"])
    fl.tokens.revoke(token.id, organization="acme")
    fl.schedules.put("hourly", "report", organization="acme", every=3600)
    fl.schedules.pause("hourly", organization="acme", user="olga")
    fl.schedules.resume("hourly", organization="acme", user="olga")
    fl.queues.pause("slow", user="olga", reason="disk")
    fl.queues.pause("slow", reason="move")
    fl.queues.resume("slow")
    fl.maintenance.on(reason="release", user="olga")
    fl.maintenance.on(reason="longer", user="olga")
    fl.maintenance.off(user="olga")
    fl.organizations.pause("acme", reason="audit")
    fl.organizations.resume("acme")
    fl.job_types.disable("report")
    fl.job_types.limit("report", max_running=1)
    fl.job_types.limit("report", max_running=None, execution_rate=5)
    fl.job_types.reset_limit("report")
    breaker = Breaker("acme", "report", scene.now, scene.now + timedelta(minutes=15))
    fl.database.write(lambda connection: breakers.open_one(connection, breaker), of="acme")
    fl.job_types.close_breaker("report", organization="acme")
    disk, move = {"reason": "disk", "paused_by": "olga"}, {"reason": "move", "paused_by": "system"}
    assert told(fl, None)[1:] == [
        ("users.delete", {"operator": True, "rights": [], "disabled": False}, None),
        ("queues.pause", None, {"reason": "disk"}),
        ("queues.pause", disk, {"reason": "move"}),
        ("queues.resume", move, None),
        ("maintenance.on", None, {"reason": "release"}),
        ("maintenance.on", {"reason": "release", "paused_by": "olga"}, {"reason": "longer"}),
        ("maintenance.off", {"reason": "longer", "paused_by": "olga"}, None),
        ("job_types.disable", {"enabled": True}, {"enabled": False}),
        ("job_types.limit", None, {"max_running": 1}),
        ("job_types.limit", {"max_running": 1}, {"max_running": None, "execution_rate": 5}),
        ("job_types.reset_limit", {"max_running": None, "execution_rate": 5}, None),
    ]
    robot = {"name": "robot", "user": "ana", "scopes": ["jobs:read"]}
    assert [one for one in told(fl, "acme") if one[0] != "schedules.put"] == [
        ("tokens.create", None, robot),
        ("tokens.revoke", robot, None),
        ("schedules.pause", {"paused_by": None}, {"paused_by": "olga"}),
        ("schedules.resume", {"paused_by": "olga"}, {"paused_by": None}),
        ("organizations.pause", None, {"reason": "audit"}),
        ("organizations.resume", {"reason": "audit", "paused_by": "system"}, None),
        ("job_types.close_breaker", {"until": str(breaker.until)}, None),
    ]


def test_the_audit_tells_when_a_waiting_job_was_to_start_and_how_urgent_it_was(scene: Scene):
    job = scene.submit(delay=3600)
    later = job.run_at + timedelta(days=1)
    scene.fl.prioritize(job, "high", organization="acme")
    scene.fl.reschedule(job, later, organization="acme")
    assert told(scene.fl, "acme") == [
        ("jobs.prioritize", {"priority": "normal"}, {"priority": "high"}),
        ("jobs.reschedule", {"run_at": job.run_at.isoformat()}, {"run_at": later.isoformat()}),
    ]


def told(fl: Fairlane, organization: str | None) -> list[tuple[str, Any, Any]]:
    """Return the audit's entries in their order: the action, the value before and the value after."""
    return [(one.action, one.before, one.after) for one in reversed(fl.audit.list(organization=organization))]


def audited() -> list[set[tuple[str, int]]]:
    """The places of the code that write the audit, each with all of its lines."""
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    return [
        {(str(path), line) for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        for path, source in sources.items()
        if "audit.record(" in source
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "audit.record"
    ]


def everything(fl: Fairlane) -> dict[str, list[str]]:
    """Return all rows of all tables."""
    with fl.database.engine.connect() as connection:
        return {
            table.name: sorted(str(row) for row in connection.execute(select(table)))
            for table in metadata.sorted_tables
        }


def verbs(scene: Scene) -> Verbs:
    """Something to do at each place that writes the audit, by its name there. What it needs is made at once."""
    fl = scene.fl
    return {**_of_accounts(fl), **_of_organizations(fl), **_of_jobs(scene), **_of_operators(scene)}


def _of_accounts(fl: Fairlane) -> Verbs:
    fl.users.create("root", password=PASSWORD, operator=True)
    fl.users.log_in("root", PASSWORD)
    link = fl.users.link("root")
    token, _ = fl.tokens.create(organization="acme", as_user="ana", name="robot")
    return {
        "users.create": lambda: fl.users.create("nora", password=PASSWORD),
        "users.password": lambda: fl.users.create("ana", password=PASSWORD),
        "users.update": lambda: fl.users.update("root", password="another long password", disabled=True),
        "users.update, one's own password": lambda: fl.users.change_password("root", PASSWORD, "another long password"),
        "users.delete": lambda: fl.users.delete("root"),
        "users.log_in": lambda: fl.users.log_in("root", PASSWORD),
        "users.log_in_refused": lambda: fl.users.log_in("root", "wrong"),
        "users.link": lambda: fl.users.link("root"),
        "users.redeem": lambda: fl.users.redeem(link),
        "tokens.create": lambda: fl.tokens.create(organization="acme", as_user="ana", name="other"),
        "tokens.revoke": lambda: fl.tokens.revoke(token.id, organization="acme"),
        "members.add": lambda: fl.members.add("acme", "nora"),
        "members.update": lambda: fl.members.update("acme", "ana", role=Role.ADMIN),
        "members.remove": lambda: fl.members.remove("acme", "ana"),
    }


def _of_organizations(fl: Fairlane) -> Verbs:
    fl.organizations.pause("rival")
    fl.schedules.put("hourly", "report", organization="acme", every=3600)
    fl.keys.enable(organization="acme")
    return {
        "organizations.create": lambda: fl.organizations.create("new"),
        "organizations.update": lambda: fl.organizations.update("acme", weight=2),
        "organizations.suspend": lambda: fl.organizations.suspend("acme"),
        "organizations.delete": lambda: fl.organizations.delete("acme"),
        "organizations.pause": lambda: fl.organizations.pause("acme"),
        "organizations.resume": lambda: fl.organizations.resume("rival"),
        "schedules.put, a new one": lambda: fl.schedules.put("daily", "report", organization="acme", every=86_400),
        "schedules.put": lambda: fl.schedules.put("hourly", "report", organization="acme", every=1800),
        "schedules.pause": lambda: fl.schedules.pause("hourly", organization="acme"),
        "schedules.submit": lambda: fl.schedules.submit("hourly", organization="acme"),
        "schedules.delete": lambda: fl.schedules.delete("hourly", organization="acme"),
        "keys.enable": lambda: fl.keys.enable(organization="rival"),
        "keys.rotate": lambda: fl.keys.rotate(organization="acme"),
        # `keys.reencrypt` goes in batches: told when it begins, and as `keys.reencrypted` when all is done.
        "keys.destroy": lambda: fl.keys.destroy(organization="acme"),
    }


def _of_operators(scene: Scene) -> Verbs:
    fl, worker = scene.fl, scene.worker()
    scene.add_type("unused")
    fl.schedules.put("unused", "unused", organization="acme", every=3600)  # registers it
    fl.schedules.delete("unused", organization="acme")
    fl.queues.pause("slow")
    fl.job_types.limit("report", max_running=1)
    breaker = Breaker("acme", "report", scene.now, scene.now + timedelta(minutes=15))
    fl.database.write(lambda connection: breakers.open_one(connection, breaker), of="acme")
    return {
        "queues.pause": lambda: fl.queues.pause("default"),
        "queues.resume": lambda: fl.queues.resume("slow"),
        "maintenance.on": fl.maintenance.on,
        "job_types.pause": lambda: fl.job_types.pause("report"),
        "job_types.disable": lambda: fl.job_types.disable("report"),
        "job_types.delete": lambda: fl.job_types.delete("unused"),
        "job_types.limit": lambda: fl.job_types.limit("report", max_running=2),
        "job_types.reset_limit": lambda: fl.job_types.reset_limit("report"),
        "job_types.close_breaker": lambda: fl.job_types.close_breaker("report", organization="acme"),
        "workers.drain": lambda: fl.workers.drain(worker.id),
    }


def _of_jobs(scene: Scene) -> Verbs:
    fl = scene.fl
    dead, queued, scheduled = scene.dead_letter(), scene.submit(), scene.submit(delay=3600)
    scene.add_type("unique")
    scene.submit("unique")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BulkSteps, "step", lambda *_: None)
        stopped, ended = (
            fl.bulk.start("cancel", {"queue": "none"}, organization="acme", seconds=0.0) for _ in range(2)
        )
    row: Any = fl.database.read(lambda connection: bulk_actions.find(connection, "acme", ended.id), of="acme")
    return {
        "jobs.cancel": lambda: fl.cancel(queued.id, organization="acme"),
        "jobs.prioritize": lambda: fl.prioritize(scheduled.id, "high", organization="acme"),
        "jobs.reschedule": lambda: fl.reschedule(scheduled.id, datetime(2027, 3, 1, tzinfo=UTC), organization="acme"),
        "jobs.run": lambda: fl.run_now(scheduled.id, organization="acme"),
        "jobs.retry": lambda: fl.retry(dead.id, organization="acme"),
        "jobs.resolve": lambda: fl.dead_letters.resolve(dead.id, organization="acme"),
        "jobs.delete": lambda: fl.dead_letters.delete(dead.id, organization="acme"),
        "jobs.replace": lambda: scene.submit("unique", user="olga", on_duplicate="replace"),
        "bulk_actions.start": lambda: fl.bulk.start("cancel", {}, organization="acme"),
        "bulk_actions.stop": lambda: fl.bulk.stop(stopped.id, organization="acme"),
        "bulk_actions.end": lambda: fl.bulk._steps.step(row, row.taken),
    }
