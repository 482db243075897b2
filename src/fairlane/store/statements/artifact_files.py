"""The files of an organization's jobs, to be sealed anew one by one."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, select, tuple_, update

from fairlane.store.tables import AnyRow, artifacts


def page(connection: Connection, organization: str, after: tuple[UUID, str] | None, limit: int) -> Sequence[AnyRow]:
    """Artifacts that hold something, in the order of their jobs and names."""
    key = (artifacts.c.job_id, artifacts.c.name)
    statement = select(artifacts).where(artifacts.c.organization_id == organization, artifacts.c.size > 0)
    if after is not None:
        statement = statement.where(tuple_(*key) > after)
    return connection.execute(statement.order_by(*key).limit(limit)).all()


def move(connection: Connection, old: AnyRow, path: str, digest: str) -> bool:
    """The artifact has another file now, with the same content; False if it has another one anyway."""
    moved = connection.execute(
        update(artifacts)
        .where(
            artifacts.c.organization_id == old.organization_id,
            artifacts.c.job_id == old.job_id,
            artifacts.c.name == old.name,
            artifacts.c.path == old.path,
        )
        .values(path=path, sha256=digest)
    )
    return moved.rowcount == 1
