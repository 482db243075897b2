"""A submitted job shows its user nothing that they may not see, and runs no longer than its type may."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event

from fairlane import Submission
from tests.api.served import Api, notes
from tests.api.test_hosted import Host

JOBS = "/organizations/acme/jobs"
REPORT = {"job_type": "report"}


def single(client: httpx.Client, **options: Any) -> httpx.Response:
    return client.post(JOBS, json=REPORT | options)


def under_a_key(client: httpx.Client, **options: Any) -> httpx.Response:
    return client.post(JOBS, json=REPORT | options, headers={"Idempotency-Key": str(uuid4())})


def batch(client: httpx.Client, **options: Any) -> httpx.Response:
    return client.post(f"{JOBS}/batch", json={"jobs": [REPORT, REPORT | options]})


WAYS = {"a job": single, "a job under a key": under_a_key, "a batch": batch}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nobody_builds_on_a_job_whose_payload_they_may_not_see(api: Api, way: str):
    send = WAYS[way]
    parent = api.as_("member").post(JOBS, json=REPORT).json()["id"]
    system = str(api.fl.submit("report", organization="acme").id)
    before = api.fl.list(organization="acme").total
    cut = api.as_("admin", scopes=["jobs:submit", "jobs:read"])
    for client, job in [(api.as_("colleague"), parent), (api.as_("member"), system), (cut, parent)]:
        answer = send(client, depends_on=[job])
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:fairlane:problem:permission-denied")
        assert answer.json()["detail"] == f"Job {job} is not yours; to build on it takes the right payload:read."
        assert answer.json().get("index") == (1 if way == "a batch" else None)
    assert api.fl.list(organization="acme").total == before
    missing = send(api.as_("colleague"), depends_on=[str(uuid4())])
    assert (missing.status_code, missing.json()["type"]) == (422, "urn:fairlane:problem:parent-not-found")

    api.fl.members.add("acme", "colleague", role="member", permissions=["payload:read"])
    api.fl.members.add("acme", "olga", role="member")
    operator = api.operator()
    assert send(operator, depends_on=[parent]).status_code == 403
    api.fl.users.update("olga", rights=["payload:read"])
    for client in (api.as_("member"), api.as_("admin"), api.as_("colleague"), operator):
        assert send(client, depends_on=[parent]).status_code == 201


def test_nobody_builds_on_a_job_whose_payload_the_application_s_directory_does_not_let_them_see(
    serve: Callable[..., Api],
):
    api = serve(directory=Host())
    parent = api.as_("member").post(JOBS, json=REPORT).json()["id"]
    answers = [single(api.as_(user), depends_on=[parent]) for user in ("member", "colleague", "admin")]
    assert [one.status_code for one in answers] == [201, 403, 201]


def test_nobody_builds_on_a_job_of_others_that_stands_in_for_one_of_their_batch(api: Api):
    theirs = api.as_("member").post(JOBS, json={"job_type": "unique", "dedup_key": "guessed"}).json()["id"]
    twin = {"job_type": "unique", "dedup_key": "guessed", "on_duplicate": "return"}
    jobs = [twin, {**REPORT, "depends_on_members": [0]}]
    refused = api.as_("colleague").post(f"{JOBS}/batch", json={"jobs": jobs})
    assert (refused.status_code, refused.json()["index"]) == (403, 1)
    assert api.fl.list(organization="acme").total == 1
    made = api.as_("member").post(f"{JOBS}/batch", json={"jobs": jobs})
    assert made.json()["items"][1]["depends_on"] == [theirs]
    own = [{**twin, "dedup_key": "own"}, {**REPORT, "depends_on_members": [0]}]
    assert api.as_("colleague").post(f"{JOBS}/batch", json={"jobs": own}).status_code == 201


def test_a_token_that_may_not_read_builds_on_no_job_from_before(api: Api):
    cut = api.as_("member", scopes=["jobs:submit"])
    parent = cut.post(JOBS, json=REPORT).json()["id"]
    answer = single(cut, depends_on=[parent])
    assert answer.status_code == 403
    assert answer.json()["detail"] == f"To build on job {parent} takes the right jobs:read, which you don't have here."
    assert cut.post(f"{JOBS}/batch", json={"jobs": [REPORT, {**REPORT, "depends_on_members": [0]}]}).status_code == 201


def test_a_token_that_may_not_read_is_shown_no_job_of_others_that_is_there_already(api: Api):
    twin = {"job_type": "unique", "dedup_key": "known", "labels": {"client": "secret"}}
    theirs = api.as_("member").post(JOBS, json=twin).json()["id"]
    cut = api.as_("colleague", scopes=["jobs:submit"])
    guessed = {"job_type": "unique", "dedup_key": "known", "on_duplicate": "return"}
    for answer in (cut.post(JOBS, json=guessed), cut.post(f"{JOBS}/batch", json={"jobs": [guessed]})):
        assert answer.status_code == 403
        assert "needs the right jobs:read, which you don't have here." in answer.json()["detail"]
        assert theirs not in answer.text
    reading = api.as_("colleague", scopes=["jobs:submit", "jobs:read"])
    assert reading.post(JOBS, json=guessed).json()["id"] == theirs


def test_code_of_the_application_builds_on_any_job_of_the_organization(api: Api):
    parent = api.fl.submit("report", organization="acme", user="member")
    child = api.fl.submit("report", organization="acme", user="colleague", depends_on=parent)
    assert child.depends_on == (parent.id,)
    (other,) = api.fl.submit_many([Submission("report", organization="acme", user="colleague", depends_on=parent)])
    assert other.depends_on == (parent.id,)


def test_all_parents_of_a_batch_are_looked_for_by_one_query(api: Api):
    client, sent = api.as_("member"), list[str]()
    parents = [client.post(JOBS, json=REPORT).json()["id"] for _ in range(12)]

    def statements(count: int) -> int:
        sent.clear()
        jobs = [{**REPORT, "depends_on": parents[at : at + 2]} for at in range(0, count, 2)]
        assert client.post(f"{JOBS}/batch", json={"jobs": jobs}).status_code == 201
        return len(sent)

    event.listen(api.fl.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    assert statements(4) == statements(12)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nobody_lengthens_the_timeout_of_a_job_type(api: Api, way: str):
    send = WAYS[way]
    for user, timeout in [("member", None), ("member", 86_400), ("admin", None), ("admin", 300.5)]:
        answer = send(api.as_(user), timeout=timeout)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:invalid-parameters")
        assert answer.json()["detail"] == (
            "report: a timeout is at most the job type's, 300 s; give that or less, or leave it out."
        )
        assert answer.json().get("index") == (1 if way == "a batch" else None)
    assert api.fl.list(organization="acme").total == 0
    for timeout in (0.5, 300):
        answer = send(api.as_("member"), timeout=timeout)
        assert answer.status_code == 201
        assert answer.json().get("items", [answer.json()])[-1]["timeout"] == timeout


def test_any_timeout_will_do_where_the_job_type_has_none(api: Api):
    api.fl.job_type("endless", timeout=None, dedup_window=0)(notes)
    answers = [single(api.as_("member"), job_type="endless", timeout=one) for one in (None, 86_400)]
    assert [one.json()["timeout"] for one in answers] == [None, 86_400]


def test_code_of_the_application_lengthens_the_timeout_of_a_job_type(api: Api):
    made = [api.fl.submit("report", organization="acme", user="member", timeout=one) for one in (None, 86_400)]
    assert [one.timeout for one in made] == [None, 86_400]
