"""A reader of all tables, for example of a lost dump, has nothing that opens anything.

A dump may hold:

- hashes: SHA-256 of 256 random bits (tokens, sessions, links, tickets), and argon2id of passwords;
- wrapped keys: those under which an organization's payload is sealed, themselves sealed by a master key, which is in
  the settings of the processes and nowhere else;
- the key of cursors: its holder can see from a cursor how far the log is, or make a cursor; rooms are still checked;
- idempotency keys: names that clients give to their requests, good only beside the credential of their user;
- secret parameters of organizations without a key: their whole payload is readable by readers of the tables.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress

from pydantic import SecretStr
from sqlalchemy import select

from fairlane import Fairlane, JobContext, PermissionDenied, Submission
from fairlane.accounts.tokens import PREFIX
from fairlane.engine.idempotency import Key
from fairlane.realtime.feed import Feed
from fairlane.store import tables
from fairlane.store.tables import metadata
from tests.engine.sealed_engine import FIRST, dump
from tests.store.races.scene import Scene

PASSWORD = "correct horse battery"


def secrets_of(scene: Scene) -> dict[str, str]:
    """Return a secret of each kind that opens something, as its owner has it."""
    fl = scene.fl
    fl.users.create("olga", password=PASSWORD, operator=True)
    session, link = fl.users.log_in("olga", PASSWORD), fl.users.link("olga")
    principal = fl.users.principal(session)
    assert principal is not None
    assert principal.credential is not None
    fl.keys.enable(organization="acme")
    (ring,) = fl.keyring.rings_of(fl.database, ["acme"]).values()

    @fl.job_type("login")
    def login(ctx: JobContext, key: SecretStr, db_password: str) -> None: ...

    fl.submit("login", organization="acme", user="ana", parameters={"key": "open-sesame", "db_password": "let-me-in!"})
    fl.idempotency.submit(Key("acme", "ana", "once"), "0" * 64, [Submission("report", organization="acme", user="ana")])
    Feed(fl.database, fl.keyring).start()
    return {
        "password": PASSWORD,
        "session": session,
        "link": link,
        "token": fl.tokens.create(organization="acme", as_user="ana", name="robot")[1].removeprefix(PREFIX),
        "operator's token": fl.tokens.create(organization=None, as_user="olga", name="robot")[1].removeprefix(PREFIX),
        "ticket": fl.tickets.create(principal.credential),
        "key of the organization": b64encode(ring.key_of(1)).decode(),
        "master key": FIRST.partition(":")[2],
        "secret parameter": "open-sesame",
        "parameter with a secret name": "let-me-in!",
    }


def texts_in(fl: Fairlane) -> Iterator[str]:
    """Yield all texts in all rows of all tables."""
    with fl.database.engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                yield from (value for value in row if isinstance(value, str) and value)


def opens(fl: Fairlane, text: str) -> Iterator[str]:
    """Yield the kinds of credential as which the text is good."""
    if fl.users.principal(text) is not None:
        yield "session"
    if fl.tokens.principal(text) is not None or fl.tokens.principal(PREFIX + text) is not None:
        yield "token"
    if fl.tickets.redeem(text) is not None:
        yield "ticket"
    with suppress(PermissionDenied):
        fl.users.redeem(text)
        yield "link"
    with suppress(PermissionDenied):
        fl.users.log_in("olga", text)
        yield "password"


def test_a_dump_of_the_database_holds_no_usable_secret(database_url: str):
    with Scene(database_url, encryption_keys=FIRST) as scene:
        secrets, dumped = secrets_of(scene), dump(scene.fl)
        assert [what for what, secret in secrets.items() if secret in dumped] == []
        with scene.fl.database.engine.connect() as connection:
            kept = (tables.users, tables.sessions, tables.tokens, tables.socket_tickets, tables.idempotency_keys)
            for table in (*kept, tables.organization_keys, tables.feed_keys, tables.jobs, tables.audit):
                assert connection.execute(select(table)).first() is not None, f"{table.name} has nothing to look at"
        assert {text: found for text in set(texts_in(scene.fl)) if (found := list(opens(scene.fl, text)))} == {}
        # So that this is no emptiness: the secrets themselves are good.
        good = {
            what: list(opens(scene.fl, secrets[what])) for what in ("password", "session", "link", "token", "ticket")
        }
        assert good == {what: [what] for what in good}
