"""A request that is sent again submits nothing twice, whatever came in between."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from threading import Barrier
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from fairlane import JobContext, Submission
from fairlane.engine.cleanup import Cleanup
from fairlane.engine.idempotency import Idempotency, Key
from fairlane.engine.submission import Submitter
from fairlane.testing import ManualClock
from tests.api.served import Api
from tests.engine.sealed_engine import FIRST
from tests.store.races.scene import Scene

JOBS = "/organizations/acme/jobs"
BODY = {"job_type": "report", "parameters": {"month": "2026-10"}}
KEY = {"Idempotency-Key": "my key"}


def total(api: Api) -> int:
    return api.fl.list(organization="acme").total


def test_the_same_request_again_answers_with_the_same_job(api: Api):
    client = api.as_("member")
    first = client.post(JOBS, json=BODY, headers=KEY)
    # Other white space and another order of names make no other request.
    content = b'{"parameters":{"month":"2026-10"},\n"job_type":"report"}'
    again = client.post(JOBS, content=content, headers={**KEY, "Content-Type": "application/json"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.json()["id"] == again.json()["id"]
    assert total(api) == 1


def test_another_request_under_the_same_key_is_refused(api: Api):
    client = api.as_("member")
    client.post(JOBS, json=BODY, headers=KEY)
    other = {**BODY, "priority": "high"}
    batch = {"jobs": [BODY]}
    for answer in (client.post(JOBS, json=other, headers=KEY), client.post(f"{JOBS}/batch", json=batch, headers=KEY)):
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:idempotency-conflict")
    assert total(api) == 1


def test_a_number_that_differs_behind_what_a_float_keeps_makes_another_request(api: Api):
    @api.fl.job_type("pay")
    def pay(ctx: JobContext, amount: Decimal) -> None: ...

    body = '{"job_type": "pay", "parameters": {"amount": 12345678901234567.%s}}'
    headers = {**KEY, "Content-Type": "application/json"}
    answers = [api.as_("member").post(JOBS, content=body % end, headers=headers) for end in ("8", "8", "9")]
    assert [one.status_code for one in answers] == [201, 200, 422]
    assert answers[2].json()["type"] == "urn:fairlane:problem:idempotency-conflict"


def test_a_key_with_a_control_character_is_a_wrong_value_and_no_conflict(api: Api):
    answer = api.as_("member").post(JOBS, json=BODY, headers={"Idempotency-Key": "a\tkey"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:invalid-value")
    assert "Idempotency-Key must be text of 1 to 200 printable characters" in answer.json()["detail"]
    assert total(api) == 0


def test_keys_are_each_user_s_and_organization_s_own(api: Api):
    ids = {
        api.as_("member").post(JOBS, json=BODY, headers=KEY).json()["id"],
        api.as_("admin").post(JOBS, json=BODY, headers=KEY).json()["id"],
        api.as_("other-member", "other").post("/organizations/other/jobs", json=BODY, headers=KEY).json()["id"],
    }
    assert len(ids) == 3


def test_a_batch_is_found_again_with_its_dependencies(api: Api):
    client = api.as_("member")
    body = {"jobs": [BODY, {**BODY, "depends_on_members": [0]}]}
    first = client.post(f"{JOBS}/batch", json=body, headers=KEY)
    again = client.post(f"{JOBS}/batch", json=body, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert again.json()["items"][1]["depends_on"] == [again.json()["items"][0]["id"]]


def test_after_a_crash_between_key_and_jobs_the_jobs_come_under_the_ids_that_were_drawn(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[Any] = []
    submit = Submitter._submit_step_by_step

    def crash(self: Submitter, connection: Connection, submissions: Sequence[Submission], answers: Any) -> Any:
        drawn.append([one.id for one in submissions])
        if len(drawn) == 1:
            raise OSError("the process is gone")  # which no code of ours handles
        return submit(self, connection, submissions, answers)

    monkeypatch.setattr(Submitter, "_submit_step_by_step", crash)
    client = api.as_("member")
    body = {"jobs": [BODY, {**BODY, "depends_on_members": [0]}]}
    assert client.post(f"{JOBS}/batch", json=body, headers=KEY).status_code == 500
    assert total(api) == 0
    second = client.post(f"{JOBS}/batch", json=body, headers=KEY)
    assert second.status_code == 201
    assert drawn[0] == drawn[1]
    assert [one["id"] for one in second.json()["items"]] == list(map(str, drawn[0]))
    assert second.json()["items"][1]["depends_on"] == [str(drawn[0][0])]


def test_after_a_crash_between_jobs_and_answer_the_jobs_are_found(api: Api, monkeypatch: pytest.MonkeyPatch):
    answer = Idempotency._answer

    def crash(self: Idempotency, *_: object) -> None:
        monkeypatch.setattr(Idempotency, "_answer", answer)
        raise OSError("the process is gone")

    monkeypatch.setattr(Idempotency, "_answer", crash)
    client = api.as_("member")
    assert client.post(JOBS, json=BODY, headers=KEY).status_code == 500
    again = client.post(JOBS, json=BODY, headers=KEY)
    assert (again.status_code, total(api)) == (200, 1)


@pytest.mark.parametrize("job_type", ["report", "unique"])
def test_twins_that_race_submit_one_job_and_both_get_it(api: Api, monkeypatch: pytest.MonkeyPatch, job_type: str):
    together, keep, calls = Barrier(2), Idempotency._keep, count()

    def kept(self: Idempotency, *args: Any) -> Any:
        found = keep(self, *args)
        if next(calls) < 2:
            together.wait(timeout=20)  # both have the key before either submits
        return found

    monkeypatch.setattr(Idempotency, "_keep", kept)
    clients = [api.as_("member"), api.as_("member")]

    def send(client: httpx.Client) -> httpx.Response:
        return client.post(JOBS, json={"job_type": job_type}, headers=KEY)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(send, clients))
    assert {one.status_code for one in answers} <= {200, 201}, [one.text for one in answers]
    assert len({one.json()["id"] for one in answers}) == total(api) == 1


def test_a_request_that_was_refused_may_be_retried(api: Api):
    client = api.as_("member")
    body = {"job_type": "later"}
    assert client.post(JOBS, json=body, headers=KEY).status_code == 422
    api.fl.job_type("later")(lambda ctx: None)
    api.fl.migrate()
    assert client.post(JOBS, json=body, headers=KEY).status_code == 201


def test_the_key_of_a_request_that_was_refused_is_free_for_another(api: Api):
    client = api.as_("member")
    assert client.post(JOBS, json={"job_type": "nothing"}, headers=KEY).status_code == 422
    assert client.post(JOBS, json=BODY, headers=KEY).status_code == 201


def test_an_answer_with_an_earlier_job_is_the_same_again(api: Api):
    earlier = api.as_("admin").post(JOBS, json={"job_type": "unique"}).json()["id"]
    client = api.as_("member")
    body = {"job_type": "unique", "on_duplicate": "return"}
    assert client.post(JOBS, json=body, headers=KEY).json()["id"] == earlier
    api.run()  # now the type could be submitted anew
    again = client.post(JOBS, json=body, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (200, earlier)


def test_jobs_that_were_deleted_do_not_return(api: Api):
    client = api.as_("member")
    body = {"job_type": "failing"}
    job = client.post(JOBS, json=body, headers=KEY).json()["id"]
    api.run()
    assert api.as_("admin").delete(f"/organizations/acme/dead-letters/{job}").status_code == 204
    again = client.post(JOBS, json=body, headers=KEY)
    assert (again.status_code, again.json()["type"]) == (422, "urn:fairlane:problem:idempotency-conflict")
    assert again.json()["detail"] == "The jobs of this idempotency key were deleted; take a new key."
    assert total(api) == 0


def test_what_is_stored_encrypted_is_answered_again_as_it_was(database_url: str):
    with Scene(database_url, encryption_keys=FIRST) as scene:
        scene.fl.keys.enable(organization="acme")
        request = (
            Key("acme", "ana", "once"),
            "ab" * 32,
            [Submission("report", organization="acme", user="ana", parameters={"n": 7})],
        )
        (first,), (again,) = (scene.fl.idempotency.submit(*request)[0] for _ in range(2))
        assert again == first
        assert again.parameters == {"n": 7}


@pytest.mark.parametrize("key", ["", "x" * 201, "\x7f"])
def test_a_key_is_a_short_text(api: Api, key: str):
    answer = api.as_("member").post(JOBS, json=BODY, headers={"Idempotency-Key": key})
    assert answer.status_code == 422


def test_a_key_is_free_again_after_a_day_and_then_cleaned_up(api: Api):
    clock = ManualClock(datetime(2026, 11, 26, tzinfo=UTC))
    api.fl.database.clock = clock
    client = api.as_("member")
    first = client.post(JOBS, json=BODY, headers=KEY).json()["id"]
    clock.advance(timedelta(hours=24, seconds=1).total_seconds())
    second = client.post(JOBS, json=BODY, headers=KEY)
    assert (second.status_code, second.json()["id"] == first) == (201, False)
    clock.advance(timedelta(hours=24, seconds=1).total_seconds())
    Cleanup(api.fl.database, api.fl.artifacts, 30 * 86_400).run_once()
    third = client.post(JOBS, json={**BODY, "priority": "high"}, headers=KEY)
    assert third.status_code == 201
