"""A user has a rate limit, and nobody loses requests by what others ask."""

import sys

import pytest
from limits.errors import StorageError
from sqlalchemy import event

from fairlane import ConfigurationError, WebSettings
from fairlane.api.authentication import network_of
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate, Rates
from tests.api.served import Api

JOBS = "/organizations/acme/jobs"


def test_each_kind_of_request_has_a_limit_of_its_own_for_each_user(serve):
    api: Api = serve({"rate_submit": 2, "rate_list": 3, "rate_cancel": 1, "rate_metrics": 1, "rate_status": 4})
    client = api.as_("member")
    body = {"job_type": "report"}
    job = client.post(JOBS, json=body).json()["id"]
    assert client.post(JOBS, json=body).status_code == 201
    refused = client.post(JOBS, json=body)
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:fairlane:problem:too-many-requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["retry_after"] <= 60
    assert [client.get(JOBS).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert [client.get(f"{JOBS}/{job}").status_code for _ in range(5)] == [200] * 4 + [429]
    assert [client.get("/organizations/acme/metrics").status_code for _ in range(2)] == [200, 429]
    assert [client.post(f"{JOBS}/{job}/cancellation").status_code for _ in range(2)] == [202, 429]
    # Another token of theirs counts together with it; that of somebody else does not.
    assert api.as_("member").post(JOBS, json=body).status_code == 429
    assert api.as_("colleague").post(JOBS, json=body).status_code == 201


def test_a_flood_is_refused_before_the_database_is_asked(serve):
    api: Api = serve({f"rate_{kind}": 1 for kind in ("submit", "status", "list", "cancel", "metrics", "login")})
    client = api.as_("member")
    answers = [client.get("/organizations/acme/nothing/at/all") for _ in range(7)]
    assert [one.status_code for one in answers] == [404] * 6 + [429]
    asked: list[str] = []

    def note(*_: object) -> None:
        asked.append("a statement")

    event.listen(api.fl.database.engine, "before_cursor_execute", note)
    assert client.get("/organizations/acme/jobs").status_code == 429
    assert asked == []


def test_the_limits_are_those_that_the_documentation_names():
    settings = WebSettings()
    given = [getattr(settings, f"rate_{kind}") for kind in ("submit", "status", "list", "cancel", "metrics")]
    assert given == [100, 600, 300, 30, 120]


def test_while_the_shared_count_is_away_each_node_counts_by_itself(monkeypatch: pytest.MonkeyPatch):
    rates = Rates(WebSettings(rate_list=1, rates_url="memory://"))

    def away(*_: object) -> bool:
        raise StorageError(OSError("away"))

    assert rates._shared is not None
    monkeypatch.setattr(rates._shared, "hit", away)
    rates.count(Rate.LIST, "ana")
    with pytest.raises(Problem):
        rates.count(Rate.LIST, "ana")


def test_a_place_to_count_that_is_none_is_refused_in_a_sentence():
    with pytest.raises(ConfigurationError, match="rates_url can't be used"):
        Rates(WebSettings(rates_url="nothing://x"))


def test_a_queue_that_is_full_says_when_to_retry(api: Api):
    api.fl.organizations.update("acme", max_live_jobs=1)
    accepted, refused = (api.as_("member").post(JOBS, json={"job_type": "report"}) for _ in range(2))
    assert accepted.status_code == 201
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:fairlane:problem:queue-full")
    assert int(refused.headers["retry-after"]) >= 1


def test_a_queue_that_takes_nothing_names_no_time_to_retry(api: Api):
    api.fl.organizations.update("acme", max_live_jobs=0)
    refused = api.as_("member").post(JOBS, json={"job_type": "report"})
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:fairlane:problem:queue-full")
    assert "retry-after" not in refused.headers


def test_redis_without_its_library_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match="install redis, or leave it out"):
        Rates(WebSettings(rates_url="redis://localhost:1"))


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_who_has_a_network_of_ipv6_for_themselves_is_counted_as_one(address: str, counted: str):
    assert network_of({"client": (address, 4711)}) == counted
