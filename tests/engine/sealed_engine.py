"""An engine whose organization has a key, and a look at all that its database and its storage hold, as text."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import obstore
from sqlalchemy import select

from fairlane import Fairlane, Job, JobContext, JobStatus
from fairlane.store.tables import artifacts, metadata
from tests.engine.worker_kit import Engine, engine

FIRST, SECOND = (f"{name}:{b64encode(bytes([number]) * 32).decode()}" for name, number in (("first", 1), ("second", 2)))
IMPOSTOR = f"first:{b64encode(bytes(32)).decode()}"  # another key by the same name


@contextmanager
def sealed_engine(url: str, **options: Any) -> Iterator[Engine]:
    """An engine with a master key; acme has a key of its own, beta has none."""
    with engine(url, encryption_keys=FIRST, **options) as fl:
        fl.organizations.create("beta")
        fl.keys.enable(organization="acme")
        yield fl


def left_by_a_handler(fl: Engine, text: str) -> tuple[Job, bytes]:
    """A job that leaves this text as `file.txt`, and what the storage has of it."""

    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        ctx.artifact("file.txt", text)

    job = fl.give("work")
    fl.drain()
    assert fl.look(job).status is JobStatus.COMPLETED
    with fl.database.engine.connect() as connection:
        (path,) = connection.execute(select(artifacts.c.path)).scalars()
    return job, bytes(fl.artifacts.get(path))


def dump(fl: Fairlane) -> str:
    """Return all rows of all tables, and all files."""
    with fl.database.engine.connect() as connection:
        rows = [str(row) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    files = [fl.artifacts.get(file["path"]) for page in obstore.list(fl.artifacts._store) for file in page]
    return "\n".join([*rows, *map(str, files)])
