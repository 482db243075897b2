"""R19: in production no process works as a login that row security does not bind; as one that it does, all works."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fairlane import Fairlane, JobContext, Settings, WebSettings
from fairlane.api import create_app
from tests.api.served import Server
from tests.store.logins import bound_logins, owning

pytestmark = pytest.mark.slow

APP = """
from fairlane import Fairlane

fl = Fairlane()

@fl.job_type("report")
def report(ctx): ...
"""


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",)], ids=["serve", "worker"])
def test_a_process_that_logs_in_as_the_tables_owner_does_not_start(
    postgres_url: str, tmp_path: Path, command: tuple[str, ...]
):
    (tmp_path / "shop.py").write_text(APP)
    with owning(postgres_url) as owner:
        ended = subprocess.run(
            [sys.executable, "-m", "fairlane", "--app", "shop:fl", *command],
            cwd=tmp_path,
            env=os.environ | {"FAIRLANE_URL": owner, "FAIRLANE_PRODUCTION": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    said = " ".join(ended.stderr.split())
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "In production the login of the database URL must not be one that owns Fairlane's tables" in said
    assert "Traceback" not in said


def test_a_job_goes_its_way_over_http_below_a_login_that_is_bound(postgres_url: str):
    with Fairlane(postgres_url) as administrator:
        administrator.organizations.create("acme")
        administrator.members.add("acme", "ana")
        secret = administrator.tokens.create(organization="acme", as_user="ana", name="test")[1]
    with (
        bound_logins(postgres_url) as logins,
        Fairlane(Settings(url=logins["jobs"], production=True, artifacts_url="memory:///")) as fl,
    ):

        @fl.job_type("greet")
        def greet(ctx: JobContext, name: str) -> str:
            return f"Hello, {name}!"

        server = Server(create_app(fl, WebSettings()))
        headers = {"Authorization": f"Bearer {secret}"}
        jobs = f"{server.url}/api/v1/organizations/acme/jobs"
        try:
            with httpx.Client(headers=headers, timeout=60) as client:
                job = client.post(jobs, json={"job_type": "greet", "parameters": {"name": "World"}}).json()["id"]
                with client.stream("GET", f"{jobs.removesuffix('/jobs')}/events", params={"job": job}) as events:
                    assert fl.worker().drain().completed == 1
                    assert any('"to_status": "completed"' in line for line in events.iter_lines())
                assert client.get(f"{jobs}/{job}").json()["status"] == "completed"
                assert client.get(f"{jobs}/{job}/result").json()["value"] == "Hello, World!"
                assert client.get(f"{jobs}/{job}/history").json()["items"][-1]["to_status"] == "completed"
        finally:
            server.stop()
