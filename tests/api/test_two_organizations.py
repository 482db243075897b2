"""Two organizations, whatever they do: nothing of one is ever told to the other, nor to a reader of the logs.

Each writes its canary wherever it can write anything. All that comes out is searched for the other's: canary, user, and
each id that the other was ever told.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from fairlane.store.engine import WRITE
from fairlane.store.tables import metadata
from tests.api.served import Api
from tests.depth import far
from tests.realtime.stream import Stream

ACTIONS: Final = 30
ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OF_JOB: Final = (
    *("", "/history", "/logs", "/result", "/explanation", "/graph"),
    *("/artifacts", "/artifacts/report.txt", "/artifacts/nothing"),
)
LISTS: Final = (
    *("", "/access", "/jobs", "/job-counts", "/dead-letters", "/dead-letter-groups", "/metrics", "/timeline"),
    *("/queues", "/job-types", "/breakers", "/schedules", "/schedules/nightly", "/bulk-actions"),
    *("/members", "/tokens", "/audit", "/audit/export"),
)
Who = Literal["acme", "other"]


class Tenant:
    """An admin of an organization, who knows the rival's ids and asks for them, too.

    Attributes:
        marks: what the rival must not be told.
    """

    def __init__(self, api: Api, organization: str) -> None:
        self.base = f"/organizations/{organization}"
        self.canary = f"canary-of-{organization}-4711"
        self.user = f"ada-of-{organization}"
        api.fl.members.add(organization, self.user, role="admin")
        secret = api.token(self.user, organization)
        self.client = api.client(secret)
        self.jobs: list[str] = []
        self.marks = {self.canary, self.user}
        self.rival: Tenant = self
        self.stream = Stream(api, secret, self.base)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self.client.request(method, path, **options)
        assert answer.status_code < 500, answer.text
        # What they asked for themselves may stand in an answer.
        asked = unquote(str(answer.request.url)) + answer.request.content.decode()
        self.be_told(f"{answer.status_code} {answer.headers} {answer.text}", asked)
        return answer

    def be_told(self, told: str, asked: str = "") -> None:
        assert [one for one in self.rival.marks if one in told and one not in asked] == []
        self.marks |= {one for one in ID.findall(told) if one not in asked}

    def listen(self) -> None:
        self.stream.read()
        self.be_told(self.stream.told)


class Two:
    """Both of them, on a database that has nothing else."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.operator = api.operator()
        self.acme, self.other = Tenant(api, "acme"), Tenant(api, "other")
        self.acme.rival, self.other.rival = self.other, self.acme

    def of(self, who: Who) -> Tenant:
        return self.acme if who == "acme" else self.other

    def job(self, number: int) -> str:
        """Any of theirs."""
        known = [*self.acme.jobs, *self.other.jobs] or ["none"]
        return known[number % len(known)]


class Action(Protocol):
    """Something that one of them does. Its fields are drawn by their types."""

    def do(self, two: Two) -> None: ...


@dataclass(frozen=True)
class Rest:
    def do(self, two: Two) -> None: ...


@dataclass(frozen=True)
class Submit:
    who: Who
    job_type: Literal["report", "failing", "unique"]
    key: Literal[None, "one", "two"]
    is_queue_own: bool
    parent: int | None

    def do(self, two: Two) -> None:
        one = two.of(self.who)
        body: dict[str, Any] = {
            "job_type": self.job_type,
            "parameters": {"text" if self.job_type == "failing" else "month": one.canary},
            "labels": {"who": one.canary},
            "queue": one.canary if self.is_queue_own else "default",
            "dedup_key": "the same for both",
            "dedup_window": 3600,
        }
        if self.parent is not None:
            body["depends_on"] = [two.job(self.parent)]
        headers = {"Idempotency-Key": self.key} if self.key is not None else {}
        answer = one.send("POST", f"{one.base}/jobs", json=body, headers=headers)
        one.jobs += [answer.json()["id"]] if answer.is_success else []


@dataclass(frozen=True)
class Fail:
    """Fail so often that a breaker opens."""

    who: Who

    def do(self, two: Two) -> None:
        one = two.of(self.who)
        jobs = [{"job_type": "failing", "parameters": {"text": f"{one.canary} {number}"}} for number in range(10)]
        answer = one.send("POST", f"{one.base}/jobs/batch", json={"jobs": jobs})
        one.jobs += [job["id"] for job in answer.json()["items"]]
        two.api.run()


@dataclass(frozen=True)
class Run:
    def do(self, two: Two) -> None:
        two.api.run()


@dataclass(frozen=True)
class Look:
    who: Who
    where: Who
    job: int

    def do(self, two: Two) -> None:
        for end in OF_JOB:
            two.of(self.who).send("GET", f"{two.of(self.where).base}/jobs/{two.job(self.job)}{end}")


@dataclass(frozen=True)
class List:
    who: Who
    where: Who
    by: Literal[None, "text", "label", "user", "queue"]

    def do(self, two: Two) -> None:
        one = two.of(self.who)
        theirs = {"text": "canary", "label": f"who={one.rival.canary}", "user": one.rival.user}
        params = {self.by: theirs.get(self.by, one.rival.canary)} if self.by is not None else {}
        for what in LISTS:
            one.send("GET", f"{two.of(self.where).base}{what}", params=params)


@dataclass(frozen=True)
class Change:
    who: Who
    where: Who
    job: int
    what: Literal[
        "jobs/{}/cancellation",
        "jobs/{}/run-now",
        "jobs/{}/retry",
        "dead-letters/{}/retry",
        "dead-letters/{}/resolution",
    ]

    def do(self, two: Two) -> None:
        one = two.of(self.who)
        body = {"resolution": "ignored", "note": one.canary} if "resolution" in self.what else {}
        one.send("POST", f"{two.of(self.where).base}/{self.what.format(two.job(self.job))}", json=body)


@dataclass(frozen=True)
class Bulk:
    who: Who
    where: Who
    action: Literal["cancel", "retry", "delete"]
    by: Literal["text", "user", "queue"]

    def do(self, two: Two) -> None:
        one, place = two.of(self.who), f"{two.of(self.where).base}/bulk-actions"
        # Of what is kept they are told again, so there they name nothing of the rival's, but look for the same words.
        own = {"text": "canary-of-", "user": one.user, "queue": one.canary}[self.by]
        theirs = one.rival.user if self.by == "user" else one.rival.canary
        one.send("POST", f"{place}/count", json={"action": self.action, "filter": {self.by: theirs}})
        begun = one.send("POST", place, json={"action": self.action, "filter": {self.by: own}})
        if begun.is_success:
            for asking in (one, one.rival):
                asking.send("GET", f"{place}/{begun.json()['id']}")
                asking.send("POST", f"{asking.base}/bulk-actions/{begun.json()['id']}/stop")


@dataclass(frozen=True)
class Write:
    who: Who
    where: Who
    what: Literal["member", "token", "schedule", "schedule's job", "name"]

    def do(self, two: Two) -> None:
        one, base = two.of(self.who), two.of(self.where).base
        schedule = {"job_type": "report", "every": 1, "parameters": {"month": one.canary}}
        match self.what:
            case "member":
                one.send("PUT", f"{base}/members/{one.canary}", json={"permissions": [one.canary]})
            case "token":
                made = one.send("POST", f"{base}/tokens", json={"name": one.canary})
                for token in [made.json()["token"]["id"]] if made.is_success else []:
                    one.rival.send("DELETE", f"{one.rival.base}/tokens/{token}")
            case "schedule":
                one.send("PUT", f"{base}/schedules/nightly", json=schedule)
            case "schedule's job":
                one.send("POST", f"{base}/schedules/nightly/submission")
            case "name":
                one.send("PATCH", base, json={"name": one.canary})


@dataclass(frozen=True)
class Listen:
    """Listen until they have heard of a job that begins now."""

    who: Who

    def do(self, two: Two) -> None:
        one = two.of(self.who)
        job = one.send("POST", f"{one.base}/jobs", json={"job_type": "report"}).json()["id"]
        one.stream.wait_for(job)
        one.listen()


@dataclass(frozen=True)
class Scrape:
    """Assert that the text for Prometheus holds names of queues, and no other text of either organization."""

    def do(self, two: Two) -> None:
        text = two.operator.get("/operator/metrics/prometheus").text
        told = "\n".join(line for line in text.splitlines() if not re.match(r"fairlane_\w+_by_queue\{", line))
        assert "fairlane_jobs" in told
        assert [one for one in two.acme.marks | two.other.marks if one in told] == []


KINDS: Final = (Rest, Submit, Fail, Run, Look, List, Change, Bulk, Write, Listen, Scrape)
actions: st.SearchStrategy[Action] = st.one_of(*map(st.from_type, KINDS))


@contextmanager
def nothing_else(url: str) -> Iterator[Two]:
    """A database with both of them, and with nothing again behind them."""
    with Api(url) as api:
        two = Two(api)
        try:
            yield two
        finally:
            two.acme.stream.close()
            two.other.stream.close()
            with api.fl.database.engine.execution_options(**{WRITE: True}).begin() as connection:
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())


# The first example is the simplest one: they rest.
@settings(max_examples=far(2, 3, 3), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(done=st.lists(actions, min_size=ACTIONS, max_size=ACTIONS))
def test_nothing_of_one_organization_reaches_the_other(
    database_url: str, caplog: pytest.LogCaptureFixture, done: list[Action]
):
    # In this order: the last one is the handler's level, too. These tests' own clients say what they ask for.
    caplog.set_level(logging.WARNING, logger="httpx")
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="fairlane")
    caplog.clear()
    with nothing_else(database_url) as two:
        for action in done:
            if not isinstance(action, Rest):
                note(repr(action))
            action.do(two)
            two.acme.listen()
            two.other.listen()
        everything: list[Action] = [List(who, where, None) for who in get_args(Who) for where in get_args(Who)]
        for action in [*everything, Listen("acme"), Listen("other"), Run(), Scrape()]:
            action.do(two)
        # Whole records, with tracebacks, of all loggers. Ids of jobs are what logs are for.
        assert "DEBUG" in caplog.text
        for one in (two.acme, two.other):
            assert one.canary not in caplog.text
            assert one.user not in caplog.text
