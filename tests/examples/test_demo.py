"""`make demo`, as a newcomer runs it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow

REPOSITORY: Final = Path(__file__).parents[2]
LONGEST: Final = 180.0  # seconds; only a failing test waits so long
SUMMARY: Final = (
    r"tern-observatory +8 +0 +1 +2 +[\d.]+",
    r"reed-waterworks +8 +1 +0 +2 +[\d.]+",
    r"gale-insurance +11 +0 +0 +2 +[\d.]+",
)
FILES: Final = {
    "tern-observatory": ["co2.pdf", "reports.zip", "sunspots.pdf"],
    "reed-waterworks": ["nile-broken.pdf", "nile.pdf", "reports.zip"],
    "gale-insurance": ["co2.pdf", "elnino.pdf", "reports.zip", "sunspots.pdf"],
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """Yield a directory that root's PostgreSQL, which runs as another user, may enter."""
    with tempfile.TemporaryDirectory(prefix="fairlane-demo-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "demo"


def command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "examples.demo", "--directory", str(directory), *arguments]


@pytest.mark.parametrize("arguments", [[], ["--postgres"]], ids=["sqlite", "postgresql"])
def test_every_job_ends_as_planned(directory: Path, arguments: list[str]) -> None:
    others = "postgresql://nobody@127.0.0.1:1/others"
    ended = subprocess.run(
        command(directory, *arguments),
        check=False,
        cwd=REPOSITORY,
        env=os.environ | {"FAIRLANE_OWNER_URL": others, "FAIRLANE_WORKER_URL": others},
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    for line in SUMMARY:
        assert re.search(line, ended.stdout)
    assert "✓ All 29 jobs ended as planned." in ended.stdout
    times = re.findall(r"^ *([\d.]+) s  (\S+) .* in ([\d.]+) s$", ended.stdout, flags=re.MULTILINE)
    assert len(times) == 28  # all but the dead letter
    assert not [one for one in times if float(one[0]) < float(one[2])], "it ended before it can have begun"
    for organization in FILES:
        (lasted,) = re.findall(rf"^{organization} .* ([\d.]+)$", ended.stdout, flags=re.MULTILINE)
        assert float(lasted) <= max(float(after) for after, whose, _ in times if whose == organization)
    assert "none of the 8 rows is valid" in ended.stdout
    for organization, names in FILES.items():
        assert sorted(path.name for path in (directory / "output" / organization).iterdir()) == names
        for name in names:
            path = directory / "output" / organization / name
            assert str(path) in ended.stdout
            assert path.read_bytes().startswith(b"%PDF" if path.suffix == ".pdf" else b"PK")
    if not arguments:
        # What it suggests works, typed one after the other.
        suggested = ended.stdout.partition("Try next\n")[2].partition("\n\n")[0]
        assert "export FAIRLANE_URL=" in suggested
        assert "fairlane serve " in suggested
        suggested = re.sub(r"^.*fairlane serve .*$", "", suggested, flags=re.MULTILINE)  # it stays
        typed = re.sub(r"^ +.*fairlane jobs", f"{sys.executable} -m fairlane jobs", suggested, flags=re.MULTILINE)
        assert subprocess.run(["bash", "-ec", typed], capture_output=True, check=False, cwd=REPOSITORY).returncode == 0


def test_ctrl_c_ends_it_cleanly(directory: Path) -> None:
    with subprocess.Popen(
        command(directory), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "archive" not in process.stdout.readline():
            """The first job has begun."""
        os.kill(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=LONGEST)

    assert (process.returncode, complaint) == (130, "")


def test_the_demo_empties_no_directory_of_others(directory: Path) -> None:
    directory.mkdir()
    (directory / "thesis.txt").touch()

    ended = subprocess.run(command(directory), check=False, cwd=REPOSITORY, capture_output=True, text=True)

    assert ended.returncode == 1
    assert "is not empty and no earlier demo's" in ended.stderr
    assert (directory / "thesis.txt").exists()
