"""The API on each kind of database."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from fairlane.engine.system.bulk import Bulk
from tests.api.served import Api


@pytest.fixture
def serve(database_url: str) -> Iterator[Callable[..., Api]]:
    """Serve the API, with settings of the test's own."""
    with ExitStack() as stack:
        yield lambda settings=None, **options: stack.enter_context(Api(database_url, settings, **options))


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """The API as it is served where nothing is set."""
    return serve()


@pytest.fixture
def one_by_one(one_by_one: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step of a bulk action be one job, and its start do no second step."""
    defaults = Bulk.start.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "seconds", 0.0)
