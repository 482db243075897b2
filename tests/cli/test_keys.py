"""`fairlane keys`."""

import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import update

from fairlane import Fairlane
from fairlane.domain.sealing import is_sealed
from fairlane.encryption import keys
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import resealing, workers
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.tables import organization_keys
from tests.cli.conftest import Run
from tests.engine.sealed_engine import FIRST


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def test_a_key_is_made_rotated_listed_and_destroyed(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("keys", "list", "-o", "acme").stdout == "No encryption; to start it: fairlane keys enable -o acme\n"
    told = run("keys", "enable", "-o", "acme", code=1).stderr
    assert "set FAIRLANE_ENCRYPTION_KEYS" in told
    command = re.search(r"python -c (.*)$", told, re.MULTILINE)
    assert command is not None
    made = subprocess.run(
        [sys.executable, "-c", shlex.split(command[1])[0]], capture_output=True, text=True, check=True
    )
    monkeypatch.setenv("FAIRLANE_ENCRYPTION_KEYS", made.stdout.strip())
    assert "There is no key" not in run("keys", "list", "-o", "acme").stdout
    monkeypatch.setenv("FAIRLANE_ENCRYPTION_KEYS", FIRST)
    assert "fairlane keys enable" in run("keys", "rotate", "-o", "acme", code=1).stderr
    enabled = run("keys", "enable", "-o", "acme").stdout
    assert enabled.startswith("Version 1 of the key of acme is in use. ")
    needed = (
        "Every process that submits, runs or shows its jobs needs the master key first in FAIRLANE_ENCRYPTION_KEYS. "
        "A worker without it starts none of these jobs; a few seconds from now `fairlane check` names such workers.\n"
    )
    assert enabled.endswith(needed)
    assert run("keys", "rotate", "-o", "acme").stdout.endswith(needed)
    assert run("keys", "list", "-o", "acme", "--json").json[0]["version"] == 2
    assert "encrypted with the newest key" in run("keys", "reencrypt").stdout
    listed = run("keys", "list", "-o", "acme").stdout
    assert "retired" in listed
    assert "first" in listed
    newest, older = run("keys", "list", "-o", "acme", "--json").json
    assert (newest["state"], older["state"], newest["usable"]) == ("active", "retired", True)
    assert FIRST.split(":")[1] not in listed
    checked = run("check").stdout
    assert re.search(r"✓ setting +FAIRLANE_ENCRYPTION_KEYS=\*\*\*\n", checked)
    assert FIRST.split(":")[1] not in checked
    monkeypatch.delenv("FAIRLANE_ENCRYPTION_KEYS")
    assert "✗ keys" in run("check", code=1).stdout
    monkeypatch.setenv("FAIRLANE_ENCRYPTION_KEYS", "first:short")
    assert "FAIRLANE_ENCRYPTION_KEYS is no base64" in run("check", code=1).stdout
    monkeypatch.setenv("FAIRLANE_ENCRYPTION_KEYS", FIRST)
    run("keys", "destroy", "-o", "acme", answer="n\n", code=1)
    assert run("keys", "destroy", "-o", "acme", "--yes").stdout.startswith("2 of acme's keys destroyed")
    assert run("keys", "destroy", "-o", "acme", "--yes").stdout == "acme had no key.\n"
    assert "There is no organization" in run("keys", "list", "-o", "nobody", code=1).stderr


@pytest.mark.slow
def test_check_and_top_tell_of_workers_that_lack_a_key(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLANE_ENCRYPTION_KEYS", FIRST)

    def introduce(name: str, *locked: str, queues: tuple[str, ...] | None = None) -> None:
        card = WorkerCard(uuid4(), name, queues, ("greet", "fail"), 4)
        fl.database.write(lambda connection: workers.register(connection, fl.database.clock, card, 600.0), of=EVERYONE)
        fl.database.write(lambda connection: workers.tell_locked(connection, card.id, locked), of=EVERYONE)

    def found(*, code: int) -> list[str]:
        findings = run("check", "--json", code=code).json["findings"]
        return [one["sentence"] for one in findings if one["subject"] == "keys"]

    remedy = "start them with its master key in FAIRLANE_ENCRYPTION_KEYS; its name is in: fairlane keys list -o acme"
    introduce("one", "acme")
    assert found(code=1) == [f"No live worker can use the encryption key of acme, and its jobs wait: one; {remedy}"]
    assert "lacks the key of 1 organization\n" in run("top", "--once").stdout
    introduce("three", queues=("default",))
    alone = (
        "1 of 2 live workers can't use the encryption key of acme, and of its jobs those wait that no other claims: one"
    )
    assert found(code=1) == [f"{alone}; {remedy}"]
    introduce("two")
    some = "1 of 3 live workers can't use the encryption key of acme and leave its jobs to others: one"
    assert found(code=0) == [f"{some}; {remedy}"]
    (leaving,) = (one for one in fl.reads.workers() if one.name == "two")
    fl.database.write(lambda connection: workers.request_drain(connection, leaving.id), of=EVERYONE)
    assert len(found(code=1)) == 1


def test_check_tells_of_what_was_stored_before_there_was_a_key(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_ENCRYPTION_KEYS", FIRST)
    monkeypatch.setattr(keys, "KEYS_SETTLE", 0)
    fl.organizations.create("beta")
    for organization in ("acme", "beta"):
        fl.submit("greet", organization=organization, parameters={"name": "a" * 1000})
    note = "Jobs of acme from before there was a key are not encrypted: fairlane keys reencrypt"

    def checked() -> str:
        return run("check", code=1).stdout  # no worker is there

    assert note not in checked()
    run("keys", "enable", "-o", "acme")
    seen: list[str] = []

    def noting(text: str) -> bool:
        seen.append(text)
        return is_sealed(text)

    with monkeypatch.context() as patch:
        patch.setattr(resealing, "is_sealed", noting)
        assert note in checked()
    assert seen
    assert max(map(len, seen)) < 10  # of what may be long as little is read as tells
    run("jobs", "submit", "greet", "-o", "acme")
    run("keys", "reencrypt")
    assert "before there was a key" not in checked()


def test_sealing_anew_says_that_it_waits_and_waits_no_longer_where_a_clock_was_set_back(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_ENCRYPTION_KEYS", FIRST)
    monkeypatch.setattr(keys, "KEYS_SETTLE", 0.2)
    run("keys", "enable", "-o", "acme")
    later = update(organization_keys).where(organization_keys.c.organization_id == "acme")
    with fl.database.engine.begin() as connection:
        connection.execute(later.values(created_at=datetime(2100, 1, 1, tzinfo=UTC)))
    waiting, done = run("keys", "reencrypt").stdout.splitlines()
    until = "until no process and no transaction uses the keys before the newest one …"
    assert waiting == f"Waiting up to 0 s, {until}"
    assert "encrypted with the newest key" in done
