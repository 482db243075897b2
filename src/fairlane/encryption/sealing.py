"""Sealing: encryption of jobs' payloads with AES-256-GCM, by the keys of their organization (R19).

Each text and each file is bound to its place: organization, job and field are authenticated with it. So a text that was
moved in the database, or changed, is refused. A sealed text names the version of the organization's key. The newest
version encrypts, all versions decrypt.

`cryptography` is an extra: it is imported at the first use of a key.
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
_LONGEST_VERSION: Final = 10  # digits; a longer number is no version, and Python may refuse to parse it
_SEPARATOR: Final = "\x1f"  # in no organization's id, and in no name of Fairlane's


class Unreadable(FairlaneError):
    """A sealed text can't be decrypted here. `mark` is what readers see in its place."""

    def __init__(self, message: str, mark: str) -> None:
        super().__init__(message)
        self.mark = mark


class KeyNotHere(Unreadable):
    """This process lacks the master key, or has another key of its name. Another process may decrypt the text."""

    def __init__(self, message: str) -> None:
        super().__init__(message, LOCKED)


def cipher(key: bytes) -> Any:
    """Return AES-GCM for a key of 32 bytes.

    Raises:
        ConfigurationError: the extra is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError("Encryption needs an extra: pip install 'fairlane[crypto]'.") from None
    return AESGCM(key)


def place(*parts: object) -> bytes:
    """Return the bytes to authenticate with a text. No choice of names can shift the border between two parts."""
    return _SEPARATOR.join(map(str, parts)).encode()


def encrypt(key: Any, data: bytes, bound_to: bytes) -> bytes:
    """Return nonce and ciphertext."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + bytes(key.encrypt(nonce, data, bound_to))


def decrypt(key: Any, data: bytes, bound_to: bytes) -> bytes | None:
    """Return the decrypted data; None if it has another key or another place, or was changed."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

    try:
        return bytes(key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound_to))
    except (InvalidTag, ValueError):
        return None


def derived(secret: bytes, purpose: str) -> bytes:
    """Return a separate key for each purpose, by HKDF-SHA256 without salt: the secret is random."""
    extracted = hmac.digest(bytes(sha256().digest_size), secret, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\x01", "sha256")


class Ring:
    """The keys of an organization.

    Args:
        keys: the usable keys, by version.
        active: the version that encrypts; None = all were destroyed.
        secret: for hashes that are the same for all versions; None if it can't be used here.
        missing: why a version can't be used here, by version.
        destroyed: the destroyed versions.
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
        """Return True if all keys were destroyed, and no new key was made since."""
        return self.active is None

    @property
    def problem(self) -> str | None:
        """Say why this process can't encrypt; None if it can."""
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
        """Raise if this process can't encrypt.

        Raises:
            InstallationError: the message says what to do.
        """
        if self.problem is not None:
            raise InstallationError(self.problem)

    def knows(self, text: str) -> bool:
        """Return True if these keys include the sealed text's version, or it is no sealed text."""
        version = text.removeprefix(PREFIX).partition(":")[0]
        is_one = version.isdecimal() and len(version) <= _LONGEST_VERSION
        return not is_one or int(version) in self._versions

    def seal(self, job_id: UUID, field: Field, text: str) -> str:
        """Return the encrypted text.

        If the keys were destroyed, it reads as `[erased]`: nothing is stored unencrypted instead.

        Raises:
            ConfigurationError: the key can't be used here.
        """
        if self.active is None:
            # A bare mark is no valid JSON. This text looks like one sealed by a destroyed key.
            return f"{PREFIX}{max(self._versions)}:" if field in JSON_FIELDS else ERASED
        self.check()
        data = encrypt(self._ciphers[self.active], text.encode(), place(self.organization, job_id, field))
        return f"{PREFIX}{self.active}:{b64encode(data).decode()}"

    def open(self, job_id: UUID, field: Field, text: str) -> str:
        """Return the decrypted text.

        Raises:
            Unreadable
        """
        version, data = _parts(text)
        opened = decrypt(self.cipher_of(version), data, place(self.organization, job_id, field))
        if opened is None:
            raise Unreadable(f"it was not sealed as the {field} of job {job_id}, or it was changed.", BROKEN)
        return opened.decode()

    def cipher_of(self, version: int) -> Any:
        """Return the cipher of one version of the key.

        Raises:
            Unreadable
        """
        self.key_of(version)
        return self._ciphers[version]

    def key_of(self, version: int) -> bytes:
        """Return one version of the key, to derive other keys.

        Raises:
            Unreadable
        """
        if version in self._keys:
            return self._keys[version]
        if version in self._missing:
            raise KeyNotHere(self._missing[version])
        raise Unreadable(f"version {version} of its organization's encryption key was destroyed.", ERASED)

    def hidden(self, digest: str) -> str:
        """Return a keyed hash of submitted data: it reveals nothing without the keys, and is the same for all versions.

        Raises:
            ConfigurationError: the keys can't be used here.
        """
        self.check()
        assert self._dedup is not None
        hidden = urlsafe_b64encode(hmac.digest(self._dedup, digest.encode(), "sha256"))
        return f"{HIDDEN}{hidden.decode()}"

    def fingerprint(self, digest: str) -> str:
        """Return a keyed hash of a file. Its plain SHA-256 would reveal the content to anyone with the same file."""
        return hmac.digest(self._files, digest.encode(), "sha256").hex() if self._files is not None else ""


def _parts(text: str) -> tuple[int, bytes]:
    """Return version, nonce and ciphertext of a sealed text.

    Raises:
        Unreadable: it is no sealed text.
    """
    version, _, data = text.removeprefix(PREFIX).partition(":")
    try:
        return int(version), b64decode(data, validate=True)
    except ValueError:
        raise Unreadable("it is no sealed text, or it was cut.", BROKEN) from None
