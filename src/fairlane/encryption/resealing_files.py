"""Files sealed anew: those under older versions of an organization's key, and those from before it had one.

A file is never changed where it is. It is stored once more, at another path, written down before as one that no job
has; then, in one transaction, the job has the new one and the old one is to be deleted. Whatever crashes in between,
the job has a whole file, and clean-up finds the other one.
"""

from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection

from fairlane.domain.errors import InstallationError
from fairlane.encryption.artifacts import ArtifactStorage, path_of
from fairlane.encryption.sealed_files import LONGEST_HEAD, opened_range, sealed_chunks, version_of
from fairlane.encryption.sealing import KeyNotHere, Ring, Unreadable
from fairlane.store.row_security import Administered
from fairlane.store.statements import doomed_files, resealing
from fairlane.store.statements.locks import lock_job
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

_BATCH: Final = 200  # rows


class SealedFiles(NamedTuple):
    """How many files were sealed anew, and how many are not in this storage."""

    done: int
    missing: int


def seal_files(database: Database, storage: ArtifactStorage, ring: Ring) -> SealedFiles:
    """Seal the files of the ring's organization that are not sealed under its newest version.

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
    return lambda connection: resealing.page_of_files(connection, organization, after, _BATCH)


def _seal_anew(database: Database, storage: ArtifactStorage, ring: Ring, row: AnyRow) -> bool:
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
    # Sealed on its way through the disk: the storage can't be read from while it takes a file.
    with NamedTemporaryFile() as sealed:
        sealed.writelines(sealed_chunks(ring, path, read()))
        sealed.flush()
        storage.put(path, Path(sealed.name))
    found, hidden = digest.hexdigest(), ring.fingerprint(digest.hexdigest())
    if row.sha256 not in {found, hidden}:
        return False  # it is another content than the job's, and stays where it is

    def move(connection: Connection) -> bool:
        # Whoever takes files from a job, or gives it others, has its row first.
        is_there = lock_job(connection, organization, row.job_id) is not None
        if not is_there or not doomed_files.keep_expected(connection, organization, file_id, until):
            return False
        is_moved = resealing.move_file(connection, row, path, hidden)
        unused = row.path if is_moved else path
        doomed_files.doom(connection, database.clock.now(connection), organization, [unused])
        return is_moved

    return database.write(move, of=Administered(organization))
