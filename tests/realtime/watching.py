"""A real Socket.IO client that keeps what it is told."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self
from uuid import UUID

import httpx
import socketio
from sqlalchemy import Connection, insert

from fairlane import Fairlane, StorageUnavailable
from fairlane.realtime.events import EVENTS, Heartbeat, JobProgress, Reset
from fairlane.realtime.hub import Hub, Message
from fairlane.store.tables import execution_log
from tests.api.served import Api

PATIENCE = 20.0  # seconds until a test gives up


class Watcher:
    """A client, with a ticket of the user's."""

    def __init__(
        self,
        api: Api,
        user: str,
        organization: str | None,
        *,
        secret: str | None = None,
        ticket: str | None = None,
        transports: tuple[str, ...] = ("websocket",),
    ) -> None:
        self.api = api
        self.secret = secret if secret is not None or ticket is not None else api.token(user, organization)
        self.gone_at: float | None = None  # when it was closed, by `time.monotonic`
        self.told: list[tuple[str, dict[str, Any]]] = []  # but heartbeats
        self.heartbeats: list[dict[str, Any]] = []
        self.refused: Any = None  # why it was not let in
        self.is_gone = asyncio.Event()
        self._ticket = ticket
        self._transports = list(transports)
        self._news = asyncio.Event()
        self._client = socketio.AsyncClient(reconnection=False)
        for event in EVENTS:
            self._client.on(event.name, self._keeping(event.name))
        self._client.on("connect_error", self._keep_refusal)
        self._client.on("disconnect", self._keep_end)

    async def __aenter__(self) -> Self:
        await self.open(self._ticket or await ticket_of(self.api, self.secret or ""))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.disconnect()

    async def open(self, ticket: object) -> None:
        """Connect by a ticket."""
        await self._client.connect(
            self.api.url,
            auth={"ticket": ticket},
            transports=self._transports,
            socketio_path="/api/v1/socket.io",
            wait_timeout=PATIENCE,
        )

    def _keeping(self, name: str) -> Callable[[dict[str, Any]], None]:
        def keep(data: dict[str, Any]) -> None:
            if name == Heartbeat.name:
                self.heartbeats.append(data)
            else:
                self.told.append((name, data))
            self._news.set()

        return keep

    def _keep_refusal(self, data: Any) -> None:
        self.refused = data

    def _keep_end(self, *_: object) -> None:
        self.gone_at = time.monotonic()
        self.is_gone.set()

    async def subscribe(self, **wanted: Any) -> dict[str, Any]:
        """The acknowledgement."""
        answer: dict[str, Any] = await self._client.call("subscribe", wanted, timeout=PATIENCE)
        return answer

    async def unsubscribe(self, room: str) -> dict[str, Any]:
        """The acknowledgement."""
        answer: dict[str, Any] = await self._client.call("unsubscribe", {"room": room}, timeout=PATIENCE)
        return answer

    async def until(self, is_there: Callable[[list[tuple[str, dict[str, Any]]]], object]) -> None:
        """Wait until what it was told is enough."""
        async with asyncio.timeout(PATIENCE):
            while not is_there(self.told):
                self._news.clear()
                await self._news.wait()

    async def until_status(self, job_id: object, status: str, times: int = 1) -> None:
        """Wait until it was told of a job's status."""
        await self.until(lambda _: self.statuses(job_id).count(status) >= times)

    def statuses(self, job_id: object, room: str | None = None) -> list[str]:
        """Return the statuses of a job that were told in a room, or in any."""
        return [
            data["to_status"]
            for name, data in self.told
            if name == "job_status_changed" and data["job_id"] == str(job_id) and room in {None, data["room"]}
        ]

    def names(self) -> list[str]:
        """The names of what it was told."""
        return [name for name, _ in self.told]


async def ticket_of(api: Api, secret: str) -> str:
    """A ticket by a token."""
    async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", headers={"Authorization": f"Bearer {secret}"}) as client:
        answer = await client.post("/socket-tickets")
        assert answer.status_code == 201, answer.text
        ticket: str = answer.json()["ticket"]
        return ticket


def forge(fl: Fairlane, organization: str, job_id: UUID) -> None:
    """Write a row into the log of an organization, of a job that it does not have."""
    stray = {"organization_id": organization, "job_id": job_id, "sequence": 7, "actor": "x", "message": "x"}

    def write(connection: Connection) -> None:
        at = fl.database.clock.now(connection)
        connection.execute(
            insert(execution_log), {**stray, "attempt": 1, "from_status": None, "to_status": "queued", "at": at}
        )

    fl.database.write(write, of=organization)


async def eventually(is_so: Callable[[], object]) -> None:
    """Wait until it is so, of what tells nobody of it."""
    for _ in range(int(PATIENCE / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was so")


def broken(happens: Callable[[], object], is_heard: Callable[[], object]) -> Callable[..., None]:
    """A question in a thread, whose connection breaks once the event loop has heard of what happens meanwhile."""

    def fail(*_: object) -> None:
        happens()
        until = time.monotonic() + PATIENCE
        while not is_heard():
            assert time.monotonic() < until, "nobody has heard of it"
            time.sleep(0.01)
        raise StorageUnavailable("The connection broke.")

    return fail


def tell_much(hub: Hub) -> None:
    """Tell the one room that there is more than the network takes for somebody who does not read."""
    (room,) = hub.rooms
    for number in range(200):
        message = Message(room, Reset(room=room.name, cursor=f"{number}"))
        message.name, message.data = JobProgress.name, {"message": "x" * 100_000}
        hub.tell(message)
