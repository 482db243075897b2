"""Texts sealed anew: those under older versions of an organization's key, and those from before it had one."""

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from fairlane.domain.errors import InstallationError
from fairlane.domain.sealing import is_sealed
from fairlane.registry.sealing import KeyNotHere, Ring, Unreadable
from fairlane.store.statements import sealed_texts
from fairlane.store.statements.sealed_texts import Sealed

BATCH: Final = 200  # rows


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
