"""A secret parameter that came in by REST reaches its handler, and leaves by no way, whoever looks."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from pydantic import SecretStr

from fairlane import JobContext, PermanentError
from tests.api.served import Api
from tests.patience import PATIENCE
from tests.realtime.stream import Stream
from tests.realtime.watching import Watcher

ACME = "/organizations/acme"
# Marked by the handler's type, by its name, and by its sender.
GIVEN = {"key": "open-sesame-4711", "db_password": "let-me-in-0815", "anything": {"$secret": "shh-shh-1234"}}
SECRETS = ("open-sesame-4711", "let-me-in-0815", "shh-shh-1234")
SHOWN = dict.fromkeys(GIVEN, "[redacted]")
TOLD = " ".join(SHOWN.values())
JOB = {"job_type": "login", "parameters": GIVEN}


def login_until(may_end: threading.Event) -> Any:
    """A handler that says all that it knows."""

    def login(ctx: JobContext, key: SecretStr, db_password: str, anything: Any) -> None:
        told = f"{key.get_secret_value()} {db_password} {anything.get_secret_value()}"
        assert told == " ".join(SECRETS)
        ctx.log(told)
        ctx.progress(50, told)
        assert may_end.wait(PATIENCE)
        raise PermanentError(f"no login with {told}")

    return login


def seen(api: Api, job: str, user: str) -> str:
    """Return everything that a user is told of the job."""
    client = api.as_(user)
    of_job = [f"/jobs/{job}{end}" for end in ("", "/history", "/logs", "/explanation", "/graph")]
    lists = ["/jobs", "/dead-letters", "/dead-letter-groups", "/schedules", "/schedules/nightly", "/audit"]
    return "\n".join(client.get(f"{ACME}{path}").text for path in of_job + lists)


@pytest.mark.slow
async def test_a_secret_that_was_submitted_is_told_to_nobody(api: Api, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, logger="httpx")  # of the clients of these tests
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="fairlane")
    may_end = threading.Event()
    api.fl.job_type("login", max_retries=0)(login_until(may_end))
    api.fl.migrate()
    member, admin = api.as_("member"), api.as_("admin")
    stream = Stream(api, api.token("viewer"), ACME)
    async with Watcher(api, "viewer", "acme") as watcher:
        await watcher.subscribe(organization="acme")
        key = {"Idempotency-Key": "once"}
        answers = [member.post(f"{ACME}/jobs", json=JOB, headers=key) for _ in range(2)]
        job = answers[0].json()["id"]
        running = asyncio.create_task(asyncio.to_thread(api.run))
        # Progress is for all who may see the job: what it said is told, but for the secrets.
        await watcher.until(lambda _: "job_progress" in watcher.names())
        may_end.set()
        await watcher.until_status(job, "dead_letter")
        await running
        stream.wait_for('"to_status": "dead_letter"')
        events = str(watcher.told) + stream.told
    stream.close()
    answers += [
        member.post(f"{ACME}/jobs", json={**JOB, "parameters": {**GIVEN, wrong: [GIVEN[wrong]]}}) for wrong in GIVEN
    ]
    answers += [member.post(f"{ACME}/jobs/batch", json={"jobs": [JOB, JOB]})]
    answers += [admin.put(f"{ACME}/schedules/nightly", json={**JOB, "every": 86_400})]
    told = {user: seen(api, job, user) for user in ("viewer", "member", "admin")}
    told |= {"in answers": "\n".join(one.text for one in answers), "in events": events, "in logs": caplog.text}
    assert [(who, one) for who, text in told.items() for one in SECRETS if one in text] == []
    assert admin.get(f"{ACME}/jobs", params={"text": SECRETS[0]}).json()["total"] == 0
    assert events.count(TOLD) >= 2
    assert TOLD in told["member"]
    assert TOLD not in told["viewer"].replace(f'"progress_message":"{TOLD}"', "")
    assert admin.get(f"{ACME}/jobs/{job}").json()["parameters"] == SHOWN
    assert [one.status_code for one in answers] == [201, 200, 422, 422, 201, 409, 200]
