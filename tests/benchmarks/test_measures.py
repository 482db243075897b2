"""Every figure is measured, and nothing is left behind. How large they are is no test's business."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from benchmarks.measures import MEASURES
from fairlane import Fairlane

pytestmark = pytest.mark.slow

REPOSITORY: Final = Path(__file__).parents[2]
LONGEST: Final = 300.0  # seconds; only a failing test waits so long
FIGURES: Final = {name for measure in MEASURES.values() for name in measure.figures}


def bench(*arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", *arguments]
    wide = os.environ | {"COLUMNS": "200"}  # on a slow machine figures are wide
    ended = subprocess.run(
        command, check=False, cwd=REPOSITORY, env=wide, capture_output=True, text=True, timeout=LONGEST
    )
    assert ended.returncode == code, ended.stderr
    return ended


def figures_of(document: dict[str, Any]) -> dict[str, float]:
    return {one["name"]: one["value"] for one in document["figures"]}


def test_every_figure_is_measured_and_the_named_database_is_left_alone(sqlite_url: str, tmp_path: Path) -> None:
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    with Fairlane(sqlite_url) as fl:
        fl.organizations.create("noisy")
    before = sorted(folder.iterdir())
    file = tmp_path / "figures.json"

    ended = bench("--url", sqlite_url, "--quick", "--jobs", "50", "--deep", "20", "--json", str(file))

    document = json.loads(file.read_text())
    assert figures_of(document).keys() == FIGURES
    assert min(figures_of(document).values()) > 0
    assert all(name in ended.stdout for name in FIGURES)
    assert "slowest of 10" in ended.stdout
    assert "Measuring pickup …\n" in ended.stderr
    assert "For figures to compare leave --quick out: medians of 3 runs of 20,000 jobs." in ended.stderr
    assert (document["database"]["kind"], document["database"]["synchronous"]) == ("SQLite", "full")
    assert sorted(folder.iterdir()) == before
    with Fairlane(sqlite_url) as fl:
        assert sum(fl.metrics().jobs_by_status.values()) == 0


def test_on_postgresql_it_measures_in_databases_of_its_own(postgres_url: str) -> None:
    arguments = ["--url", postgres_url, "--quick", "--jobs", "50", "--runs", "2", "--only", "drain", "--json", "-"]
    document = json.loads(bench(*arguments).stdout)

    assert figures_of(document).keys() == {"drain"}
    assert len(document["figures"][0]["runs"]) == 2
    assert (document["database"]["kind"], document["database"]["fsync"]) == ("PostgreSQL", "off")
    with psycopg.connect(postgres_url) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'fairlane_benchmark_%'"
        ).fetchall()
    assert left == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--only", "none"], 2, "invalid choice: 'none'"),
        (["--only", "drain-behind"], 2, "drain-behind needs --deep N"),
        (["--url", "sqlite:///jobs.db", "--postgres"], 2, "not allowed with argument --url"),
        (["--url", "sqlite://"], 1, "name a file"),
        (["--url", "sqlite:////nowhere/jobs.db"], 1, "Nothing can be created in /nowhere"),
    ],
)
def test_what_can_not_be_measured_is_refused_in_a_sentence(arguments: list[str], code: int, said: str) -> None:
    assert said in " ".join(bench(*arguments, code=code).stderr.replace("│", " ").split())


def test_a_user_who_may_create_no_database_is_told_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS bench_guest")
        connection.execute("CREATE ROLE bench_guest LOGIN")
    separator = "&" if "?" in postgres_url else "?"

    said = bench("--url", f"{postgres_url}{separator}user=bench_guest", "--quick", code=1).stderr

    assert "may not create a database" in said
