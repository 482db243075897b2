"""Requests that name one thing in a body, a query or a key: the other organization's, or what nobody has."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx

from fairlane.domain.bulk import BulkVerb
from tests.api.served import SECRET, Api

BASE: Final = "/organizations/acme"
REPORT: Final = {"job_type": "report"}
THEIRS: Final = "theirs-4711"
USER: Final = "other-member"
_NUMBER: Final = count()

DUPLICATES: Final = ("reject", "return", "replace")
KEYS: Final = [f"{whose} to {one}" for whose in ("key", "batch's key") for one in DUPLICATES]

Send = Callable[[httpx.Client, str], httpx.Response]


class Swap(NamedTuple):
    """A request with something in it. `kind`: what it is; `send`: its second argument is whose."""

    kind: str
    send: Send

    def answer(self, client: httpx.Client, value: str) -> httpx.Response:
        """Return a route's answer. It must come from the route itself: all other answers are alike for every value."""
        answer = self.send(client, value)
        kinds = ("not-found", "method-not-allowed", "invalid-request", "unsupported-media-type")
        assert not any(f'"urn:fairlane:problem:{kind}"' in answer.text for kind in kinds), answer.text
        return answer


def post(path: str, body: Callable[[str], Any]) -> Send:
    return lambda client, value: client.post(f"{BASE}/{path}", json=body(value))


def put(path: str, body: Callable[[str], Any]) -> Send:
    return lambda client, value: client.put(f"{BASE}/{path}", json=body(value))


def get(path: str, name: str) -> Send:
    return lambda client, value: client.get(f"{BASE}/{path}", params={name: value})


def unique(choice: str) -> Callable[[str], Any]:
    """A job under a key."""
    return lambda key: {"job_type": "unique", "dedup_key": key, "on_duplicate": choice}


def in_batch(job: Callable[[str], Any]) -> Send:
    return post("jobs/batch", lambda value: {"jobs": [REPORT, job(value)]})


def _filtered(verb: BulkVerb, name: str) -> Callable[[str], Any]:
    return lambda value: {"action": verb, "filter": {name: [value] if name == "label" else value}}


def _bulk_swaps() -> Iterator[tuple[str, Swap]]:
    """Yield each verb by each filter, and before it the count of the jobs."""
    for verb in BulkVerb:
        for name in ("user", "text", "queue", "label", "fingerprint"):
            filtered = _filtered(verb, name)
            yield f"the {name} of what to {verb}", Swap(name, post("bulk-actions", filtered))
            yield f"the {name} of what one could {verb}", Swap(name, post("bulk-actions/count", filtered))


SWAPS: Final = {
    "a parent": Swap("job", post("jobs", lambda job: {**REPORT, "depends_on": [job]})),
    "a parent that failed": Swap("dead", post("jobs", lambda job: {**REPORT, "depends_on": [job]})),
    "a parent in a batch": Swap("job", in_batch(lambda job: {**REPORT, "depends_on": [job]})),
    "a parent in a batch that failed": Swap("dead", in_batch(lambda job: {**REPORT, "depends_on": [job]})),
    # Each its own key: the one before has put a job of acme under it.
    **{f"a key to {one}": Swap(f"key to {one}", post("jobs", unique(one))) for one in DUPLICATES},
    **{f"a key in a batch to {one}": Swap(f"batch's key to {one}", in_batch(unique(one))) for one in DUPLICATES},
    "a key of a request": Swap(
        "idempotency key",
        # Another body under a key that was used would be a conflict, if the key were not each organization's own.
        lambda client, key: client.post(f"{BASE}/jobs", json=REPORT, headers={"Idempotency-Key": key}),
    ),
    "a dead letter in bulk": Swap("dead", post("dead-letters/retry", lambda job: {"ids": [job]})),
    "a live job in bulk": Swap("job", post("dead-letters/retry", lambda job: {"ids": [job, job]})),
    "dead letters to decide about": Swap(
        "dead", post("dead-letters/resolution", lambda job: {"ids": [job], "resolution": "ignored"})
    ),
    "dead letters to delete": Swap("dead", post("dead-letters/deletion", lambda job: {"ids": [job]})),
    "a group of dead letters": Swap("fingerprint", get("dead-letters", "fingerprint")),
    "a group to retry": Swap("fingerprint", lambda client, one: client.post(f"{BASE}/dead-letter-groups/{one}/retry")),
    "a user of a token": Swap("user", post("tokens", lambda user: {"name": "x", "user": user})),
    "a user of a schedule": Swap("user", put("schedules/x", lambda user: {**REPORT, "every": 86_400, "user": user})),
    "a name of the organization": Swap("name", lambda client, name: client.patch(BASE, json={"name": name})),
    "a job to watch": Swap("job", get("events", "job")),
    "a subject of the audit": Swap("job", get("audit", "subject")),
    "a place in the audit": Swap("audit entry", get("audit", "cursor")),
    "the start of an id": Swap("job", get("jobs", "text")),
    "a job to count": Swap("job", get("job-counts", "text")),
    **{f"a {one} of a list": Swap(one, get("jobs", one)) for one in ("user", "text", "queue", "label")},
    **{f"a {one} of what is counted": Swap(one, get("job-counts", one)) for one in ("user", "text", "queue", "label")},
    "a bulk action": Swap("bulk action", lambda client, one: client.get(f"{BASE}/bulk-actions/{one}")),
    "a bulk action to stop": Swap("bulk action", lambda client, one: client.post(f"{BASE}/bulk-actions/{one}/stop")),
    **dict(_bulk_swaps()),
}


class Others:
    """The other organization's objects, and for each a name or id of the same shape that nobody has.

    Attributes:
        jobs: the ids of its jobs.
        marks: what nobody else may be told.
    """

    def __init__(self, api: Api) -> None:
        fl = api.fl
        dead = fl.submit("failing", organization="other", user=USER)
        api.run()
        labelled: dict[str, Any] = {"queue": f"queue-{THEIRS}", "labels": {"case": f"label-{THEIRS}"}}
        live = fl.submit("report", organization="other", user=USER, **labelled)
        keys = {one: f"{one}-{THEIRS}" for one in KEYS}
        keyed = [fl.submit("unique", organization="other", user=USER, dedup_key=key) for key in keys.values()]
        headers = {"Idempotency-Key": f"once-{THEIRS}"}
        sent = {**REPORT, "priority": "high"}
        once = api.as_(USER, "other").post("/organizations/other/jobs", json=sent, headers=headers).json()["id"]
        (letter,) = fl.dead_letters.list(organization="other").items
        run = fl.bulk.start("retry", {"job_type": "report"}, organization="other", user=USER)
        fl.organizations.update("other", name=f"name-{THEIRS}")
        self.jobs = [str(dead.id), str(live.id), once, *(str(one.id) for one in keyed)]
        self._theirs = {
            "job": str(live.id),
            "dead": str(dead.id),
            **keys,
            "idempotency key": f"once-{THEIRS}",
            "user": USER,
            "name": f"name-{THEIRS}",
            "bulk action": str(run.id),
            "audit entry": str(fl.audit.list(organization="other")[0].id),
            "text": SECRET,
            "label": f"case=label-{THEIRS}",
            "queue": f"queue-{THEIRS}",
            "fingerprint": letter.fingerprint,
        }
        self.marks = {*self.jobs, *self._theirs.values(), THEIRS}

    def pair(self, kind: str) -> tuple[str, str]:
        """Return an object of theirs, and one that nobody has, each time another one."""
        theirs = self._theirs[kind]
        if kind in {"job", "dead", "bulk action", "audit entry"}:
            return theirs, str(uuid4())
        if kind == "fingerprint":
            return theirs, uuid4().hex.ljust(len(theirs), "0")[: len(theirs)]
        return theirs, f"case=nobodys-{next(_NUMBER)}" if kind == "label" else f"nobodys-{next(_NUMBER)}"
