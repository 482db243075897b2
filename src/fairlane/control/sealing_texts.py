"""Texts sealed anew: those under older versions of an organization's key, and those from before it had one."""

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from fairlane.domain.errors import InstallationError, StorageUnavailable
from fairlane.domain.sealing import is_sealed
from fairlane.registry.sealing import KeyNotHere, Ring, Unreadable
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import keys, sealed_texts
from fairlane.store.statements.sealed_texts import Sealed
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
    found = sealed_texts.page(connection, ring.organization, where, ring.active, after, BATCH)
    changed = 0
    for old in found:
        try:
            text = ring.open(old.job_id, where.field, old.text) if is_sealed(old.text) else old.text
        except KeyNotHere as error:
            raise InstallationError(str(error)) from None
        except Unreadable:
            continue  # erased or broken, and stays so
        sealed = ring.seal(old.job_id, where.field, text)
        changed += sealed_texts.put(connection, ring.organization, where, old, sealed)
    return Batch(changed, found[-1].key if len(found) == BATCH else None)


def outlast_writers(database: Database, organization: str, on_wait: Callable[[float], object] | None) -> None:
    """Wait until all transactions have ended that are writing now: they may go by keys from before they began to wait.

    Args:
        on_wait: called before it waits, with for how many seconds at most.

    Raises:
        StorageUnavailable: one goes on for longer than a minute.
    """
    left = database.look(keys.writers, of=EVERYONE)
    if left and on_wait is not None:
        on_wait(PATIENCE)
    since = time.monotonic()
    while left:
        if time.monotonic() - since > PATIENCE:
            raise StorageUnavailable(
                f"Nothing of {organization} was sealed anew: {len(left)} transactions in the database have been "
                f"writing for more than {PATIENCE:.0f} s, and may yet leave what is not sealed. See pg_stat_activity "
                "for which; end them, or run it again when they have ended."
            )
        time.sleep(_LOOK)
        left &= database.look(keys.writers, of=EVERYONE)
