"""The API on each kind of database, and clients of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from tests.api.served import Api
from tests.realtime.watching import Watcher


@pytest.fixture
def serve(database_url: str) -> Iterator[Callable[..., Api]]:
    """Serve the API, with settings of the test's own; several times: several nodes."""
    with ExitStack() as stack:
        yield lambda settings=None, **options: stack.enter_context(Api(database_url, settings, **options))


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """One node."""
    return serve()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., object]]:
    """Connect a Socket.IO client."""
    async with AsyncExitStack() as stack:

        async def connected(api: Api, user: str = "member", organization: str | None = "acme", **more: Any):
            return await stack.enter_async_context(Watcher(api, user, organization, **more))

        yield connected
