"""Bodies are refused before any code parses them."""

import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from http.client import HTTPResponse

import hypothesis.strategies as st
import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from fairlane.api import bodies
from fairlane.api.bodies import BodyGuard
from fairlane.api.json_text import DEEPEST, MOST_ARRAYS, MOST_DIGITS, MOST_NAMES, MOST_VALUES, Counts
from fairlane.api.scope import query_names
from fairlane.api.submissions import MOST_PARENTS, MOST_PARENTS_OF_BATCH
from fairlane.api.tenant_queue import TENANT
from fairlane.domain.permissions import Principal, Right
from tests.api.served import Api
from tests.patience import PATIENCE

JOBS = "/organizations/acme/jobs"
JSON = {"Content-Type": "application/json"}


def test_a_body_beyond_the_limit_is_refused_whatever_it_says_of_its_length(serve):
    api = serve({"body_limit": 20_000})
    client = api.as_("member")

    def chunks() -> Iterator[bytes]:
        yield b'{"job_type": "report", "parameters": {"month": "'
        for _ in range(30):
            yield b"x" * 1000
        yield b'"}}'

    announced = client.post(JOBS, content=b"".join(chunks()), headers=JSON)
    chunked = client.post(JOBS, content=chunks(), headers=JSON)
    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:fairlane:problem:body-too-large")
    assert client.get(JOBS).json()["total"] == 0


def test_a_client_without_a_credential_sends_little(api: Api):
    login = {"user": "x", "password": "x" * 20_000}
    assert api.client().post("/sessions", json=login).status_code == 413
    # Refused for its credential before its body is looked at.
    assert api.client("fl_wrong").post(JOBS, content=b"x" * 9_000_000, headers=JSON).status_code == 401


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_with_a_method_that_has_no_body_little_is_read(api: Api, method: str):
    client = api.as_("viewer")
    for path in (JOBS, "/nothing"):
        answer = client.request(method, path, content=b" " * 20_000, headers=JSON)
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:fairlane:problem:body-too-large")


class Guarded:
    """A guard before an application that answers nobody until `let_go` is set."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self._guard = BodyGuard(self._app, 100_000, MOST_VALUES)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await self.let_go.wait()
        await Response()(scope, receive, send)

    async def post(
        self,
        tenant: str,
        size: int = 100_000,
        user: str = "ana",
        *,
        is_whole: bool = True,
        is_taken: bool = True,
        more: "asyncio.Queue[bytes] | None" = None,
        rights: frozenset[Right] | None = None,
    ) -> int:
        """The answer's status, if it is taken; of a body that is not whole the end never comes, or `more` does."""
        told: list[Message] = []
        parts = [{"type": "http.request", "body": b'"' + b"x" * (size - 2) + b'"', "more_body": not is_whole}]

        async def receive() -> Message:
            if not parts:
                part = await (more or asyncio.Queue[bytes]()).get()
                return {"type": "http.request", "body": part, "more_body": True}
            return parts.pop()

        async def send(message: Message) -> None:
            told.append(message)
            if not is_taken:
                await asyncio.Event().wait()

        headers = [(b"content-type", b"application/json")]
        state = {TENANT: tenant, "principal": Principal(user, "session", operator_rights=rights)}
        await self._guard({"type": "http", "method": "POST", "headers": headers, "state": state}, receive, send)
        status: int = told[0]["status"]
        return status


async def test_what_bodies_take_of_the_memory_is_bounded_for_each_tenant_and_all_together():
    guarded, acme, users = Guarded(), "organization acme", ("ana", "ben")
    post = guarded.post
    async with asyncio.timeout(PATIENCE):
        held = [asyncio.create_task(post(acme, user=one)) for one in users * 2]
        await asyncio.sleep(0)
        assert await post(acme, user="eve") == 429
        held += [asyncio.create_task(post(f"organization {one}", user=user)) for one in range(25) for user in users]
        await asyncio.sleep(0)
        assert await post("organization other") == 503
        # Who sends little is kept out by nobody.
        small = asyncio.create_task(post(acme, 16_000))
        guarded.let_go.set()
        assert await small == 200
        answers = [await one for one in held]
        assert await post(acme) == 200
    assert set(answers) == {200, 503}
    assert answers[:4] == [200] * 4
    assert answers.count(200) * (100_000 - 16_384) <= 32 * 100_000


async def test_one_user_closes_no_organization_to_its_others():
    guarded, acme = Guarded(), "organization acme"
    async with asyncio.timeout(PATIENCE):
        held = [asyncio.create_task(guarded.post(acme)) for _ in range(5)]
        await asyncio.sleep(0)
        held.append(asyncio.create_task(guarded.post(acme, user="ben")))
        held.append(asyncio.create_task(guarded.post("organization other")))
        await asyncio.sleep(0)
        guarded.let_go.set()
        answers = [await one for one in held]
    assert answers == [200] * 2 + [429] * 3 + [200] * 2


async def test_many_users_to_whom_no_organization_is_open_have_the_room_of_one():
    guarded = Guarded()
    async with asyncio.timeout(PATIENCE):
        held = [asyncio.create_task(guarded.post(f"user {one}", user=f"{one}")) for one in range(40)]
        await asyncio.sleep(0)
        others = [asyncio.create_task(guarded.post("organization other"))]
        others += [asyncio.create_task(guarded.post("user olga", rights=frozenset()))]  # an operator
        await asyncio.sleep(0)
        guarded.let_go.set()
        answers = [await one for one in held]
        assert [await one for one in others] == [200] * 2
    assert answers == [200] * 4 + [429] * 36


async def test_bodies_that_come_slowly_make_room_for_others_and_the_oldest_first(monkeypatch: pytest.MonkeyPatch):
    guarded, acme = Guarded(), "organization acme"
    guarded.let_go.set()
    async with asyncio.timeout(PATIENCE):
        slow = [asyncio.create_task(guarded.post(acme, user=f"{one}", is_whole=False)) for one in range(4)]
        await asyncio.sleep(0)
        assert await guarded.post(acme) == 429
        monkeypatch.setattr(bodies, "_SLOW", 0)
        assert await guarded.post(acme) == 200
        assert await slow[0] == 408
        assert not any(one.done() for one in slow[1:])
        # There is as much room now as before, and no more of it than is needed.
        monkeypatch.undo()
        held = asyncio.create_task(guarded.post(acme, is_whole=False))
        await asyncio.sleep(0)
        assert await guarded.post(acme) == 429
        assert not held.done()
        for one in (*slow[1:], held):
            one.cancel()


class Clock:
    """A loop's, which stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


async def test_a_body_that_keeps_up_with_the_pace_of_the_largest_makes_room_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
):
    guarded, acme, clock, more = Guarded(), "organization acme", Clock(), asyncio.Queue[bytes]()
    monkeypatch.setattr(bodies, "get_running_loop", lambda: clock)
    async with asyncio.timeout(PATIENCE):
        coming = asyncio.create_task(guarded.post(acme, 50_000, is_whole=False, more=more))
        worked_on = [asyncio.create_task(guarded.post(acme, user=f"{one}")) for one in range(4)]
        for _ in range(4):
            await asyncio.sleep(0)
            assert await guarded.post(acme, 90_000, user="eve") == 429
            clock.now += 4
            more.put_nowait(b"x" * 7_000)  # of 100,000 in a minute 6,667 come in that time
        await asyncio.sleep(0)
        assert await guarded.post(acme, 90_000, user="eve") == 429
        assert not coming.done()
        # What came fast at first is no leave to stall.
        clock.now += 6
        guarded.let_go.set()
        assert await guarded.post(acme, 60_000, user="eve") == 200
        assert await coming == 408
        for one in worked_on:
            await one


async def test_nobody_is_asked_for_room_that_would_not_do(monkeypatch: pytest.MonkeyPatch):
    guarded, acme, clock = Guarded(), "organization acme", Clock()
    monkeypatch.setattr(bodies, "get_running_loop", lambda: clock)
    async with asyncio.timeout(PATIENCE):
        slow = asyncio.create_task(guarded.post(acme, 86_384, user="ben", is_whole=False))
        held = [guarded.post(acme, user=f"{one}") for one in range(3)]
        held += [guarded.post(f"organization {one // 2}", user=f"{one % 2}") for one in range(34)]
        # Of all there is room for nothing more now, of Acme for all but 4,464 bytes of one as large as may be.
        tasks = [asyncio.create_task(one) for one in (*held, guarded.post("organization last", 52_592))]
        await asyncio.sleep(0)
        clock.now += 6
        assert await guarded.post(acme, user="eve") == 503
        assert not slow.done()
        guarded.let_go.set()
        assert [await one for one in tasks] == [200] * 38
        slow.cancel()


async def test_who_takes_no_answer_to_a_body_that_was_refused_is_not_asked_to_make_room(
    monkeypatch: pytest.MonkeyPatch,
):
    guarded, acme = Guarded(), "organization acme"
    monkeypatch.setattr(bodies, "_SLOW", 0)
    async with asyncio.timeout(PATIENCE):
        refused = asyncio.create_task(guarded.post(acme, 100_001, is_whole=False, is_taken=False))
        worked_on = asyncio.create_task(guarded.post(acme))
        await asyncio.sleep(0)
        assert await guarded.post(acme) == 429
        for one in (refused, worked_on):
            assert not one.done()
            one.cancel()


def test_a_compressed_body_is_refused_unread(api: Api):
    bomb = gzip.compress(b" " * 50_000_000)
    answer = api.as_("member").post(JOBS, content=bomb, headers={**JSON, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:fairlane:problem:compressed-body")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" * 2 * MOST_ARRAYS, "too-deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "too-deep"),
        ('{"job_type": "report"}'.encode("utf-16"), "invalid-json"),
        ('{"job_type": "report"}'.encode("utf-16-le"), "invalid-json"),
        (b'{"job_type": "\xff"}', "invalid-json"),
        (b"{", "invalid-json"),
        (b'{"job_type": "report",}', "invalid-json"),
        (b"1" * 5000, "invalid-json"),
        (b"nothing", "invalid-json"),
    ],
)
def test_a_body_that_is_no_flat_json_is_refused(api: Api, body: bytes, kind: str):
    answer = api.as_("member").post(JOBS, content=body, headers=JSON)
    assert answer.json()["type"] == f"urn:fairlane:problem:{kind}"
    assert answer.status_code == 400


def test_a_number_of_very_many_digits_is_refused_in_a_sentence(api: Api):
    for digits, told in ((5000, "an integer of more than 4,300 digits"), (4250, "an integer of more than 4200 digits")):
        body = b'{"job_type": "notes", "parameters": {"month": [' + b"1" * digits + b"]}}"
        answer = api.as_("member").post(JOBS, content=body, headers=JSON)
        assert answer.status_code in {400, 422}
        assert told in answer.json()["detail"]


def test_where_json_breaks_off_is_told_in_a_sentence(api: Api):
    answer = api.as_("member").post(JOBS, content=b'{"job_type":}', headers=JSON)
    assert answer.json()["detail"] == "The body is not JSON: Expecting value, at character 12."


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_body_that_a_form_of_another_site_could_send_is_refused(api: Api, kind: str):
    answer = api.as_("member").post(JOBS, content=b'{"job_type": "report"}', headers={"Content-Type": kind})
    assert answer.status_code == 415


def counted(body: bytes, size: int = 65_536) -> Counts:
    counts = Counts()
    for start in range(0, len(body), size):
        counts.add(body[start : start + size])
    return counts


texts = st.text(st.sampled_from('"\\[]{},: aé\N{MOTORWAY}'), max_size=6)
trees = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def made_of(tree: object) -> tuple[int, int, int]:
    """Return how many values and names a tree has, and how deep it is."""
    inner = list(tree.values()) if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    each = [made_of(one) for one in inner]
    names = len(tree) if isinstance(tree, dict) else 0
    return (
        1 + sum(one[0] for one in each),
        names + sum(one[1] for one in each),
        max((one[2] for one in each), default=0) + isinstance(tree, dict | list),
    )


@given(trees, st.booleans(), st.sampled_from([None, 2]), st.integers(1, 9))
def test_what_json_is_made_of_is_counted_outside_of_its_strings_however_it_comes(
    tree: object, ensure_ascii: bool, indent: int | None, size: int
):
    found = counted(json.dumps(tree, ensure_ascii=ensure_ascii, indent=indent).encode(), size)
    values, names, depth = made_of(tree)
    # Empty ones count twice. So nobody is refused who sends no more values than half of what is taken.
    assert values <= found.values <= 2 * values
    assert found.names == names
    assert found.digits == sum(map(str.isdigit, re.sub(r'"(\\.|[^"\\])*"', "", json.dumps(tree))))
    assert [found.is_deeper_than(most) for most in range(depth + 2)] == [*[True] * depth, False, False]


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b"{[" * 500_000])
def test_what_is_never_closed_is_deep(body: bytes):
    assert counted(body).is_deeper_than(DEEPEST)


@pytest.mark.parametrize("body", [b'"' * 1_100_000, b'"a"' * 600_000, b",,,,,,,," * 40_000])
def test_what_is_no_json_is_counted_too(body: bytes):
    assert counted(body).values > MOST_VALUES


@pytest.mark.parametrize(
    ("path", "value", "most", "refusal"),
    [
        ("jobs", b"0", MOST_VALUES, ("values", "values")),
        ("jobs/{job}/retry", b'""', MOST_VALUES, ("values", "values")),
        ("jobs", b"[]", MOST_ARRAYS, ("arrays", "arrays and objects")),
        ("jobs/batch", b"{}", MOST_ARRAYS, ("arrays", "arrays and objects")),
        ("schedules/daily", b"[" * 28 + b"]" * 28, MOST_ARRAYS, ("arrays", "arrays and objects")),
        ("jobs", b"-1234567890", MOST_DIGITS, ("digits", "digits in its numbers")),
        ("jobs/batch", b"1" * 4_200, MOST_DIGITS, ("digits", "digits in its numbers")),
    ],
)
def test_a_body_of_very_many_parts_is_refused_while_it_comes(
    api: Api, path: str, value: bytes, most: int, refusal: tuple[str, str]
):
    kind, what = refusal
    job = api.fl.submit("report", organization="acme")
    path, method = path.format(job=job.id), "PUT" if path.startswith("schedules") else "POST"
    parts = most // (sum(map(value.count, b"0123456789")) or value.count(b"[") or 1)
    with api.connect() as connection:
        connection.sendall(
            f"{method} /api/v1/organizations/acme/{path} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {api.token('admin')}\r\nContent-Type: application/json\r\n"
            "Content-Length: 8000000\r\n\r\n".encode()
        )
        connection.sendall(b'{"parameters": {"month": [' + value + (b"," + value) * parts)
        # The rest of what was announced never comes, and nobody waits for it.
        answer = HTTPResponse(connection)
        answer.begin()
        problem = json.load(answer)
    assert (answer.status, problem["type"]) == (413, f"urn:fairlane:problem:too-many-{kind}")
    assert problem["detail"] == f"A body has at most {most} {what}; send less at once."


@pytest.mark.slow
@pytest.mark.parametrize("month", [[[]] * 24_990, [{"x": 1.5, "y": 2.5}] * 12_000, [[1, 2]] * 24_990, [10**4_000] * 60])
def test_a_payload_of_many_parts_is_taken(api: Api, month: object):
    taken = api.as_("member").post(JOBS, json={"job_type": "notes", "parameters": {"month": month}})
    assert (taken.status_code, taken.json()["parameters"]) == (201, {"month": month})


@pytest.mark.slow
def test_as_many_values_are_taken_as_the_parameters_of_a_job_can_have(serve, monkeypatch: pytest.MonkeyPatch):
    limit = 1024 * 1024
    monkeypatch.setenv("FAIRLANE_PAYLOAD_LIMIT", str(limit))
    client = serve().as_("member")
    parameters = {"month": [0] * ((limit - len('{"month":[]}')) // 2)}
    taken = client.post(JOBS, json={"job_type": "notes", "parameters": parameters})
    assert (taken.status_code, taken.json()["parameters"]) == (201, parameters)


def test_a_body_of_very_many_names_is_refused_before_each_of_them_becomes_an_error(api: Api):
    client = api.as_("member")
    names = ",".join(f'"{one:x}":0' for one in range(MOST_NAMES + 1))
    answer = client.post(JOBS, content=f"{{{names}}}".encode(), headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:fairlane:problem:too-many-names")
    # What stands within a text is no name.
    colons = {"job_type": "report", "parameters": {"month": ":" * (MOST_NAMES + 1)}}
    assert client.post(JOBS, json=colons).status_code == 201


def test_of_what_is_wrong_with_a_body_only_the_first_is_told_and_all_of_it_counted(api: Api):
    long = "x" * 100_000
    answer = api.as_("member").post(JOBS, json={"job_type": "report", long: 0} | {str(one): 0 for one in range(300)})
    assert answer.status_code == 422
    assert (len(answer.json()["errors"]), answer.json()["detail"][-14:]) == (20, "(and 300 more)")
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("jobs", {"job_type": "report", "depends_on": [1, 2, 3]}),
        ("jobs/batch", {"jobs": [{"job_type": "report", "depends_on_members": ["a", "b", "c"]}]}),
        ("bulk-actions/count", {"action": "cancel", "filter": {"status": ["a", "b", "c"]}}),
        ("tokens", {"name": "mine", "scopes": ["a", "b", "c"]}),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_of_a_list_in_a_body_the_first_wrong_item_is_told(api: Api, path: str, body: dict[str, object]):
    """To make errors of 260,000 took seconds of the loop."""
    answer = api.as_("member").post(f"/organizations/acme/{path}", json=body)
    told = [one["pointer"] for one in answer.json()["errors"] if one["pointer"].endswith(("/0", "/1", "/2"))]
    assert (answer.status_code, len(told), told[0][-2:]) == (422, 1, "/0"), answer.text


def test_a_batch_names_so_many_parents_that_others_can_submit_beside_it(api: Api):
    client = api.as_("member")
    all_before = [{"job_type": "report", "depends_on_members": list(range(one))} for one in range(200)]
    assert sum(range(200)) > MOST_PARENTS_OF_BATCH
    refused = client.post(f"{JOBS}/batch", json={"jobs": all_before})
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:fairlane:problem:too-many-parents")
    child = {"job_type": "report", "depends_on": ["x"] * MOST_PARENTS, "depends_on_members": [0]}
    refused = client.post(f"{JOBS}/batch", json={"jobs": [{"job_type": "report"}, child]})
    assert (refused.json()["type"], refused.json()["index"]) == ("urn:fairlane:problem:too-many-parents", 1)
    assert client.get(JOBS).json()["total"] == 0
    assert client.post(f"{JOBS}/batch", json={"jobs": all_before[:20]}).status_code == 201


@pytest.mark.parametrize(
    "lengths",
    ["Content-Length: 5\r\nTransfer-Encoding: chunked", "transfer-encoding: Chunked\r\ncontent-length: 5, 5"],
)
@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/organizations/acme/jobs", "/nothing"])
def test_a_request_that_gives_its_length_twice_is_refused_and_nothing_behind_it_is_read(
    api: Api, path: str, lengths: str
):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{lengths}\r\n"
    token = f"Authorization: Bearer {api.token('member')}\r\n"
    hidden = f"GET /api/v1/organizations/acme/jobs HTTP/1.1\r\nHost: x\r\n{token}\r\n"
    with api.connect() as connection:
        connection.sendall(f"{head}{token}\r\n0\r\n\r\n{hidden}".encode())
        answer = connection.makefile("rb").read()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer.lower()
    assert b"urn:fairlane:problem:ambiguous-length" in answer


def test_a_request_that_is_no_http_harms_nobody(api: Api):
    for sent in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/health HTTP/1.1\r\n",
    ):
        with api.connect() as connection:
            connection.sendall(sent)
    assert api.client().get("/health").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"job_type": "report", "timeout": 1e999}',
        b'{"job_type": "report", "delay": NaN}',
        b'{"job_type": "report", "parameters": {"month": "\\u0000"}}',
        b'{"job_type": "report", "max_retries": 99999999999999999999}',
        b'{"job_type": "report", "queue": "\\ud800"}',
        b'{"job_type": "report", "labels": {"a": "\\u0000"}}',
        b'{"job_type": "\\ud800"}',
        b'{"job_type": "report", "delay": 1e300}',
        b'{"job_type": "report", "timeout": 1e300}',
        b'{"job_type": "report", "timeout": true}',
        b'{"job_type": "report", "dedup_window": "1"}',
        b'{"job_type": "report", "run_at": "9999-12-31T23:59:59-23:59"}',
    ],
)
def test_values_that_no_database_stores_are_refused_in_a_sentence(api: Api, body: bytes):
    answer = api.as_("member").post(JOBS, content=body, headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


def test_a_slip_in_a_query_parameter_s_name_is_refused_and_no_unfiltered_list(api: Api):
    for path, pointer, takes in (
        ("/organizations/acme/jobs?stauts=queued", "/query/stauts", "status, text, user"),
        ("/organizations/acme/breakers?x=1", "/query/x", "it takes none"),
    ):
        answer = api.as_("admin").get(path)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlane:problem:invalid-request")
        (wrong,) = answer.json()["errors"]
        assert wrong["pointer"] == pointer
        assert takes in wrong["detail"]
    assert api.operator().get("/operator/queues?limt=2").status_code == 422
    # Who may not know of the organization is told nothing else.
    assert api.as_("member").get("/organizations/rival/jobs?stauts=queued").status_code == 404
    refused = api.as_("member").post("/organizations/acme/jobs?on_duplicate=replace", json={"job_type": "report"})
    assert refused.status_code == 422


@pytest.mark.slow
def test_each_route_takes_the_query_parameters_that_its_description_has(api: Api):
    paths = api.client().get("/openapi.json").json()["paths"]
    routes = [one for one in api.app.state.routes if isinstance(one, APIRoute)]
    assert len(routes) > 90
    for route in routes:
        for method in route.methods or ():
            told = paths[route.path_format][method.lower()].get("parameters", ())
            assert query_names(route) == {one["name"] for one in told if one["in"] == "query"}, route.path_format


@pytest.mark.parametrize("job", ["", "/01928f3a-1b2c-7d4e-8f50-9a6b7c8d9e0f"], ids=["many", "one"])
def test_a_note_that_can_not_be_stored_is_refused_though_the_dead_letter_is_unknown(api: Api, job: str):
    ids = {} if job else {"ids": ["01928f3a-1b2c-7d4e-8f50-9a6b7c8d9e0f"]}
    body = {**ids, "resolution": "resolved", "note": "a\0b"}
    answer = api.as_("admin").post(f"/organizations/acme/dead-letters{job}/resolution", json=body)
    assert answer.status_code == 422, answer.text
