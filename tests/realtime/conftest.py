"""The API on each kind of database, as the tests of the API have it, and clients of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.api.conftest import api, serve
from tests.api.served import Api
from tests.realtime.watching import Watcher

__all__ = ["api", "connect", "serve"]


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., object]]:
    """Connect a Socket.IO client."""
    async with AsyncExitStack() as stack:

        async def connected(api: Api, user: str = "member", organization: str | None = "acme", **more: Any):
            return await stack.enter_async_context(Watcher(api, user, organization, **more))

        yield connected
