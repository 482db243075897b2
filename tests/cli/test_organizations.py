"""`fairlane orgs` and `fairlane members`."""

import re
from pathlib import Path

import pytest

from fairlane import Fairlane, OrganizationNotFound, OrganizationStatus
from tests.cli.conftest import Run


def test_create_show_update_list(run: Run) -> None:
    created = run("orgs", "create", "tern", "--name", "Tern Island", "--max-running", "3", "--json").json
    assert (created["name"], created["max_running"], created["max_live_jobs"]) == ("Tern Island", 3, None)

    assert run("orgs", "update", "tern", "--weight", "2").stdout == "Organization tern is changed.\n"
    updated = run("orgs", "update", "tern", "--max-running", "unlimited", "--json").json
    assert (updated["weight"], updated["max_running"]) == (2, None)

    assert "Tern Island" in run("orgs", "show", "tern").stdout
    assert "as job types say" in run("orgs", "show", "tern").stdout
    assert run("orgs", "update", "tern", "--retention", "90d", "--json").json["retention"] == 90 * 86_400
    assert "90 days\n" in run("orgs", "show", "tern").stdout
    assert run("orgs", "update", "tern", "--weight", "2", "--json").json["retention"] == 90 * 86_400
    assert run("orgs", "update", "tern", "--retention", "inherit", "--json").json["retention"] is None
    run("orgs", "update", "tern", "--retention", "long", code=2)
    assert run("orgs", "show", "tern", "--json").json["organization"]["id"] == "tern"
    assert "Tern Island" in run("orgs", "list").stdout
    assert [one["id"] for one in run("orgs", "list", "--json").json] == ["tern"]


def test_show_tells_how_jobs_went_of_late(run: Run, fl: Fairlane) -> None:
    assert "last 60 min" not in run("orgs", "show", "acme").stdout
    for job_type in ("greet", "greet", "greet", "fail"):
        fl.submit(job_type, organization="acme")
    fl.worker().drain()

    shown = run("orgs", "show", "acme").stdout
    assert re.search(r"^waited, last 60 min +average [\d.]+s, p95 [\d.]+s *$", shown, re.MULTILINE)
    assert re.search(
        r"^greet, last 60 min +3 attempts, 0.0% failed, average [\d.e-]+s, p95 [\d.e-]+s *$", shown, re.MULTILINE
    )
    assert re.search(
        r"^fail, last 60 min +1 attempt, 100.0% failed, average [\d.e-]+s, p95 [\d.e-]+s *$", shown, re.MULTILINE
    )
    metrics = run("orgs", "show", "acme", "--json").json["metrics"]
    assert metrics["failure_rate_by_type"] == {"greet": 0.0, "fail": 1.0}


def test_an_empty_list_says_what_to_do(run: Run) -> None:
    assert run("orgs", "list").stdout == "No organizations; create one: fairlane orgs create acme\n"
    assert run("orgs", "list", "--json").json == []


def test_what_the_engine_refuses_is_one_sentence(run: Run) -> None:
    assert run("orgs", "create", "acme").stdout == "Organization acme is created.\n"
    complaint = run("orgs", "create", "acme", code=1).stderr
    assert complaint == "Error: Organization acme is there already, and stays as it is.\n"
    for command in ("orgs show", "orgs update", "orgs suspend", "members list -o", "members add eve -o"):
        complaint = run(*command.split(), "no pe", code=1).stderr
        assert complaint == "Error: There is no organization 'no pe'; create it: fairlane orgs create 'no pe'\n"
    run("orgs", "create", "x", "--max-running", "many", code=2)


def test_suspend_and_activate(run: Run, fl: Fairlane) -> None:
    assert run("orgs", "suspend", "acme").stdout == "Organization acme is suspended.\n"
    assert fl.organizations.get("acme").status is OrganizationStatus.SUSPENDED
    assert run("orgs", "activate", "acme").stdout == "Organization acme is active.\n"
    assert fl.organizations.get("acme").status is OrganizationStatus.ACTIVE


def test_pause_and_resume(run: Run, fl: Fairlane) -> None:
    assert run("orgs", "pause", "acme", "--reason", "migration").stdout == "Organization acme is paused.\n"
    assert "active, paused" in run("orgs", "list").stdout
    assert run("orgs", "resume", "acme").stdout == "Organization acme goes on.\n"
    assert run("orgs", "resume", "acme").stdout == "Organization acme was not paused.\n"
    assert run("orgs", "pause", "acmee", code=1).stderr.startswith("Error: There is no organization 'acmee';")


def test_delete_asks(run: Run, fl: Fairlane) -> None:
    run("orgs", "delete", "acme", answer="n\n", code=1)
    assert fl.organizations.get("acme").name == "Acme"

    assert run("orgs", "delete", "acme", answer="y\n").stdout.endswith("Organization acme is deleted.\n")
    with pytest.raises(OrganizationNotFound):
        fl.organizations.get("acme")


def test_members(run: Run, fl: Fairlane) -> None:
    added = run("members", "add", "bo", "-o", "acme", "--role", "admin", "--permission", "pay", "--json").json
    assert (added["role"], added["permissions"]) == ("admin", ["pay"])
    assert run("members", "add", "cy", "-o", "acme").stdout == "cy is added to acme as member.\n"
    assert run("members", "add", "cy", "-o", "acme").stdout == "cy is in acme already, as member.\n"
    assert run("members", "add", "bo", "-o", "acme").stdout == "bo is in acme already, as admin with pay.\n"
    again = run("members", "add", "bo", "-o", "acme", "--role", "member").stdout
    assert again == "bo is in acme already; was admin with pay, is now member with pay.\n"

    assert [one["user"] for one in run("members", "list", "-o", "acme", "--json").json] == ["ana", "bo", "cy"]
    assert "admin" not in run("members", "list", "-o", "acme").stdout

    kept = run("members", "remove", "cy", "-o", "acme", answer="n\n", code=1).stderr
    assert "Remove cy from acme? Their waiting jobs will be refused when they are due." in kept
    assert run("members", "remove", "cy", "-o", "acme", "-y").stdout == "cy is no longer a member of acme.\n"
    assert run("members", "remove", "cy", "-o", "acme", "--yes").stdout == "cy was not a member of acme.\n"
    run("members", "add", "cy", "-o", "acme", "--role", "king", code=2)


HOSTED = """
from fairlane import Fairlane, Membership, OrganizationStatus, Role, Standing

class Ours:
    def organizations(self, ids):
        return {one: Standing(OrganizationStatus.ACTIVE) for one in ids if one == "initech"}

    def members(self, pairs):
        return {pair: Membership(Role.ADMIN) for pair in pairs if pair == ("initech", "bill")}

fl = Fairlane(directory=Ours())
"""


def test_what_the_application_s_own_directory_says_is_not_changed_here(
    run: Run, fl: Fairlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "initech_app.py").write_text(HOSTED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FAIRLANE_APP", "initech_app:fl")
    organizations, members = (
        "The application's own directory keeps the organizations",
        "own directory keeps the members; look them up",
    )
    for command, sentence in {
        "orgs create initech --retention 90d": f"{organizations}; create it there.",
        "orgs suspend initech": f"{organizations}; suspend it there.",
        "orgs activate initech": f"{organizations}; activate it there.",
        "orgs show other": "There is no organization 'other'; the application's own directory says so.",
        "orgs update other --retention 30d": "There is no organization 'other'; the application's own directory",
        "members add eve -o initech": members,
        "members list -o initech": members,
        "members remove eve -o initech --yes": members,
        "orgs pause other": "There is no organization 'other'; the application's own directory says so.",
    }.items():
        assert sentence in run(*command.split(), code=1).stderr

    assert run("orgs", "list").stdout == (
        "Fairlane keeps no organizations here; the application's own directory does.\n"
    )
    run("orgs", "pause", "initech")
    run("orgs", "resume", "initech")
    assert run("orgs", "show", "initech", "--json").json["organization"]["retention"] is None
    run("orgs", "update", "initech", "--retention", "30d")
    assert run("orgs", "show", "initech", "--json").json["organization"]["retention"] == 30 * 86_400
    for command in ("orgs delete initech --yes", "orgs update initech --weight 3"):
        assert organizations in run(*command.split(), code=1).stderr
