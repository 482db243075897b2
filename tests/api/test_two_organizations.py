"""Two organizations, whatever they do: nothing of one is ever in an answer to the other, nor in a log line.

Each writes its canary wherever it can write anything, and then all that came out is searched for the other's.
"""

import logging
from collections.abc import Callable
from random import Random
from typing import Any

import httpx
import pytest

from tests.api.served import Api

ACTIONS = 120
CANARY = {"acme": "canary-of-acme-4711", "other": "canary-of-other-0815"}
RIVAL = {"acme": "other", "other": "acme"}


class Tenant:
    """An admin of an organization, who knows the rival's ids and asks for them, too."""

    def __init__(self, api: Api, organization: str, random: Random) -> None:
        self.base = f"/organizations/{organization}"
        self.canary = CANARY[organization]
        self.organization = organization
        self.random = random
        self.client = api.as_(api.name("admin", organization), organization)
        self.jobs: list[str] = []
        self.rival: Tenant = self
        self.answers: list[str] = []

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self.client.request(method, path, **options)
        assert answer.status_code < 500, answer.text
        self.answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer

    def any_job(self) -> str:
        """One of ours, or of theirs."""
        return self.random.choice([*self.jobs, *self.rival.jobs] or ["none"])

    def any_base(self) -> str:
        return self.random.choice([self.base, self.base, self.rival.base])

    def submit(self) -> None:
        job_type = self.random.choice(["report", "failing"])
        body: dict[str, Any] = {
            "job_type": job_type,
            "parameters": {"text" if job_type == "failing" else "month": self.canary},
            "labels": {"who": self.canary},
            "dedup_key": "the same for both",
            "dedup_window": 3600,
            "queue": self.random.choice(["default", "default", self.canary]),
        }
        if self.random.random() < 0.3:
            body["depends_on"] = [self.any_job()]
        headers = {"Idempotency-Key": f"key {self.random.randrange(5)}"} if self.random.random() < 0.5 else {}
        answer = self.send("POST", f"{self.base}/jobs", json=body, headers=headers)
        if answer.is_success:
            self.jobs.append(answer.json()["id"])

    def look(self) -> None:
        end = self.random.choice(
            ["", "/history", "/logs", "/result", "/explanation", "/artifacts", "/artifacts/report.txt"]
        )
        self.send("GET", f"{self.any_base()}/jobs/{self.any_job()}{end}")

    def list(self) -> None:
        what = self.random.choice(
            [
                "jobs",
                "dead-letters",
                "dead-letter-groups",
                "metrics",
                "queues",
                "schedules",
                "schedules/nightly",
                "bulk-actions",
                "members",
                "tokens",
                "audit",
                "audit/export",
            ]
        )
        params = self.random.choice([{}, {"text": self.rival.canary[:6]}, {"label": f"who={self.rival.canary}"}])
        self.send("GET", f"{self.any_base()}/{what}", params=params)

    def change(self) -> None:
        what = self.random.choice(["cancellation", "retry"])
        self.send("POST", f"{self.any_base()}/jobs/{self.any_job()}/{what}", json={})

    def write(self) -> None:
        self.random.choice(
            [
                lambda: self.send(
                    "PUT", f"{self.any_base()}/members/{self.canary}", json={"permissions": [self.canary]}
                ),
                lambda: self.send("POST", f"{self.any_base()}/tokens", json={"name": self.canary}),
                lambda: self.send(
                    "PUT",
                    f"{self.any_base()}/schedules/nightly",
                    json={"job_type": "report", "every": 1, "parameters": {"month": self.canary}},
                ),
                lambda: self.send("POST", f"{self.any_base()}/schedules/nightly/submission"),
                lambda: self.send("PATCH", self.any_base(), json={"name": self.canary}),
                lambda: self.send(
                    "POST", f"{self.any_base()}/bulk-actions", json={"action": "retry", "filter": {"text": self.canary}}
                ),
                lambda: self.send(
                    "POST",
                    f"{self.base}/dead-letters/{self.any_job()}/resolution",
                    json={"resolution": "ignored", "note": self.canary},
                ),
            ]
        )()


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_of_one_organization_reaches_the_other(api: Api, caplog: pytest.LogCaptureFixture, seed: int):
    caplog.set_level(logging.DEBUG, logger="fairlane")
    random = Random(seed)
    acme, other = Tenant(api, "acme", random), Tenant(api, "other", random)
    acme.rival, other.rival = other, acme
    for number in range(ACTIONS):
        one = random.choice([acme, other])
        actions: list[Callable[[], None]] = [
            one.submit,
            one.submit,
            one.look,
            one.look,
            one.list,
            one.change,
            one.write,
        ]
        random.choice(actions)()
        if number % 40 == 39:
            api.run()
    for one in (acme, other):
        told = "\n".join(one.answers)
        # What they asked for themselves may stand in an answer: an id, never what only the rival has written.
        assert one.rival.canary not in told.replace(f"who={one.rival.canary}", "")
        assert one.canary in told
    assert [one.getMessage() for one in caplog.records if "canary" in one.getMessage()] == []


def test_the_same_dedup_key_and_idempotency_key_are_no_oracle(api: Api):
    body = {"job_type": "unique", "dedup_key": "k"}
    headers = {"Idempotency-Key": "k"}
    answers = [
        api.as_(api.name("member", one), one).post(f"/organizations/{one}/jobs", json=body, headers=headers)
        for one in ("acme", "other")
    ]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json()["id"] != answers[1].json()["id"]
