"""Verbs about the encryption keys of organizations: `fl.keys`."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from fairlane.domain.accounts import OrganizationKey
from fairlane.domain.errors import ConfigurationError, InstallationError
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import KeyState
from fairlane.domain.texts import storable
from fairlane.domain.timing import KEYS_SETTLE
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.encryption.keyring import SECRET_VERSION, Keyring, MasterKeys
from fairlane.encryption.resealing import BATCH, Batch, SealedFiles, outlast_writers, seal_files, seal_texts
from fairlane.encryption.sealing import KEY_BYTES, KeyNotHere, Ring
from fairlane.store.row_security import EVERYONE, Administered
from fairlane.store.statements import keys as statements
from fairlane.store.statements import resealing
from fairlane.store.statements.resealing import Sealed
from fairlane.store.tables import AnyRow, organization_keys
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Actor, Told, Work
from fairlane.tenancy.directory import Directory
from fairlane.tenancy.tenants import Tenants

T = TypeVar("T")


class Keys:
    """Encrypt the payloads of an organization's jobs, change its key, and destroy it.

    Other processes use a change within five seconds.
    """

    def __init__(
        self,
        database: Database,
        directory: Directory,
        keyring: Keyring,
        artifacts: ObjectStorage,
        owner_url: str | None = None,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._owner_url = owner_url
        self._tenants = Tenants(database, directory)
        self._keyring = keyring

    @property
    def _master(self) -> MasterKeys:
        return self._keyring.master

    def enable(self, *, organization: str, user: str | None = None) -> OrganizationKey:
        """Give the organization a key: payloads of its jobs are stored encrypted from now on.

        Existing data stays as it is until `reencrypt`. An organization that has a key keeps it. If its keys were
        destroyed, it gets a new key, which decrypts nothing of the old data.

        Args:
            user: who gives the key; None = the system.

        Raises:
            OrganizationNotFound
            ConfigurationError: there is no master key, or the extra `crypto` is not installed.
        """
        self._tenants.require(organization, deleted_too=False)

        def work(connection: Connection) -> tuple[None, Told | None]:
            rows, now = statements.lock(connection, organization), self._database.clock.now(connection)
            if _active(rows) is not None:
                return None, None
            version = max((row.version for row in rows), default=SECRET_VERSION) + 1
            if not statements.add(connection, now, organization, version, self._new(organization, version)):
                return None, None  # another caller is adding it
            secret = self._new(organization, SECRET_VERSION)
            if not statements.add(connection, now, organization, SECRET_VERSION, secret):
                statements.replace(connection, now, organization, SECRET_VERSION, secret)
            return None, Told(organization, after={"version": version}, at=now)

        return self._changed(organization, user, "enable", work)

    def rotate(self, *, organization: str, user: str | None = None) -> OrganizationKey:
        """Give the organization a new version of its key, for data that is stored from now on.

        Older versions still decrypt their data; `reencrypt` encrypts it with the new version. Deduplication goes on:
        its hashes are the same for all versions.

        Raises:
            OrganizationNotFound
            ConfigurationError: the organization has no key, or there is no master key.
        """
        self._tenants.require(organization, deleted_too=False)

        def work(connection: Connection) -> tuple[None, Told]:
            rows, now = statements.lock(connection, organization), self._database.clock.now(connection)
            active = _active(rows)
            if active is None:
                raise _no_key(organization)
            statements.retire(connection, organization, active)
            version = max(row.version for row in rows) + 1
            statements.add(connection, now, organization, version, self._new(organization, version))
            return None, Told(organization, {"version": active}, {"version": version}, at=now)

        return self._changed(organization, user, "rotate", work)

    def list(self, *, organization: str) -> tuple[OrganizationKey, ...]:
        """Return the versions of the organization's key, the newest first; none if it has no encryption."""
        rows = self._tenants.read(lambda connection: statements.of(connection, [organization]), of=organization)
        return tuple(self._key(row) for row in reversed(rows) if row.version != SECRET_VERSION)

    def missing(self) -> dict[str, str]:
        """Return the organizations whose key can't be used in this process, each with the reason. For operators."""
        organizations = self._database.read(statements.sealed_organizations, of=EVERYONE)
        rings = self._keyring.rings_of(self._database, organizations)
        return {
            one: ring.problem for one, ring in rings.items() if ring.active is not None and ring.problem is not None
        }

    def destroy(self, *, organization: str, user: str | None = None) -> int:
        """Destroy all keys of the organization, which erases all encrypted data for ever. Return their number.

        People see "[erased]" in place of the data. Live jobs can't be decrypted any more: they back off and go to dead
        letter. Nothing can be submitted until the organization gets a new key by `enable`.

        If the owner's login is known, the database then overwrites the keys in its files. Its backups and its
        write-ahead log still hold the wrapped keys: their data is erased with the master key.

        Raises:
            OrganizationNotFound
        """
        self.list(organization=organization)  # a deleted organization may still have keys

        def work(connection: Connection) -> tuple[int, Told | None]:
            now = self._database.clock.now(connection)
            statements.lock(connection, organization)
            destroyed = statements.destroy(connection, now, organization)
            resealing.forget_hashes(connection, organization)  # including plain ones from before the key
            keys = max(destroyed - 1, 0)  # without the secret of the hashes
            return keys, Told(organization, {"keys": keys}, at=now) if destroyed else None

        destroyed = self._change(organization, user, "destroy", work)
        self._keyring.forget(organization)
        self._database.scrub(organization_keys.name, self._owner_url)
        return destroyed

    def reencrypt(
        self,
        *,
        organization: str | None = None,
        user: str | None = None,
        on_wait: Callable[[float], object] | None = None,
    ) -> int:
        """Encrypt all data that the newest version of its organization's key has not encrypted. Return the count.

        This covers texts and files from older versions, and from before the organization had a key. Plain hashes of
        submitted data become keyed hashes. The keys themselves are wrapped with the newest master key. It works in
        small batches while workers run. A file is stored again, and the cleanup deletes the old one.

        For each organization it first waits until the newest version of the key is ten seconds old. On PostgreSQL it
        then waits for older writing transactions: they may still store data that it would miss.

        Args:
            organization: None = all organizations with a key.
            on_wait: called before a longer wait, with the longest time in seconds.

        Raises:
            OrganizationNotFound
            StorageUnavailable: the database is unavailable, or a transaction from before a key takes longer than a
                minute. Organizations with older keys are done.
            ConfigurationError: the organization has no key, or it can't be used here. Or, after all else is done, files
                are not in the artifact storage of this process.
        """
        storable(user=user)
        if organization is not None:
            self._tenants.require(organization, deleted_too=False)
        given = (
            [organization]
            if organization is not None
            else self._database.read(statements.sealed_organizations, of=EVERYONE)
        )
        done = missing = 0
        for place, one in enumerate(given):
            self._settle(given[place:], on_wait)
            texts, files = self._reencrypt(one, user)
            done, missing = done + texts + files.done, missing + files.missing
        if missing:
            raise ConfigurationError(
                f"Files that are not in the artifact storage of this process: {missing}; all else was sealed anew. "
                "Give it the artifacts_url that the workers have, and run it again."
            )
        return done

    def _settle(self, organizations: Sequence[str], on_wait: Callable[[float], object] | None) -> None:
        """Wait until no process writes without the first organization's newest key. The others' keys are newer."""
        organization = organizations[0]
        self._usable(organization)

        def left(connection: Connection) -> float:
            newest = max(row.created_at for row in statements.of(connection, [organization]))
            return KEYS_SETTLE - float((self._database.clock.now(connection) - newest).total_seconds())

        # Never longer, even if a clock was set back.
        seconds = min(KEYS_SETTLE, self._database.read(left, of=organization))
        if seconds > 0:
            if on_wait is not None:
                on_wait(seconds)
            time.sleep(seconds)
        outlast_writers(self._database, organizations, max(0.0, -seconds), on_wait)

    def _usable(self, organization: str) -> Ring:
        """Return the present keys.

        Raises:
            ConfigurationError: there is no key, or it can't be used here.
        """
        self._keyring.forget(organization)
        ring = self._keyring.rings_of(self._database, [organization]).get(organization)
        if ring is None or ring.active is None:
            raise _no_key(organization)
        ring.check()
        return ring

    def _reencrypt(self, organization: str, user: str | None) -> tuple[int, SealedFiles]:
        """Encrypt again; return the number of texts, and the numbers of files."""
        ring = self._usable(organization)
        assert ring.active is not None
        self._wrap_anew(organization, user, ring.active)
        done = sum(self._reencrypt_column(ring, where) for where in resealing.COLUMNS)
        for hide in (resealing.hide_dedup_keys, resealing.hide_requests):
            done += self._hide(ring, hide)
        files = seal_files(self._database, self._artifacts, ring)

        counts = {"texts": done, "files": files.done, "files_not_found": files.missing}
        told = Told(organization, after={"version": ring.active, **counts})
        self._change(organization, user, "reencrypted", lambda _: (None, told))
        return done, files

    def _reencrypt_column(self, ring: Ring, where: Sealed) -> int:
        batch = self._batch(ring, where, None)
        done = batch.changed
        while batch.last is not None:
            batch = self._batch(ring, where, batch.last)
            done += batch.changed
        return done

    def _hide(self, ring: Ring, hide: Callable[[Connection, str, resealing.Hide, int], int]) -> int:
        def work(connection: Connection) -> int:
            return hide(connection, ring.organization, ring.hidden, BATCH)

        done = 0
        while hidden := self._database.write(work, of=Administered(ring.organization)):
            done += hidden
        return done

    def _batch(self, ring: Ring, where: Sealed, after: tuple[Any, ...] | None) -> Batch:
        return self._database.write(
            lambda connection: seal_texts(connection, ring, where, after), of=Administered(ring.organization)
        )

    def _wrap_anew(self, organization: str, user: str | None, version: int) -> None:
        """Wrap the keys with the newest master key, so that older ones can be removed.

        This also writes the audit entry of the whole operation, which may be interrupted before its end.
        """

        def work(connection: Connection) -> tuple[None, Told]:
            for row in statements.lock(connection, organization):
                if row.state == KeyState.DESTROYED or self._master.wrapped_by_newest(row.wrapped_key):
                    continue
                key = self._master.unwrap(organization, row.version, row.wrapped_key)
                statements.wrap_anew(
                    connection, organization, row.version, self._master.wrap(organization, row.version, key)
                )
            return None, Told(organization, after={"version": version})

        try:
            self._change(organization, user, "reencrypt", work)
        except KeyNotHere as error:
            raise InstallationError(str(error)) from None

    def _new(self, organization: str, version: int) -> str:
        return self._master.wrap(organization, version, os.urandom(KEY_BYTES))

    def _change(self, organization: str, user: str | None, verb: str, work: Work[T]) -> T:
        actor = Actor(user, Right.ORGANIZATION_CHANGE, organization)
        return actor.change(self._database, f"keys.{verb}", work, of=Administered(organization))

    def _changed(self, organization: str, user: str | None, verb: str, work: Work[None]) -> OrganizationKey:
        self._change(organization, user, verb, work)
        self._keyring.forget(organization)
        return self.list(organization=organization)[0]

    def _key(self, row: AnyRow) -> OrganizationKey:
        is_destroyed = row.state == KeyState.DESTROYED
        return OrganizationKey(
            organization=row.organization_id,
            version=row.version,
            state=KeyState(row.state),
            master_key=self._master.name_in(row.wrapped_key) if not is_destroyed else None,
            usable=not is_destroyed and self._master.opens(row.organization_id, row.version, row.wrapped_key),
            created_at=row.created_at,
            destroyed_at=row.destroyed_at,
        )


def _active(rows: Sequence[AnyRow]) -> int | None:
    """Return the version that encrypts."""
    found: Iterator[int] = (
        row.version for row in rows if row.state == KeyState.ACTIVE and row.version != SECRET_VERSION
    )
    return max(found, default=None)


def _no_key(organization: str) -> ConfigurationError:
    return ConfigurationError(
        f"Organization {organization} has no encryption key; give it one: fairlane keys enable -o {organization}"
    )
