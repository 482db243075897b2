"""The API within another ASGI application."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.api.served import OPERATOR, PASSWORD, Api, Server


async def hello(_: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_it_is_closed_and_works_below_any_path_and_leaves_the_rest_alone(api: Api):
    site = Starlette(routes=[Route("/api/v1/hello", hello), Mount("/tools/jobs", api.app)])
    server = Server(site)
    try:
        with httpx.Client(base_url=server.url) as client:
            assert client.get("/api/v1/hello").text == "hello"
            assert "content-security-policy" not in client.get("/api/v1/hello").headers
            base = "/tools/jobs/api/v1"
            assert client.get(f"{base}/health").json() == {"status": "ok"}
            assert client.get(f"{base}/organizations/acme/jobs").status_code == 401
            document = client.get(f"{base}/openapi.json")
            assert document.json()["servers"] == [{"url": "/tools/jobs"}]
            alone = api.client().get("/openapi.json")
            assert "servers" not in alone.json()
            assert alone.headers["etag"] != document.headers["etag"]
            api.with_password()
            login = client.post(f"{base}/sessions", json={"user": OPERATOR, "password": PASSWORD})
            assert "Path=/tools/jobs;" in login.headers["set-cookie"]
            assert client.get(f"{base}/organizations/acme/jobs").json()["total"] == 0
            assert "; /tools/jobs/api/v1/openapi.json lists" in client.get(f"{base}/nothing").json()["detail"]
    finally:
        server.stop()


def test_an_address_that_does_not_take_a_method_names_all_that_it_takes(api: Api):
    client = api.as_("member")
    for path, methods in {
        "/organizations/acme/jobs": "GET, POST",
        "/organizations/acme/jobs/counts": "DELETE, GET",  # a job of this id is looked for, and not found
        "/organizations/acme/schedules/monthly": "DELETE, GET, PUT",
        "/openapi.json": "GET, HEAD",
    }.items():
        refused = client.patch(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods), path


def test_the_document_is_made_by_one_request_though_many_ask_first(api: Api):
    made, others_come = list[None](), Event()

    def counted() -> dict[str, Any]:
        made.append(None)
        if len(made) > 1:
            others_come.set()
        others_come.wait(1)
        return {}

    api.app.openapi = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(4) as pool:
        there = [{"X-Forwarded-For": f"203.0.113.{one}"} for one in range(4)]
        answers = list(pool.map(lambda headers: api.client().get("/openapi.json", headers=headers), there))
    assert [one.status_code for one in answers] == [200] * 4
    assert len(made) == 1
