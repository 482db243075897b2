"""Changes of tables for migrations, while workers write to the tables.

All of these may be repeated. On PostgreSQL an index is built outside the revision's transaction, and earlier changes
are committed even if that fails. So it comes last in `upgrade`. On SQLite a revision is one transaction, and nobody
else writes meanwhile.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column. This only takes a lock for a moment: no row is written.

    Raises ValueError if workers of the previous release, which don't know the column, could not insert rows any more.
    """
    if not column.nullable and column.server_default is None:
        raise ValueError(f"{table}.{column.name} has to be nullable or to have a server default")
    op.add_column(table, column, if_not_exists=True if _is_postgresql() else None)


def create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """Build an index while others write. It takes the options of `op.create_index`."""
    if not _is_postgresql():
        op.create_index(name, table, columns, **options)
        return
    with op.get_context().autocommit_block():
        # It waits for older transactions, and nobody waits for it meanwhile.
        bound = op.get_bind().scalar(sa.text("SELECT current_setting('lock_timeout')"))
        op.execute("SET lock_timeout = 0")
        # An interrupted build leaves an invalid index, which costs time at each write.
        op.drop_index(name, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)
        op.execute(f"SET lock_timeout = '{bound}'")


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
