"""What Fairlane sets for its own sessions on PostgreSQL, whatever server, role and URL say."""

import pytest
from sqlalchemy import make_url, text

from fairlane.store.transaction import Database


@pytest.mark.parametrize(
    ("name", "value"), [("jit", "off"), ("lock_timeout", "7s"), ("default_transaction_isolation", "read committed")]
)
def test_what_is_set_for_every_session(postgres_url: str, name: str, value: str) -> None:
    """Without `jit = off` a server with LLVM compiles each claim, since a sort is made to look dear to it."""
    theirs = with_option(postgres_url, f"{name}=on") if name == "jit" else postgres_url

    assert shown(Database(theirs, lock_seconds=7.0), name) == value


def test_what_the_url_sets_besides_is_kept(postgres_url: str) -> None:
    assert shown(Database(with_option(postgres_url, "statement_timeout=42s")), "statement_timeout") == "42s"


@pytest.mark.parametrize(("said", "name"), [({}, "fairlane"), ({"application_name": "shop"}, "shop")])
def test_a_session_is_called_as_the_url_says(postgres_url: str, said: dict[str, str], name: str) -> None:
    url = make_url(postgres_url).update_query_dict(said).render_as_string(hide_password=False)

    assert shown(Database(url), "application_name") == name


def with_option(url: str, option: str) -> str:
    return make_url(url).update_query_dict({"options": f"-c {option}"}).render_as_string(hide_password=False)


def shown(database: Database, name: str) -> str:
    try:
        return str(database.look(lambda connection: connection.scalar(text(f"SHOW {name}"))))
    finally:
        database.close()
