"""`fairlane serve` in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fairlane import Fairlane

pytestmark = pytest.mark.slow


def command(url: str, *args: str) -> list[str]:
    return [sys.executable, "-m", "fairlane", "serve", "--url", url, "--port", "0", *args]


def run(url: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command until it ends by itself, and return its output."""
    given = os.environ | environment
    return subprocess.run(command(url, *args), check=False, capture_output=True, text=True, timeout=60, env=given)


@contextmanager
def serving(url: str, *args: str, lines: int) -> Iterator[list[str]]:
    """Serve while the block runs, and yield the first lines of the output."""
    process = subprocess.Popen(command(url, *args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        yield [process.stdout.readline().strip() for _ in range(lines)]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        process.stdout.close()


def test_where_nobody_can_log_in_a_link_lets_an_operator_in_once(database_url: str):
    with serving(database_url, lines=4) as printed:
        (link,) = (line for line in printed if "link=" in line)
        assert printed[2].endswith("To see them: fairlane users update operator --right payload:read")
        with httpx.Client() as client:
            assert client.get(link).json() == {
                "user": "operator",
                "via": "session",
                "is_operator": True,
                "organization": None,
                "scopes": None,
            }
            base = link.partition("/login")[0]
            headers = {"Sec-Fetch-Site": "same-origin"}
            made = client.post(f"{base}/operator/organizations", json={"id": "acme"}, headers=headers)
            assert made.status_code == 201
            assert client.get(f"{base}/operator/organizations/acme").json()["name"] == "acme"
        assert httpx.get(link).status_code == 401


def test_where_nobody_can_log_in_other_machines_are_not_served(database_url: str):
    done = run(database_url, "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "Nobody could log in from outside" in done.stderr
    assert "fairlane tokens create" in re.sub(r"\s+", " ", done.stderr)


def test_with_a_token_it_serves_the_holders_of_one(database_url: str):
    with Fairlane(database_url) as fl:
        fl.organizations.create("acme")
        fl.members.add("acme", "ana")
        secret = fl.tokens.create(organization="acme", as_user="ana", name="test")[1]
    with serving(database_url, "--host", "0.0.0.0", lines=1) as (printed,):
        found = re.search(r"http://0\.0\.0\.0:(\d+)/api/v1", printed)
        assert found is not None
        base = f"http://127.0.0.1:{found[1]}/api/v1"
        headers = {"Authorization": f"Bearer {secret}"}
        assert httpx.get(f"{base}/organizations/acme/jobs", headers=headers).json()["total"] == 0
        assert httpx.get(f"{base}/organizations/acme/jobs").status_code == 401


@pytest.mark.parametrize("settings", [{"FAIRLANE_RATE_LIST": "none"}, {"FAIRLANE_JWT_ISSUER": "https://id.example"}])
def test_a_wrong_setting_is_told_in_a_sentence(sqlite_url: str, settings: dict[str, str]):
    done = run(sqlite_url, **settings)
    assert done.returncode == 1
    assert "Fairlane's settings are wrong" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_what_to_install(sqlite_url: str, tmp_path: Path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('gone', name='uvicorn')")
    done = run(sqlite_url, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert done.returncode == 1
    assert "pip install 'fairlane[web]'" in done.stderr


def test_a_port_that_is_taken_is_told_in_a_sentence(sqlite_url: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(sqlite_url, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "name others by --host and --port" in " ".join(done.stderr.split())
