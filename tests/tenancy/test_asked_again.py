"""Verbs that a request calls check the user's right once more, in the transaction of the change."""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from fairlane import FairlaneError, PermissionDenied
from fairlane.domain.origin import acting_from
from tests.store.races.scene import Scene
from tests.test_house import READS, WITHOUT_ACTOR, verbs


def an_action(verb: Any) -> UUID:
    (action,) = verb.__self__.list(organization="acme")
    return UUID(str(action.id))


VERBS: Final[dict[str, Callable[..., Any]]] = {
    "organizations.create": lambda verb, **by: verb("new", **by),
    "organizations.update": lambda verb, **by: verb("acme", name="Mine", **by),
    "organizations.suspend": lambda verb, **by: verb("acme", **by),
    "organizations.activate": lambda verb, **by: verb("acme", **by),
    "organizations.pause": lambda verb, **by: verb("acme", **by),
    "organizations.resume": lambda verb, **by: verb("acme", **by),
    "organizations.delete": lambda verb, **by: verb("acme", **by),
    "members.add": lambda verb, **by: verb("acme", "eve", **by),
    "members.update": lambda verb, **by: verb("acme", "ana", role="admin", **by),
    "members.remove": lambda verb, **by: verb("acme", "ana", **by),
    "tokens.create": lambda verb, **by: verb(organization="acme", as_user="ana", name="mine", **by),
    "tokens.revoke": lambda verb, **by: verb(uuid4(), organization="acme", **by),
    "users.create": lambda verb, **by: verb("new", **by),
    "users.update": lambda verb, **by: verb("paul", disabled=True, **by),
    "users.delete": lambda verb, **by: verb("paul", **by),
    "users.link": lambda verb, **by: verb("paul", **by),
    "keys.enable": lambda verb, **by: verb(organization="acme", **by),
    "keys.rotate": lambda verb, **by: verb(organization="acme", **by),
    "keys.destroy": lambda verb, **by: verb(organization="acme", **by),
    "queues.pause": lambda verb, **by: verb("default", **by),
    "queues.resume": lambda verb, **by: verb("default", **by),
    "maintenance.on": lambda verb, **by: verb(**by),
    "maintenance.off": lambda verb, **by: verb(**by),
    "job_types.pause": lambda verb, **by: verb("report", **by),
    "job_types.resume": lambda verb, **by: verb("report", **by),
    "job_types.enable": lambda verb, **by: verb("report", **by),
    "job_types.disable": lambda verb, **by: verb("report", **by),
    "job_types.delete": lambda verb, **by: verb("report", **by),
    "job_types.limit": lambda verb, **by: verb("report", max_running=1, **by),
    "job_types.reset_limit": lambda verb, **by: verb("report", **by),
    "job_types.close_breaker": lambda verb, **by: verb("report", organization="acme", **by),
    "schedules.put": lambda verb, **by: verb("hourly", "report", organization="acme", every=3600, as_user=None, **by),
    "schedules.pause": lambda verb, **by: verb("daily", organization="acme", **by),
    "schedules.resume": lambda verb, **by: verb("daily", organization="acme", **by),
    "schedules.submit": lambda verb, **by: verb("daily", organization="acme", **by),
    "schedules.delete": lambda verb, **by: verb("daily", organization="acme", **by),
    "bulk.start": lambda verb, **by: verb("cancel", {}, organization="acme", **by),
    "bulk.stop": lambda verb, **by: verb(an_action(verb), organization="acme", **by),
    "workers.drain": lambda verb, **by: verb(uuid4(), **by),
}
# Verbs of jobs check each caller, application or request.
OF_JOBS: Final = "dead_letters."
# Asks once it has found a key to go by; no route calls it.
AFTER_A_KEY: Final = "keys.reencrypt"


def test_a_verb_that_a_request_calls_asks_its_user_for_the_right(scene: Scene):
    fl = scene.fl
    fl.users.create("paul")
    fl.schedules.put("daily", "report", organization="acme", every=86_400)
    fl.bulk.start("cancel", {}, organization="acme")
    before = fl.audit.list(organization="acme"), fl.audit.list(organization=None)
    unasked: dict[str, object] = {}
    with acting_from("a request"):
        for name, call in VERBS.items():
            area, verb = name.split(".")
            try:
                unasked[name] = call(getattr(getattr(fl, area), verb), user="eve")
            except PermissionDenied:
                continue
            except FairlaneError as error:
                unasked[name] = error
    assert unasked == {}
    assert (fl.audit.list(organization="acme"), fl.audit.list(organization=None)) == before


def test_a_verb_that_a_request_awaits_asks_its_user_in_its_thread(scene: Scene):
    async def add() -> None:
        with acting_from("a request"):
            await scene.fl.aio.members.add("acme", "eve", role="admin", user="eve")

    with pytest.raises(PermissionDenied):
        asyncio.run(add())


def test_every_verb_that_asks_for_a_right_is_tried_here():
    changing = {
        name
        for name in verbs()
        if "." in name and name.rpartition(".")[2] not in READS and not name.startswith(OF_JOBS)
    }
    assert changing - WITHOUT_ACTOR.keys() == VERBS.keys() | {AFTER_A_KEY}
