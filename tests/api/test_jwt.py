"""JWTs of an identity provider: taken for what the issuer has signed, for us, now, and for nothing else."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import IncompleteRead
from threading import Event
from typing import Any
from urllib.error import HTTPError

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from fairlane import ConfigurationError, StorageUnavailable, WebSettings
from fairlane.api import identity_provider
from fairlane.api.identity_provider import IdentityProvider, fetch
from fairlane.domain.errors import IdentityProviderUnavailable
from tests.api.served import OPERATOR, Api, Server
from tests.engine.worker_kit import until
from tests.patience import PATIENCE

ISSUER, AUDIENCE, URL = "https://id.example", "fairlane", "https://id.example/keys"
SETTINGS = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": URL}
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGERS_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Issuer:
    """An issuer that publishes keys, and counts how often somebody asks for them."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False
        self.keys: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
            {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec", "alg": "ES256"},
            {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "for encryption", "use": "enc"},
            {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "shared"},
        ]

    def __call__(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        if self.is_away:
            raise OSError("away")
        return json.dumps({"keys": self.keys}).encode()


def settings_of(given: Mapping[str, Any]) -> WebSettings:
    return WebSettings(**given)


def claims(**more: Any) -> dict[str, Any]:
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "member", "exp": time.time() + 300, **more}
    return {name: value for name, value in given.items() if value is not None}


def signed(key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = "rsa", **more: Any) -> str:
    headers = {"kid": kid} if kid is not None else {}
    return jwt.encode(claims(**more), key, algorithm=algorithm, headers=headers)


def forged(header: dict[str, Any], secret: bytes | None) -> str:
    """Put together by hand: libraries refuse to."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims())]
    text = b".".join(parts)
    signature = hmac.new(secret, text, hashlib.sha256).digest() if secret is not None else b""
    return f"{text.decode()}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


ATTACKS: dict[str, Callable[[], str]] = {
    "no algorithm": lambda: forged({"alg": "none", "kid": "rsa"}, None),
    "no algorithm, in capitals": lambda: forged({"alg": "NONE", "kid": "rsa"}, None),
    "the public key as a secret": lambda: forged({"alg": "HS256", "kid": "rsa"}, PEM),
    "a secret that is published": lambda: forged({"alg": "HS256", "kid": "shared"}, b"secretsecretsecretsecretsecret"),
    "an algorithm that was not allowed": lambda: signed(algorithm="RS512"),
    "an algorithm of another kind of key": lambda: signed(EC_KEY, "ES256", kid="rsa"),
    "another's key": lambda: signed(STRANGERS_KEY),
    "a key in the token itself": lambda: jwt.encode(
        claims(),
        STRANGERS_KEY,
        algorithm="RS256",
        headers={"jwk": RSAAlgorithm.to_jwk(STRANGERS_KEY.public_key(), as_dict=True), "kid": "rsa"},
    ),
    "no key id": lambda: signed(kid=None),
    "an unknown key id": lambda: signed(kid="nothing"),
    "a key id that is a path": lambda: signed(kid="../../dev/null"),
    "a key for encryption": lambda: signed(kid="for encryption"),
    "expired": lambda: signed(exp=time.time() - 60),
    "without end": lambda: signed(exp=None),
    "not yet": lambda: signed(nbf=time.time() + 300),
    "another audience": lambda: signed(aud="other"),
    "no audience": lambda: signed(aud=None),
    "another issuer": lambda: signed(iss="https://evil.example"),
    "no issuer": lambda: signed(iss=None),
    "no subject": lambda: signed(sub=None),
    "an empty subject": lambda: signed(sub=""),
    "an odd subject": lambda: signed(sub="a\x00b"),
    "a subject that no address reaches": lambda: signed(sub=".."),
    "another signature": lambda: f"{signed()[:-8]}AAAAAAAA",
    "a critical extension": lambda: jwt.encode(
        claims(), RSA_KEY, algorithm="RS256", headers={"kid": "rsa", "crit": ["x"], "x": 1}
    ),
    "no token": lambda: "a.b.c",
    "a long one": lambda: signed(more="x" * 20_000),
}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def federated(serve: Callable[..., Api], issuer: Issuer) -> Api:
    """The API, where an identity provider's tokens are taken."""
    return serve(SETTINGS, fetch=issuer)


def user_of(provider: IdentityProvider, token: str) -> str | None:
    proof = provider.proof_of(token)
    return proof.user if proof is not None else None


def jobs(api: Api, token: str, organization: str = "acme") -> httpx.Response:
    return api.client(token).get(f"/organizations/{organization}/jobs")


def test_a_token_of_the_issuer_opens_what_the_directory_says(federated: Api):
    for token in (signed(), signed(EC_KEY, "ES256", kid="ec"), signed(aud=["x", AUDIENCE])):
        assert jobs(federated, token).status_code == 200
    assert jobs(federated, signed(), "other").status_code == 404
    assert jobs(federated, signed(sub="nobody")).status_code == 404
    # What a token says of roles is nobody's word.
    assert jobs(federated, signed(sub="nobody", roles=["admin"], operator=True, organization="acme")).status_code == 404
    made = federated.client(signed(sub="viewer")).post("/organizations/acme/jobs", json={"job_type": "report"})
    assert made.status_code == 403
    assert federated.client(signed()).get("/operator/metrics").status_code == 403


@pytest.mark.parametrize(("may", "status"), [(False, 403), (True, 200)])
def test_an_issuer_names_operators_only_where_a_setting_says_so(
    serve: Callable[..., Api], issuer: Issuer, may: bool, status: int
):
    api = serve({**SETTINGS, "jwt_operators": may}, fetch=issuer)
    client = api.client(signed(sub=OPERATOR))
    assert client.get("/operator/metrics").status_code == status
    redeemed = api.fl.tickets.redeem(client.post("/socket-tickets").json()["ticket"])
    assert redeemed is not None
    assert redeemed.is_operator == may


def test_a_token_of_a_disabled_user_opens_nothing(federated: Api):
    federated.fl.users.create("member")
    assert jobs(federated, signed()).status_code == 200
    federated.fl.users.update("member", disabled=True)
    assert jobs(federated, signed()).status_code == 401


def test_no_attack_opens_anything(federated: Api):
    for name, attack in ATTACKS.items():
        answer = jobs(federated, attack())
        assert answer.status_code == 401, name
        assert "invalid_token" in answer.headers["www-authenticate"], name
    assert jobs(federated, signed()).status_code == 200


def test_unknown_key_ids_make_nobody_ask_the_issuer_more_than_once_a_minute(issuer: Issuer):
    now = 1000.0
    provider = IdentityProvider(settings_of(SETTINGS), issuer, lambda: now)
    assert user_of(provider, signed()) == "member"
    for number in range(50):
        assert user_of(provider, signed(kid=f"unknown {number}")) is None
    assert issuer.asked == 1
    issuer.keys.append({**issuer.keys[0], "kid": "new"})
    assert user_of(provider, signed(kid="new")) is None
    now += 61
    assert user_of(provider, signed(kid="new")) == "member"
    assert issuer.asked == 2


def test_while_the_issuer_is_away_its_keys_are_good_for_an_hour(issuer: Issuer):
    now = 1000.0
    provider = IdentityProvider(settings_of(SETTINGS), issuer, lambda: now)
    assert user_of(provider, signed()) == "member"
    issuer.is_away = True
    now += 3599
    assert user_of(provider, signed()) == "member"
    until(lambda: not provider._fetching.locked())  # by the thread that fetched beside, in vain
    now += 61
    with pytest.raises(StorageUnavailable, match="keys can't be fetched"):
        user_of(provider, signed())
    issuer.is_away = False
    now += 61
    assert user_of(provider, signed()) == "member"


def test_who_fetches_keys_holds_up_others_for_a_moment_only(issuer: Issuer):
    now, begun, may_end = 1000.0, Event(), Event()

    def slow(url: str) -> bytes:
        begun.set()
        assert may_end.wait(PATIENCE)
        return issuer(url)

    provider = IdentityProvider(settings_of(SETTINGS), issuer, lambda: now)
    assert user_of(provider, signed()) == "member"
    now += 61
    provider._fetch = slow
    with ThreadPoolExecutor() as pool:
        fetching = pool.submit(user_of, provider, signed(kid="unknown"))
        assert begun.wait(PATIENCE)
        # Whose key is known does not wait at all, and whose is not, not for the end.
        assert user_of(provider, signed()) == "member"
        assert [user_of(provider, signed(kid="nothing")) for _ in range(2)] == [None, None]
        assert not fetching.done()
        may_end.set()
        assert fetching.result() is None


def test_one_fetch_that_fails_refuses_nobody_whose_key_is_good(issuer: Issuer):
    now, settled = 1000.0, Event()

    class Provider(IdentityProvider):
        def _renew(self, now: float) -> None:
            super()._renew(now)
            settled.set()

    provider = Provider(settings_of(SETTINGS), issuer, lambda: now)
    assert user_of(provider, signed()) == "member"
    now += 1799
    assert user_of(provider, signed()) == "member"
    issuer.is_away = True
    now += 1
    assert user_of(provider, signed()) == "member"
    assert settled.wait(PATIENCE)
    assert issuer.asked == 2
    issuer.is_away = False  # it was one lost packet
    settled.clear()
    for _ in range(5):  # at that moment nobody asks again
        assert user_of(provider, signed()) == "member"
    now += 2
    assert user_of(provider, signed()) == "member"
    assert settled.wait(PATIENCE)
    assert issuer.asked == 3
    now += 1799
    assert user_of(provider, signed()) == "member"
    assert issuer.asked == 3


def test_while_keys_are_good_nobody_waits_for_new_ones(issuer: Issuer):
    now, begun, may_end = 1000.0, Event(), Event()

    def slow(url: str) -> bytes:
        begun.set()
        assert may_end.wait(PATIENCE)
        return issuer(url)

    provider = IdentityProvider(settings_of(SETTINGS), issuer, lambda: now)
    assert user_of(provider, signed()) == "member"
    provider._fetch = slow
    now += 1800
    # Neither the request that finds that they are due waits, nor the others.
    assert [user_of(provider, signed()) for _ in range(3)] == ["member"] * 3
    assert begun.wait(PATIENCE)
    now += 1799
    assert user_of(provider, signed()) == "member"
    assert issuer.asked == 1
    may_end.set()


def test_keys_that_became_too_old_are_there_soon_after_the_issuer_is(issuer: Issuer):
    now = 1000.0
    provider = IdentityProvider(settings_of(SETTINGS), issuer, lambda: now)
    assert user_of(provider, signed()) == "member"
    issuer.is_away = True
    now += 3600
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="The identity provider did not answer"):
            user_of(provider, signed())
    assert issuer.asked == 2
    issuer.is_away = False
    now += 2
    assert user_of(provider, signed()) == "member"


def test_an_issuer_that_is_silent_is_asked_again_only_a_while_after_it_was_given_up():
    now, asked = 1000.0, 0

    def silent(_url: str) -> bytes:
        nonlocal now, asked
        now, asked = now + 5, asked + 1
        raise OSError("timed out")

    provider = IdentityProvider(settings_of(SETTINGS), silent, lambda: now)
    for _ in range(5):
        with pytest.raises(IdentityProviderUnavailable):
            user_of(provider, signed())
    assert asked == 1
    now += 2
    with pytest.raises(IdentityProviderUnavailable):
        user_of(provider, signed())
    assert asked == 2


def test_while_the_issuer_is_silent_nobody_waits_for_the_request_that_asks_it(monkeypatch: pytest.MonkeyPatch):
    now, begun, may_end = 1000.0, Event(), Event()

    def silent(_url: str) -> bytes:
        begun.set()
        assert may_end.wait(PATIENCE)
        raise OSError("timed out")

    monkeypatch.setattr(identity_provider, "_WAIT_FOR_KEYS", PATIENCE)
    provider = IdentityProvider(settings_of(SETTINGS), silent, lambda: now)
    with ThreadPoolExecutor() as pool:
        for others in (0, 5):  # once it has failed
            begun.clear()
            may_end.clear()
            asking = pool.submit(user_of, provider, signed())
            assert begun.wait(PATIENCE)
            waiting = [pool.submit(user_of, provider, signed()) for _ in range(others)]
            try:
                for one in waiting:
                    assert isinstance(one.exception(PATIENCE / 2), IdentityProviderUnavailable)
            finally:
                may_end.set()
            assert isinstance(asking.exception(PATIENCE), IdentityProviderUnavailable)
            now += 2


@pytest.mark.parametrize("error", [OSError("away"), IncompleteRead(b"{")])
def test_an_answer_that_breaks_off_is_as_none(error: Exception):
    def breaking_off(_url: str) -> bytes:
        raise error

    provider = IdentityProvider(settings_of(SETTINGS), breaking_off, lambda: 1000.0)
    with pytest.raises(IdentityProviderUnavailable):
        user_of(provider, signed())


def test_it_is_the_issuer_that_did_not_answer_and_not_the_database(federated: Api, issuer: Issuer):
    issuer.is_away = True
    answer = jobs(federated, signed())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:fairlane:problem:identity-provider-unavailable"
    assert answer.json()["detail"].startswith("The identity provider did not answer")


def test_keys_are_taken_from_their_address_and_not_from_where_it_leads(api: Api):
    assert b"ok" in fetch(f"{api.url}/api/v1/health")

    async def leads_away(scope: Scope, receive: Receive, send: Send) -> None:
        await RedirectResponse(f"{api.url}/api/v1/health")(scope, receive, send)

    leading = Server(Starlette(routes=[Mount("/", leads_away)]))
    try:
        with pytest.raises(HTTPError, match="307"):
            fetch(f"{leading.url}/keys")
    finally:
        leading.stop()


@pytest.mark.parametrize(
    "published", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1]}', b"\xff", b'{"keys": [{"kid": 1}]}']
)
def test_odd_keys_open_nothing(published: bytes):
    provider = IdentityProvider(settings_of(SETTINGS), lambda _: published, lambda: 1000.0)
    with suppress(StorageUnavailable):
        assert user_of(provider, signed()) is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"jwt_issuer": ISSUER}, "set jwt_issuer, jwt_audience and jwt_jwks_url, or none of them"),
        ({**SETTINGS, "jwt_algorithms": "HS256"}, "jwt_algorithms: they are some of RS256"),
        ({**SETTINGS, "jwt_algorithms": "RS256, none"}, "jwt_algorithms: they are some of RS256"),
        ({**SETTINGS, "jwt_algorithms": ""}, "jwt_algorithms"),
        ({"jwt_audiense": "x"}, "there is no setting jwt_audiense \\(did you mean jwt_audience\\?\\)"),
    ],
)
def test_settings_that_would_let_others_in_are_refused(settings: dict[str, str], sentence: str):
    with pytest.raises(ConfigurationError, match=sentence):
        settings_of(settings)


def test_keys_come_over_https_only():
    with pytest.raises(ConfigurationError, match="must be https"):
        IdentityProvider(settings_of({**SETTINGS, "jwt_jwks_url": "http://id.example/keys"}), Issuer())
