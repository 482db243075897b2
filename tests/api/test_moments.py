"""Moments that people give, in a database whose own time zone would take some of them out of the calendar."""

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from fairlane import JobContext, JobStatus, TransientError
from tests.api.served import Api
from tests.engine.worker_kit import Engine, engine, running

JOBS = "/organizations/acme/jobs"
FIRST, LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
# With moments that are in year 1 BC or 10000 there, and which no Python holds.
ZONES = {"America/New_York": FIRST, "Asia/Tokyo": LAST}


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, postgres_url: str) -> str:
    """The time zone of the database."""
    name: str = request.param
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        database = sql.Identifier(str(make_url(postgres_url).database))
        connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = {}").format(database, sql.Literal(name)))
    return name


@pytest.fixture
def fl(zone: str, postgres_url: str) -> Iterator[Engine]:
    with engine(postgres_url) as fl:
        fl.organizations.create("other")

        @fl.job_type("report")
        def report(ctx: JobContext) -> None: ...

        @fl.job_type("flaky", backoff=[0.01])
        def flaky(ctx: JobContext) -> None:
            if ctx.attempt == 1:
                raise TransientError("once")

        yield fl


def test_a_moment_far_away_is_refused_and_the_jobs_of_others_start(zone: str, postgres_url: str):
    with Api(postgres_url) as api:
        member = api.as_("member")
        answer = member.post(JOBS, json={"job_type": "report", "run_at": ZONES[zone]})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:invalid-parameters")
        assert "run_at must be in the years 1970 to 2199" in answer.json()["detail"]
        theirs = api.as_("other-member", "other").post("/organizations/other/jobs", json={"job_type": "report"})
        api.run()
        assert api.fl.get(theirs.json()["id"], organization="other").status is JobStatus.COMPLETED


@pytest.mark.slow
def test_the_last_moments_that_are_taken_hold_up_nobody(zone: str, postgres_url: str):
    with Api(postgres_url) as api:
        for moment in ("1970-01-01T00:00:00Z", "2199-12-31T23:59:59.999999Z"):
            body = {"job_type": "report", "run_at": moment}
            answer = api.as_("member").post(JOBS, json=body)
            assert answer.status_code == 201, answer.text
            job = answer.json()
            assert job["run_at"] == max(moment, job["created_at"])
        api.run()
        statuses = [one["status"] for one in api.as_("member").get(JOBS).json()["items"]]
        assert statuses == ["pending", "completed"]


def test_an_odd_moment_that_is_stored_already_holds_up_nobody(zone: str, fl: Engine):
    odd = fl.give("report", delay=3600)
    with psycopg.connect(fl.settings.url) as connection:
        connection.execute("UPDATE fairlane_live SET run_at = %s WHERE id = %s", (ZONES[zone], odd.id))
    assert fl.look(odd).run_at == datetime.fromisoformat(ZONES[zone])
    with running(fl.worker()):
        retried = fl.submit("flaky", organization="other")
        later = fl.submit("report", organization="other", delay=0.01)
        assert {fl.ended(one).status for one in (retried, later)} == {JobStatus.COMPLETED}


@pytest.mark.slow
def test_a_retry_that_never_comes_holds_up_nobody(fl: Engine):
    waiting = fl.give("report", delay=3600)
    with psycopg.connect(fl.settings.url) as connection:
        connection.execute(
            "UPDATE fairlane_live SET status = 'queued', ready = false, next_retry_at = 'infinity' WHERE id = %s",
            (waiting.id,),
        )
    with running(fl.worker()):
        assert fl.ended(fl.submit("flaky", organization="other")).status is JobStatus.COMPLETED


def test_filters_and_schedules_refuse_such_moments_in_a_sentence(api: Api):
    admin = api.as_("admin")
    for moment in (FIRST, "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", LAST):
        for name in ("created_after", "created_before"):
            answer = admin.get(JOBS, params={name: moment})
            assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:invalid-parameters")
            assert f"{name} must be in the years 1970 to 2199" in answer.json()["detail"]
        body = {"job_type": "report", "every": 60, "start": moment}
        answer = admin.put("/organizations/acme/schedules/hourly", json=body)
        assert answer.status_code == 422, answer.text
        assert "start must be in the years 1970 to 2199" in answer.json()["detail"]
    assert admin.get(JOBS, params={"created_before": datetime(2199, 12, 31, tzinfo=UTC).isoformat()}).is_success
