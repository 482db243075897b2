"""JWTs of an identity provider (OIDC): its keys, fetched from where it publishes them, and the user of a token.

A token is good only if the configured issuer made it for the configured audience, and signed it with the published key
that the token names (`kid`), by a configured algorithm. What the token says of these is compared, never trusted. Its
`sub` is the user; the directory says what this user may do.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from threading import Lock, Thread
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt

from fairlane.config import WebSettings
from fairlane.domain.errors import ConfigurationError, IdentityProviderUnavailable
from fairlane.domain.texts import USER_IDS

Fetch = Callable[[str], bytes]

_log: Final = logging.getLogger(__name__)
_KEPT: Final = 3600.0  # seconds: a key that the issuer has withdrawn is good for no longer
_FRESH: Final = _KEPT / 2  # seconds: older keys are fetched again, and serve until then
_AGAIN: Final = 2.0  # seconds between two fetches of keys that were known
_PAUSE: Final = 60.0  # seconds between two fetches for an unknown key: any client can name one
_TIMEOUT: Final = 5.0  # seconds
_WAIT_FOR_KEYS: Final = 0.5  # seconds to wait for keys that another request is fetching
_LARGEST: Final = 1024 * 1024  # bytes
_LONGEST_TOKEN: Final = 16 * 1024  # characters
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class _Straight(HTTPRedirectHandler):
    """A handler that follows no redirect: it might lead to an unchecked scheme, or into the server's own network."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse the redirect, which is then an error like any other status."""


def fetch(url: str) -> bytes:
    """Return the content at the URL, without following redirects."""
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - its scheme was checked
    with build_opener(_Straight).open(request, timeout=_TIMEOUT) as answer:
        return bytes(answer.read(_LARGEST))


class Proof(NamedTuple):
    """The user whom a token names, and the time until which it is good."""

    user: str
    until: datetime


class IdentityProvider:
    """The configured issuer of JWTs, and its keys.

    Args:
        settings: with every jwt_… setting.
        fetch, monotonic: for tests.

    Raises:
        ConfigurationError: the keys would come over an insecure connection.
    """

    def __init__(
        self, settings: WebSettings, fetch: Fetch = fetch, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        assert settings.jwt_jwks_url is not None
        url = urlsplit(settings.jwt_jwks_url)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOCAL):
            raise ConfigurationError("jwt_jwks_url must be https://…: else anybody on the way could put in keys.")
        self._settings = settings
        self._url = settings.jwt_jwks_url
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: Mapping[str, Mapping[str, Any]] = {}
        self._fetched = -_KEPT  # when a fetch last succeeded
        self._tried = -_PAUSE  # when the last fetch ended
        self._has_failed = False  # the last fetch
        self._fetching = Lock()

    def proof_of(self, token: str) -> Proof | None:
        """Return the user whom the token names, and until when; None if it proves nothing.

        Raises:
            IdentityProviderUnavailable: there are no fresh keys, and the issuer does not answer.
        """
        if len(token) > _LONGEST_TOKEN:
            return None
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in self._settings.jwt_algorithms or not isinstance(kid, str) or "crit" in header:
                return None
            published = self._key(kid)
            if published is None or published.get("use", "sig") != "sig":
                return None
            # A key that names its algorithm is good for no other.
            if published.get("alg", algorithm) != algorithm:
                return None
            claims = self._claims(token, jwt.PyJWK(dict(published), algorithm))
            until = datetime.fromtimestamp(int(claims["exp"]) + self._settings.jwt_leeway, UTC)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError, OverflowError, OSError):
            return None
        user = claims.get("sub")
        return Proof(user, until) if isinstance(user, str) and USER_IDS.fits(user) else None

    def _claims(self, token: str, key: jwt.PyJWK) -> Mapping[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=list(self._settings.jwt_algorithms),
            audience=self._settings.jwt_audience,
            issuer=self._settings.jwt_issuer,
            leeway=self._settings.jwt_leeway,
            options={"require": ["exp", "aud", "iss", "sub"]},
        )

    def _key(self, kid: str) -> Mapping[str, Any] | None:
        if self._has(kid):
            self._renew_beside()
        elif self._fetching.acquire(timeout=0 if self._has_failed else _WAIT_FOR_KEYS):
            # One request fetches at a time. The others wait shortly, and go on with or without its keys. After a
            # fetch that failed nobody waits: else every request with a JWT, even a forged one, would wait in turn.
            try:
                now = self._monotonic()
                if not self._has(kid) and now - self._tried >= (_AGAIN if self._is_old() else _PAUSE):
                    self._refresh(now)
            finally:
                self._fetching.release()
        if self._is_old():
            raise IdentityProviderUnavailable(
                "The identity provider did not answer, so its keys can't be fetched; nothing was changed, try again."
            )
        return self._keys.get(kid)

    def _has(self, kid: str) -> bool:
        return kid in self._keys and not self._is_old()

    def _is_old(self) -> bool:
        return self._monotonic() - self._fetched >= _KEPT

    def _renew_beside(self) -> None:
        """Fetch keys that are no longer fresh on a thread, so that no request waits for them."""
        now = self._monotonic()
        if min(now - self._fetched - _FRESH, now - self._tried - _AGAIN) >= 0 and self._fetching.acquire(
            blocking=False
        ):
            try:
                Thread(target=self._renew, args=(now,), name="fairlane-identity-provider", daemon=True).start()
            except RuntimeError:  # no thread can be started
                self._fetching.release()

    def _renew(self, now: float) -> None:
        try:
            self._refresh(now)
        finally:
            self._fetching.release()

    def _refresh(self, now: float) -> None:
        try:
            found = json.loads(self._fetch(self._url))["keys"]
            self._keys = {one["kid"]: one for one in found if isinstance(one.get("kid"), str)}
            self._fetched, self._has_failed = now, False
        except (OSError, ValueError, KeyError, TypeError, AttributeError, HTTPException) as error:
            told = "The keys of %s could not be fetched (%s); the older keys serve until they are an hour old."
            _log.warning(told, self._url, error)
            self._has_failed = True
        finally:
            self._tried = self._monotonic()
