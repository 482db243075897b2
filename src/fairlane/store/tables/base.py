"""What all tables are made of: the types of their columns, and the keys that they share."""

from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    TypeDecorator,
    Uuid,
    event,
)

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "fk": "%(table_name)s_%(referred_table_name)s_fk",
    }
)


class Instant(TypeDecorator[datetime]):
    """A moment: timestamptz on PostgreSQL; on SQLite text of fixed width in UTC, so that it sorts and compares."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Pick the column type."""
        return dialect.type_descriptor(String(32) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert it for the database; a naive value is a bug of ours."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("Naive datetimes are not stored; attach a time zone.")
        return self.as_text(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    @staticmethod
    def as_text(moment: datetime) -> str:
        """Return the text by which SQLite has the moment, and from which PostgreSQL reads it."""
        return moment.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert it from the database, always in UTC."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC) if isinstance(moment, datetime) else None


ORGANIZATION: Final = String(140)
NAME_LIMIT: Final = 200  # characters
NAME: Final = String(NAME_LIMIT)
# SQLite numbers rows only for a column declared exactly INTEGER PRIMARY KEY.
SEQUENCE: Final = BigInteger().with_variant(Integer, "sqlite")
# Tables with a row or more for each job. A dead row in fifty is enough for a vacuum, not one in five: index entries of
# dead rows are read by each claim. It may go ten times as fast, or it would fall behind thousands of jobs a second.
_BUSY: Final = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000"


def is_busy(table: Table, *more: str) -> None:
    """Give a table storage parameters for many changes, and more of them, on PostgreSQL.

    A statement of its own: SQLAlchemy has an option of tables for them from 2.1 on only.
    """
    parameters = ", ".join((*more, _BUSY))
    setting = DDL(f"ALTER TABLE {table.name} SET ({parameters})")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", setting.execute_if(dialect="postgresql"))


def organization_key() -> Column[str]:
    """Return the first column of the primary key of tenant data."""
    return Column("organization_id", ORGANIZATION, primary_key=True)


def of_job(name: str = "job_id", *, primary_key: bool = True) -> Column[Any]:
    """Return a column that names a job."""
    return Column(name, Uuid, primary_key=primary_key, nullable=False)


def job_key(table: str) -> ForeignKeyConstraint:
    """Return a foreign key by which what is a job's goes with it."""
    return ForeignKeyConstraint(
        ["organization_id", "job_id"],
        ["fairlane_jobs.organization_id", "fairlane_jobs.id"],
        name=f"{table}_job_fk",
        ondelete="CASCADE",
    )
