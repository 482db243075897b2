"""How PostgreSQL is to plan the statements of a transaction."""

from typing import Final

from sqlalchemy import Connection, text

from fairlane.store.dialects import is_sqlite

_FOR_VALUES: Final = text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")


def plan_for_values(connection: Connection) -> None:
    """Have each statement of this transaction planned for its values.

    PostgreSQL may take to one plan for all of them once a statement is prepared. Where one value has most of the rows
    and another has none, that plan reads everything for either of them.
    """
    if not is_sqlite(connection):
        connection.execute(_FOR_VALUES)
