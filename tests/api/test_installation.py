"""What is wrong with the installation is no fault of the request, and its words are for whoever runs the server."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from fairlane import Fairlane, Settings
from tests.api.served import Api
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
