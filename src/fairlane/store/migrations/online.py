"""What a migration changes tables with that workers write to meanwhile.

All of it may be run again: on PostgreSQL an index is built outside of the revision's transaction, and what came before
is committed even if that fails. So it comes last in `upgrade`. On SQLite a revision is one transaction, which nobody
writes beside.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column, which takes no longer than its lock: no row is written.

    Raises ValueError if workers of the release before, who don't know it, could insert no row any more.
    """
    if not column.nullable and column.server_default is None:
        raise ValueError(f"{table}.{column.name} has to be nullable or to have a server default")
    op.add_column(table, column, if_not_exists=True if _is_postgresql() else None)


def create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """Build an index beside those who write. Takes the options of `op.create_index`."""
    if not _is_postgresql():
        op.create_index(name, table, columns, **options)
        return
    with op.get_context().autocommit_block():
        # It waits for transactions that are older, and nobody waits for it meanwhile.
        bound = op.get_bind().scalar(sa.text("SELECT current_setting('lock_timeout')"))
        op.execute("SET lock_timeout = 0")
        # One that was broken off leaves an index that is kept up to date and serves nobody.
        op.drop_index(name, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)
        op.execute(f"SET lock_timeout = '{bound}'")


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
