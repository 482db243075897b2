"""Handlers that look at the database with what an application's handler has: the application itself."""

from sqlalchemy import Connection, text

from fairlane import Fairlane, JobContext
from fairlane.store.row_security import Scope

# Deliberately broken: it names no organization.
EVERY_JOB = text("SELECT DISTINCT organization_id FROM fairlane_jobs")


def seen_by(fl: Fairlane) -> dict[str, object]:
    """Return the role of the application's connections, and whose jobs they see for nobody and for acme."""

    def look(of: Scope) -> list[str]:
        def work(connection: Connection) -> list[str]:
            return sorted(connection.execute(EVERY_JOB).scalars())

        return fl.database.read(work, of=of)

    role = fl.database.read(lambda connection: str(connection.scalar(text("SELECT current_user"))))
    return {"role": role, "nobody's": look(()), "acme's": look("acme")}


def spy(ctx: JobContext, url: str) -> dict[str, object]:
    """Look in a process of its own, where the application is made anew by its module."""
    with Fairlane(url) as fl:
        return seen_by(fl)
