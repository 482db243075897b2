"""Encrypt again texts and files from older versions of an organization's key, or from before it had a key.

A file is never changed in place. First the new path is stored as a file without a job. Then the file is written there.
Then one transaction gives the new file to the job, and marks the old one for deletion. After any crash the job has a
whole file, and the cleanup finds the other one.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection

from fairlane.domain.errors import InstallationError, StorageUnavailable
from fairlane.domain.sealing import is_sealed
from fairlane.encryption.artifacts import ObjectStorage, path_of
from fairlane.encryption.sealed_files import LONGEST_HEAD, opened_range, sealed_chunks, version_of
from fairlane.encryption.sealing import KeyNotHere, Ring, Unreadable
from fairlane.store.row_security import EVERYONE, Administered
from fairlane.store.statements import doomed_files, resealing
from fairlane.store.statements.keys import Writer
from fairlane.store.statements.locks import lock_job
from fairlane.store.statements.resealing import Sealed
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

BATCH: Final = 200  # rows
WRITERS_TIMEOUT: Final = 60.0  # seconds to wait for the end of writing transactions
_LOOK: Final = 0.1  # seconds


class Batch(NamedTuple):
    """The number of texts of a page that were changed, and the key after which the next page begins; None = none."""

    changed: int
    last: tuple[Any, ...] | None


def seal_texts(connection: Connection, ring: Ring, where: Sealed, after: tuple[Any, ...] | None) -> Batch:
    """Encrypt a page of texts with the ring's newest version.

    Args:
        after: the key after which the page begins; None = at the first one.

    Raises:
        InstallationError: an older version of the key can't be used here.
    """
    assert ring.active is not None
    found = resealing.page(connection, ring.organization, where, ring.active, after, BATCH)
    changed = 0
    for old in found:
        try:
            text = ring.open(old.job_id, where.field, old.text) if is_sealed(old.text) else old.text
        except KeyNotHere as error:
            raise InstallationError(str(error)) from None
        except Unreadable:
            continue  # erased or broken, and stays so
        sealed = ring.seal(old.job_id, where.field, text)
        changed += resealing.put(connection, ring.organization, where, old, sealed)
    return Batch(changed, found[-1].key if len(found) == BATCH else None)


def outlast_writers(
    database: Database, organizations: Sequence[str], seconds: float, on_wait: Callable[[float], object] | None
) -> None:
    """Wait for the end of writing transactions that began before all processes used the newest key.

    Args:
        organizations: the organization to encrypt again now, and those that follow.
        seconds: since when all processes use the newest key of the first one.
        on_wait: called before a longer wait, with the longest time in seconds.

    Raises:
        StorageUnavailable: a transaction takes longer than a minute.
    """

    def look() -> frozenset[Writer]:
        return database.read(lambda connection: database.kind.writers(connection, seconds), of=EVERYONE)

    left = look()
    if left:  # a busy database always has some, which mostly end in a moment
        time.sleep(_LOOK)
        left &= look()
    if left and on_wait is not None:
        on_wait(WRITERS_TIMEOUT)
    since = time.monotonic()
    while left:
        if time.monotonic() - since > WRITERS_TIMEOUT:
            raise StorageUnavailable(_refusal(organizations, left))
        time.sleep(_LOOK)
        left &= look()


def _refusal(organizations: Sequence[str], left: Collection[Writer]) -> str:
    first, *others = organizations
    whose = f"{first} and {len(others)} more with newer keys" if others else first
    number = "1 transaction has" if len(left) == 1 else f"{len(left)} transactions have"
    pids = sorted(one.pid for one in left if one.pid is not None)
    known = [f"pid {', '.join(map(str, pids))} in pg_stat_activity"] if pids else []
    prepared = len(left) - len(pids)
    known += [f"{prepared} in pg_prepared_xacts"] if prepared else []
    return (
        f"Nothing of {whose} was sealed anew: {number} been writing in the database for more than "
        f"{WRITERS_TIMEOUT:.0f} s, and may yet leave what is not sealed: {' and '.join(known)}. End what is open "
        "there, or run it again when it has ended."
    )


class SealedFiles(NamedTuple):
    """The numbers of files that were encrypted again, and of files that are not in this storage."""

    done: int
    missing: int


def seal_files(database: Database, storage: ObjectStorage, ring: Ring) -> SealedFiles:
    """Encrypt the files of the ring's organization that are not encrypted with its newest version.

    Raises:
        StorageUnavailable
        InstallationError: an older version of the key can't be used here.
    """
    done = missing = 0
    after: tuple[UUID, str] | None = None
    while rows := database.read(_page(ring.organization, after), of=ring.organization):
        for row in rows:
            try:
                done += _seal_anew(database, storage, ring, row)
            except FileNotFoundError:
                missing += 1
            except KeyNotHere as error:
                raise InstallationError(str(error)) from None
            except Unreadable:
                continue  # erased or broken, and stays so
        after = rows[-1].job_id, rows[-1].name
    return SealedFiles(done, missing)


def _page(organization: str, after: tuple[UUID, str] | None) -> Any:
    return lambda connection: resealing.page_of_files(connection, organization, after, BATCH)


def _seal_anew(database: Database, storage: ObjectStorage, ring: Ring, row: AnyRow) -> bool:
    head = b"".join(storage.stream(row.path, 0, LONGEST_HEAD))
    version = version_of(head)
    if version == ring.active:
        return False
    fetch = partial(storage.stream, row.path)
    plain = fetch(0, row.size) if version is None else opened_range(ring, row.path, head, row.size, 0, row.size, fetch)
    organization, file_id = ring.organization, uuid4()
    path, digest = path_of(organization, row.job_id, file_id), sha256()

    def read() -> Iterator[bytes]:
        for piece in plain:
            digest.update(piece)
            yield piece

    until = database.write(
        lambda c: doomed_files.expect(c, database.clock.now(c), organization, file_id, path),
        of=Administered(organization),
    )
    # Encrypted through a temporary file: the storage can't be read while it receives a file.
    with NamedTemporaryFile() as sealed:
        sealed.writelines(sealed_chunks(ring, path, read()))
        sealed.flush()
        storage.put(path, Path(sealed.name))
    found, hidden = digest.hexdigest(), ring.fingerprint(digest.hexdigest())
    if row.sha256 not in {found, hidden}:
        return False  # its content is not the job's, so it stays

    def move(connection: Connection) -> bool:
        # Every change of a job's files locks the job's row first.
        is_there = lock_job(connection, organization, row.job_id) is not None
        if not is_there or not doomed_files.keep_expected(connection, organization, file_id, until):
            return False
        is_moved = resealing.move_file(connection, row, path, hidden)
        unused = row.path if is_moved else path
        doomed_files.doom(connection, database.clock.now(connection), organization, [unused])
        return is_moved

    return database.write(move, of=Administered(organization))
