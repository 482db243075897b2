"""Jobs of the platform are the operators' alone, whatever a tenant asks for, and by whatever connection (R19)."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import psycopg
import pytest

from fairlane import PLATFORM, ConfigurationError, Fairlane, Settings
from fairlane.store.row_security import SETTING, DatabaseRole
from tests.api import alike
from tests.api.matrix import MATRIX, Within
from tests.api.routes import Route, body_of, nobodys, routes
from tests.api.served import OPERATOR, SECRET, Api
from tests.api.test_jwt import SETTINGS, Issuer, signed
from tests.realtime.stream import Stream
from tests.realtime.watching import Watcher
from tests.store.logins import bound_logins, plain

OURS = f"/organizations/{PLATFORM}"
GRANT = "it needs fairlane_operator. Say as an administrator: GRANT fairlane_operator TO"


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """The API, with an identity provider."""
    return serve(SETTINGS, fetch=Issuer())


@pytest.fixture
def jobs(api: Api) -> list[str]:
    """Two jobs of the platform: one has completed, and one is a dead letter."""
    made = [str(api.fl.submit(one, organization=PLATFORM).id) for one in ("report", "failing")]
    api.run()
    return made


def within(api: Api) -> list[Route]:
    """Return the routes within an organization."""
    return [one for one in routes(api) if isinstance(MATRIX[one.name], Within)]


def answer(client: httpx.Client, route: Route, organization: str, job: str) -> httpx.Response:
    values = {name: nobodys(name) for name in route.parameters} | {"organization": organization, "job": job}
    path = route.path.removeprefix("/api/v1").format(**values)
    return client.request(route.method, path, json=body_of(MATRIX[route.name], route))


def tenants(api: Api) -> dict[str, httpx.Client]:
    """Return clients of everybody who does not act as an operator."""
    api.fl.members.add("acme", OPERATOR, role="admin")
    return {
        "a viewer": api.as_("viewer"),
        "a member": api.as_("member"),
        "an admin": api.as_("admin"),
        "an admin by a JWT": api.client(signed(sub="admin")),
        "an operator with a token of an organization": api.as_(OPERATOR),
        "an operator by a JWT that makes no operators": api.client(signed(sub=OPERATOR)),
    }


def test_to_a_tenant_the_platform_is_an_organization_that_is_unknown(
    api: Api, jobs: list[str], subtests: pytest.Subtests
):
    found = within(api)
    before = api.fl.list(organization=PLATFORM).items
    for who, client in tenants(api).items():
        with subtests.test(who):
            for route in found:
                ours = answer(client, route, PLATFORM, jobs[1])
                unknown = answer(client, route, ",nowhere", jobs[1])
                assert ours.status_code == 404, route
                assert alike.told(ours) == alike.told(unknown), route
    assert api.fl.list(organization=PLATFORM).items == before


def test_a_tenant_finds_no_job_of_the_platform_in_an_organization(api: Api, jobs: list[str]):
    client = api.as_("admin")
    for job in jobs:
        assert client.get(f"/organizations/acme/jobs/{job}").status_code == 404
        assert client.post(f"/organizations/acme/jobs/{job}/retry").status_code == 404
        answer = client.post("/organizations/acme/jobs", json={"job_type": "report", "depends_on": [job]})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:parent-not-found")
    assert client.get("/organizations/acme/jobs").json()["total"] == 0


def test_an_operator_submits_sees_and_changes_jobs_of_the_platform(api: Api, jobs: list[str]):
    client = api.operator()
    made = client.post(f"{OURS}/jobs", json={"job_type": "report"}, headers={"Idempotency-Key": "once"})
    assert (made.status_code, made.json()["organization"], made.json()["user"]) == (201, PLATFORM, OPERATOR)
    again = client.post(f"{OURS}/jobs", json={"job_type": "report"}, headers={"Idempotency-Key": "once"})
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
    job = f"{OURS}/jobs/{made.json()['id']}"
    assert client.get(f"{job}/explanation").json()["reasons"][0]["code"] == "no_worker"
    assert client.post(f"{job}/cancellation").json()["status"] == "canceled"
    assert client.delete(job).status_code == 204
    done, dead = (f"{OURS}/jobs/{one}" for one in jobs)
    assert client.get(f"{done}/result").json()["value"] == {"month": "2026-11"}
    assert client.get(f"{done}/artifacts/report.txt").text == "report of 2026-11"
    assert client.get(dead).json()["error_message"] == SECRET
    assert [one["to_status"] for one in client.get(f"{dead}/history").json()["items"]][-1] == "dead_letter"
    assert client.post(f"{dead}/retry").json()["status"] == "queued"
    assert client.get(f"{OURS}/jobs").json()["total"] == 2
    assert client.get(f"{OURS}/metrics").json()["jobs_by_status"]["completed"] == 1
    assert client.get(OURS).json()["name"] == "platform"


def test_an_operator_gives_the_platform_no_members_tokens_or_settings(api: Api):
    client = api.operator()
    for method, path, body in (
        ("GET", "members", None),
        ("PUT", "members/ana", {"role": "admin"}),
        ("POST", "tokens", {"name": "ours", "user": OPERATOR}),
        ("GET", "audit", None),
        ("PATCH", "", {"name": "Ours"}),
    ):
        answer = client.request(method, f"{OURS}/{path}".rstrip("/"), json=body)
        assert answer.status_code == 403, (method, path)
    for path in ("suspension", "pause"):
        answer = client.post(f"/operator{OURS}/{path}", json={"reason": "x"} if path == "pause" else None)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:invalid-parameters")
    assert client.delete(f"/operator{OURS}").status_code == 422
    listed = client.get("/operator/organizations").json()["items"]
    assert [one["id"] for one in listed] == ["acme", "other"]


def test_a_token_of_an_operator_that_is_cut_to_reading_submits_no_job_of_the_platform(api: Api, jobs: list[str]):
    client = api.operator(scopes=["jobs:read"])
    assert client.get(f"{OURS}/jobs/{jobs[0]}").status_code == 200
    assert client.post(f"{OURS}/jobs", json={"job_type": "report"}).status_code == 403
    assert client.get(f"{OURS}/jobs/{jobs[1]}").json()["error_message"] is None


async def test_only_operators_hear_of_jobs_of_the_platform(api: Api, jobs: list[str]):
    async with Watcher(api, "admin", "acme") as tenant, Watcher(api, OPERATOR, None) as operator:
        for job in (None, *jobs):
            wanted = {"organization": PLATFORM.value, **({"job": job} if job is not None else {})}
            assert (await tenant.subscribe(**wanted))["error"]["status"] == 404
        assert "error" in await tenant.subscribe(organization="acme", job=jobs[0])
        assert "error" in await tenant.subscribe(operator=True)
        assert (await tenant.subscribe(organization="acme"))["room"] == "org:acme"
        assert (await operator.subscribe(operator=True))["room"] == "admin:jobs"
        ours = api.fl.submit("report", organization=PLATFORM)
        await operator.until(lambda told: any(data.get("job_id") == str(ours.id) for _, data in told))
        theirs = api.fl.submit("report", organization="acme")
        await tenant.until(lambda told: any(data.get("job_id") == str(theirs.id) for _, data in told))
        assert [data for _, data in tenant.told if str(ours.id) in json.dumps(data)] == []


def test_a_stream_of_a_tenant_tells_nothing_of_the_platform(api: Api):
    ours, theirs = (
        Stream(api, api.token(*who), path)
        for who, path in (
            ((OPERATOR, None), OURS),
            (("admin", "acme"), "/organizations/acme"),
        )
    )
    with closing(ours), closing(theirs):
        jobs = [api.fl.submit("report", organization=one).id for one in (PLATFORM, "acme")]
        ours.wait_for(str(jobs[0]))
        theirs.wait_for(str(jobs[1]))
        assert str(jobs[0]) not in theirs.told


class TestOnPostgreSQL:
    """By the database's own logins."""

    @pytest.fixture
    def logins(self, postgres_url: str) -> Iterator[dict[str, str]]:
        with _engine(postgres_url) as fl:
            fl.organizations.create("acme")
            fl.submit("report", organization=PLATFORM)
        with bound_logins(postgres_url) as urls:
            yield urls

    def test_an_application_whose_login_is_no_operator_s_is_told_what_it_needs(self, logins: dict[str, str]):
        with _engine(logins["host"]) as fl:
            with pytest.raises(ConfigurationError, match=GRANT):
                fl.submit("report", organization=PLATFORM)
            with pytest.raises(ConfigurationError, match=GRANT):
                fl.list(organization=PLATFORM)
            assert fl.submit("report", organization="acme").organization == "acme"
        with _engine(logins["web"]) as fl:
            assert fl.submit("report", organization=PLATFORM, parameters={"n": 2}).organization is PLATFORM
            assert fl.list(organization=PLATFORM).total == 2

    def test_a_transaction_of_a_login_that_is_no_operator_s_takes_no_job_of_the_platform(self, logins: dict[str, str]):
        with _engine(logins["web"]) as fl, psycopg.connect(plain(logins["host"])) as theirs:
            with pytest.raises(ConfigurationError, match=GRANT):
                fl.submit("report", organization=PLATFORM, connection=theirs)
            assert fl.submit("report", organization="acme", connection=theirs).organization == "acme"
            theirs.commit()
            assert (fl.list(organization=PLATFORM).total, fl.list(organization="acme").total) == (1, 1)

    def test_a_job_of_the_platform_is_part_of_a_transaction_of_an_operator_s_login(self, logins: dict[str, str]):
        with _engine(logins["web"]) as fl, psycopg.connect(plain(logins["web"])) as theirs:
            before = _settings(theirs)
            job = fl.submit("report", organization=PLATFORM, parameters={"n": 2}, connection=theirs)
            assert _settings(theirs) == before
            assert fl.list(organization=PLATFORM).total == 1
            theirs.commit()
            assert fl.get(job, organization=PLATFORM).organization is PLATFORM

    @pytest.mark.parametrize("role", [DatabaseRole.APP, DatabaseRole.TENANT, DatabaseRole.ADMIN])
    def test_no_setting_shows_a_tenant_s_role_a_job_of_the_platform(self, logins: dict[str, str], role: DatabaseRole):
        with psycopg.connect(plain(logins["jobs"]), autocommit=True) as session:
            session.execute(f"SET ROLE {role}")
            for names in (PLATFORM.value, f"acme,{PLATFORM}", f"{PLATFORM},acme", "platform", ",", ""):
                session.execute("SELECT set_config(%s, %s, false)", (SETTING, names))
                for table in ("jobs", "live", "execution_log"):
                    assert session.execute(f"SELECT FROM fairlane_{table}").rowcount == 0, (names, table)
                changed = session.execute("UPDATE fairlane_live SET ready = false WHERE true")
                assert changed.rowcount == 0, names


def _engine(url: str) -> Fairlane:
    fl = Fairlane(Settings(url=url, artifacts_url="memory:///"))
    fl.job_type("report", dedup_window=0)(_report)
    return fl


def _report(ctx: Any, n: int = 1) -> None: ...


def _settings(connection: psycopg.Connection[Any]) -> Any:
    asked = f"SELECT current_setting('role'), coalesce(current_setting('{SETTING}', true), ''), current_user"
    return connection.execute(asked).fetchone()
