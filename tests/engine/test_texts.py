"""Text that no database stores, NULs and lone surrogates, is refused by name or found to be nobody's (R2)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from fairlane import Fairlane, FairlaneError, StorageUnavailable, Submission
from tests.store.races.scene import Scene

UNSTORABLE = {"NUL": "a\0b", "lone surrogate": "a\ud800b"}


def handler(ctx: Any, n: int = 0) -> None: ...


# Verb and argument -> a call with the text as that argument. The organization of the scene is acme, its admin olga.
CALLS: dict[str, Callable[[Fairlane, Any, str], object]] = {
    "job_type name": lambda fl, job, odd: fl.job_type(odd)(handler),
    "job_type queue": lambda fl, job, odd: fl.job_type("fax", queue=odd)(handler),
    "job_type requires_permission": lambda fl, job, odd: fl.job_type("fax", requires_permission=odd)(handler),
    "submit job_type": lambda fl, job, odd: fl.submit(odd, organization="acme"),
    "submit organization": lambda fl, job, odd: fl.submit("report", organization=odd),
    "submit user": lambda fl, job, odd: fl.submit("report", organization="acme", user=odd),
    "submit parameter": lambda fl, job, odd: fl.submit("report", organization="acme", parameters={odd: 1}),
    "submit queue": lambda fl, job, odd: fl.submit("report", organization="acme", queue=odd),
    "submit priority": lambda fl, job, odd: fl.submit("report", organization="acme", priority=odd),
    "submit dedup_key": lambda fl, job, odd: fl.submit("report", organization="acme", dedup_key=odd, dedup_window=9),
    "submit label": lambda fl, job, odd: fl.submit("report", organization="acme", labels={odd: "x"}),
    "submit label's value": lambda fl, job, odd: fl.submit("report", organization="acme", labels={"x": odd}),
    "submit depends_on": lambda fl, job, odd: fl.submit("report", organization="acme", depends_on=[odd]),
    "submit_many user": lambda fl, job, odd: fl.submit_many([Submission("report", organization="acme", user=odd)]),
    "get job_id": lambda fl, job, odd: fl.get(odd, organization="acme"),
    "get organization": lambda fl, job, odd: fl.get(job, organization=odd),
    "list organization": lambda fl, job, odd: fl.list(organization=odd),
    "list status": lambda fl, job, odd: fl.list(organization="acme", status=odd),
    "list job_type": lambda fl, job, odd: fl.list(organization="acme", job_type=odd),
    "list user": lambda fl, job, odd: fl.list(organization="acme", user=odd),
    "list label": lambda fl, job, odd: fl.list(organization="acme", label=(odd, "x")),
    "list label's value": lambda fl, job, odd: fl.list(organization="acme", label={"x": odd}),
    "list queue": lambda fl, job, odd: fl.list(organization="acme", queue=odd),
    "list text": lambda fl, job, odd: fl.list(organization="acme", text=odd),
    "list cursor": lambda fl, job, odd: fl.list(organization="acme", cursor=odd),
    "history organization": lambda fl, job, odd: fl.history(job, organization=odd),
    "log_lines organization": lambda fl, job, odd: fl.log_lines(job, organization=odd),
    "explain organization": lambda fl, job, odd: fl.explain(job, organization=odd),
    "result organization": lambda fl, job, odd: fl.result(job, organization=odd),
    "artifact organization": lambda fl, job, odd: fl.artifact(job, "x", organization=odd),
    "cancel organization": lambda fl, job, odd: fl.cancel(job, organization=odd),
    "cancel user": lambda fl, job, odd: fl.cancel(job, organization="acme", user=odd),
    "cancel reason": lambda fl, job, odd: fl.cancel(job, organization="acme", reason=odd),
    "run_now organization": lambda fl, job, odd: fl.run_now(job, organization=odd),
    "run_now user": lambda fl, job, odd: fl.run_now(job, organization="acme", user=odd),
    "prioritize priority": lambda fl, job, odd: fl.prioritize(job, odd, organization="acme"),
    "retry organization": lambda fl, job, odd: fl.retry(job, organization=odd),
    "retry user": lambda fl, job, odd: fl.retry(job, organization="acme", user=odd),
    "wait organization": lambda fl, job, odd: fl.wait(job, organization=odd),
    "metrics organization": lambda fl, job, odd: fl.metrics(organization=odd),
    "worker queues": lambda fl, job, odd: fl.worker(queues=[odd]),
    "worker name": lambda fl, job, odd: fl.worker(name=odd),
    "organizations.create organization": lambda fl, job, odd: fl.organizations.create(odd),
    "organizations.create name": lambda fl, job, odd: fl.organizations.create("new", name=odd),
    "organizations.get": lambda fl, job, odd: fl.organizations.get(odd),
    "organizations.update organization": lambda fl, job, odd: fl.organizations.update(odd, name="x"),
    "organizations.update name": lambda fl, job, odd: fl.organizations.update("acme", name=odd),
    "organizations.suspend": lambda fl, job, odd: fl.organizations.suspend(odd),
    "organizations.activate": lambda fl, job, odd: fl.organizations.activate(odd),
    "organizations.delete organization": lambda fl, job, odd: fl.organizations.delete(odd),
    "organizations.delete user": lambda fl, job, odd: fl.organizations.delete("acme", user=odd),
    "organizations.pause organization": lambda fl, job, odd: fl.organizations.pause(odd),
    "organizations.pause user": lambda fl, job, odd: fl.organizations.pause("acme", user=odd),
    "organizations.pause reason": lambda fl, job, odd: fl.organizations.pause("acme", reason=odd),
    "organizations.resume": lambda fl, job, odd: fl.organizations.resume(odd),
    "members.add organization": lambda fl, job, odd: fl.members.add(odd, "ana"),
    "members.add user": lambda fl, job, odd: fl.members.add("acme", odd),
    "members.add role": lambda fl, job, odd: fl.members.add("acme", "ana", role=odd),
    "members.add permission": lambda fl, job, odd: fl.members.add("acme", "ana", permissions=[odd]),
    "members.list": lambda fl, job, odd: fl.members.list(odd),
    "members.remove organization": lambda fl, job, odd: fl.members.remove(odd, "ana"),
    "members.remove user": lambda fl, job, odd: fl.members.remove("acme", odd),
    "organizations.create user": lambda fl, job, odd: fl.organizations.create("new", user=odd),
    "organizations.update user": lambda fl, job, odd: fl.organizations.update("acme", name="x", user=odd),
    "organizations.suspend user": lambda fl, job, odd: fl.organizations.suspend("acme", user=odd),
    "organizations.resume user": lambda fl, job, odd: fl.organizations.resume("acme", user=odd),
    "members.add by": lambda fl, job, odd: fl.members.add("acme", "ana", user=odd),
    "members.remove by": lambda fl, job, odd: fl.members.remove("acme", "ana", user=odd),
    "users.create user": lambda fl, job, odd: fl.users.create(odd),
    "users.create by": lambda fl, job, odd: fl.users.create("new", user=odd),
    "users.get": lambda fl, job, odd: fl.users.get(odd),
    "users.update user": lambda fl, job, odd: fl.users.update(odd),
    "users.update by": lambda fl, job, odd: fl.users.update("ana", user=odd),
    "users.delete user": lambda fl, job, odd: fl.users.delete(odd),
    "users.log_in user": lambda fl, job, odd: fl.users.log_in(odd, "a password of some length"),
    "users.link user": lambda fl, job, odd: fl.users.link(odd),
    "tokens.create organization": lambda fl, job, odd: fl.tokens.create(organization=odd, as_user="ana", name="x"),
    "tokens.create user": lambda fl, job, odd: fl.tokens.create(organization="acme", as_user=odd, name="x"),
    "tokens.create name": lambda fl, job, odd: fl.tokens.create(organization="acme", as_user="ana", name=odd),
    "tokens.create by": lambda fl, job, odd: fl.tokens.create(organization="acme", as_user="ana", name="x", user=odd),
    "tokens.list organization": lambda fl, job, odd: fl.tokens.list(organization=odd),
    "tokens.revoke organization": lambda fl, job, odd: fl.tokens.revoke(job, organization=odd),
    "audit.list organization": lambda fl, job, odd: fl.audit.list(organization=odd),
    "queues.resume user": lambda fl, job, odd: fl.queues.resume("default", user=odd),
    "job_types.enable user": lambda fl, job, odd: fl.job_types.enable("report", user=odd),
    "job_types.delete user": lambda fl, job, odd: fl.job_types.delete("report", user=odd),
    "job_types.limit user": lambda fl, job, odd: fl.job_types.limit("report", max_running=1, user=odd),
    "job_types.reset_limit user": lambda fl, job, odd: fl.job_types.reset_limit("report", user=odd),
    "queues.pause name": lambda fl, job, odd: fl.queues.pause(odd),
    "queues.pause user": lambda fl, job, odd: fl.queues.pause("default", user=odd),
    "queues.pause reason": lambda fl, job, odd: fl.queues.pause("default", reason=odd),
    "queues.resume": lambda fl, job, odd: fl.queues.resume(odd),
    "job_types.pause name": lambda fl, job, odd: fl.job_types.pause(odd),
    "job_types.resume": lambda fl, job, odd: fl.job_types.resume(odd),
    "job_types.enable": lambda fl, job, odd: fl.job_types.enable(odd),
    "job_types.disable": lambda fl, job, odd: fl.job_types.disable(odd),
    "job_types.delete": lambda fl, job, odd: fl.job_types.delete(odd),
    "dead_letters.list organization": lambda fl, job, odd: fl.dead_letters.list(organization=odd),
    "dead_letters.list resolution": lambda fl, job, odd: fl.dead_letters.list(organization="acme", resolution=odd),
    "dead_letters.list fingerprint": lambda fl, job, odd: fl.dead_letters.list(organization="acme", fingerprint=odd),
    "dead_letters.list cursor": lambda fl, job, odd: fl.dead_letters.list(organization="acme", cursor=odd),
    "dead_letters.groups": lambda fl, job, odd: fl.dead_letters.groups(organization=odd),
    "dead_letters.retry organization": lambda fl, job, odd: fl.dead_letters.retry(job, organization=odd),
    "dead_letters.retry user": lambda fl, job, odd: fl.dead_letters.retry(job, organization="acme", user=odd),
    "dead_letters.retry_group fingerprint": lambda fl, job, odd: fl.dead_letters.retry_group(odd, organization="acme"),
    "dead_letters.retry_group job_type": lambda fl, job, odd: fl.dead_letters.retry_group(
        "x", organization="acme", job_type=odd
    ),
    "dead_letters.retry_group organization": lambda fl, job, odd: fl.dead_letters.retry_group("x", organization=odd),
    "dead_letters.resolve user": lambda fl, job, odd: fl.dead_letters.resolve(job, organization="acme", user=odd),
    "dead_letters.resolve note": lambda fl, job, odd: fl.dead_letters.resolve(job, organization="acme", note=odd),
    "dead_letters.ignore note": lambda fl, job, odd: fl.dead_letters.ignore(job, organization="acme", note=odd),
    "dead_letters.delete organization": lambda fl, job, odd: fl.dead_letters.delete(job, organization=odd),
    "dead_letters.delete user": lambda fl, job, odd: fl.dead_letters.delete(job, organization="acme", user=odd),
}


@pytest.mark.parametrize("odd", UNSTORABLE.values(), ids=UNSTORABLE)
def test_every_argument_of_every_verb_has_an_error_for_it(scene: Scene, odd: str):
    job = scene.dead_letter()
    passed = [name for name, call in CALLS.items() if not is_refused(partial(call, scene.fl, job.id, odd))]
    assert passed == []
    assert scene.get(job) == job


def is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except StorageUnavailable:
        return False
    except FairlaneError as error:
        # What the database itself refuses has no name.
        return "A value is too long" not in str(error)
    except (SQLAlchemyError, UnicodeError):
        return False
    return False
