"""What those who watch are told where the database answers some of what it is asked, and not all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fairlane import StorageUnavailable
from fairlane.realtime.feed import Feed
from tests.api.served import Api
from tests.realtime.watching import Watcher, eventually

Connect = Callable[..., Awaitable[Watcher]]


async def test_after_an_outage_all_begin_anew_once_and_only_when_it_answers(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    failed: list[object] = []

    def fail(_feed: Feed, audience: object) -> Any:
        failed.append(audience)
        raise StorageUnavailable("It took too long.")

    monkeypatch.setattr("fairlane.realtime.live._OUTAGE", 0.3)
    with monkeypatch.context() as patch:
        patch.setattr(Feed, "look", fail)
        await eventually(lambda: len(failed) > 5)
        missed = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
        assert watcher.told == []
    await watcher.until(lambda told: told)
    new = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    await watcher.until_status(new.id, "queued")
    assert watcher.names() == ["reset", "job_status_changed"]
    assert watcher.statuses(missed.id) == []
