"""`make demo ARGS=--serve`, as a newcomer runs it to see the dashboard."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx

from fairlane.api.dashboard import is_built
from tests.needs import unable

REPOSITORY: Final = Path(__file__).parents[2]
LONGEST: Final = 60.0  # seconds; only a failing test waits so long


def test_its_link_opens_the_dashboard_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    if not is_built():
        unable("The dashboard is not built; `make dashboard` builds it.")
    command = [sys.executable, "-m", "examples.demo", "--serve", "--directory", str(tmp_path / "demo")]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = next(line for line in process.stdout if "http://" in line)
            link = httpx.URL(told.split()[-1])
            with httpx.Client(base_url=link.copy_with(raw_path=b"/"), timeout=LONGEST, trust_env=False) as browser:
                page = browser.get(link, headers={"Accept": "text/html"}, follow_redirects=True)
                organizations = browser.get("api/v1/operator/organizations").json()["items"]
        finally:
            os.kill(process.pid, signal.SIGINT)
            _, complaint = process.communicate(timeout=LONGEST)

    assert page.status_code == 200
    assert "<title>Fairlane" in page.text
    assert {one["id"] for one in organizations} == {"tern-observatory", "reed-waterworks", "gale-insurance"}
    assert (process.returncode, complaint) == (130, "")
