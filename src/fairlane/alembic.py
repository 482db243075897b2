"""Hooks for an application's own alembic, in a shared database: autogenerate ignores Fairlane's tables.

Without these, autogenerate proposes to drop each table that the application's metadata lacks.
"""

from fairlane.store.schema import is_ours


def include_name(name: str | None, type_: str, _parents: object) -> bool:
    """Return False for a table of Fairlane, in any schema, including its version table.

    Pass it to `context.configure` in `env.py`, or call it from an `include_name` of your own.
    """
    return not is_ours(name, type_)


def include_object(_object: object, name: str | None, type_: str, _reflected: bool, _compared: object) -> bool:
    """Return False for a table of Fairlane, also if your own metadata names it for a foreign key.

    Pass it beside `include_name` if a foreign key of yours leads to a job.
    """
    return not is_ours(name, type_)
