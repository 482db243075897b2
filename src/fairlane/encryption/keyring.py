"""The keyring of a process: the keys of organizations, read in bulk and kept for a few seconds.

An organization without keys costs nothing more than to know that, once in these seconds.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.sealing import BROKEN, Field, is_sealed
from fairlane.domain.secrets import shown_json, shown_object
from fairlane.domain.statuses import KeyState
from fairlane.domain.texts import ORGANIZATION_IDS
from fairlane.encryption.master_keys import MasterKeys
from fairlane.encryption.sealing import KeyNotHere, Ring, Unreadable
from fairlane.store.engine import WRITE
from fairlane.store.line import Line
from fairlane.store.statements import keys as statements
from fairlane.store.statements.keys import WrappedKey
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

# Seconds. So long after a change of keys others may go by those from before.
MAX_AGE: Final = 5.0
SECRET_VERSION: Final = 0  # of the row that holds no key but the secret of deduplication hashes
_MOST: Final = 100_000  # organizations


class Keyring:
    """The keys of organizations, as far as this process can use them; from any thread.

    Args:
        master: the master keys; None = none.
        max_age: seconds for which an answer is kept.
    """

    def __init__(self, master: MasterKeys | None = None, max_age: float = MAX_AGE) -> None:
        self.master = master or MasterKeys({})
        self._max_age = max_age
        self._kept: dict[str, tuple[float, Ring | None]] = {}

    def rings(self, connection: Connection, organizations: Collection[str]) -> dict[str, Ring]:
        """Return those of the organizations that have keys, with them.

        A snapshot, of a read or of somebody else's transaction, may show what was long ago. What it shows is not kept,
        as whoever writes would go by it.
        """
        found = self.kept(organizations)
        if unknown := set(organizations) - found.keys():
            sees_newest = connection.get_execution_options().get(WRITE, False)
            asked, rings = time.monotonic(), self._rings_of(unknown, statements.of(connection, unknown))
            found |= self._keep(rings, asked) if sees_newest else rings
        return {organization: ring for organization, ring in found.items() if ring is not None}

    def rings_of(self, database: Database, organizations: Collection[str]) -> dict[str, Ring]:
        """Return the same, to be called outside of transactions."""
        found = self.kept(organizations)
        # What can be no organization's id has no key, and may not even be stored.
        if unknown := set(filter(ORGANIZATION_IDS.fits, set(organizations) - found.keys())):
            asked, rows = time.monotonic(), database.look(lambda c: statements.of(c, unknown), of=unknown)
            found |= self._keep(self._rings_of(unknown, rows), asked)
        return {organization: ring for organization, ring in found.items() if ring is not None}

    async def rings_on(self, line: Line, organizations: Collection[str]) -> dict[str, Ring | None]:
        """Return an answer for each of the organizations, on the event loop; None: it has no key.

        Raises:
            FairlaneError: as `Line.fetch`.
        """
        found = self.kept(organizations)
        if unknown := set(organizations) - found.keys():
            asked, rows = time.monotonic(), await statements.of_on(line, unknown)
            found |= self._keep(self._rings_of(unknown, rows), asked)
        return found

    def kept(self, organizations: Collection[str]) -> dict[str, Ring | None]:
        """Return those answers that are kept and young; None: the organization has no key."""
        earliest = time.monotonic() - self._max_age
        kept = ((one, self._kept.get(one)) for one in organizations)
        return {one: known[1] for one, known in kept if known is not None and known[0] > earliest}

    def forget(self, organization: str) -> None:
        """Ask again: its keys were changed."""
        self._kept.pop(organization, None)

    def shown(self, connection: Connection) -> "Shown":
        """Return stored texts as people see them, with keys read by this connection."""
        return Shown(self, connection)

    def _keep(self, found: dict[str, Ring | None], asked: float) -> dict[str, Ring | None]:
        """Keep these answers to a question of this moment, and return them."""
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
    """Stored texts as people see them: opened, secret parameters left out. What can't be opened is marked as such."""

    def __init__(self, keyring: Keyring, connection: Connection) -> None:
        self._keyring = keyring
        self._connection = connection
        self._rings: dict[str, Ring | None] = {}  # asked for once, not for each text

    def parameters(self, organization: str, job_id: UUID, text: str) -> Mapping[str, Any]:
        """Return a job's parameters."""
        try:
            return shown_object(self.opened(organization, job_id, Field.PARAMETERS, text), "parameters")
        except Unreadable as error:
            return {"parameters": error.mark}

    def value(self, organization: str, job_id: UUID, field: Field, text: str | None) -> Any:
        """Return what a JSON text says."""
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
            # Where there is no key it is a handler's own text, which only looks like a sealed one.
            return error.mark if self._ring(organization) is not None else text

    def opened(self, organization: str, job_id: UUID, field: Field, text: str) -> str:
        """Return a text with all that is in it.

        Raises:
            Unreadable
        """
        return self.ring_of(organization, text).open(job_id, field, text) if is_sealed(text) else text

    def ring_of(self, organization: str, text: str) -> Ring:
        """Return the keys that open a sealed text.

        Raises:
            Unreadable: the organization has none.
        """
        ring = self._ring(organization)
        if ring is None or not ring.knows(text):
            # Somebody else has just made a key; what was kept is from before.
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
