"""Fairlane's settings for its own sessions on PostgreSQL, whatever server, role and URL say."""

from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url, text

from fairlane import ConfigurationError, Fairlane
from fairlane.store import schema
from fairlane.store.transaction import Database
from tests.postgres import database_on, drop_database


@pytest.mark.parametrize(
    ("name", "value"), [("jit", "off"), ("lock_timeout", "7s"), ("default_transaction_isolation", "read committed")]
)
def test_what_is_set_for_every_session(postgres_url: str, name: str, value: str) -> None:
    """Without `jit = off` a server with LLVM compiles each claim, since a sort is made to look expensive to it."""
    theirs = with_option(postgres_url, f"{name}=on") if name == "jit" else postgres_url

    assert shown(Database(theirs, lock_seconds=7.0), name) == value


@pytest.mark.parametrize("by", ["database", "environment"])
def test_texts_and_times_are_sent_in_one_form_whatever_the_default(
    postgres_url: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In LATIN1 a worker could keep no "€", and the driver reads no time that is written in German."""
    if by == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    else:
        name = make_url(postgres_url).database
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")
            connection.execute(f"ALTER DATABASE {name} SET DateStyle = 'German, DMY'")

    assert shown(Database(postgres_url), "client_encoding") == "UTF8"
    assert shown(Database(postgres_url), "DateStyle").startswith("ISO")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_in_utf_8_is_refused(postgres_url: str, encoding: str) -> None:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    try:
        with Fairlane(database_on(postgres_url, name)) as fl:
            for verb in (fl.migrate, lambda: schema.check(fl.database)):
                with pytest.raises(ConfigurationError, match=f"encoding is {encoding}.* ENCODING 'UTF8'"):
                    verb()
    finally:
        drop_database(postgres_url, name)


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
