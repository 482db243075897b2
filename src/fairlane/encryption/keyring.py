"""The keyring of a process: its master keys, and organizations' keys, read in bulk and cached for a few seconds.

For an organization without keys the only cost is one read in this time.
"""

import time
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError
from fairlane.domain.sealing import BROKEN, PREFIX, Field, is_sealed
from fairlane.domain.secrets import shown_json, shown_object
from fairlane.domain.statuses import KeyState
from fairlane.domain.texts import ORGANIZATION_IDS
from fairlane.domain.timing import KEYS_KEPT
from fairlane.encryption.sealing import KEY_BYTES, KeyNotHere, Ring, Unreadable, cipher, decrypt, encrypt, place
from fairlane.store.engine import WRITE
from fairlane.store.line import Line
from fairlane.store.statements import keys as statements
from fairlane.store.statements.keys import WrappedKey
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

SECRET_VERSION: Final = 0  # of the row that holds the secret of deduplication hashes instead of a key
_MOST: Final = 100_000  # organizations
_SETTING: Final = "FAIRLANE_ENCRYPTION_KEYS"
_EXAMPLE: Final = (
    "it is NAME:KEY, or several of these with commas between, the newest first; "
    "a new one: python -c \"import base64, os; print('NAME:' + base64.b64encode(os.urandom(32)).decode())\""
)


class MasterKeys:
    """The master keys of FAIRLANE_ENCRYPTION_KEYS, by name, which wrap organizations' keys.

    The first one wraps new keys, and each one unwraps the keys that it has wrapped.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {name: cipher(key) for name, key in keys.items()}
        self.newest = next(iter(keys), None)

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Return the master keys of the setting; None = no keys.

        Raises:
            ConfigurationError: the message says which key is wrong, and never quotes a key.
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
        """Wrap an organization's key, to be stored.

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
            KeyNotHere: the master key is missing, or is another key of the same name.
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
        """Return True if the newest master key has wrapped a stored key."""
        return self.name_in(wrapped) == self.newest

    @staticmethod
    def name_in(wrapped: str) -> str:
        """Return the name of the master key that has wrapped a stored key."""
        return wrapped.removeprefix(PREFIX).partition(":")[0]


class Keyring:
    """The keys of organizations, as far as this process can use them. Any thread may call its methods.

    Args:
        master: the master keys; None = no keys.
        max_age: seconds for which an answer is cached.
    """

    def __init__(self, master: MasterKeys | None = None, max_age: float = KEYS_KEPT) -> None:
        self.master = master or MasterKeys({})
        self._max_age = max_age
        self._kept: dict[str, tuple[float, Ring | None]] = {}

    def rings(self, connection: Connection, organizations: Collection[str]) -> dict[str, Ring]:
        """Return the keys of those organizations that have any.

        The snapshot of a read, or of a caller's transaction, may be old. So its answer is not cached: writers would use
        outdated keys.
        """
        found = self.kept(organizations)
        if unknown := set(organizations) - found.keys():
            sees_newest = connection.get_execution_options().get(WRITE, False)
            asked, rings = time.monotonic(), self._rings_of(unknown, statements.of(connection, unknown))
            found |= self._keep(rings, asked) if sees_newest else rings
        return {organization: ring for organization, ring in found.items() if ring is not None}

    def rings_of(self, database: Database, organizations: Collection[str]) -> dict[str, Ring]:
        """Return the same. Call this outside transactions."""
        found = self.kept(organizations)
        # An invalid organization id has no key, and a database may be unable to store it.
        if unknown := set(filter(ORGANIZATION_IDS.fits, set(organizations) - found.keys())):
            asked, rows = time.monotonic(), database.look(lambda c: statements.of(c, unknown), of=unknown)
            found |= self._keep(self._rings_of(unknown, rows), asked)
        return {organization: ring for organization, ring in found.items() if ring is not None}

    async def rings_on(self, line: Line, organizations: Collection[str]) -> dict[str, Ring | None]:
        """Return the keys of each of the organizations, on the event loop; None = no key.

        Raises:
            FairlaneError: as `Line.fetch`.
        """
        found = self.kept(organizations)
        if unknown := set(organizations) - found.keys():
            asked, rows = time.monotonic(), await statements.of_on(line, unknown)
            found |= self._keep(self._rings_of(unknown, rows), asked)
        return found

    def kept(self, organizations: Collection[str]) -> dict[str, Ring | None]:
        """Return the cached answers that are young enough; None = the organization has no key."""
        earliest = time.monotonic() - self._max_age
        kept = ((one, self._kept.get(one)) for one in organizations)
        return {one: known[1] for one, known in kept if known is not None and known[0] > earliest}

    def forget(self, organization: str) -> None:
        """Forget the cached answer: the organization's keys were changed."""
        self._kept.pop(organization, None)

    def shown(self, connection: Connection) -> "Shown":
        """Return the decryption of stored texts for people, with keys read by this connection."""
        return Shown(self, connection)

    def _keep(self, found: dict[str, Ring | None], asked: float) -> dict[str, Ring | None]:
        """Cache these answers to a question of this time, and return them."""
        if len(self._kept) + len(found) > _MOST:
            self._kept.clear()
        self._kept.update({organization: (asked, ring) for organization, ring in found.items()})
        return found

    def _rings_of(self, organizations: Collection[str], keys: Iterable[AnyRow | WrappedKey]) -> dict[str, Ring | None]:
        rows = defaultdict[str, list[AnyRow | WrappedKey]](list)
        for row in keys:
            rows[row.organization_id].append(row)
        return {one: self._ring_of(one, rows[one]) if one in rows else None for one in organizations}

    def _ring_of(self, organization: str, rows: Collection[AnyRow | WrappedKey]) -> Ring:
        keys: dict[int, bytes] = {}
        missing: dict[int, str] = {}
        destroyed = {row.version for row in rows if row.state == KeyState.DESTROYED}
        for row in rows:
            if row.version in destroyed:
                continue
            try:
                keys[row.version] = self.master.unwrap(organization, row.version, row.wrapped_key)
            except KeyNotHere as error:
                missing[row.version] = str(error)
        active = [row.version for row in rows if row.state == KeyState.ACTIVE and row.version != SECRET_VERSION]
        secret = keys.pop(SECRET_VERSION, None)
        return Ring(
            organization,
            keys=keys,
            active=max(active, default=None),
            secret=secret,
            missing=missing,
            destroyed=destroyed,
        )


class Shown:
    """The decryption of stored texts for people, without secret parameters. It marks what can't be decrypted."""

    def __init__(self, keyring: Keyring, connection: Connection) -> None:
        self._keyring = keyring
        self._connection = connection
        self._rings: dict[str, Ring | None] = {}  # read once, not for each text
        self._asked_anew: set[str] = set()  # organizations

    def parameters(self, organization: str, job_id: UUID, text: str) -> Mapping[str, Any]:
        """Return a job's parameters."""
        try:
            return shown_object(self.opened(organization, job_id, Field.PARAMETERS, text), "parameters")
        except Unreadable as error:
            return {"parameters": error.mark}

    def value(self, organization: str, job_id: UUID, field: Field, text: str | None) -> Any:
        """Return the value of a JSON text."""
        if text is None:
            return None
        try:
            return shown_json(self.opened(organization, job_id, field, text), by_name=False)
        except Unreadable as error:
            return error.mark

    def text(self, organization: str, job_id: UUID, field: Field, text: str | None) -> str | None:
        """Return a text, if there is one."""
        if text is None or not is_sealed(text):
            return text
        try:
            return self.opened(organization, job_id, field, text)
        except Unreadable as error:
            # Without a key it is a handler's own text, which only looks like a sealed one.
            return error.mark if self._ring(organization) is not None else text

    def opened(self, organization: str, job_id: UUID, field: Field, text: str) -> str:
        """Return the whole decrypted text, with secrets.

        Raises:
            Unreadable
        """
        return self.ring_of(organization, text).open(job_id, field, text) if is_sealed(text) else text

    def ring_of(self, organization: str, text: str) -> Ring:
        """Return the keys that decrypt a sealed text.

        Raises:
            Unreadable: the organization has no keys.
        """
        ring = self._ring(organization)
        if organization not in self._asked_anew and (ring is None or not ring.knows(text)):
            # Another process has just made a key, and the cached answer is older. Or the text only looks like a sealed
            # one.
            self._asked_anew.add(organization)
            self._keyring.forget(organization)
            self._rings.pop(organization, None)
            ring = self._ring(organization)
        if ring is None:
            raise Unreadable(f"organization {organization} has no encryption key.", BROKEN)
        return ring

    def _ring(self, organization: str) -> Ring | None:
        if organization not in self._rings:
            self._rings[organization] = self._keyring.rings(self._connection, [organization]).get(organization)
        return self._rings[organization]
