"""A job with all that is known of it: its facts, and its state, from whichever table that stands in.

For reads by key, and for what a list has found. Nothing is found quickly by a state's column here: ask `live` or
`ended` for that.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Join, Label, Select, Table, func, or_, select

from fairlane.store.sql import is_row
from fairlane.store.tables import ended, jobs, live


def _of_job(state: Table) -> ColumnElement[bool]:
    return is_row(state, jobs.c.organization_id, jobs.c.id)


def with_state(found: FromClause) -> Join:
    """Add each job's state to rows that have its facts. A statement has one snapshot, in which a job stands once."""
    return found.outerjoin(live, _of_job(live)).outerjoin(ended, _of_job(ended))


WHOLE: Final = with_state(jobs)
# The application's session may plant facts without a state. They are no job.
HAS_STATE: Final = or_(live.c.id.is_not(None), ended.c.id.is_not(None))


def _state() -> Mapping[str, Label[Any]]:
    columns: dict[str, ColumnElement[Any]] = {**ended.c, **live.c}
    shared = {name for name in columns if name in live.c and name in ended.c}
    columns |= {name: func.coalesce(live.c[name], ended.c[name], type_=live.c[name].type) for name in shared}
    return {name: column.label(name) for name, column in columns.items() if name not in jobs.c}


STATE: Final[Mapping[str, Label[Any]]] = _state()
STATUS: Final = STATE["status"]


COLUMNS: Final = (*jobs.c, *STATE.values())
# Each job may have megabytes of parameters, so that whoever reads many jobs takes these columns.
WITHOUT_PARAMETERS: Final = tuple(column for column in COLUMNS if column is not jobs.c.parameters)


def select_whole(*, with_parameters: bool = True) -> Select[Any]:
    """Select jobs with the columns of their facts and of their state. The caller adds the organization."""
    return select(*(COLUMNS if with_parameters else WITHOUT_PARAMETERS)).select_from(WHOLE).where(HAS_STATE)
