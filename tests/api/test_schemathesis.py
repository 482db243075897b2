"""Schemathesis sends requests that the OpenAPI document allows, and many others: its checks hold, and no 5xx."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.served import OPERATOR, Api

pytestmark = pytest.mark.slow

SECONDS = 30
# What is right by the document may be refused for what no document says: that a type is registered, a parent there.
CONFIG = """
[parameters]
"path.organization" = "acme"
"path.job" = "{job}"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "403", "404", "409", "413", "416", "422", "429"]

# A type may be called "text/pause" and is changed at job-types/text/pause: test_names_in_addresses.
[[operations]]
include-operation-id = ["pauseJobType", "resumeJobType"]
checks.unsupported_method.enabled = false
"""
# They would end what the others are about.
EXCLUDED = ("deleteOrganization", "suspendOrganization", "deleteDeadLetter", "deleteUser", "updateUser")
# They answer for as long as somebody listens.
ENDLESS = ("watchOrganization", "watchAll")


def run(api: Api, folder: Path, *options: str) -> dict[str, Any]:
    """Let Schemathesis send what it likes, and all be right; its report."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "config.toml", "run"]
    command += [f"{api.url}/api/v1/openapi.json", "-H", f"Authorization: Bearer {api.token(OPERATOR, None)}"]
    command += ["--no-color", "--continue-on-failure", "--seed", "1", "--report-json-path", "report.json", *options]
    command += ["--request-timeout", "60"]  # seconds; to retry a thousand dead letters takes a busy machine a while
    for one in EXCLUDED + ENDLESS:
        command += ["--exclude-operation-id", one]
    # No code of Fairlane runs in it, so its own time limit is all that it needs; the rest is for a busy machine.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_whatever_is_sent_is_answered_as_the_document_says(api: Api, tmp_path: Path):
    job = api.fl.submit("report", organization="acme", user="member")
    api.run()
    api.fl.members.add("acme", OPERATOR, role="admin")
    (tmp_path / "config.toml").write_text(CONFIG.format(job=job.id))
    timed = ["--phases", "examples,coverage,fuzzing", "--max-examples", "2", "--max-time", str(SECONDS)]
    found = run(api, tmp_path, *timed)["operations"]
    if found["tested"] < found["selected"]:
        # The time was too short for some. So a little is sent to each, however long that takes.
        found = run(api, tmp_path, "--phases", "fuzzing", "--max-examples", "1")["operations"]
    assert found["tested"] == found["selected"] == found["total"] - len(EXCLUDED + ENDLESS)
