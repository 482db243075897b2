"""A fault of the installation is not blamed on the request, and its text is for operators of the server."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fairlane import Fairlane, Settings
from fairlane.api import add_problem_handlers
from tests.api.served import NO_TLS, Api, Server
from tests.engine.sealed_engine import FIRST

JOBS = "/organizations/acme/jobs"
NOT_READY = (503, "urn:fairlane:problem:not-ready")


def test_a_database_that_is_gone_is_told_to_nobody_where_it_was(
    serve: Callable[..., Api], sqlite_url: str, caplog: pytest.LogCaptureFixture
):
    api = Api(sqlite_url)
    with api:
        member = api.as_("member")
        file = api.fl.database.file
        assert file is not None
        api.fl.database.engine.dispose()
        file.rename(file.with_suffix(".gone"))
        for client, path in ((api.client(), "/health"), (member, JOBS)):
            refused = client.get(path)
            assert (refused.status_code, refused.json()["type"]) == NOT_READY
            assert file.name not in refused.text
            # Whoever runs the server is told, in a sentence for each request.
            assert [file.name in one and "\n" not in one for one in caplog.messages] == [True]
            caplog.clear()
        file.with_suffix(".gone").rename(file)


def test_a_submission_that_waits_for_the_host_s_own_transaction_is_told_why_in_the_log(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
):
    with Fairlane(Settings(url=sqlite_url, artifacts_url="memory:///", lock_timeout=0.05)) as fl:
        fl.organizations.create("acme")
        fl.job_type("letter")(lambda ctx: None)
        file = fl.database.file
        assert file is not None

        def write_letter(_: Request) -> Response:
            with closing(sqlite3.connect(file)) as host:
                host.execute("BEGIN IMMEDIATE")
                fl.submit("letter", organization="acme")  # and connection= is forgotten
            return Response()

        shop = Starlette(routes=[Route("/letters", write_letter, methods=["POST"])])
        add_problem_handlers(shop)
        server = Server(shop)
        refused = httpx.post(f"{server.url}/letters", verify=NO_TLS)
        server.stop()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        (line,) = [one for one in caplog.records if one.name == "fairlane.api.problems"]
        assert line.levelname == "WARNING"
        assert "locked" in line.getMessage()
        assert "connection=" in line.getMessage()


def test_a_master_key_that_is_missing_names_none_to_who_submits(api: Api, database_url: str):
    keys = SecretStr(FIRST)
    with Fairlane(Settings(url=database_url, artifacts_url="memory:///", encryption_keys=keys)) as keeper:
        keeper.keys.enable(organization="acme")
    api.fl.keyring._max_age = 0.0
    refused = api.as_("member").post(JOBS, json={"job_type": "report"})
    assert (refused.status_code, refused.json()["type"]) == NOT_READY
    assert FIRST.partition(":")[0] not in refused.json()["detail"]


def test_however_many_ask_for_health_the_database_is_asked_once(api: Api, monkeypatch: pytest.MonkeyPatch):
    asked, read = [], api.fl.database.read

    def counted(*args: Any, **more: Any) -> Any:
        asked.append(args)
        return read(*args, **more)

    monkeypatch.setattr("fairlane.api.pulse._FRESH", 3600.0)
    monkeypatch.setattr(api.fl.database, "read", counted)
    clients = [api.client() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda client: client.get("/health").json(), clients))
    assert answers == [{"status": "ok"}] * 8
    assert len(asked) == 1
