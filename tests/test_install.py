"""The installed packages, and their sources: the demo's part of the lock, and a package where there is no npm."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import httpx
import pytest

ROOT: Final = Path(__file__).parents[1]
BUILT_FROM: Final = ("LICENSE", "README.md", "frontend", "hatch_build.py", "pyproject.toml", "src")


def pins(name: str) -> dict[str, str]:
    """The packages of a lock: name and version, then the hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)(==.*(?:\n    --hash=.*)*)", text, re.MULTILINE)
    return {f"{package}{pin.partition(' ')[0]}": pin for package, pin in found}


@pytest.mark.parametrize("part", ["requirements-demo.lock", "requirements-all.lock"])
def test_a_part_of_the_lock_pins_what_the_whole_does(part: str) -> None:
    whole = pins("requirements.lock")

    assert pins(part)
    assert {package: whole.get(package, "").split("\n")[1:] for package in pins(part)} == {
        package: pin.split("\n")[1:] for package, pin in pins(part).items()
    }


@pytest.mark.parametrize(
    ("part", "groups", "has_extras"),
    [
        ("requirements-demo.lock", ["build", "demo"], False),
        ("requirements-all.lock", ["build", "demo", "server"], True),
    ],
)
def test_a_part_of_the_lock_has_what_the_package_names(part: str, groups: list[str], has_extras: bool) -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    optional = document["project"]["optional-dependencies"] if has_extras else {}
    named = [*document["project"]["dependencies"], *(one for extra in optional.values() for one in extra)]
    named += [one for group in groups for one in document["dependency-groups"][group]]

    locked = {one.partition("==")[0] for one in pins(part)}
    assert {re.split(r"[^\w-]", one)[0] for one in named} - locked - {"fairlane"} == set()


def steps(tmp_path: Path, *arguments: str) -> str:
    """Return the commands that make would run in a fresh clone."""
    for name in ("Makefile", "pyproject.toml", *(one.name for one in ROOT.glob("requirements*.lock"))):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "frontend").mkdir(exist_ok=True)
    (tmp_path / "frontend" / "package-lock.json").touch()
    command = ["make", "--dry-run", "NPM=npm", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_the_demo_installs_what_it_needs_and_no_more(tmp_path: Path) -> None:
    alone = steps(tmp_path, "demo")
    served = steps(tmp_path, "demo", "ARGS=--serve")

    assert re.findall(r"-r (\S+)", alone) == ["requirements-demo.lock"]
    assert "npm" not in alone
    assert re.findall(r"-r (\S+)", served) == ["requirements-all.lock"]
    assert re.findall(r"npm (ci|run --silent build)", served) == ["ci", "run --silent build"]
    assert "touch .venv/.installed-all .venv/.installed-demo" in steps(tmp_path, "check"), "the tools are enough"
    # Each step that takes long is announced.
    for one in (alone, served):
        assert 'echo "Making a virtual environment in .venv"' in one
        assert 'echo "Starting the demo"' in one


@pytest.mark.slow
def test_without_npm_a_package_is_built_without_dashboard_and_serve_says_how_to_get_it(
    tmp_path: Path, sqlite_url: str
) -> None:
    checkout, installed, programs = tmp_path / "checkout", tmp_path / "installed", tmp_path / "bin"
    checkout.mkdir()
    for name in BUILT_FROM:
        source, copy = ROOT / name, checkout / name
        unbuilt = shutil.ignore_patterns("node_modules", "dashboard", "__pycache__")
        shutil.copytree(source, copy, ignore=unbuilt) if source.is_dir() else shutil.copy(source, copy)
    programs.mkdir()
    environment = os.environ | {"PATH": str(programs)}
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--python", sys.executable, "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(installed), "."], cwd=checkout, env=environment, capture_output=True, check=True)
    assert not (installed / "fairlane" / "dashboard").exists()
    statements = {file.name for file in (ROOT / "src").rglob("*.sql")}
    assert {file.name for file in installed.rglob("*.sql")} == statements != set()

    serve = [sys.executable, "-m", "fairlane", "serve", "--url", sqlite_url, "--port", "0"]
    process = subprocess.Popen(
        serve, cwd=tmp_path, env=environment | {"PYTHONPATH": str(installed)}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        said = next(line for line in process.stderr if "Serving" in line)
        found = re.fullmatch(r"Serving the REST API; (http://.*)/api/v1/openapi.json describes it\.\n", said)
        assert found is not None
        how = process.stderr.readline().strip()
        assert "run `make dashboard` in Fairlane's repository" in how
        assert how in httpx.get(f"{found[1]}/").text
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
