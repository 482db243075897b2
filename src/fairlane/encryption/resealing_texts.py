"""Texts sealed anew: those under older versions of an organization's key, and those from before it had one."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from fairlane.domain.errors import InstallationError, StorageUnavailable
from fairlane.domain.sealing import is_sealed
from fairlane.encryption.sealing import KeyNotHere, Ring, Unreadable
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import resealing
from fairlane.store.statements.keys import Writer
from fairlane.store.statements.resealing import Sealed
from fairlane.store.transaction import Database

BATCH: Final = 200  # rows
PATIENCE: Final = 60.0  # seconds for transactions that write, to end
_LOOK: Final = 0.1  # seconds


class Batch(NamedTuple):
    """How many texts of a page were changed, and after which key the next page begins; None = it was the last one."""

    changed: int
    last: tuple[Any, ...] | None


def seal_texts(connection: Connection, ring: Ring, where: Sealed, after: tuple[Any, ...] | None) -> Batch:
    """Seal a page of them under the ring's newest version.

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
