"""An operator acts as one by the credentials that say so, and for as long as they are one."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from fastapi import Request

from fairlane import JobContext
from fairlane.api.scope import ByOperator, Operation
from fairlane.domain.redact import REDACTED
from tests.api.matrix import MATRIX, Across
from tests.api.routes import body_of, for_operator, routes
from tests.api.served import OPERATOR, Api
from tests.api.test_jwt import SETTINGS, Issuer, signed

ACME = "/organizations/acme"
Send = Callable[[httpx.Client, str], httpx.Response]


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """The API, where the operator is a member of acme, too, and an identity provider names no operators."""
    served = serve(SETTINGS, fetch=Issuer())
    served.fl.members.add("acme", OPERATOR)
    return served


def others(api: Api, job_type: str) -> str:
    """Somebody else's job."""
    return str(api.fl.submit(job_type, organization="acme", user="colleague").id)


def as_member(api: Api, credential: str) -> httpx.Client:
    """The operator, by a credential that makes an ordinary member of them."""
    return api.as_(OPERATOR) if credential == "token" else api.client(signed(sub=OPERATOR))


def post(path: str, body: Callable[[str], Mapping[str, Any]] = lambda _: {}) -> Send:
    return lambda client, job: client.post(f"{ACME}/{path.format(job=job)}", json=body(job))


def some(path: str, **more: Any) -> Send:
    return post(f"dead-letters/{path}", lambda job: {"ids": [job], **more})


CHANGES: dict[str, Send] = {
    "a retry": post("jobs/{job}/retry"),
    "a retry with other parameters": post("jobs/{job}/retry", lambda _: {"parameters": {"text": "x"}}),
    "a retry as a dead letter": post("dead-letters/{job}/retry"),
    "a decision": post("dead-letters/{job}/resolution", lambda _: {"resolution": "ignored"}),
    "a deletion": lambda client, job: client.delete(f"{ACME}/dead-letters/{job}"),
    "retries": some("retry"),
    "decisions": some("resolution", resolution="resolved"),
    "deletions": some("deletion"),
}


@pytest.mark.parametrize("credential", ["token", "jwt"])
def test_by_a_credential_of_a_member_an_operator_changes_no_job_of_others(api: Api, credential: str):
    waiting, dead = others(api, "report"), others(api, "failing")
    api.fl.queues.pause("default")
    client, operator = as_member(api, credential), api.operator()
    assert client.get(f"{ACME}/access").json()["is_operator"] is False
    assert client.post(f"{ACME}/jobs/{waiting}/cancellation").status_code == 403
    assert operator.post(f"{ACME}/jobs/{waiting}/cancellation").status_code == 202
    api.fl.queues.resume("default")
    api.run()
    before = api.fl.dead_letters.list(organization="acme").items
    for name, change in CHANGES.items():
        answer = change(client, dead)
        refused = answer.json().get("refused", [{"type": answer.json().get("type")}])
        assert [one["type"] for one in refused] == ["urn:fairlane:problem:permission-denied"], name
    group = before[0].fingerprint
    whole = client.post(f"{ACME}/dead-letter-groups/{group}/retry").json()
    assert (whole["changed"], whole["refused"]) == (0, len(before))
    assert api.fl.dead_letters.list(organization="acme").items == before
    assert operator.post(f"{ACME}/dead-letters/{dead}/retry").status_code == 202


def test_an_operator_who_is_a_plain_member_runs_no_job_of_others_with_other_parameters(api: Api):
    own = str(api.fl.submit("failing", organization="acme", user=OPERATOR).id)
    dead = [others(api, "failing") for _ in range(2)]
    api.run()
    operator, edit = api.operator(), {"parameters": {"text": "x"}}
    for path in ("jobs", "dead-letters"):
        answer = operator.post(f"{ACME}/{path}/{dead[0]}/retry", json=edit)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:fairlane:problem:permission-denied")
    assert operator.post(f"{ACME}/jobs/{own}/retry", json=edit).status_code == 202
    assert operator.post(f"{ACME}/jobs/{dead[0]}/retry").status_code == 202
    api.fl.members.update("acme", OPERATOR, role="admin")
    assert operator.post(f"{ACME}/jobs/{dead[1]}/retry", json=edit).status_code == 202


def test_an_operator_has_no_secret_of_others_used_by_taking_over_their_schedule(api: Api):
    def call(ctx: JobContext, url: str, api_key: str) -> None: ...

    api.fl.job_type("call")(call)
    api.fl.migrate()

    def given(url: str, key: str) -> dict[str, Any]:
        return {"job_type": "call", "every": 3600, "parameters": {"url": url, "api_key": key}}

    api.fl.schedules.put("x", organization="acme", as_user="colleague", **given("https://theirs", "hunter22"))
    operator, admin = api.operator(), api.as_("admin")
    refused = operator.put(f"{ACME}/schedules/x", json=given("https://mine", REDACTED))
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:fairlane:problem:invalid-parameters")
    kept = admin.put(f"{ACME}/schedules/x", json={**given("https://theirs", REDACTED), "user": "colleague"})
    assert kept.json()["parameters"] == {"url": "https://theirs", "api_key": REDACTED}
    # Their own they may edit.
    assert operator.put(f"{ACME}/schedules/x", json=given("https://mine", "another-key")).status_code == 200
    assert operator.put(f"{ACME}/schedules/x", json=given("https://there", REDACTED)).status_code == 200


def test_the_library_is_trusted_code_so_an_operator_is_one_there(api: Api):
    job = others(api, "report")
    assert api.fl.cancel(job, organization="acme", user=OPERATOR).canceled_by == OPERATOR


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(("credential", "changed"), [("token", 1), ("jwt", 1), ("operator", 3)])
def test_a_bulk_action_goes_on_as_what_its_credential_made_of_whoever_began_it(api: Api, credential: str, changed: int):
    api.fl.members.update("acme", OPERATOR, role="admin")
    api.fl.queues.pause("default")  # so that workers have time for it
    for _ in range(3):
        others(api, "report")
    client = api.operator() if credential == "operator" else as_member(api, credential)
    begun = client.post(f"{ACME}/bulk-actions", json={"action": "cancel"}).json()
    assert begun["changed"] == 1
    api.fl.members.update("acme", OPERATOR, role="viewer")
    api.run()
    ended = api.as_("admin").get(f"{ACME}/bulk-actions/{begun['id']}").json()
    state = "done" if credential == "operator" else "stopped"
    assert (ended["state"], ended["changed"], ended["refused"]) == (state, changed, 0)


@pytest.mark.slow
def test_whatever_an_operator_changes_takes_that_they_are_one_in_its_transaction(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
):
    api, let_in = serve(), ByOperator.__call__

    def late(self: ByOperator, request: Request) -> Operation:
        operation = let_in(self, request)
        api.fl.users.update(OPERATOR, operator=False)  # after the request was let in
        return operation

    monkeypatch.setattr(ByOperator, "__call__", late)
    operator, done, wrong = api.operator(), 0, []
    for route in routes(api):
        row = MATRIX[route.name]
        if not isinstance(row, Across) or route.method == "GET":
            continue
        api.fl.users.update(OPERATOR, operator=True)
        path = route.path.format(**{one: for_operator(api, route, one) for one in route.parameters})
        answer = operator.request(route.method, f"{api.url}{path}", json=body_of(row, route))
        done += 1
        if answer.status_code != 403 or "meanwhile" not in answer.text:
            wrong.append(f"{route.name}: {answer.status_code} {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert done > 20
    organizations = [one.id for one in api.fl.organizations.list()]
    actors = {one.actor for place in (None, *organizations) for one in api.fl.audit.list(organization=place)}
    assert actors == {"system"}
