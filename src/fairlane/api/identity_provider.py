"""JWTs of an identity provider (OIDC): its keys, fetched from where it publishes them, and whom a token names.

Taken is only what the configured issuer made for the configured audience, signed with one of its published keys that
the token names (`kid`), by an algorithm that was allowed beforehand. The token's own word on any of this is only ever
compared. Its `sub` is the user; what they may, the directory says.
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
_KEPT: Final = 3600.0  # seconds: a key that the issuer has withdrawn opens nothing for longer
_FRESH: Final = _KEPT / 2  # seconds: from then on they are fetched anew, while the old ones serve still
_AGAIN: Final = 2.0  # seconds from one fetch to the next for keys that were known and are to be had anew
_PAUSE: Final = 60.0  # seconds from one fetch to the next for keys that are unknown: any stranger can name one
_TIMEOUT: Final = 5.0  # seconds
_WAIT_FOR_KEYS: Final = 0.5  # seconds to wait for keys that another request is fetching
_LARGEST: Final = 1024 * 1024  # bytes
_LONGEST_TOKEN: Final = 16 * 1024  # characters
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class _Straight(HTTPRedirectHandler):
    """Takes no redirect: it might lead to an address whose scheme nobody has checked, or into a network of ours."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse it; it then is an error like any other status."""


def fetch(url: str) -> bytes:
    """Return what is published there, and not where that leads."""
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - its scheme was checked
    with build_opener(_Straight).open(request, timeout=_TIMEOUT) as answer:
        return bytes(answer.read(_LARGEST))


class Proof(NamedTuple):
    """Whom a token names, and until when it is good."""

    user: str
    until: datetime


class IdentityProvider:
    """One issuer.

    Args:
        settings: with all of jwt_….
        fetch, monotonic: for tests.

    Raises:
        ConfigurationError: its keys would come over a connection that anybody can change.
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
        self._fetched = -_KEPT  # when it last succeeded
        self._tried = -_PAUSE  # when the last fetch ended
        self._has_failed = False  # that one
        self._fetching = Lock()

    def proof_of(self, token: str) -> Proof | None:
        """Return whom the token names, and until when; None if it proves nothing.

        Raises:
            IdentityProviderUnavailable: there are no keys yet, or they are too old, and the issuer does not answer.
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
            # A key that says for which algorithm it is serves no other.
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
            # One at a time. Whoever waited may find what the other one has fetched, and else goes on without it. While
            # the issuer is silent nobody waits: all who come with a JWT, a forged one too, would do so in turns.
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
        """Have keys that are no longer fresh fetched on a thread: no request waits for it, and if it fails, no one."""
        now = self._monotonic()
        if min(now - self._fetched - _FRESH, now - self._tried - _AGAIN) >= 0 and self._fetching.acquire(
            blocking=False
        ):
            try:
                Thread(target=self._renew, args=(now,), name="fairlane-identity-provider", daemon=True).start()
            except RuntimeError:  # there are no more threads
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
            told = "The keys of %s could not be fetched (%s); those from before serve until they are an hour old."
            _log.warning(told, self._url, error)
            self._has_failed = True
        finally:
            self._tried = self._monotonic()
