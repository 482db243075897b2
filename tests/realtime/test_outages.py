"""Clients are told the truth while the database answers only some of the questions."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from fairlane import Job, StorageUnavailable
from fairlane.realtime.feed import Feed
from tests.api.served import Api
from tests.realtime.watching import Watcher, broken, eventually

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


async def test_who_subscribes_again_in_vain_stays_in_the_room_and_misses_nothing(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    watcher = await connect(api)
    cursor = (await watcher.subscribe(organization="acme"))["cursor"]
    (client,) = api.app.state.web.live.hub.clients
    jobs: list[Job] = []

    def happen() -> None:
        jobs.append(api.fl.submit("report", organization="acme"))

    with monkeypatch.context() as patch:
        patch.setattr("fairlane.realtime.live.catch_up", broken(happen, lambda: any(client._held.values())))
        assert (await watcher.subscribe(organization="acme", after=cursor))["error"]["status"] == 503
    jobs.append(await asyncio.to_thread(api.fl.submit, "report", organization="acme"))
    await watcher.until_status(jobs[-1].id, "queued")
    assert [data["job_id"] for _, data in watcher.told] == [str(job.id) for job in jobs]


async def test_who_subscribes_again_while_they_lose_the_room_hears_so_and_nothing_more(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    for organization in ("acme", "other"):
        api.fl.members.add(organization, "both")
    session = api.fl.users.principal(api.fl.users.redeem(api.fl.users.link(api.fl.users.create("both").id)))
    assert session is not None
    assert session.credential is not None
    watcher = await connect(api, ticket=api.fl.tickets.create(session.credential))
    cursors = [(await watcher.subscribe(organization=one))["cursor"] for one in ("acme", "other")]
    (client,) = api.app.state.web.live.hub.clients

    leave = partial(api.fl.members.remove, "acme", "both")
    with monkeypatch.context() as patch:
        patch.setattr("fairlane.realtime.live.catch_up", broken(leave, lambda: len(client.rooms) == 1))
        assert (await watcher.subscribe(organization="acme", after=cursors[0]))["error"]["status"] == 503
    jobs = [await asyncio.to_thread(api.fl.submit, "report", organization=one) for one in ("acme", "other")]
    await watcher.until_status(jobs[1].id, "queued")
    assert watcher.names() == ["revoked", "job_status_changed"]
