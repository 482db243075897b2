"""Socket.IO over real connections: who is let in, and what they are told."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import socketio.exceptions
import websockets

from fairlane import JobContext, JobNotFound, Submission, TransientError
from fairlane.api.watching import live_of
from fairlane.domain.permissions import Principal
from fairlane.realtime.hub import Client, Room, RoomKind
from fairlane.realtime.live import Opened
from fairlane.realtime.sockets import Sockets
from tests.api.served import Api
from tests.realtime.watching import PATIENCE, Watcher, eventually, forge, tell_much, ticket_of
from tests.realtime.wire import Wire

Connect = Callable[..., Any]


async def run(api: Api) -> None:
    await asyncio.to_thread(api.run)


async def refused(api: Api, ticket: object) -> Any:
    """Return the refusal of a client that is not let in."""
    watcher = Watcher(api, "member", "acme", secret="")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await watcher.open(ticket)
    return watcher.refused


async def test_a_watcher_of_an_organization_is_told_of_each_step_in_order(api: Api, connect: Connect):
    watcher: Watcher = await connect(api)
    answer = await watcher.subscribe(organization="acme")
    assert answer["room"] == "org:acme"
    assert answer["reset"] is False
    assert answer["snapshot"] == {"running": [], "counts": answer["snapshot"]["counts"]}
    job = api.fl.submit("report", organization="acme", user="member")
    await run(api)
    await watcher.until_status(job.id, "completed")
    assert watcher.statuses(job.id) == ["queued", "running", "completed"]
    told = [data for name, data in watcher.told if name == "job_status_changed"]
    assert [one["sequence"] for one in told] == [1, 2, 3]
    assert {(one["room"], one["organization"], one["job_type"], one["queue"], one["user"]) for one in told} == {
        ("org:acme", "acme", "report", "default", "member")
    }
    assert "message" not in told[0]


async def test_a_job_s_room_tells_of_that_job_alone(api: Api, connect: Connect):
    one, two = (api.fl.submit("report", organization="acme", user="member") for _ in range(2))
    watcher: Watcher = await connect(api, transports=("polling",))
    answer = await watcher.subscribe(organization="acme", job=str(one.id))
    assert answer["room"] == f"job:{one.id}"
    assert answer["snapshot"]["job"]["status"] == "queued"
    assert answer["snapshot"]["sequence"] == 1
    await run(api)
    await watcher.until_status(one.id, "completed")
    assert watcher.statuses(one.id) == ["running", "completed"]
    assert watcher.statuses(two.id) == []


async def test_nothing_of_one_organization_reaches_the_other_and_operators_see_all(api: Api, connect: Connect):
    mine: Watcher = await connect(api)
    theirs: Watcher = await connect(api, "other-member", "other")
    operator: Watcher = await connect(api, "olga", None)
    await mine.subscribe(organization="acme")
    await theirs.subscribe(organization="other")
    assert (await operator.subscribe(operator=True))["room"] == "admin:jobs"
    acme = api.fl.submit("report", organization="acme", user="member", parameters={"month": "1999-01"})
    other = api.fl.submit("report", organization="other", user="other-member")
    await run(api)
    await mine.until_status(acme.id, "completed")
    await theirs.until_status(other.id, "completed")
    await operator.until_status(acme.id, "completed")
    await operator.until_status(other.id, "completed")
    for watcher, foreign in ((mine, other), (theirs, acme)):
        assert str(foreign.id) not in str(watcher.told)
        assert foreign.organization not in {data["organization"] for _, data in watcher.told}
    assert "1999-01" not in str(mine.told + operator.told)


@pytest.mark.parametrize("user", ["member", "olga"])
async def test_a_room_of_others_is_as_one_of_nobody_to_the_byte(api: Api, connect: Connect, user: str):
    foreign = api.fl.submit("report", organization="other")
    watcher: Watcher = await connect(api, user, "acme" if user == "member" else None)
    nobody = "00000000-0000-7000-8000-000000000000"
    if user == "member":
        asked = ({"organization": "other"}, {"organization": "nobody"}, {"organization": "other", "job": nobody})
        answers = [await watcher.subscribe(**one) for one in asked]
        assert answers[0] == answers[1] == answers[2]
        assert answers[0]["error"]["type"] == "urn:fairlane:problem:organization-not-found"
        assert (await watcher.subscribe(operator=True))["error"]["status"] == 403
    jobs = [await watcher.subscribe(organization="acme", job=one) for one in (str(foreign.id), nobody, "no id")]
    assert jobs[0] == jobs[1] == jobs[2]
    assert jobs[0]["error"]["status"] == 404


@pytest.mark.parametrize(
    "wanted",
    [{}, {"organization": ""}, {"organization": 5}, {"job": "x"}, {"organization": "acme", "operator": True},
     {"organization": "acme", "room": "org:other"}, {"organization": "acme", "job": "\0"},
     {"organization": "acme", "job": 10**400}, {"organization": "acme", "job": 10**4000}],
)  # fmt: skip
async def test_what_makes_no_sense_is_told_as_a_problem(api: Api, connect: Connect, wanted: dict[str, Any]):
    watcher: Watcher = await connect(api)
    assert (await watcher.subscribe(**wanted))["error"]["status"] == 422
    assert (await watcher.subscribe(organization="acme"))["room"] == "org:acme"


async def test_a_ticket_is_good_once(api: Api):
    secret = api.token("member")
    watcher = Watcher(api, "member", "acme", secret=secret)
    ticket = await ticket_of(api, secret)
    await watcher.open(ticket)
    await watcher._client.disconnect()
    for wrong in (ticket, "", "x", 5, None, "x" * 10_000):
        assert await refused(api, wrong) == {"message": "unauthorized"}


async def test_a_ticket_is_as_good_as_its_credential(api: Api):
    token, secret = api.fl.tokens.create(organization="acme", as_user="member", name="test")
    ticket = await ticket_of(api, secret)
    api.fl.tokens.revoke(token.id, organization="acme")
    assert await refused(api, ticket) == {"message": "unauthorized"}


async def test_a_socket_that_was_closed_before_its_ticket_was_looked_at_is_nobody_s(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    web, server, looked = api.app.state.web, server_of(api), threading.Event()
    admit = web.door.admit

    def late(ticket: str, address: str) -> Any:
        (socket,) = server.eio.sockets.values()
        monkeypatch.setattr("fairlane.realtime.sockets.STRANGER_WAITS", 0.0)  # not before: it would not have shown one
        while not socket.closed:
            time.sleep(0.01)
        looked.set()
        return admit(ticket, address)

    monkeypatch.setattr(web.door, "admit", late)
    ticket = await ticket_of(api, api.token("member"))
    async with Wire(api) as wire:
        await wire.send_ticket(ticket=ticket)
        assert await asyncio.to_thread(looked.wait, PATIENCE)
        await eventually(lambda: not server.manager.pending_connect)
    assert not web.live.hub.clients


async def test_who_shows_no_ticket_is_hung_up_and_need_not_do_it_themselves(api: Api, monkeypatch: pytest.MonkeyPatch):
    """Browsers' clients do not: they waited for 45 seconds for a ping before they came back."""
    monkeypatch.setattr("fairlane.realtime.sockets.STRANGER_WAITS", 0.0)
    place = f"{api.url.replace('http', 'ws', 1)}/api/v1/socket.io/?EIO=4&transport=websocket"
    async with websockets.connect(place, ping_interval=None) as connection, asyncio.timeout(PATIENCE):
        await connection.wait_closed()


async def test_nothing_is_kept_of_a_socket_without_a_ticket(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlane.realtime.sockets.STRANGER_WAITS", 0.0)
    url, server = f"{api.url}/api/v1/socket.io/?EIO=4&transport=polling", server_of(api)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        for _ in range(3):
            assert (await client.get(url)).status_code == 200
    async with asyncio.timeout(5):  # the library's own sweep takes a minute
        await eventually(lambda: not server.eio.sockets)
    assert not server.environ


async def test_who_is_gone_before_they_are_let_in_stays_in_no_room(api: Api):
    live = live_of(api.fl, read_timeout=10.0)
    room, gone = Room(RoomKind.ORGANIZATION, "acme"), Client(Principal("member", "test"), lambda: None)
    live.hub.add(gone)
    live.hub.remove(gone)
    with pytest.raises(JobNotFound, match="gone"):
        await live.enter(gone, Opened(room, dict, "organization acme"), None)
    assert room not in live.hub
    live.close()


def server_of(api: Api) -> Any:
    """Socket.IO's."""
    (sockets,) = [given for layer in api.app.user_middleware for given in layer.args if isinstance(given, Sockets)]
    return sockets._server


async def test_what_a_token_is_cut_to_holds_for_its_sockets(api: Api, connect: Connect):
    watcher: Watcher = await connect(api, secret=api.token("member", scopes=["jobs:submit"]))
    assert (await watcher.subscribe(organization="acme"))["error"]["status"] == 403


async def test_a_client_that_leaves_a_room_is_told_nothing_more(api: Api, connect: Connect):
    watcher: Watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    first = api.fl.submit("report", organization="acme")
    await watcher.until_status(first.id, "queued")
    assert await watcher.unsubscribe("org:acme") == {}
    second = api.fl.submit("report", organization="acme")
    await watcher.subscribe(organization="acme", job=str(first.id))
    await run(api)
    await watcher.until_status(first.id, "completed")
    assert watcher.statuses(second.id) == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_site_can_t_connect(api: Api, origin: str):
    with httpx.Client(base_url=f"{api.url}/api/v1/socket.io/", headers={"Origin": origin}) as client:
        answer = client.get("", params={"EIO": "4", "transport": "polling"})
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:fairlane:problem:cross-site"
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        }
        answer = client.get("", params={"EIO": "4", "transport": "websocket"}, headers=upgrade)
        assert answer.status_code == 403


def test_a_page_of_this_site_and_of_those_that_are_listed_can(serve: Callable[..., Api]):
    api = serve({"web_origins": "https://jobs.example"})
    for origin in (api.url, "https://jobs.example"):
        answer = httpx.get(
            f"{api.url}/api/v1/socket.io/", params={"EIO": "4", "transport": "polling"}, headers={"Origin": origin}
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin


def test_what_a_client_sends_is_bounded(api: Api):
    url = f"{api.url}/api/v1/socket.io/?EIO=4&transport=polling"
    sid = httpx.get(url).text.partition('"sid":"')[2].partition('"')[0]
    answer = httpx.post(f"{url}&sid={sid}", content=b"4" * 100_000)
    assert answer.status_code == 413


async def test_attachments_are_kept_for_nobody(api: Api):
    url = f"{api.url}/api/v1/socket.io/?EIO=4&transport=polling"
    ticket = await ticket_of(api, api.token("member"))
    async with httpx.AsyncClient(timeout=20) as client:
        sid = (await client.get(url)).text.partition('"sid":"')[2].partition('"')[0]
        for sent in (f'40{{"ticket":"{ticket}"}}', '45900000000-["subscribe",{"_placeholder":true,"num":0}]'):
            await client.post(f"{url}&sid={sid}", content=sent)
        await client.post(f"{url}&sid={sid}", content='420["unsubscribe",{"room":"x"}]')
        told = ""
        while "430" not in told:
            told += (await client.get(f"{url}&sid={sid}")).text
        assert "430[{}]" in told


async def test_no_client_sends_what_the_server_calls_when_one_comes_or_goes(api: Api):
    first, second = [await ticket_of(api, api.token(user)) for user in ("member", "admin")]
    clients = api.app.state.web.live.hub.clients
    async with Wire(api) as wire:
        await wire.come_in(ticket=first)
        await wire.ask("subscribe", {"organization": "acme"})
        await wire.send("connect", {}, {"ticket": second})
        assert "room" in await wire.ask("subscribe", {"organization": "acme"})
        assert [one.principal.user for one in clients] == ["member"]
        await wire.send("disconnect", "client disconnect")
        assert "room" in await wire.ask("subscribe", {"organization": "acme"})
    await eventually(lambda: not clients)


async def test_progress_of_a_job_that_ends_at_once_is_told_before_its_end(api: Api, connect: Connect):
    @api.fl.job_type("counting", dedup_window=0)
    def count(ctx: JobContext) -> None:
        for number in range(10_000):
            ctx.progress(number / 100, f"row {number}")
        ctx.progress(100, "done")

    api.fl.migrate()
    watcher: Watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    job = api.fl.submit("counting", organization="acme", user="member")
    await run(api)
    await watcher.until_status(job.id, "completed")
    progress = [data for name, data in watcher.told if name == "job_progress"]
    assert progress[-1]["percent"] == 100
    assert progress[-1]["message"] == "done"
    assert len(progress) < 100
    names = watcher.names()
    assert names.index("job_status_changed", 2) > 0
    assert names[-1] == "job_status_changed"


@pytest.mark.slow
async def test_of_a_job_that_has_ended_or_waits_nobody_is_told_what_it_reported_once(api: Api, connect: Connect):
    @api.fl.job_type("stumbling", dedup_window=0)
    def stumble(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            ctx.progress(30, "the first attempt")
            raise TransientError("again")

    api.fl.migrate()
    job = api.fl.submit("stumbling", organization="acme", user="member")
    await run(api)
    ended = api.fl.submit("stumbling", organization="acme", user="member", max_retries=0)
    await run(api)
    watcher: Watcher = await connect(api)
    for one, shown in ((job, None), (ended, 30)):
        answer = await watcher.subscribe(organization="acme", job=str(one.id))
        assert answer["snapshot"]["job"]["progress"] == shown
    await asyncio.to_thread(api.fl.retry, ended.id, organization="acme")
    await run(api)
    await watcher.until_status(ended.id, "completed")
    assert "job_progress" not in watcher.names()


async def test_a_row_of_a_job_that_the_organization_does_not_have_is_told_to_nobody_and_operators_see_it(
    api: Api, connect: Connect
):
    watcher: Watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    foreign = api.fl.submit("report", organization="other")
    forge(api.fl, "acme", foreign.id)
    counts = {"clients": 1, "rooms": 1, "dropped": 0, "strays": 1}
    operator = api.operator()
    await eventually(lambda: operator.get("/operator/realtime").json() == counts)
    assert "\nfairlane_realtime_stray_events_total 1.0\n" in operator.get("/operator/metrics/prometheus").text
    job = await asyncio.to_thread(api.fl.submit, "report", organization="acme")
    await watcher.until_status(job.id, "queued")
    assert str(foreign.id) not in str(watcher.told)


@pytest.mark.slow
async def test_who_reads_gets_more_as_soon_as_they_have_read(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.realtime.sockets._BEHIND", 3_600.0)
    watcher: Watcher = await connect(api)
    await watcher.subscribe(organization="acme")
    jobs = await asyncio.to_thread(api.fl.submit_many, [Submission("report", organization="acme") for _ in range(400)])
    await watcher.until(lambda told: len(told) == len(jobs))
    assert set(watcher.names()) == {"job_status_changed"}


async def test_who_takes_nothing_is_dropped_and_holds_up_nobody(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.realtime.sockets.STALLED", 0.1)
    url = f"{api.url}/api/v1/socket.io/?EIO=4&transport=polling"
    ticket = await ticket_of(api, api.token("colleague"))
    reading: Watcher = await connect(api)
    await reading.subscribe(organization="acme")
    async with httpx.AsyncClient(timeout=20) as stalled:
        sid = (await stalled.get(url)).text.partition('"sid":"')[2].partition('"')[0]
        await stalled.post(f"{url}&sid={sid}", content=f'40{{"ticket":"{ticket}"}}')
        await stalled.post(f"{url}&sid={sid}", content='420["subscribe",{"organization":"acme"}]')
        hub = api.app.state.web.live.hub
        assert len(hub.clients) == 2
        jobs = await asyncio.to_thread(
            api.fl.submit_many, [Submission("report", organization="acme") for _ in range(200)]
        )
        await eventually(lambda: hub.dropped)
        await reading.until_status(jobs[-1].id, "queued")
        await eventually(
            lambda: [one.principal.user for one in hub.clients] == ["member"]
        )  # counted first, then let go
    assert "reset" not in reading.names()


async def test_a_websocket_by_which_nothing_is_read_is_not_kept(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlane.cli.server._READ_TIMEOUT", 0.1)
    place = f"{api.url.replace('http', 'ws')}/api/v1/socket.io/?EIO=4&transport=websocket"
    ticket, live = await ticket_of(api, api.token("member")), api.app.state.web.live
    with socket.socket() as reader:
        # Else the kernel itself takes some megabytes.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.connect((urlsplit(api.url).hostname, urlsplit(api.url).port))
        connection = await websockets.connect(place, sock=reader, compression=None, max_queue=1, ping_interval=None)
        for sent in (f'40{{"ticket":"{ticket}"}}', '420["subscribe",{"organization":"acme"}]'):
            await connection.recv()
            await connection.send(sent)
        await eventually(lambda: live.hub.rooms)
        live._task.get_loop().call_soon_threadsafe(tell_much, live.hub)
        await eventually(lambda: not api.server._server.server_state.connections)
        connection.transport.abort()
    await eventually(lambda: not live.hub.clients)


async def unread_websocket(api: Api, reader: socket.socket) -> Any:
    """Return a websocket that was let in, and reads only what is asked of it."""
    place = f"{api.url.replace('http', 'ws')}/api/v1/socket.io/?EIO=4&transport=websocket"
    ticket = await ticket_of(api, api.token("member"))
    # Else the kernel itself takes some megabytes.
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    reader.connect((urlsplit(api.url).hostname, urlsplit(api.url).port))
    connection = await websockets.connect(
        place, sock=reader, compression=None, max_queue=1, max_size=None, ping_interval=None
    )
    await connection.recv()
    await connection.send(f'40{{"ticket":"{ticket}"}}')
    await connection.recv()
    return connection


async def test_a_client_that_reads_no_answers_gets_no_more_snapshots_until_it_has_read_them(api: Api):
    job = api.fl.submit("report", organization="acme", user="member", parameters={"month": "x" * 200_000})
    with socket.socket() as reader:
        connection = await unread_websocket(api, reader)
        hub = api.app.state.web.live.hub
        for number in range(40):
            await connection.send(f'42{number}["subscribe",{{"organization":"acme","job":"{job.id}"}}]')
        await eventually(lambda: hub.rooms)
        await connection.send(f'42["unsubscribe",{{"room":"job:{job.id}"}}]')
        await eventually(lambda: not hub.rooms)  # so all were answered
        answers = [await connection.recv() for _ in range(40)]
        snapshots = [one for one in answers if len(one) > 200_000]
        assert 1 <= len(snapshots) <= 5
        assert all('"status":429' in one for one in answers if one not in snapshots)
        await connection.send(f'4240["subscribe",{{"organization":"acme","job":"{job.id}"}}]')
        assert len(await connection.recv()) > 200_000
        connection.transport.abort()


async def test_a_client_that_asks_on_without_reading_is_dropped(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlane.realtime.sockets._MOST_UNREAD", 20)
    job = api.fl.submit("report", organization="acme", user="member", parameters={"month": "x" * 200_000})
    with socket.socket() as reader:
        connection = await unread_websocket(api, reader)
        for number in range(60):
            await connection.send(f'42{number}["subscribe",{{"organization":"acme","job":"{job.id}"}}]')
        hub = api.app.state.web.live.hub
        await eventually(lambda: hub.dropped)
        connection.transport.abort()
    await eventually(lambda: not hub.clients)
