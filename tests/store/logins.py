"""Logins of PostgreSQL beside the tests' own, which is a superuser's."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from sqlalchemy import make_url

from fairlane.store.row_ending import SIGNATURE
from fairlane.store.row_security import DatabaseRole

BOUND = {
    "jobs": ", ".join(DatabaseRole),
    "host": DatabaseRole.APP,
    "web": f"{DatabaseRole.APP}, {DatabaseRole.TENANT}, {DatabaseRole.ADMIN}, {DatabaseRole.OPERATOR}",
    "workers": DatabaseRole.WORKER,
}


def plain(url: str) -> str:
    """A URL for the driver itself."""
    return make_url(url).set(drivername="postgresql").render_as_string(False)


@contextmanager
def bound_logins(url: str) -> Iterator[dict[str, str]]:
    """URLs of logins as one should have them in production: bound by row security, members of the roles."""
    suffix = uuid4().hex
    with psycopg.connect(plain(url), autocommit=True) as administrator:
        for name, roles in BOUND.items():
            # The host's own transactions have the app's rights without taking its role on.
            administrator.execute(f"CREATE ROLE {name}_{suffix} LOGIN {'INHERIT' if name == 'host' else 'NOINHERIT'}")
            administrator.execute(f"GRANT {roles} TO {name}_{suffix}")
        try:
            yield {name: _as(url, f"{name}_{suffix}") for name in BOUND}
        finally:
            for name in BOUND:
                administrator.execute(f"DROP OWNED BY {name}_{suffix}")  # what it was granted, too
                administrator.execute(f"DROP ROLE {name}_{suffix}")


@contextmanager
def owning(url: str) -> Iterator[str]:
    """The URL of a login that owns Fairlane's tables, is no superuser, and may take on the roles."""
    owner = f"owner_{uuid4().hex}"
    with psycopg.connect(plain(url), autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE {owner} LOGIN NOINHERIT")
        administrator.execute(f"GRANT {', '.join(DatabaseRole)} TO {owner}")
        administrator.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {owner}")
        tables = administrator.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'fairlane_%'").fetchall()
        for (table,) in tables:
            administrator.execute(f"ALTER TABLE {table} OWNER TO {owner}")
        administrator.execute(f"ALTER FUNCTION {SIGNATURE} OWNER TO {owner}")
        try:
            yield _as(url, owner)
        finally:
            administrator.execute(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
            administrator.execute(f"DROP OWNED BY {owner}")
            administrator.execute(f"DROP ROLE {owner}")


def _as(url: str, login: str) -> str:
    return make_url(url).set(username=login).render_as_string(False)
