"""The master keys of FAIRLANE_ENCRYPTION_KEYS, under which the keys of organizations are wrapped."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final, Self

from fairlane.domain.errors import ConfigurationError
from fairlane.domain.sealing import PREFIX
from fairlane.encryption.sealing import KEY_BYTES, KeyNotHere, cipher, decrypt, encrypt, place

_SETTING: Final = "FAIRLANE_ENCRYPTION_KEYS"
_EXAMPLE: Final = (
    "it is NAME:KEY, or several of these with commas between, the newest first; "
    "a new one: python -c \"import base64, os; print('NAME:' + base64.b64encode(os.urandom(32)).decode())\""
)


class MasterKeys:
    """The master keys that this process has, by name. The first one wraps, each unwraps what it has wrapped."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {name: cipher(key) for name, key in keys.items()}
        self.newest = next(iter(keys), None)

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Return those of the setting; None = none.

        Raises:
            ConfigurationError: the message says which is wrong, and never what it is.
        """
        keys: dict[str, bytes] = {}
        for number, part in enumerate(text.split(",") if text and text.strip() else (), start=1):
            name, colon, encoded = part.strip().partition(":")
            if not colon or not name or not name.isascii() or not name.isprintable() or len(name) > 40:
                raise ConfigurationError(f"Key {number} of {_SETTING} has no name of 1 to 40 characters: {_EXAMPLE}")
            try:
                key = b64decode(encoded, validate=True)
            except ValueError:
                raise ConfigurationError(f"Key {name} of {_SETTING} is no base64: {_EXAMPLE}") from None
            if len(key) != KEY_BYTES:
                raise ConfigurationError(
                    f"Key {name} of {_SETTING} has {len(key)} bytes, and has to have {KEY_BYTES}: {_EXAMPLE}"
                )
            if name in keys:
                raise ConfigurationError(f"{_SETTING} has two keys named {name}: give each a name of its own.")
            keys[name] = key
        return cls(keys)

    def wrap(self, organization: str, version: int, key: bytes) -> str:
        """Wrap a key of an organization's, to be stored.

        Raises:
            ConfigurationError: there is no master key.
        """
        if self.newest is None:
            raise ConfigurationError(f"There is no master key: set {_SETTING}; {_EXAMPLE}")
        data = encrypt(self._ciphers[self.newest], key, place("key", organization, version))
        return f"{PREFIX}{self.newest}:{b64encode(data).decode()}"

    def unwrap(self, organization: str, version: int, wrapped: str) -> bytes:
        """Return the key that was wrapped.

        Raises:
            KeyNotHere: the master key is missing, or is another one.
        """
        name, data = self.name_in(wrapped), wrapped.rpartition(":")[2]
        if name not in self._ciphers:
            has = f"has only {', '.join(self._ciphers)}" if self._ciphers else "is not set"
            raise KeyNotHere(
                f"The data of organization {organization} is encrypted under the master key {name}, which this process "
                f"does not have: {_SETTING} {has}. Add it there, and start the process again."
            )
        key = decrypt(self._ciphers[name], b64decode(data), place("key", organization, version))
        if key is None:
            raise KeyNotHere(
                f"The master key {name} does not open the key of organization {organization}: {_SETTING} has another "
                "key by that name than the one that wrapped it, or the stored key was changed."
            )
        return key

    def opens(self, organization: str, version: int, wrapped: str) -> bool:
        """Return True if a stored key can be used here."""
        try:
            self.unwrap(organization, version, wrapped)
        except KeyNotHere:
            return False
        return True

    def wrapped_by_newest(self, wrapped: str) -> bool:
        """Return True if a stored key needs no older master key."""
        return self.name_in(wrapped) == self.newest

    @staticmethod
    def name_in(wrapped: str) -> str:
        """Return the name of the master key that a stored key is wrapped under."""
        return wrapped.removeprefix(PREFIX).partition(":")[0]
