"""The files of `deploy/` fit the schemas and linters of the programs that read them, and agree with the code."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import kubernetes_validate
import pytest
import yaml

from fairlane import Settings, WebSettings
from fairlane.domain import timing
from fairlane.store.row_security import DatabaseRole
from tests.deploy.files import DEPLOY, MANIFESTS, ROOT, UNITS, compose, containers_of, entries, manifests, values_of

OLDEST_KUBERNETES: Final = "1.30"  # in which a `preStop` may sleep
STOPS: Final = timing.GRACE + timing.STOP_GRACE + timing.SUPERVISOR_WAITS
OF_COMMANDS: Final = {"FAIRLANE_APP"}
ANALYZE: Final = shutil.which("systemd-analyze")
with_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def run(*command: str | Path) -> str:
    """Run a linter, which must find nothing, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def test_all_yaml_and_json_is_well_formed() -> None:
    for path in DEPLOY.rglob("*"):
        if path.suffix in {".yaml", ".yml"}:
            assert all(yaml.safe_load_all(path.read_text(encoding="utf-8"))), path
        elif path.suffix == ".json":
            assert json.loads(path.read_text(encoding="utf-8")), path


def test_the_dockerfile_has_nothing_that_hadolint_finds() -> None:
    run(tool("hadolint"), DEPLOY / "Dockerfile")


def test_the_image_runs_as_a_user_without_rights() -> None:
    last = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+):", last, re.MULTILINE)
    assert int(user) > 0
    assert f"--uid {user} " in last


def test_the_compose_file_fits_its_schema() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_a_service_of_compose_has_no_rights_and_writes_to_no_other_folder() -> None:
    for name, service in compose()["services"].items():
        for mounted in service.get("volumes", ()):
            source = mounted.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_dir(), f"{name}: {source}"
            assert not source.startswith(".") or mounted.endswith(":ro"), f"{name}: {mounted}"
        if service["image"] == "fairlane":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_each_manifest_fits_the_schema_of_kubernetes(version: str) -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_of_a_manifest_is_found() -> None:
    worker = next(one for one in manifests() if one["kind"] == "Deployment")
    worker["spec"]["template"]["spec"]["terminationGraceSeconds"] = 45
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGraceSeconds"):
        kubernetes_validate.validate(worker, OLDEST_KUBERNETES, strict=True)


def test_a_pod_may_do_nothing_that_the_restricted_standard_forbids() -> None:
    pods = [one["spec"]["template"]["spec"] for one in manifests() if containers_of(one)]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_what_selects_pods_selects_those_of_a_deployment() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in manifests() if one["kind"] == "Deployment"]
    selecting = [one for one in manifests() if one["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"}]
    assert len(selecting) == 4
    for one in selecting:
        selector = one["spec"].get("podSelector") or one["spec"]["selector"]
        assert selector.get("matchLabels", selector) in labels, one["kind"]


@with_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_one_that_systemd_takes_and_calls_safe(unit: Path, tmp_path: Path) -> None:
    # `verify` looks for the program.
    copy = tmp_path / unit.name
    copy.write_text(
        re.sub(r"(?<=^ExecStart=)\S+", sys.executable, unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert run(str(ANALYZE), "verify", copy) == ""
    run(str(ANALYZE), "security", "--offline=true", "--threshold=20", copy)


def test_a_supervisor_waits_until_a_worker_has_stopped() -> None:
    worker = DEPLOY / "systemd" / "fairlane-worker.service"
    assert values_of(worker, "TimeoutStopSec") == [f"{STOPS:g}"]
    assert compose()["services"]["worker"]["stop_grace_period"] == f"{STOPS:g}s"
    (pod,) = [
        one["spec"]["template"]["spec"]
        for one in manifests()
        if one["metadata"].get("name") == "fairlane-worker" and one["kind"] == "Deployment"
    ]
    assert pod["terminationGracePeriodSeconds"] == STOPS


def test_each_setting_in_a_file_exists() -> None:
    names = OF_COMMANDS | {f"FAIRLANE_{name.upper()}" for one in (Settings, WebSettings) for name in one.model_fields}
    given = {name for entry in entries() for name in entry.environment}
    assert given - names == set()


def test_only_a_migration_gets_the_login_of_the_tables_owner() -> None:
    assert {entry.where for entry in entries() if "FAIRLANE_OWNER_URL" in entry.environment} == {
        "compose migrate",
        "systemd fairlane-migrate",
    }
    secrets = {
        container["name"]: [one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one]
        for manifest in manifests()
        for container in containers_of(manifest)
    }
    assert {name for name, found in secrets.items() if "fairlane-owner" in found} == {"migrate"}


def test_the_file_of_logins_names_all_roles() -> None:
    text = (DEPLOY / "postgres" / "logins.sql").read_text(encoding="utf-8")
    assert re.findall(r"'(fairlane_\w+)'", text) == re.findall(r"fairlane_\w+", text.partition("\nGRANT ")[2])
    assert set(re.findall(r"'(fairlane_\w+)'", text)) == {str(role) for role in DatabaseRole}


def test_the_image_gets_all_that_its_build_copies() -> None:
    let_in = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in let_in


def test_there_are_manifests_and_units_of_each_process() -> None:
    assert [path.stem for path in MANIFESTS] == ["config", "migrate", "server", "worker"]
    assert [path.stem for path in UNITS] == ["fairlane-migrate", "fairlane-server", "fairlane-worker"]
