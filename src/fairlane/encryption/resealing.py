"""Seal anew what is under older versions of an organization's key, or from before it had one: texts and files.

A file is never changed where it is. It is stored once more, at another path, written down before as one that no job
has; then, in one transaction, the job has the new one and the old one is to be deleted. Whatever crashes in between,
the job has a whole file, and clean-up finds the other one.
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
PATIENCE: Final = 60.0  # seconds for transactions that write, to end
_LOOK: Final = 0.1  # seconds


class Batch(NamedTuple):
    """The number of texts of a page that were changed, and the key after which the next page begins; None = none."""

    changed: int
    last: tuple[Any, ...] | None


def seal_texts(connection: Connection, ring: Ring, where: Sealed, after: tuple[Any, ...] | None) -> Batch:
    """Seal a page of texts under the ring's newest version.

    Args:
        after: the key behind which the page begins; None = at the first one.

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
    """Wait until all transactions have ended that are writing now and began before the newest key had settled.

    Args:
        organizations: the one that is about to be sealed anew, and those that would be after it.
        seconds: how long ago the newest key of the first had settled.
        on_wait: called before it waits for longer than a moment, with for how many seconds at most.

    Raises:
        StorageUnavailable: one goes on for longer than a minute.
    """

    def look() -> frozenset[Writer]:
        return database.read(lambda connection: database.kind.writers(connection, seconds), of=EVERYONE)

    left = look()
    if left:  # on a busy database there is always somebody, and mostly gone in a moment
        time.sleep(_LOOK)
        left &= look()
    if left and on_wait is not None:
        on_wait(PATIENCE)
    since = time.monotonic()
    while left:
        if time.monotonic() - since > PATIENCE:
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
        f"Nothing of {whose} was sealed anew: {number} been writing in the database for more than {PATIENCE:.0f} s, "
        f"and may yet leave what is not sealed: {' and '.join(known)}. End what is open there, or run it again when it "
        "has ended."
    )


class SealedFiles(NamedTuple):
    """How many files were sealed anew, and how many are not in this storage."""

    done: int
    missing: int


def seal_files(database: Database, storage: ObjectStorage, ring: Ring) -> SealedFiles:
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
