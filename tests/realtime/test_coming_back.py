"""A client that was away gets what it missed, or hears that it can't be told."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, create_engine, make_url, text

from fairlane import Job, Submission
from fairlane.domain.events import DeadLetterAlert, QueueLimitWarning
from fairlane.realtime.dispatch import catch_up
from fairlane.realtime.events import Heartbeat
from fairlane.realtime.feed import Feed, Look
from fairlane.realtime.live import Entered, Live
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import feed as statements
from tests.api.served import OPERATOR, Api
from tests.realtime.watching import PATIENCE, Watcher, broken, eventually
from tests.store.test_read_timeout import FOR_EVER

Connect = Callable[..., Awaitable[Watcher]]


@pytest.mark.slow
async def test_what_was_missed_is_told_in_order_and_nothing_twice(api: Api, connect: Connect):
    watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    known = api.fl.submit("report", organization="acme")
    await watcher.until_status(known.id, "queued")
    cursor = watcher.told[-1][1]["cursor"]
    await watcher.__aexit__()
    missed = [api.fl.submit("report", organization="acme") for _ in range(3)]
    await asyncio.to_thread(api.run)
    back = await connect(api)
    answer = await back.subscribe(organization="acme", after=cursor)
    assert answer["snapshot"] is None
    assert answer["reset"] is False
    await back.until_status(missed[-1].id, "completed")
    new = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    await back.until_status(new.id, "queued")
    assert back.statuses(known.id) == ["running", "completed"]
    for one in missed:
        assert back.statuses(one.id) == ["queued", "running", "completed"]


@pytest.mark.slow
@pytest.mark.parametrize("cursor", ["x", "too old"])
async def test_where_it_can_t_be_told_there_is_a_snapshot(api: Api, connect: Connect, cursor: str):
    watcher = await connect(api)
    after = (await watcher.subscribe(organization="acme"))["cursor"]
    if cursor == "too old":
        for _ in range(6):
            await asyncio.to_thread(api.fl.submit_many, [Submission("report", organization="acme") for _ in range(100)])
        # Until then the last of them will come as news, and no more than 500 were missed.
        end = await asyncio.to_thread(api.fl.database.read, statements.newest, of=EVERYONE)
        await eventually(lambda: api.app.state.web.live._position.high >= end)
    else:
        after = cursor
    answer = await (await connect(api)).subscribe(organization="acme", after=after)
    assert answer["reset"] is True
    assert answer["snapshot"]["counts"]["queued"] == (600 if cursor == "too old" else 0)


async def test_who_could_not_be_told_what_was_missed_is_not_told_what_came_meanwhile(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    watcher = await connect(api)
    cursor = (await watcher.subscribe(organization="acme"))["cursor"]
    await watcher.unsubscribe("org:acme")
    (client,) = api.app.state.web.live.hub.clients
    missed: list[Job] = []

    def happen() -> None:
        missed.append(api.fl.submit("report", organization="acme"))

    with monkeypatch.context() as patch:
        patch.setattr("fairlane.realtime.live.catch_up", broken(happen, lambda: any(client._held.values())))
        assert (await watcher.subscribe(organization="acme", after=cursor))["error"]["status"] == 503
    assert (await watcher.subscribe(organization="acme", after=cursor))["reset"] is False
    new = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    await watcher.until_status(new.id, "queued")
    assert watcher.statuses(missed[0].id) == ["queued"]


async def test_alerts_are_told_to_the_organization_and_to_operators(api: Api, connect: Connect):
    mine, theirs, operator = (
        await connect(api),
        await connect(api, "other-member", "other"),
        await connect(api, "olga", None),
    )
    await mine.subscribe(organization="acme")
    await theirs.subscribe(organization="other")
    await operator.subscribe(operator=True)
    api.fl.emit(DeadLetterAlert("acme", 51))
    api.fl.emit(QueueLimitWarning("acme", 8, 10))
    for watcher in (mine, operator):
        await watcher.until(lambda told: {"dead_letter_alert", "queue_limit_warning"} <= {name for name, _ in told})
        told = dict(watcher.told)
        assert {**told["dead_letter_alert"], "cursor": 0, "at": 0, "room": 0} == {
            "room": 0, "cursor": 0, "at": 0, "organization": "acme", "depth": 51, "threshold": 50,
        }  # fmt: skip
        assert (told["queue_limit_warning"]["live"], told["queue_limit_warning"]["limit"]) == (8, 10)
    assert theirs.told == []


class Reader:
    """A reader of a stream of server-sent events."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> dict[str, Any]:
        """The next event: its name, id and data."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line == "" and "event" in found:
                    if found["event"] != Heartbeat.name:
                        return {**found, "data": json.loads(found["data"])}
                    found = {}
                if name in {"event", "id", "data"}:
                    found[name] = value
        raise AssertionError("the stream has ended")


async def test_a_stream_tells_the_same_and_goes_on_after_its_last_event(api: Api):
    headers = {"Authorization": f"Bearer {api.token('member')}"}
    url = f"{api.url}/api/v1/organizations/acme/events"
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        async with client.stream("GET", url) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            reader = Reader(answer)
            first = await reader.next()
            assert first["event"] == "subscribed"
            assert first["data"]["room"] == "org:acme"
            job = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
            told = await reader.next()
            assert (told["event"], told["data"]["job_id"]) == ("job_status_changed", str(job.id))
            assert told["id"] == told["data"]["cursor"]
        await asyncio.to_thread(api.run)
        async with client.stream("GET", url, headers={"Last-Event-ID": told["id"]}) as answer:
            reader = Reader(answer)
            first = await reader.next()
            assert first["data"]["reset"] is False
            missed = [await reader.next() for _ in range(2)]
            assert [one["data"]["to_status"] for one in missed] == ["running", "completed"]
        async with client.stream("GET", url, params={"job": str(job.id)}) as answer:
            first = await Reader(answer).next()
            assert first["data"]["snapshot"]["job"]["status"] == "completed"
        assert (await client.get(url, params={"job": "nobody's"})).status_code == 404


async def test_who_caught_up_in_a_stream_with_what_just_happened_does_not_catch_up_with_it_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    headers = {"Authorization": f"Bearer {api.token('member')}"}
    url = f"{api.url}/api/v1/organizations/acme/events"
    happened: list[Job] = []

    def just_before(*asked: Any) -> Any:
        happened.append(api.fl.submit("report", organization="acme"))
        return catch_up(*asked)

    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        async with client.stream("GET", url) as answer:
            known = (await Reader(answer).next())["id"]
        with monkeypatch.context() as patch:
            patch.setattr("fairlane.realtime.live.catch_up", just_before)
            async with client.stream("GET", url, headers={"Last-Event-ID": known}) as answer:
                reader = Reader(answer)
                await reader.next()
                told = await reader.next()
        assert told["data"]["job_id"] == str(happened[0].id)
        await eventually(lambda: not api.app.state.web.live.hub.clients)
        async with client.stream("GET", url, headers={"Last-Event-ID": told["id"]}) as answer:
            reader = Reader(answer)
            assert (await reader.next())["data"]["reset"] is False
            new = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
            assert (await reader.next())["data"]["job_id"] == str(new.id)


class HeldUp:
    """A look that has found something, or has begun, and then waits for `goes_on`; `enters`: somebody else waits."""

    def __init__(self, patch: pytest.MonkeyPatch, *, finds: bool) -> None:
        self.begins, self.is_there, self.enters, self.goes_on = (threading.Event() for _ in range(4))
        look, enter = Feed.look, Live.enter

        def slowly(feed: Feed, audience: Any) -> Look:
            self.begins.set()
            found = look(feed, audience)
            if bool(found.entries) >= finds and not self.is_there.is_set():
                self.is_there.set()
                assert self.goes_on.wait(PATIENCE)
            return found

        async def noted(live: Live, *asked: Any) -> Entered:
            self.enters.set()
            return await enter(live, *asked)

        patch.setattr(Feed, "look", slowly)
        patch.setattr(Live, "enter", noted)
        # One that had begun before could find what is this one's to find.
        assert self.begins.wait(PATIENCE)


async def test_who_enters_a_room_while_it_is_about_to_be_told_is_told_once(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    watcher = await connect(api)
    cursor = (await watcher.subscribe(organization="acme"))["cursor"]
    held_up = HeldUp(monkeypatch, finds=True)
    known = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    assert await asyncio.to_thread(held_up.is_there.wait, PATIENCE)
    back = await connect(api)
    answer = asyncio.create_task(back.subscribe(organization="acme", after=cursor))
    assert await asyncio.to_thread(held_up.enters.wait, PATIENCE)
    held_up.goes_on.set()
    await answer
    new = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    await back.until_status(new.id, "queued")
    assert [data["job_id"] for _, data in back.told] == [str(known.id), str(new.id)]


async def test_who_enters_a_room_again_while_it_is_about_to_be_told_misses_nothing(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    held_up = HeldUp(monkeypatch, finds=True)
    known = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    assert await asyncio.to_thread(held_up.is_there.wait, PATIENCE)
    answer = asyncio.create_task(watcher.subscribe(organization="acme"))
    assert await asyncio.to_thread(held_up.enters.wait, PATIENCE)
    held_up.goes_on.set()
    assert (await answer)["snapshot"]["counts"]["queued"] == 1
    new = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    await watcher.until_status(new.id, "queued")
    assert [data["job_id"] for _, data in watcher.told] == [str(known.id), str(new.id)]


@pytest.mark.slow
async def test_who_loses_the_right_while_a_look_is_on_its_way_is_not_let_in(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    membership = api.app.state.web.live._membership
    for organization in ("acme", "other"):
        api.fl.members.add(organization, "both")
    session = api.fl.users.principal(api.fl.users.redeem(api.fl.users.link(api.fl.users.create("both").id)))
    assert session is not None
    assert session.credential is not None
    watcher = await connect(api, ticket=api.fl.tickets.create(session.credential))
    await watcher.subscribe(organization="other")
    held_up = HeldUp(monkeypatch, finds=False)
    assert await asyncio.to_thread(held_up.is_there.wait, PATIENCE)
    answer = asyncio.create_task(watcher.subscribe(organization="acme"))
    assert await asyncio.to_thread(held_up.enters.wait, PATIENCE)
    await asyncio.to_thread(api.fl.members.remove, "acme", "both")
    # Of two looks the second has begun when it was so.
    for _ in range(2):
        since = time.monotonic()
        await eventually(lambda: membership.memberships_checked > since)  # noqa: B023 - awaited here
    held_up.goes_on.set()
    assert (await answer)["error"]["status"] == 404
    assert watcher.told == [("revoked", {"room": "org:acme"})]


@pytest.mark.slow
async def test_a_look_that_takes_the_database_too_long_is_stopped_and_holds_up_nobody_who_enters(
    serve: Callable[..., Api], connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    api = serve({"read_timeout": 2.0})
    slow = "SELECT pg_sleep(60)" if api.fl.database.kind.is_server else FOR_EVER
    looks = threading.Event()

    def late(connection: Connection, *_: object) -> object:
        looks.set()
        return connection.execute(text(slow)).all()

    watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    with monkeypatch.context() as patch:
        patch.setattr(statements, "come_late", late)
        assert await asyncio.to_thread(looks.wait, PATIENCE)
        assert (await watcher.subscribe(organization="acme"))["snapshot"] is not None
    job = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    await watcher.until_status(job.id, "queued")


async def test_who_is_about_to_be_closed_enters_no_room(api: Api, connect: Connect):
    watcher = await connect(api)
    (client,) = api.app.state.web.live.hub.clients
    client.is_ending = True  # as if much waited for it
    assert (await watcher.subscribe(organization="acme"))["error"]["status"] == 404


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_who_was_away_when_a_transaction_ended_that_is_older_than_the_node_begins_anew(
    api: Api, connect: Connect
):
    engine = create_engine(make_url(api.fl.database.url).set(drivername="postgresql+psycopg"))
    with engine.connect() as stranger:
        api.fl.submit("report", organization="acme", connection=stranger)
        await connect(api)  # the node goes on
        watcher = await connect(api)
        cursors = [(await watcher.subscribe(organization="acme"))["cursor"]]
        known = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
        await watcher.until_status(known.id, "queued")
        cursors.append(watcher.told[-1][1]["cursor"])
        await watcher.__aexit__()
        stranger.commit()
    engine.dispose()
    await eventually(lambda: api.app.state.web.live._feed.is_warm)
    back = await connect(api)
    answers = [await back.subscribe(organization="acme", after=cursor) for cursor in cursors]
    assert [one["reset"] for one in answers] == [True, True]
    assert answers[-1]["snapshot"]["counts"]["queued"] == 2
    assert (await back.subscribe(organization="acme", after=answers[-1]["cursor"]))["reset"] is False


async def test_operators_go_on_in_a_stream_where_their_socket_was(api: Api, connect: Connect):
    watcher = await connect(api, OPERATOR, None)
    await watcher.subscribe(operator=True)
    known = api.fl.submit("report", organization="acme")
    await watcher.until_status(known.id, "queued")
    headers = {
        "Authorization": f"Bearer {api.token(OPERATOR, None)}",
        "Last-Event-ID": watcher.told[-1][1]["cursor"],
    }
    missed = [api.fl.submit("report", organization=one) for one in ("acme", "other")]
    async with (
        httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client,
        client.stream("GET", f"{api.url}/api/v1/operator/events") as answer,
    ):
        reader = Reader(answer)
        first = await reader.next()
        assert first["event"] == "subscribed"
        assert (first["data"]["room"], first["data"]["reset"]) == ("admin:jobs", False)
        new = await asyncio.to_thread(api.fl.submit, "report", organization="other")
        told = [(await reader.next())["data"]["job_id"] for _ in (*missed, new)]
        assert told == [str(job.id) for job in (*missed, new)]


async def test_a_stream_ends_with_the_membership(api: Api):
    headers = {"Authorization": f"Bearer {api.token('member')}"}
    url = f"{api.url}/api/v1/organizations/acme/events"
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client, client.stream("GET", url) as answer:
        reader = Reader(answer)
        await reader.next()
        await asyncio.to_thread(api.fl.members.remove, "acme", "member")
        assert (await reader.next())["event"] == "revoked"
        with pytest.raises(AssertionError, match="has ended"):
            await reader.next()
    await eventually(lambda: not api.app.state.web.live.hub.clients)
