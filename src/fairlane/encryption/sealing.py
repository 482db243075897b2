"""Sealing what jobs hold, with AES-256-GCM under the keys of their organization (R19).

Each text and each file is bound to its place: organization, job and field are authenticated with it, so that one which
somebody moves in the database is refused, as is one that was changed. What is sealed says under which version of the
organization's key; the newest one seals, all of them open.

`cryptography` is an extra: it is imported where the first key is used.
"""

import hmac
import os
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from fairlane.domain.errors import ConfigurationError, FairlaneError, InstallationError
from fairlane.domain.sealing import BROKEN, ERASED, HIDDEN, JSON_FIELDS, LOCKED, PREFIX, Field

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_LONGEST_VERSION: Final = 10  # digits; a longer number is no version, and Python may refuse to read it
_SEPARATOR: Final = "\x1f"  # in no organization's id, and in no name of ours


class Unreadable(FairlaneError):
    """A sealed text can't be opened here; `mark` is what readers see in its place."""

    def __init__(self, message: str, mark: str) -> None:
        super().__init__(message)
        self.mark = mark


class KeyNotHere(Unreadable):
    """This process lacks the master key, or has another of its name: elsewhere the text can be opened."""

    def __init__(self, message: str) -> None:
        super().__init__(message, LOCKED)


def cipher(key: bytes) -> Any:
    """Return AES-GCM under a key of 32 bytes.

    Raises:
        ConfigurationError: the extra is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError("Encryption needs an extra: pip install 'fairlane[crypto]'.") from None
    return AESGCM(key)


def place(*parts: object) -> bytes:
    """Return what is authenticated with a text: no choice of names moves the border between two parts."""
    return _SEPARATOR.join(map(str, parts)).encode()


def encrypt(key: Any, data: bytes, bound_to: bytes) -> bytes:
    """Return nonce and ciphertext."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + bytes(key.encrypt(nonce, data, bound_to))


def decrypt(key: Any, data: bytes, bound_to: bytes) -> bytes | None:
    """Return what was encrypted; None if it was by another key, for another place, or was changed."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

    try:
        return bytes(key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound_to))
    except (InvalidTag, ValueError):
        return None


def derived(secret: bytes, purpose: str) -> bytes:
    """Return a key of its own for each purpose: HKDF-SHA256 without salt, as the secret is random."""
    extracted = hmac.digest(bytes(sha256().digest_size), secret, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\x01", "sha256")


class Ring:
    """The keys of one organization.

    Args:
        keys: by version; those that can be used here.
        active: the version that seals; None = all were destroyed.
        secret: for what has to be the same under all versions; None where it can't be used here.
        missing: why a version can't be used here, by version.
        destroyed: versions.
    """

    def __init__(
        self,
        organization: str,
        *,
        keys: Mapping[int, bytes],
        active: int | None,
        secret: bytes | None,
        missing: Mapping[int, str],
        destroyed: Collection[int],
    ) -> None:
        self.organization = organization
        self.active = active
        self._versions = {*keys, *missing, *destroyed}
        self._keys = dict(keys)
        self._ciphers = {version: cipher(key) for version, key in keys.items()}
        self._missing = dict(missing)
        self._dedup = derived(secret, "fairlane deduplication") if secret is not None else None
        self._files = derived(secret, "fairlane files") if secret is not None else None

    @property
    def is_destroyed(self) -> bool:
        """Return True if its keys were destroyed, and no new one was made since."""
        return self.active is None

    @property
    def problem(self) -> str | None:
        """Say why nothing can be sealed here; None: it can."""
        if self.active is None:
            return (
                f"The encryption keys of organization {self.organization} were destroyed; "
                f"to go on, give it a new one: fairlane keys enable -o {self.organization}"
            )
        return self._missing.get(self.active, self._missing.get(0))

    @property
    def is_locked(self) -> bool:
        """Return True if this process lacks the master key."""
        return self.active is not None and self.problem is not None

    def check_usable(self) -> None:
        """Refuse to run a job.

        Raises:
            KeyNotHere: this process lacks the master key.
            Unreadable: the keys were destroyed.
        """
        if self.active is None:
            raise Unreadable(f"the encryption keys of organization {self.organization} were destroyed.", ERASED)
        if self.problem is not None:
            raise KeyNotHere(self.problem)

    def check(self) -> None:
        """Refuse to go on where nothing can be sealed.

        Raises:
            InstallationError: the message says what to do.
        """
        if self.problem is not None:
            raise InstallationError(self.problem)

    def knows(self, text: str) -> bool:
        """Return True if the sealed text's version was there when these keys were read, or it is no sealed text."""
        version = text.removeprefix(PREFIX).partition(":")[0]
        is_one = version.isdecimal() and len(version) <= _LONGEST_VERSION
        return not is_one or int(version) in self._versions

    def seal(self, job_id: UUID, field: Field, text: str) -> str:
        """Return the sealed text.

        Where the keys were destroyed it reads as `[erased]`: nothing is kept open in its stead.

        Raises:
            ConfigurationError: the key can't be used here.
        """
        if self.active is None:
            # Whoever reads JSON would stumble over a bare mark; this they take for what a destroyed key has sealed.
            return f"{PREFIX}{max(self._versions)}:" if field in JSON_FIELDS else ERASED
        self.check()
        data = encrypt(self._ciphers[self.active], text.encode(), place(self.organization, job_id, field))
        return f"{PREFIX}{self.active}:{b64encode(data).decode()}"

    def open(self, job_id: UUID, field: Field, text: str) -> str:
        """Return what was sealed.

        Raises:
            Unreadable
        """
        version, data = _parts(text)
        opened = decrypt(self.cipher_of(version), data, place(self.organization, job_id, field))
        if opened is None:
            raise Unreadable(f"it was not sealed as the {field} of job {job_id}, or it was changed.", BROKEN)
        return opened.decode()

    def cipher_of(self, version: int) -> Any:
        """Return the cipher under one version of the key.

        Raises:
            Unreadable
        """
        self.key_of(version)
        return self._ciphers[version]

    def key_of(self, version: int) -> bytes:
        """Return one version of the key, to derive others from.

        Raises:
            Unreadable
        """
        if version in self._keys:
            return self._keys[version]
        if version in self._missing:
            raise KeyNotHere(self._missing[version])
        raise Unreadable(f"version {version} of its organization's encryption key was destroyed.", ERASED)

    def hidden(self, digest: str) -> str:
        """Return a hash of what was submitted that tells nothing without the keys; the same under all their versions.

        Raises:
            ConfigurationError: the keys can't be used here.
        """
        self.check()
        assert self._dedup is not None
        hidden = urlsafe_b64encode(hmac.digest(self._dedup, digest.encode(), "sha256"))
        return f"{HIDDEN}{hidden.decode()}"

    def fingerprint(self, digest: str) -> str:
        """Return what stands for a file in the place of its SHA-256, which would tell whoever has the like."""
        return hmac.digest(self._files, digest.encode(), "sha256").hex() if self._files is not None else ""


def _parts(text: str) -> tuple[int, bytes]:
    """Return version, nonce and ciphertext of a sealed text.

    Raises:
        Unreadable: it is none.
    """
    version, _, data = text.removeprefix(PREFIX).partition(":")
    try:
        return int(version), b64decode(data, validate=True)
    except ValueError:
        raise Unreadable("it is no sealed text, or it was cut.", BROKEN) from None
