"""`fairlane users`, `fairlane tokens` and `fairlane audit`."""

import json

import pytest

from fairlane import Fairlane
from tests.cli.conftest import Run


def test_a_user_is_created_changed_and_deleted(run: Run, fl: Fairlane) -> None:
    assert run("users", "list").stdout == "No users; create one: fairlane users create USER --operator --password\n"
    made = run("users", "create", "olga", "--operator", "--password", answer="a long password\n")
    assert made.stdout == "User olga is created.\n"
    secret = fl.users.log_in("olga", "a long password")
    assert "olga" in run("users", "list").stdout
    assert run("users", "update", "olga", "--disable", "--json").json["disabled_at"] is not None
    assert fl.users.principal(secret) is None
    assert run("users", "update", "olga", "--enable", "--no-operator").stdout == "User olga is changed.\n"
    (listed,) = run("users", "list", "--json").json
    assert (listed["is_operator"], listed["has_password"]) == (False, True)
    assert "password_hash" not in listed
    run("users", "delete", "olga", answer="n\n", code=1)
    assert run("users", "delete", "olga", "--yes").stdout == "User olga is deleted.\n"
    assert run("users", "delete", "olga", "--yes").stdout == "User olga was not there.\n"
    assert "12 to 1024" in run("users", "create", "eve", "--password", answer="short\n", code=1).stderr
    assert (
        "Write the password as the first line" in run("users", "create", "eve", "--password", answer="", code=2).stderr
    )


def test_a_token_is_printed_alone_and_once(run: Run, fl: Fairlane) -> None:
    made = run("tokens", "create", "ana", "-o", "acme", "--scope", "jobs:read", "--expires-in", "90d")
    secret = made.stdout.strip()
    assert "shown once" in made.stderr
    principal = fl.tokens.principal(secret)
    assert principal is not None
    assert principal.user == "ana"
    listed = run("tokens", "list", "-o", "acme")
    assert secret not in listed.stdout
    assert "jobs:read" in listed.stdout
    (token,) = run("tokens", "list", "-o", "acme", "--json").json
    assert run("tokens", "revoke", token["id"], "-o", "acme").stdout == f"Token {token['id']} is revoked.\n"
    assert fl.tokens.principal(secret) is None
    assert "not revoked" in run("tokens", "revoke", token["id"], "-o", "acme", code=1).stderr
    run("tokens", "revoke", "nonsense", "-o", "acme", code=2)
    assert "no member" in run("tokens", "create", "eve", "-o", "acme", code=1).stderr
    assert "leave out -o" in run("tokens", "create", "ana", "--operator", code=2).stderr
    assert "no operator" in run("tokens", "create", "ana", code=1).stderr
    assert run("tokens", "create", "ana", "-o", "acme", "--json").json["secret"].startswith("fl_")
    assert "fairlane tokens create USER" in run("tokens", "list").stdout


def test_the_audit_is_listed_and_exported(run: Run, fl: Fairlane) -> None:
    run("members", "add", "bea", "-o", "acme")
    told = run("audit", "list", "-o", "acme").stdout
    assert "members.add" in told
    assert "command line" in told
    newest = json.loads(run("audit", "export", "-o", "acme").stdout.splitlines()[0])
    assert (newest["subject"], newest["after"]) == ("bea", {"role": "member", "permissions": []})
    assert "no organization 'nobody'" in run("audit", "list", "-o", "nobody", code=1).stderr
    assert len(run("audit", "list", "-o", "acme", "--json", "-n", "1").json) == 1


def test_the_environment_s_organization_is_undone_by_a_dash(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    fl.users.create("olga", operator=True)
    fl.members.add("acme", "olga")
    monkeypatch.setenv("FAIRLANE_ORGANIZATION", "acme")
    run("tokens", "create", "olga")
    run("tokens", "create", "olga", "-o", "-")
    assert [len(fl.tokens.list(organization=one)) for one in ("acme", None)] == [1, 1]
    (token,) = run("tokens", "list", "-o", "-", "--json").json
    assert token["organization"] is None
    actions = {one["action"] for one in run("audit", "list", "-o", "-", "--json").json}
    assert "users.create" in actions
    assert "users.create" not in run("audit", "export").stdout
    run("types", "limit", "greet", "-o", "-", "--max-running", "5")
    assert [one.organization for one in fl.job_types.limits(name="greet")] == [None]
    assert run("keys", "reencrypt", "-o", "-").stdout == "0 texts and files were encrypted with the newest key.\n"
