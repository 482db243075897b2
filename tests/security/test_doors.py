"""Ways in beside a request as browsers and programs send it: slow ones, WebSockets, pages of others, long downloads."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from select import select
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text
from starlette.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fairlane import ConfigurationError, JobContext, WebSettings
from fairlane.accounts import passwords
from fairlane.api import bodies, downloads, sockets
from fairlane.api.authentication import comes_from_elsewhere
from fairlane.api.bodies import SMALL
from fairlane.api.resources import audit
from fairlane.cli import server
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.realtime import sockets as realtime_sockets
from fairlane.realtime import sse
from fairlane.realtime.sockets import LARGEST
from tests.accounts.cheap_passwords import REAL
from tests.api.served import PASSWORD, Api
from tests.engine.worker_kit import until
from tests.patience import PATIENCE
from tests.realtime.watching import tell_much, ticket_of
from tests.realtime.wire import Wire
from tests.store.test_read_timeout import FOR_EVER

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
}


@pytest.mark.parametrize("path", ["/organizations/acme/jobs", "/health", "/socket.io/more", ""])
def test_a_socket_that_is_none_of_socket_io_is_refused(api: Api, path: str):
    client = api.as_("member")
    assert client.get(path, headers=UPGRADE).status_code == 403
    assert client.get("/organizations/acme/jobs").status_code == 200


@pytest.mark.parametrize(
    ("path", "timeout"),
    [
        ("organizations/acme/jobs", "_TIMEOUT"),
        ("socket.io/?EIO=4&transport=polling&sid=", "STRANGER_WAITS"),
        ("sessions", "STRANGER_WAITS"),
    ],
)
def test_a_body_that_comes_too_slowly_is_waited_for_no_longer(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, timeout: str
):
    for module in (bodies, sockets):
        monkeypatch.setattr(module, timeout, 0.1, raising=False)
    url, secret = urlsplit(api.url), api.token("member")
    if path.endswith("sid="):
        path += socket_of(api)
    head = (
        f"POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with closing(socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE)) as slow:
        slow.sendall(head.encode())
        assert slow.recv(12) == b"HTTP/1.1 408"


@pytest.mark.parametrize("role", ["member", None])
def test_a_body_in_very_many_small_pieces_ends_its_connection(api: Api, role: str | None):
    """A small piece takes the shared loop as long as a large one: four connections held up all others."""
    url = urlsplit(api.url)
    who = f"Authorization: Bearer {api.token(role)}\r\n" if role is not None else ""
    head = f"POST /api/v1/organizations/acme/jobs HTTP/1.1\r\nHost: x\r\n{who}Transfer-Encoding: chunked\r\n\r\n"
    sender = socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE)
    with closing(sender), suppress(ConnectionError):
        sender.sendall(head.encode() + b"1\r\n \r\n" * 100_000)
        while sender.recv(65_536):
            pass
    assert api.as_("member").get("/organizations/acme/jobs").status_code == 200


def test_a_body_in_small_pieces_is_read(api: Api):
    body = json.dumps({"job_type": "report", "parameters": {"month": "2026-01"}}).encode()
    pieces = [body, *(b" " * 100 for _ in range(4_000))]
    how = {"Content-Type": "application/json"}
    sent = api.as_("member").post("/organizations/acme/jobs", content=iter(pieces), headers=how)
    assert sent.status_code == 201, sent.text


def test_a_body_of_a_known_length_that_is_written_in_small_pieces_is_read(api: Api):
    body = json.dumps({"job_type": "report", "parameters": {"month": "2026-01"}}).encode() + b" " * 128_000
    head = (
        "POST /api/v1/organizations/acme/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {api.token('member')}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with closing(api.connect()) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sender.sendall(head.encode())
        for start in range(0, len(body), 16):
            sender.sendall(body[start : start + 16])
        assert b" 201 " in sender.recv(1_000)


@pytest.mark.parametrize("first", [0x89, 0x8A, 0x00], ids=["pings", "pongs", "empty pieces"])
def test_very_many_frames_that_say_nothing_end_their_socket(api: Api, first: int):
    url = urlsplit(api.url)
    given = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    head = f"GET /api/v1/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n{given}\r\n"
    began = bytes([0x01, 0x80, 0, 0, 0, 0]) if first == 0x00 else b""
    with closing(socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE)) as sender:
        sender.sendall(head.encode())
        assert b" 101 " in sender.recv(1_000)
        answered = 0
        with suppress(ConnectionError):
            sender.sendall(began + bytes([first, 0x80, 0, 0, 0, 0]) * 20_000)
            while answer := sender.recv(65_536):
                answered += answer.count(b"\x8a\x00")
    assert answered < 2_000


def test_very_many_messages_end_their_socket(api: Api):
    ticket = asyncio.run(ticket_of(api, api.token("member")))
    url = f"ws{api.url.removeprefix('http')}/api/v1/socket.io/?EIO=4&transport=websocket"
    answers = 0
    with suppress(ConnectionClosed), connect(url, open_timeout=PATIENCE, close_timeout=1) as socket_io:
        assert str(socket_io.recv(PATIENCE)).startswith("0{")
        socket_io.send(f"40{json.dumps({'ticket': ticket})}")
        assert str(socket_io.recv(PATIENCE)).startswith("40{")
        with suppress(ConnectionClosed):
            for number in range(2_000):
                socket_io.send(f'42{number}["unsubscribe",{{"room":"none"}}]')
        while socket_io.recv(PATIENCE):
            answers += 1
    assert answers < 1_000


@pytest.mark.parametrize("path", ["health", "login", "socket.io/?EIO=4&transport=polling", "organizations/acme/jobs"])
def test_a_query_of_very_many_parameters_is_refused_before_it_is_parsed(api: Api, path: str):
    answer = api.client().get(f"/{path}{'&' if '?' in path else '?'}{'&'.join(['%=%'] * 1_001)}")
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:fairlane:problem:too-many-parameters")


def test_a_head_of_very_many_lines_is_refused_and_an_ordinary_one_is_not(api: Api):
    begin = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n"
    for lines, status in ((190, b"200"), (201, b"400")):
        with closing(api.connect()) as sender:
            # The second request is behind the first one, in the same packet; its body is no part of a head.
            sender.sendall(begin + b"a: b\r\n" * lines + b"\r\n" + (begin + b"\r\n" if lines == 190 else b""))
            assert sender.recv(12) == b"HTTP/1.1 " + status
    with closing(api.connect()) as sender:
        body = b"\n" * 1_000
        sender.sendall(
            b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + body + begin + b"\r\n"
        )
        assert sender.recv(12) == b"HTTP/1.1 415"


CHUNKED = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("chunk", [b"", b"1\r\n \r\n"], ids=["no body", "a body"])
def test_a_trailer_of_very_many_lines_is_refused_and_an_ordinary_one_is_not(api: Api, chunk: bytes):
    for lines, status in ((0, b"200"), (190, b"200"), (201, b"400")):
        with closing(api.connect()) as sender:
            sender.sendall(CHUNKED + chunk + b"0\r\n" + b"a: b\r\n" * lines + b"\r\n")
            assert sender.recv(12) == b"HTTP/1.1 " + status


def test_behind_an_empty_trailer_the_next_request_has_lines_of_its_own(api: Api):
    with closing(api.connect()) as sender:
        sender.sendall(CHUNKED + b"0\r\n\r\n" + CHUNKED[:-2] + b"a: b\r\n" * 197 + b"\r\n0\r\n\r\n")
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 2:
            part = sender.recv(65_536)
            assert part, answers
            answers += part


@pytest.mark.parametrize("rest", [b"0\r\n" + b"a: b\r\n" * 201 + b"\r\n", b"no size\r\n"], ids=["lines", "no size"])
def test_a_malformed_rest_of_a_request_that_was_answered_ends_the_connection_without_an_error_in_the_log(
    api: Api, caplog: pytest.LogCaptureFixture, rest: bytes
):
    with closing(api.connect()) as sender:
        sender.sendall(CHUNKED)
        assert sender.recv(12) == b"HTTP/1.1 200"
        sender.sendall(rest)
        with suppress(ConnectionError):
            while sender.recv(65_536):
                pass
    assert api.client().get("/health").status_code == 200
    assert [record for record in caplog.records if record.exc_info] == []


class TestSocketsThatPoll:
    PACKET = '42["unsubscribe",{"room":"none"}]'

    @pytest.fixture
    def socket_io(self, api: Api) -> str:
        """Return the path of a socket without a ticket."""
        return f"/socket.io/?EIO=4&transport=polling&sid={socket_of(api)}"

    @pytest.fixture
    def admitted(self, api: Api, socket_io: str) -> str:
        """Return the path of a socket that its ticket has let in."""
        ticket = asyncio.run(ticket_of(api, api.token("member")))
        assert api.client().post(socket_io, content=f"40{json.dumps({'ticket': ticket})}").status_code == 200
        assert api.client().get(socket_io).text.startswith("40{")
        return socket_io

    def test_very_many_packets_end_one(self, api: Api, admitted: str):
        client = api.client()
        sent = [client.post(admitted, content="\x1e".join([self.PACKET] * 16)) for _ in range(40)]
        answers = [(one.status_code, one.json().get("type") if one.status_code > 200 else "") for one in sent]
        first = answers.index((429, "urn:fairlane:problem:too-many-packets"))
        assert first >= 12
        assert {status for status, _ in answers[first + 1 :]} == {400}  # there is no such socket any more

    def test_few_packets_end_one_without_a_ticket(self, api: Api, socket_io: str):
        client = api.client()
        assert client.post(socket_io, content="3").status_code == 200
        assert client.post(socket_io, content="\x1e".join(["3"] * 16)).status_code == 200
        assert client.post(socket_io, content="\x1e".join(["3"] * 16)).status_code == 429

    def test_answers_that_are_not_fetched_end_one(self, api: Api, admitted: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(realtime_sockets, "_MOST_UNREAD", 50)
        client = api.client()
        asks = "\x1e".join([f'42{number}["unsubscribe",{{"room":"none"}}]' for number in range(16)])
        statuses = [client.post(admitted, content=asks).status_code for _ in range(5)]
        assert statuses == [200] * 4 + [429]

    def test_a_form_is_refused(self, api: Api, admitted: str):
        assert api.client().post(admitted, content="d=3").status_code == 400

    def test_one_that_has_ended_is_unknown(self, api: Api, admitted: str):
        client = api.client()
        assert client.post(admitted, content="1").status_code == 200
        assert client.post(admitted, content="3").json()["type"] == "urn:fairlane:problem:unknown-socket"


def test_of_one_address_a_bounded_number_of_bodies_without_a_credential_is_waited_for(api: Api):
    """No test has two addresses; clients with a credential are not counted."""
    head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(api.connect())) for _ in range(21)]
        for one in slow:
            one.sendall(head + b"\r\n{")
        refused = select(slow, [], [], PATIENCE)[0]
        assert len(refused) == 1
        assert refused[0].recv(12) == b"HTTP/1.1 429"
        assert api.as_("member").get("/organizations/acme/jobs").status_code == 200
        assert api.client().get("/health").status_code == 200
        login = {"user": "member", "password": PASSWORD}
        answer = api.client().post("/sessions", json=login)
        assert (answer.status_code, answer.json()["type"]) == (429, "urn:fairlane:problem:too-much-at-once")
        next(one for one in slow if one is not refused[0]).close()
        until(lambda: api.client().post("/sessions", json=login).status_code == 401)


@pytest.mark.parametrize("path", ["organizations/acme/jobs", "health"])
def test_of_a_request_that_was_answered_the_rest_of_the_body_is_waited_for_no_longer(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
):
    monkeypatch.setattr(server, "STRANGER_WAITS", 1.0)
    with closing(api.connect()) as slow:
        slow.sendall(f"GET /api/v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode())
        assert slow.recv(9) == b"HTTP/1.1 "
        with suppress(ConnectionError):
            for _ in range(500):  # a byte now and then keeps no connection
                slow.sendall(b" ")
                time.sleep(0.02)
            pytest.fail("it was kept")


def test_of_a_socket_that_has_shown_no_ticket_little_is_read_and_nothing_of_one_that_is_unknown(api: Api):
    path, client, sid = "/socket.io/?EIO=4&transport=polling&sid=", api.client(), socket_of(api)
    ticket = api.as_("member").post("/socket-tickets").json()["ticket"]
    answers = [client.post(f"{path}{sid}", content=b"3" + b"x" * size) for size in (100, SMALL)]
    assert [one.status_code for one in answers] == [200, 413]
    assert client.post(f"{path}{sid}", content="40" + json.dumps({"ticket": ticket})).status_code == 200
    assert client.get(f"{path}{sid}").text.startswith("40")
    assert client.post(f"{path}{sid}", content=b"3" + b"x" * SMALL).status_code == 200
    assert client.post(f"{path}{sid}", content=b"3" + b"x" * LARGEST).status_code == 413
    url = urlsplit(api.url)
    with closing(socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE)) as unknown:
        unknown.sendall(f"POST /api/v1{path}invented HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n4".encode())
        answer = b""
        while part := unknown.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")


def socket_of(api: Api) -> str:
    """The name of a new socket, by polling."""
    opened = api.client().get("/socket.io/?EIO=4&transport=polling").text
    name: str = json.loads(opened.removeprefix("0"))["sid"]
    return name


def test_a_large_body_counts_for_its_organization_though_it_is_the_first_by_its_credential(
    serve: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "_SLOW", PATIENCE)
    api: Api = serve({"body_limit": 100_000})
    jobs, large = "/organizations/acme/jobs", {"job_type": "report", "parameters": {"month": "x" * 90_000}}
    with ExitStack() as stack:
        for session in [session_of(api, user) for user in ("other-member", "other-admin")] * 2:
            stack.enter_context(closing(stalled(api, session)))
        # Acme is open to none of these, so they have what room there is together.
        stranger = session_of(api, "other-viewer")
        until(lambda: api.client().post(jobs, json=large, headers=stranger).status_code == 429)
        member = session_of(api, "member")
        assert api.client().post(jobs, json=large, headers=member).status_code == 201
        api.fl.members.remove("acme", "member")
        assert api.client().post(jobs, json=large, headers=member).status_code == 429


def session_of(api: Api, user: str) -> dict[str, str]:
    """The headers of a request within a new session."""
    api.fl.users.create(user)
    return {"Cookie": f"fairlane_session={api.fl.users.redeem(api.fl.users.link(user))}", "Origin": api.url}


def stalled(api: Api, session: dict[str, str]) -> socket.socket:
    """A request whose body lacks the last byte."""
    url = urlsplit(api.url)
    made = socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE)
    headers = {"Host": url.netloc, **session, "Content-Type": "application/json", "Content-Length": "100000"}
    head = "\r\n".join(f"{name}: {value}" for name, value in headers.items())
    made.sendall(f"POST /api/v1/organizations/acme/jobs HTTP/1.1\r\n{head}\r\n\r\n{' ' * 99_999}".encode())
    return made


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX-Slow: 1"], ids=["nothing", "half a head"])
def test_a_head_that_does_not_come_whole_is_waited_for_no_longer(
    api: Api, monkeypatch: pytest.MonkeyPatch, sent: bytes
):
    url, whole = urlsplit(api.url), b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n"
    second, kept = (socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE) for _ in range(2))
    with closing(second), closing(kept):
        for one in (second, kept):
            one.sendall(whole + b"\r\n")
            assert one.recv(12) == b"HTTP/1.1 200"
        monkeypatch.setattr(server, "STRANGER_WAITS", 0.05)
        with closing(socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE)) as new:
            new.sendall(sent)
            assert new.recv(1) == b""
        second.sendall(sent or b"G")
        while second.recv(65_536):
            pass
        # Who rests between two requests is not late.
        kept.sendall(whole + b"Connection: close\r\n\r\n")
        answer = b""
        while part := kept.recv(65_536):
            answer += part
        assert answer.count(b"HTTP/1.1 200") == 1


def test_a_reader_of_events_that_does_not_read_is_told_nothing_more_and_counts_until_it_is_gone(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sse, "STALLED", 0.1)
    hub = api.app.state.web.live.hub
    with closing(unread(api)) as reader:
        until(lambda: hub.dropped)
        assert not hub.rooms
        assert [one.principal.user for one in hub.clients] == ["member"]
        # Its stream ends where it is read up to there.
        while reader.recv(1_000_000):
            pass
    until(lambda: not hub.clients)


def test_a_connection_by_which_nothing_is_read_is_not_kept(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_READ_TIMEOUT", 0.1)
    hub = api.app.state.web.live.hub
    with closing(unread(api)):
        until(lambda: not hub.clients)
    assert hub.dropped == 0


def unread(api: Api) -> socket.socket:
    """A stream of events of which more was told than the network takes for somebody who does not read."""
    live = api.app.state.web.live
    reader = begun(api, "/organizations/acme/events")
    live._task.get_loop().call_soon_threadsafe(tell_much, live.hub)
    return reader


def begun(api: Api, path: str, memory: int | None = 4_096) -> socket.socket:
    """An answer to the member of which nothing but the first bytes of its head is read."""
    reader = asked(api, path, memory)
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader


def asked(api: Api, path: str, memory: int | None = 4_096) -> socket.socket:
    """A request of the member of whose answer nothing is read."""
    url, secret = urlsplit(api.url), api.token("member")
    reader = socket.socket()
    if memory is not None:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, memory)
    reader.settimeout(PATIENCE)
    reader.connect((url.hostname, url.port))
    head = f"GET /api/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n\r\n"
    reader.sendall(head.encode())
    return reader


def large_file_of(api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[int]]:
    """Return the address of a file of 8 MB, and a list of the sizes of the pieces that the storage reads."""
    monkeypatch.setattr(api.fl, "artifacts", ObjectStorage(folder.as_uri()))

    @api.fl.job_type("large")
    def large(ctx: JobContext) -> None:
        ctx.artifact("large", bytes(8 << 20))

    job = api.fl.submit("large", organization="acme", user="member")
    api.run()
    read, stream = list[int](), api.fl.artifacts.stream

    def counted(path: str, start: int, stop: int) -> Iterator[bytes]:
        for piece in stream(path, start, stop):
            read.append(len(piece))
            yield piece

    monkeypatch.setattr(api.fl.artifacts, "stream", counted)
    return f"/organizations/acme/jobs/{job.id}/artifacts/large", read


def connections_of(api: Api) -> set[Any]:
    return api.server._server.server_state.connections


def test_of_a_download_that_is_not_read_a_node_holds_little(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, read = large_file_of(api, tmp_path, monkeypatch)
    with closing(begun(api, path)):
        until(lambda: any(one.flow.write_paused for one in connections_of(api)))
        held = max(one.transport.get_write_buffer_size() for one in connections_of(api))
        assert held <= 64 * 1024
        assert max(read) <= 64 * 1024
        # And little more was taken from the storage: the kernel keeps no megabytes for a reader, either.
        assert sum(read) <= 512 * 1024


@pytest.mark.parametrize("at_once", [1, 16])
def test_of_answers_that_are_not_taken_a_user_has_few_in_memory_and_holds_up_nobody_else(serve: Any, at_once: int):
    api: Api = serve({"requests_at_once": at_once})
    job = api.fl.submit("notes", organization="acme", user="member", parameters={"month": "x" * 250_000})
    path = f"/organizations/acme/jobs/{job.id}"
    others = [api.as_("admin"), api.as_("other-member", "other")]
    assert [one.get("/sessions/current").status_code for one in others] == [200, 200]
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(begun(api, path))) for _ in range(max(1, at_once // 8))]
        until(lambda: sum(one.flow.write_paused for one in connections_of(api)) == len(slow))
        assert max(one.transport.get_write_buffer_size() for one in connections_of(api)) <= 64 * 1024
        waiting = stack.enter_context(closing(asked(api, path)))
        answers = [one.get(f"/organizations/{at}/jobs") for one, at in zip(others, ("acme", "other"), strict=True)]
        assert [one.status_code for one in answers] == [200, 200]
        assert select([waiting], [], [], 0)[0] == [], "it was answered, too"
        slow[0].close()
        assert waiting.recv(12) == b"HTTP/1.1 200"


@pytest.mark.slow
def test_a_stranger_who_reads_no_answer_keeps_nobody_of_the_same_address_from_a_login(api: Api):
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(closing(begun(api, "/openapi.json")))
        until(lambda: any(one.flow.write_paused for one in connections_of(api)))
        login = {"user": "member", "password": "wrong"}
        assert httpx.post(f"{api.url}/api/v1/sessions", json=login, timeout=PATIENCE).status_code == 401


def test_a_user_has_few_downloads_at_once_and_takes_none_of_others(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(downloads, "MOST_OF_USER", 2, raising=False)
    path, _ = large_file_of(api, tmp_path, monkeypatch)
    part = {"Range": "bytes=0-9"}
    with ExitStack() as stack:
        open_ones = [stack.enter_context(closing(begun(api, path))) for _ in range(2)]
        refused = api.as_("member").get(path, headers=part)
        assert (refused.status_code, refused.headers.get("retry-after")) == (429, "10")
        problem = refused.json()
        assert problem["type"] == "urn:fairlane:problem:rate-limited"
        assert problem["detail"] == "A user may have 2 downloads open; wait until one ends, or close one."
        assert api.as_("admin").get(path, headers=part).status_code == 206
        open_ones[0].close()
        until(lambda: api.as_("member").get(path, headers=part).status_code == 206)


def test_an_answer_of_which_little_is_read_at_a_time_is_not_kept(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "_READ_TIMEOUT", 1.0)
    path, _ = large_file_of(api, tmp_path, monkeypatch)
    got = 0
    with closing(begun(api, path)) as slow, suppress(ConnectionResetError):
        while got < 512 * 1024 and (piece := slow.recv(1_000)):
            got += len(piece)
            time.sleep(0.04)  # a busy machine makes the reader slower, and never faster
    assert got < 512 * 1024, "it was kept"


@pytest.mark.slow
def test_a_download_that_is_read_steadily_at_2_kb_a_second_goes_on(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Twenty times as fast. The reader's kernel takes more only when half of its memory is free again."""
    monkeypatch.setattr(server, "_READ_TIMEOUT", server._READ_TIMEOUT / 20)
    path, _ = large_file_of(api, tmp_path, monkeypatch)
    got, began = 0, time.monotonic()
    with closing(begun(api, path, memory=None)) as steady:
        while got < 400_000:
            time.sleep(0.05)
            while got < min((time.monotonic() - began) * 40_000, 400_000):
                piece = steady.recv(4_000)
                assert piece, f"closed after {got} bytes"
                got += len(piece)


def test_a_look_that_takes_the_database_too_long_is_stopped_and_says_what_to_do(
    serve: Any, monkeypatch: pytest.MonkeyPatch
):
    api: Api = serve({"read_timeout": 0.3})
    slow = "SELECT pg_sleep(60)" if api.fl.database.kind.is_server else FOR_EVER

    def listed(*_: object, **__: object) -> object:
        return api.fl.database.read(lambda connection: connection.execute(text(slow)).all(), of=())

    monkeypatch.setattr(type(api.fl.reads), "list", listed)
    answer = api.as_("member").get("/organizations/acme/jobs")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:fairlane:problem:too-slow")
    assert "Ask for less" in answer.json()["detail"]


async def test_a_snapshot_that_takes_the_database_too_long_is_stopped_for_sockets_and_streams_as_well(
    serve: Any, monkeypatch: pytest.MonkeyPatch
):
    api: Api = serve({"read_timeout": 0.3})
    slow = "SELECT pg_sleep(60)" if api.fl.database.kind.is_server else FOR_EVER

    def counted(*_: object, **__: object) -> object:
        return api.fl.database.read(lambda connection: connection.execute(text(slow)).all(), of=())

    monkeypatch.setattr(type(api.fl.reads), "by_status", counted)
    streamed = api.as_("member").get("/organizations/acme/events")
    assert (streamed.status_code, streamed.json()["type"]) == (503, "urn:fairlane:problem:too-slow")
    async with Wire(api) as wire:
        await wire.come_in(ticket=await ticket_of(api, api.token("member")))
        assert "urn:fairlane:problem:too-slow" in await wire.ask("subscribe", {"organization": "acme"})


@pytest.mark.parametrize("origins", ["*", "https://*.example", "https://a.example, *", "jobs.example", "https://a/b"])
def test_origins_that_would_let_in_everybody_are_refused(origins: str):
    with pytest.raises(ConfigurationError, match="name each origin"):
        WebSettings(web_origins=origins)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("origin", "scheme", "is_elsewhere"),
    [
        ("https://jobs.example", "https", False),
        ("http://jobs.example", "https", True),
        ("http://jobs.example", "wss", True),
        ("http://jobs.example", "http", False),
        ("https://jobs.example", "http", False),  # a proxy that does not say that it has TLS
        ("https://other.example", "https", True),
    ],
)
def test_a_page_without_tls_is_another_site_than_one_with_it(origin: str, scheme: str, is_elsewhere: bool):
    headers = Headers({"origin": origin, "host": "jobs.example"})
    assert comes_from_elsewhere(headers, (), scheme=scheme, must_say=True) == is_elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("what", ["membership", "token", "operator"])
def test_an_export_ends_with_the_right_to_it(api: Api, monkeypatch: pytest.MonkeyPatch, what: str):
    monkeypatch.setattr(audit, "_LOOK_AGAIN", 5)
    for number in range(20):
        api.fl.organizations.update("acme", name=f"Acme {number}")
    client = api.operator() if what == "operator" else api.as_("admin")
    path = "/operator/audit/export?organization=acme" if what == "operator" else "/organizations/acme/audit/export"
    lines = client.get(path).text.splitlines()
    assert len(lines) > 20
    assert "status" not in json.loads(lines[-1])
    real = audit._is_good

    def losing(*given: object) -> bool:
        if what == "membership":
            api.fl.members.add("acme", "admin", role="viewer")
        elif what == "operator":
            api.fl.users.update("olga", operator=False)
        else:
            (token,) = api.fl.tokens.list(organization="acme", user="admin")
            api.fl.tokens.revoke(token.id, organization="acme")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(audit, "_is_good", losing)
    *told, refused = client.get(path).text.splitlines()
    assert len(told) == 5
    assert json.loads(refused)["status"] == 403


def test_an_organization_has_few_exports_at_once_and_takes_none_of_others(api: Api, monkeypatch: pytest.MonkeyPatch):
    """Every line is made by the interpreter, which all requests share: 320 streams slowed others down ten times."""
    monkeypatch.setattr(downloads, "MOST_EXPORTS", 1)
    monkeypatch.setattr(audit, "_LOOK_AGAIN", 1)
    real, goes_on = audit._is_good, threading.Event()
    monkeypatch.setattr(audit, "_is_good", lambda *given: goes_on.wait(PATIENCE) and real(*given))
    api.fl.organizations.update("acme", name="Acme 1")
    path = "/organizations/acme/audit/export"
    api.fl.members.add("acme", "member", role="admin")
    with closing(begun(api, path)):
        refused = api.as_("admin").get(path)
        assert (refused.status_code, refused.headers.get("retry-after")) == (429, "10")
        detail = "1 exports of this audit are open already; wait until one ends, or close one."
        assert refused.json()["detail"] == detail
        goes_on.set()
        assert api.operator().get("/operator/audit/export?organization=acme").status_code == 200
    until(lambda: api.as_("admin").get(path).status_code == 200)


def test_many_logins_at_once_take_the_memory_of_a_few(api: Api, monkeypatch: pytest.MonkeyPatch):
    api.with_password()
    most, now, lock = 0, 0, threading.Lock()
    hasher = REAL()

    class Counting:
        def verify(self, kept: str, tried: str) -> bool:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            try:
                return hasher.verify(kept, tried)
            finally:
                with lock:
                    now -= 1

    monkeypatch.setattr(passwords, "_hasher", Counting)
    threads = [
        threading.Thread(
            target=httpx.post, args=(f"{api.url}/api/v1/sessions",), kwargs={"json": LOGIN, "timeout": PATIENCE}
        )
        for _ in range(12)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert 1 <= most <= 3


LOGIN = {"user": "olga", "password": PASSWORD}
