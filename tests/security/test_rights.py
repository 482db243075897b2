"""A right that was taken away stays away, for each credential and at each moment."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg
import pytest
from sqlalchemy import update

from fairlane.accounts.passwords import fits
from fairlane.accounts.tokens import Tokens
from fairlane.api.authentication import Authentication
from fairlane.store.tables import tokens
from tests.api.served import OPERATOR, PASSWORD, Api

ACME = "/organizations/acme"
JOBS = f"{ACME}/jobs"


def test_a_token_cut_to_changing_members_makes_nobody_an_admin(api: Api):
    cut = api.as_("admin", scopes=["members:change"])
    assert cut.put(f"{ACME}/members/eve", json={"role": "admin"}).status_code == 403
    assert cut.delete(f"{ACME}/members/member").status_code == 403
    assert api.as_("admin").put(f"{ACME}/members/eve", json={"role": "viewer"}).status_code == 200


def test_a_token_that_expires_makes_none_that_outlives_it(api: Api):
    short = api.as_("member", expires_in=600)
    (mine,) = short.get(f"{ACME}/tokens").json()["items"]
    for wanted in (None, 1_000_000):
        made = short.post(f"{ACME}/tokens", json={"name": "x", "expires_in": wanted}).json()["token"]
        assert made["expires_at"] == mine["expires_at"]
    sooner = short.post(f"{ACME}/tokens", json={"name": "x", "expires_in": 60}).json()["token"]
    assert sooner["expires_at"] < mine["expires_at"]
    made = api.operator(expires_in=600).post("/operator/tokens", json={"name": "x"}).json()["token"]
    assert made["expires_at"] is not None


def test_a_disabled_user_who_is_deleted_does_not_return_by_an_old_token(api: Api):
    api.fl.users.create("mallory", operator=True)
    api.fl.members.add("acme", "mallory", role="admin")
    old = [api.as_("mallory"), api.as_("mallory", None)]
    assert [one.get(JOBS).status_code for one in old] == [200, 200]
    api.fl.users.update("mallory", disabled=True)
    assert api.operator().delete("/operator/users/mallory").status_code == 204
    assert [one.get(JOBS).status_code for one in old] == [401, 401]


def test_a_member_who_was_removed_and_comes_back_has_their_old_tokens_no_more(api: Api):
    old, admin, elsewhere = api.as_("member"), api.as_("admin"), api.as_("other-member", "other")
    admin.delete(f"{ACME}/members/member")
    admin.put(f"{ACME}/members/member", json={"role": "admin"})
    assert old.get(JOBS).status_code == 401
    assert api.as_("member").get(JOBS).status_code == 200
    assert elsewhere.get("/organizations/other/jobs").status_code == 200


CHANGES: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "a member": ("members", "add", lambda one: one.put(f"{ACME}/members/eve", json={"role": "admin"})),
    "a removal": ("members", "remove", lambda one: one.delete(f"{ACME}/members/colleague")),
    "a name": ("organizations", "update", lambda one: one.patch(ACME, json={"name": "Mine"})),
    "a token": ("tokens", "create", lambda one: one.post(f"{ACME}/tokens", json={"name": "x", "user": "colleague"})),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_admin_who_is_one_no_more_when_the_change_is_made_changes_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, what: str
):
    verbs, verb, send = CHANGES[what]
    admin, real = api.as_("admin"), getattr(getattr(api.fl, verbs), verb)

    def late(*args: Any, **more: Any) -> Any:
        monkeypatch.undo()
        api.fl.members.add("acme", "admin", role="viewer")  # after the request was let in
        return real(*args, **more)

    monkeypatch.setattr(getattr(api.fl, verbs), verb, late)
    assert send(admin).status_code == 403
    assert {one.user for one in api.fl.members.list("acme")} == {"viewer", "member", "colleague", "admin"}
    assert api.fl.organizations.get("acme").name == "acme"
    assert api.fl.tokens.list(organization="acme", user="colleague") == ()


def test_an_operator_who_is_one_no_more_when_the_change_is_made_changes_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    operator, real = api.operator(), api.fl.organizations.suspend

    def late(*args: Any, **more: Any) -> None:
        api.fl.users.update(OPERATOR, disabled=True)
        real(*args, **more)

    monkeypatch.setattr(api.fl.organizations, "suspend", late)
    assert operator.post("/operator/organizations/acme/suspension").status_code == 403
    assert api.fl.organizations.get("acme").status == "active"


def test_a_membership_takes_nothing_from_an_operator_and_makes_them_no_admin(api: Api):
    operator, member = api.operator(), api.as_("member")
    api.fl.members.add("acme", OPERATOR, role="viewer")
    job = member.post(JOBS, json={"job_type": "report", "parameters": {"month": "secret"}}).json()["id"]
    assert operator.get(f"{JOBS}/{job}").json()["payload_hidden"]
    assert operator.post(f"{ACME}/tokens", json={"name": "x", "user": "admin"}).status_code == 403
    assert operator.post(f"{JOBS}/{job}/cancellation").status_code == 202


@pytest.mark.parametrize("change", ["password", "disabled", "deleted"])
def test_a_login_beside_what_ends_it_opens_nothing(api: Api, monkeypatch: pytest.MonkeyPatch, change: str):
    api.with_password()

    def slow(kept: str | None, password: object) -> bool:
        is_right = fits(kept, password)
        if change == "password":
            api.fl.users.update(OPERATOR, password="another long password")
        elif change == "disabled":
            api.fl.users.update(OPERATOR, disabled=True)
        else:
            api.fl.users.delete(OPERATOR)
        return is_right

    monkeypatch.setattr("fairlane.accounts.users.fits", slow)
    answer = api.client().post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:fairlane:problem:login-failed")


def test_a_member_replaces_their_own_jobs_and_no_others(api: Api):
    admin, member = api.as_("admin"), api.as_("member")
    replacing = {"job_type": "unique", "on_duplicate": "replace"}
    theirs = admin.post(JOBS, json={"job_type": "unique"}).json()["id"]
    refused = member.post(JOBS, json=replacing)
    assert (refused.status_code, refused.json()["existing_id"]) == (409, theirs)
    assert admin.get(f"{JOBS}/{theirs}").json()["status"] == "queued"
    # Of an admin it is theirs to cancel, and so to replace; the audit tells.
    own = {"parameters": {"month": "1999-01"}}
    first = member.post(JOBS, json={"job_type": "unique"} | own).json()["id"]
    second = member.post(JOBS, json=replacing | own).json()["id"]
    third = admin.post(JOBS, json=replacing | own)
    assert third.status_code == 201
    assert [member.get(f"{JOBS}/{one}").json()["status"] for one in (first, second)] == ["canceled", "canceled"]
    told = [one for one in api.fl.audit.list(organization="acme") if one.action == "jobs.replace"]
    assert [(one.actor, one.subject) for one in told] == [("admin", second)]


def test_a_look_waits_for_no_writer_to_note_that_its_token_was_used(api: Api, database_url: str):
    client = api.as_("member")
    holder: Any
    if api.fl.database.kind.is_server:
        holder = psycopg.connect(database_url)
        holder.execute("LOCK TABLE fairlane_tokens IN EXCLUSIVE MODE")
    else:
        holder = sqlite3.connect(str(api.fl.database.file), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert client.get(JOBS).status_code == 200
    assert time.monotonic() - began < api.fl.database.lock_seconds
    holder.rollback()
    holder.close()
    assert client.get(JOBS).status_code == 200
    (token,) = api.fl.tokens.list(organization="acme")
    assert token.last_used_at is not None


def test_logins_refusals_and_links_are_audited(api: Api):
    api.with_password()
    for user, password in ((OPERATOR, "wrong"), ("nobody-4711", PASSWORD), (OPERATOR, PASSWORD)):
        api.client().post("/sessions", json={"user": user, "password": password})
    api.client().get("/login", params={"link": api.fl.users.link(OPERATOR)})
    entries = api.fl.audit.list(organization=None)
    told = [(one.action, one.actor, one.subject) for one in reversed(entries) if one.action != "users.create"]
    assert told == [
        ("users.update", "system", OPERATOR),
        ("users.log_in_refused", "system", OPERATOR),
        ("users.log_in_refused", "system", "an unknown user"),
        ("users.log_in", OPERATOR, OPERATOR),
        ("users.link", "system", OPERATOR),
        ("users.redeem", OPERATOR, OPERATOR),
    ]
    assert [one.after for one in entries if one.action == "users.update"] == [
        {"operator": True, "rights": [], "disabled": False, "password": True}
    ]
    assert "login from 127.0.0.1" in {one.origin for one in entries}


def test_a_token_that_opens_nothing_lets_nobody_in(api: Api):
    tokens: Tokens = api.fl.tokens
    assert tokens.is_empty()
    made, _ = tokens.create(organization="acme", as_user="member", name="x")
    assert not tokens.is_empty()
    tokens.revoke(made.id, organization="acme")
    assert tokens.is_empty()


def test_what_a_token_made_is_revoked_with_it_however_far_down(api: Api):
    stolen = api.as_("admin")
    bystander = api.as_("admin")
    *_, first = [one["id"] for one in stolen.get(f"{ACME}/tokens").json()["items"]]
    made = stolen.post(f"{ACME}/tokens", json={"name": "child"}).json()
    child = api.client(made["secret"])
    grandchild = api.client(child.post(f"{ACME}/tokens", json={"name": "x", "user": "member"}).json()["secret"])
    assert [one.get(JOBS).status_code for one in (stolen, child, grandchild)] == [200, 200, 200]
    assert bystander.delete(f"{ACME}/tokens/{first}").status_code == 204
    assert [one.get(JOBS).status_code for one in (stolen, child, grandchild)] == [401, 401, 401]
    assert bystander.get(JOBS).status_code == 200
    told = [one for one in api.fl.audit.list(organization="acme") if one.action == "tokens.revoke"]
    assert [(one.actor, one.before["user"]) for one in reversed(told) if one.before] == [
        ("admin", "admin"),
        ("admin", "admin"),
        ("admin", "member"),
    ]


def test_what_an_operator_s_token_made_in_an_organization_is_revoked_with_it(api: Api):
    api.fl.members.add("acme", OPERATOR, role="member")
    stolen = api.operator()
    made = api.client(stolen.post(f"{ACME}/tokens", json={"name": "child"}).json()["secret"])
    assert made.get(JOBS).status_code == 200
    (first,) = [one.id for one in api.fl.tokens.list(organization=None)]
    api.fl.tokens.revoke(first, organization=None)
    assert [one.get(JOBS).status_code for one in (stolen, made)] == [401, 401]


def chain(api: Api, first: Any, *users: str) -> list[Any]:
    """A client, and one for each of these users, by a token that the one before has made."""
    clients = [first]
    for user in users:
        made = clients[-1].post(f"{ACME}/tokens", json={"name": "x", "user": user})
        clients.append(api.client(made.json()["secret"]))
    assert [one.get(JOBS).status_code for one in clients] == [200] * len(clients)
    return clients


@pytest.mark.parametrize("end", ["membership", "user", "disabled"])
def test_what_a_token_made_ends_with_the_membership_or_the_user_it_was_of(api: Api, end: str):
    api.fl.users.create("carl")
    api.fl.members.add("acme", "carl", role="admin")
    clients = chain(api, api.as_("admin"), "carl", "member")
    if end == "membership":
        api.fl.members.remove("acme", "carl", user="admin")
    elif end == "user":
        api.fl.users.delete("carl", user="admin")
    else:
        api.fl.users.update("carl", disabled=True, user="admin")
        api.fl.users.update("carl", disabled=False, user="admin")
    assert [one.get(JOBS).status_code for one in clients] == [200, 401, 401]
    told = [one for one in api.fl.audit.list(organization="acme") if one.action == "tokens.revoke"]
    assert [(one.actor, (one.before or {})["user"]) for one in reversed(told)] == [
        ("admin", "carl"),
        ("admin", "member"),
    ]


def test_a_link_that_was_revoked_before_hides_nothing_behind_it(api: Api):
    bystander = api.as_("admin")
    clients = chain(api, api.as_("admin"), "admin", "member")
    first, link, _ = sorted((one for one in api.fl.tokens.list(organization="acme")), key=lambda one: one.id)[1:]
    with api.fl.database.engine.begin() as connection:
        # As a removal of its user left it before it went down the chain.
        connection.execute(update(tokens).where(tokens.c.id == link.id).values(revoked_at=link.created_at))
    assert [one.get(JOBS).status_code for one in clients] == [200, 401, 200]
    assert bystander.delete(f"{ACME}/tokens/{first.id}").status_code == 204
    assert [one.get(JOBS).status_code for one in [*clients, bystander]] == [401, 401, 401, 200]


@pytest.mark.parametrize("end", ["revoked", "disabled"])
def test_a_credential_that_ends_while_the_body_is_still_coming_opens_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, end: str
):
    monkeypatch.setattr("fairlane.api.scope.PROOF_KEPT", 0.0)
    api.fl.users.create("admin")
    secret = api.token("admin")
    (token,) = api.fl.tokens.list(organization="acme")
    reading = Event()

    def body() -> Iterator[bytes]:
        yield b'{"name": '
        reading.wait(20)
        yield b'"x"}'

    client, kind = api.client(secret), {"Content-Type": "application/json"}
    with ThreadPoolExecutor(1) as threads:
        begun = authenticated(api, monkeypatch)
        answer = threads.submit(client.post, f"{ACME}/tokens", content=body(), headers=kind)
        assert begun.wait(20)
        if end == "revoked":
            api.fl.tokens.revoke(token.id, organization="acme")
        else:
            api.fl.users.update("admin", disabled=True)
        reading.set()
        assert answer.result().status_code == 401
    assert [one.id for one in api.fl.tokens.list(organization="acme", user="admin")] == [token.id]


def authenticated(api: Api, monkeypatch: pytest.MonkeyPatch) -> Event:
    """Set once the next request's credential was proved."""
    begun, prove = Event(), Authentication._prove

    async def proved(*args: Any) -> Any:
        found = await prove(*args)
        begun.set()
        return found

    monkeypatch.setattr(Authentication, "_prove", proved)
    return begun


def test_a_token_that_may_not_cancel_replaces_nothing(api: Api):
    waiting = api.as_("admin").post(JOBS, json={"job_type": "unique"}).json()["id"]
    cut = api.as_("admin", scopes=["jobs:submit", "jobs:read"])
    replacing = {"job_type": "unique", "on_duplicate": "replace"}
    assert cut.post(JOBS, json=replacing).status_code == 403
    assert cut.post(f"{JOBS}/batch", json={"jobs": [replacing]}).status_code == 403
    assert api.as_("admin").get(f"{JOBS}/{waiting}").json()["status"] == "queued"


def test_an_admin_who_is_one_no_more_revokes_no_token_of_others(api: Api, monkeypatch: pytest.MonkeyPatch):
    admin, real = api.as_("admin"), api.fl.tokens.revoke
    theirs, _ = api.fl.tokens.create(organization="acme", as_user="colleague", name="x")

    def late(*args: Any, **more: Any) -> bool:
        api.fl.members.add("acme", "admin", role="member")  # after the request was let in
        return real(*args, **more)

    monkeypatch.setattr(api.fl.tokens, "revoke", late)
    assert admin.delete(f"{ACME}/tokens/{theirs.id}").status_code == 403
    assert api.fl.tokens.list(organization="acme", user="colleague")[0].revoked_at is None


def test_an_operator_who_is_one_no_more_lifts_no_limit_even_as_an_admin_there(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    api.fl.members.add("acme", OPERATOR, role="admin")
    operator, real = api.operator(), api.fl.organizations.update

    def late(*args: Any, **more: Any) -> Any:
        api.fl.users.update(OPERATOR, operator=False)
        return real(*args, **more)

    monkeypatch.setattr(api.fl.organizations, "update", late)
    assert operator.patch("/operator/organizations/acme", json={"max_live_jobs": None}).status_code == 403
