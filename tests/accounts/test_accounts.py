"""Users, sessions and tokens: shown once, stored as hashes, closed at once (R19)."""

from base64 import urlsafe_b64decode
from datetime import timedelta
from hashlib import sha256
from uuid import uuid4

import pytest
from sqlalchemy import text

from fairlane import ConfigurationError, JobNotFound, OrganizationNotFound, PermissionDenied
from fairlane.domain.origin import acting_from
from fairlane.domain.permissions import Right
from tests.store.races.scene import Scene

PASSWORD = "correct horse battery"


def test_a_login_opens_a_session_until_it_is_logged_out(scene: Scene):
    users = scene.fl.users
    users.create("olga", password=PASSWORD)
    secret = users.log_in("olga", PASSWORD)
    principal = users.principal(secret)
    assert principal is not None
    assert (principal.user, principal.is_operator) == ("olga", False)
    users.log_out(secret)
    assert users.principal(secret) is None


@pytest.mark.parametrize(
    ("user", "password"),
    [("olga", "wrong password"), ("nobody", PASSWORD), ("olga", ""), ("", ""), ("olga", "x" * 9999)],
)
def test_a_wrong_login_says_not_what_was_wrong(scene: Scene, user: str, password: str):
    scene.fl.users.create("olga", password=PASSWORD)
    scene.fl.users.create("paul")  # without a password
    for name in {user, "paul"}:
        with pytest.raises(PermissionDenied, match="User and password do not belong together"):
            scene.fl.users.log_in(name, password)


def test_a_session_ends_with_its_time_its_password_and_its_user(scene: Scene):
    users = scene.fl.users
    users.create("olga", password=PASSWORD)
    expired = users.log_in("olga", PASSWORD)
    scene.clock.advance(timedelta(hours=12, seconds=1).total_seconds())
    assert users.principal(expired) is None
    secret = users.log_in("olga", PASSWORD)
    users.update("olga", password="another long password")
    assert users.principal(secret) is None
    secret = users.log_in("olga", "another long password")
    users.update("olga", disabled=True)
    assert users.principal(secret) is None
    with pytest.raises(PermissionDenied):
        users.log_in("olga", "another long password")
    users.update("olga", disabled=False)
    secret = users.log_in("olga", "another long password")
    assert users.delete("olga")
    assert users.principal(secret) is None
    assert not users.delete("olga")


def test_a_link_is_good_for_one_session(scene: Scene):
    users = scene.fl.users
    users.create("root", operator=True)
    link = users.link("root")
    assert users.principal(link) is None
    principal = users.principal(users.redeem(link))
    assert principal is not None
    assert principal.is_operator
    with pytest.raises(PermissionDenied, match="used or has expired"):
        users.redeem(link)
    late = users.link("root")
    scene.clock.advance(601)
    with pytest.raises(PermissionDenied, match="used or has expired"):
        users.redeem(late)
    with pytest.raises(PermissionDenied):
        users.redeem(users.redeem(users.link("root")))  # a session is no link


def test_a_token_acts_as_its_user_until_it_is_revoked(scene: Scene):
    tokens = scene.fl.tokens
    token, secret = tokens.create(organization="acme", as_user="ana", name="robot", scopes=["jobs:read"])
    principal = tokens.principal(secret)
    assert principal is not None
    assert (principal.user, principal.organization, principal.scopes) == ("ana", "acme", frozenset({Right.JOBS_READ}))
    assert tokens.get(token.id, organization="rival") is None
    assert not tokens.revoke(token.id, organization="rival")
    assert tokens.principal(secret) is not None
    assert tokens.revoke(token.id, organization="acme")
    assert tokens.principal(secret) is None
    assert not tokens.revoke(token.id, organization="acme")


def test_a_token_expires_and_notes_its_use(scene: Scene):
    tokens = scene.fl.tokens
    token, secret = tokens.create(organization="acme", as_user="ana", name="robot", expires_in=120)
    assert tokens.principal(secret) is not None
    (found,) = tokens.list(organization="acme")
    assert found.last_used_at == scene.now
    scene.clock.advance(30)
    tokens.principal(secret)
    (again,) = tokens.list(organization="acme", user="ana")
    assert again.last_used_at == found.last_used_at  # at most once a minute
    scene.clock.advance(90)
    assert tokens.principal(secret) is None
    assert tokens.list(organization="acme", user="bea") == ()
    assert token.id == again.id


def test_a_user_has_200_tokens_that_open_something_and_what_ended_is_kept_for_a_month(scene: Scene):
    tokens = scene.fl.tokens
    made = [tokens.create(organization="acme", as_user="ana", name=f"{one}", expires_in=60)[0] for one in range(200)]
    with pytest.raises(ConfigurationError, match=r"^ana has 200 tokens, the most that a user may have; revoke one\.$"):
        tokens.create(organization="acme", as_user="ana", name="one more")
    tokens.revoke(made[0].id, organization="acme")
    last, secret = tokens.create(organization="acme", as_user="ana", name="one more")
    assert len(tokens.list(organization="acme")) == 201
    scene.clock.advance(30 * 86_400 + 61)
    new, _ = tokens.create(organization="acme", as_user="ana", name="a month later")
    assert [one.id for one in tokens.list(organization="acme")] == [new.id, last.id]
    assert tokens.principal(secret) is not None


def test_what_is_no_token_opens_nothing(scene: Scene):
    _, secret = scene.fl.tokens.create(organization="acme", as_user="ana", name="robot")
    for wrong in ("", "fl_", secret[:-1], secret + "x", secret.upper(), secret[3:], "fl_\0", "fl_\ud800"):
        assert scene.fl.tokens.principal(wrong) is None


def test_an_operator_s_token_needs_an_operator_and_loses_it_with_them(scene: Scene):
    with pytest.raises(ConfigurationError, match="ana is no operator"):
        scene.fl.tokens.create(organization=None, as_user="ana", name="x")
    scene.fl.users.create("root", operator=True, rights=["payload:read"])
    _, secret = scene.fl.tokens.create(organization=None, as_user="root", name="x")
    principal = scene.fl.tokens.principal(secret)
    assert principal is not None
    assert principal.is_operator
    assert Right.PAYLOAD_READ in (principal.operator_rights or ())
    scene.fl.users.update("root", operator=False, rights=())
    stripped = scene.fl.tokens.principal(secret)
    assert stripped is not None
    assert not stripped.is_operator
    scene.fl.users.update("root", disabled=True)
    assert scene.fl.tokens.principal(secret) is None


def test_an_operator_s_token_of_one_organization_opens_no_other(scene: Scene):
    scene.fl.users.create("olga", operator=True)
    _, secret = scene.fl.tokens.create(organization="acme", as_user="olga", name="x")
    principal = scene.fl.tokens.principal(secret)
    assert principal is not None
    assert not principal.is_operator


def test_a_token_is_refused_to_strangers_and_for_nothing(scene: Scene):
    with pytest.raises(ConfigurationError, match="rita is no member of acme"):
        scene.fl.tokens.create(organization="acme", as_user="rita", name="x")
    with pytest.raises(OrganizationNotFound):
        scene.fl.tokens.create(organization="nowhere", as_user="ana", name="x")
    with pytest.raises(ConfigurationError, match="is no right"):
        scene.fl.tokens.create(organization="acme", as_user="ana", name="x", scopes=["all"])
    for odd in (1e18, timedelta.max):
        with pytest.raises(ConfigurationError, match="at most 100 years"):
            scene.fl.tokens.create(organization="acme", as_user="ana", name="x", expires_in=odd)
    assert scene.fl.tokens.list(organization="acme") == ()


def test_a_secret_has_256_random_bits_and_is_kept_as_its_sha_256(scene: Scene):
    scene.fl.users.create("olga", password=PASSWORD)
    made = {
        "fairlane_tokens.hash": [
            scene.fl.tokens.create(organization="acme", as_user="ana", name="robot")[1] for _ in range(3)
        ],
        "fairlane_sessions.id": [scene.fl.users.log_in("olga", PASSWORD), scene.fl.users.link("olga")],
    }
    assert all(secret.startswith("fl_") for secret in made["fairlane_tokens.hash"])
    for place, secrets in made.items():
        table, _, column = place.partition(".")
        random = {urlsafe_b64decode(f"{secret.removeprefix('fl_')}=") for secret in secrets}
        assert [len(one) * 8 for one in random] == [256] * len(secrets)
        with scene.fl.database.engine.connect() as connection:
            kept = connection.execute(text(f"SELECT {column} FROM {table}")).scalars().all()
        assert sorted(kept) == sorted(sha256(secret.encode()).hexdigest() for secret in secrets)


def test_slips_with_users_are_named(scene: Scene):
    users = scene.fl.users
    users.create("olga")
    for match, slip in {
        "already": lambda: users.create("olga"),
        "12 to 1024 characters": lambda: users.create("paul", password="short"),
        "printable": lambda: users.create(""),
        "for operators": lambda: users.create("paul", rights=["payload:read"]),
        "no user paul": lambda: users.update("paul", disabled=True),
    }.items():
        with pytest.raises(ConfigurationError, match=match):
            slip()
    assert [one.id for one in users.list()] == ["olga"]


def test_what_people_change_is_audited_with_its_transaction(scene: Scene):
    fl = scene.fl
    job = scene.dead_letter()
    with acting_from("token 01928f3a from 203.0.113.9"):
        fl.members.add("acme", "ana", role="admin", user="olga")
    fl.members.remove("acme", "bea", user="olga")
    fl.organizations.update("acme", weight=3, user="olga")
    fl.organizations.pause("acme", user="olga", reason="move")
    fl.cancel(fl.submit("report", organization="acme").id, organization="acme", user="olga")
    fl.retry(job.id, organization="acme")
    with pytest.raises(ConfigurationError):
        fl.members.add("acme", "eve", role="king", user="olga")
    entries = [
        one for one in fl.audit.list(organization="acme") if one.action not in {"organizations.create", "members.add"}
    ]
    assert [(one.actor, one.action) for one in reversed(entries)] == [
        ("olga", "members.remove"),
        ("olga", "organizations.update"),
        ("olga", "organizations.pause"),
        ("olga", "jobs.cancel"),
        ("system", "jobs.retry"),
    ]
    promoted = next(one for one in fl.audit.list(organization="acme") if one.action == "members.add")
    assert promoted.origin == "token 01928f3a from 203.0.113.9"
    assert (promoted.before, promoted.after) == (
        {"role": "member", "permissions": []},
        {"role": "admin", "permissions": []},
    )
    changed = next(one for one in entries if one.action == "organizations.update")
    assert (changed.before, changed.after, changed.origin) == ({"weight": 1}, {"weight": 3}, "library")
    assert fl.audit.list(organization="rival") == ()


def test_the_audit_of_one_organization_is_not_another_s_and_is_exported_whole(scene: Scene):
    for weight in range(2, 7):
        scene.fl.organizations.update("acme", weight=weight)
    scene.fl.organizations.update("rival", weight=9)
    mine = list(scene.fl.audit.export(organization="acme"))
    assert [one.after for one in mine[:5]] == [{"weight": weight} for weight in (6, 5, 4, 3, 2)]
    assert {one.organization for one in mine} == {"acme"}
    assert {one.organization for one in scene.fl.audit.export(organization="rival")} == {"rival"}
    page = scene.fl.audit.list(organization="acme", limit=2)
    assert scene.fl.audit.list(organization="acme", limit=1, before=page[-1].id)[0].after == {"weight": 4}


def test_an_operator_changes_jobs_of_every_organization_and_a_former_one_none(scene: Scene):
    scene.fl.users.create("root", operator=True)
    job = scene.fl.submit("report", organization="acme")
    assert scene.fl.cancel(job.id, organization="acme", user="root").canceled_by == "root"
    scene.fl.users.update("root", operator=False)
    other = scene.fl.submit("report", organization="acme", parameters={})
    with pytest.raises(JobNotFound, match=f"has no job {other.id}"):
        scene.fl.cancel(other.id, organization="acme", user="root")
    assert scene.fl.tokens.get(uuid4(), organization="acme") is None


def test_the_ids_of_an_audit_tell_nothing_of_what_others_did_in_between(scene: Scene):
    update = scene.fl.organizations.update
    for rounds in (1, 5):
        update("acme", weight=rounds + 1)
        for weight in range(2, rounds + 2):
            update("rival", weight=weight)
    mine, others = scene.fl.audit.list(organization="acme"), scene.fl.audit.list(organization="rival")
    # A moment and chance: no number of one stands between two of the other's, or says how many there are.
    assert all(one.id.version == 7 for one in (*mine, *others))
    assert [one.at for one in mine] == sorted((one.at for one in mine), reverse=True)
    # Another's entry is no place in one's own list, no more than nobody's.
    assert (
        scene.fl.audit.list(organization="acme", before=others[0].id)
        == scene.fl.audit.list(organization="acme", before=uuid4())
        == ()
    )
