"""The files of `deploy/`, and the commands and settings in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
UNITS: Final = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS: Final = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
PASSWORDS: Final = {"POSTGRES_PASSWORD": "p0", "OWNER_PASSWORD": "p1", "SHOP_PASSWORD": "p2", "GRAFANA_PASSWORD": "p3"}


class Entry(NamedTuple):
    """A command line of `fairlane` in a file, without the program, and the settings that it gets there."""

    where: str
    arguments: list[str]
    environment: dict[str, str]


def compose() -> dict[str, Any]:
    """Return the compose file with passwords."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(re.sub(r"\$\{(\w+):\?[^}]*\}", lambda one: PASSWORDS[one[1]], text))
    assert isinstance(found, dict)
    return found


def manifests() -> list[dict[str, Any]]:
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def values_of(unit: Path, name: str) -> list[str]:
    """Return all values of a directive of a systemd unit."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def environment_of(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def image_environment() -> dict[str, str]:
    return dict(
        re.findall(r"^ +(FAIRLANE_\w+)=(\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    )


def entries() -> Iterator[Entry]:
    """Yield each command of Fairlane that a file starts."""
    image = image_environment()
    for name, service in compose()["services"].items():
        if service["image"] == "fairlane":
            yield Entry(f"compose {name}", service["command"], image | service["environment"])
    for unit in UNITS:
        (command,) = values_of(unit, "ExecStart")
        files = [DEPLOY / "systemd" / Path(one).name for one in values_of(unit, "EnvironmentFile")]
        given = {name: value for file in files for name, value in environment_of(file).items()}
        yield Entry(f"systemd {unit.stem}", shlex.split(command)[1:], given)
    found = manifests()
    (settings,) = [one["data"] for one in found if one["kind"] == "ConfigMap"]
    for one in found:
        for container in containers_of(one):
            yield Entry(f"kubernetes {container['name']}", container["args"], image | settings)


def containers_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return list(manifest["spec"]["template"]["spec"]["containers"]) if manifest["kind"] in {"Deployment", "Job"} else []
