"""A pytest plugin: SQLAlchemy compiles a statement once per kind of database instead of once per test.

Its cache of compiled statements belongs to an engine, by a key that names the engine's dialect. Each test has an
engine, or several, of its own, and most of the time of a short one would go to the compiler. All engines of one kind
speak to one server with one set of options, so that they compile alike.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Dialect, Engine, event


class _Compiled(dict[Any, Any]):
    """A cache by the structure of a statement, whichever engine's dialect its key names."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_by_kind(key))

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(_by_kind(key), compiled)

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_by_kind(key), default)


_compiled = _Compiled()


def _by_kind(key: tuple[Dialect, *tuple[Any, ...]]) -> tuple[Any, ...]:
    dialect, *structure = key
    return type(dialect), dialect.paramstyle, *structure


@pytest.fixture(autouse=True, scope="session")
def _compile_once() -> Iterator[None]:
    event.listen(Engine, "engine_connect", _share)
    yield
    event.remove(Engine, "engine_connect", _share)


def _share(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_compiled)
