"""Events as they happen: tickets for Socket.IO, and streams of server-sent events."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from fairlane.accounts.tickets import TICKET
from fairlane.api.authentication import ROOT
from fairlane.api.rates import Rate, rate_key
from fairlane.api.representations import EXAMPLE_ID
from fairlane.api.request_tenants import tenant_in
from fairlane.api.scope import ByOperator, InOrganization, Operation, Scope, principal_of, web_of
from fairlane.domain.permissions import Principal, Right
from fairlane.realtime.live import Opened
from fairlane.realtime.sse import Stream

router = APIRouter(prefix=ROOT, tags=["events"])

_Watching = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]
_Operating = Annotated[Operation, Depends(ByOperator(Rate.STATUS, Right.JOBS_READ))]
_After = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=2_000, description="The last `id` that the client got from the stream."),
]
_EVENT_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events as docs/realtime.md describes them, until the client disconnects.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class Ticket(BaseModel):
    """A ticket that opens one socket, once, on any node: Socket.IO's `auth` is {"ticket": …}."""

    ticket: str = Field(examples=["Jx0…"])
    expires_in: int = Field(description="In seconds.", examples=[60])


class EventStream(StreamingResponse):
    """A stream that leaves its room in any case when it ends."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, first: dict[str, Any]) -> None:
        # A proxy that buffers its answers would delay events.
        super().__init__(stream.lines(first), headers={"X-Accel-Buffering": "no"})
        self._stream = stream

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer by ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


class Realtime(BaseModel):
    """The state of live events at the node that answers; each node has its own."""

    clients: int = Field(description="Open sockets and streams.")
    rooms: int = Field(description="Rooms with a client in them.")
    dropped: int = Field(description="Clients that were closed because they did not read their events.")
    strays: int = Field(description="Events that were sent to nobody, because the organization had no such job.")


@router.post("/socket-tickets", status_code=201, operation_id="createSocketTicket")
def create_ticket(request: Request) -> Ticket:
    """Get a ticket that opens a socket with the rights of this request's credential."""
    principal, web = principal_of(request), web_of(request)
    web.rates.count(Rate.STATUS, rate_key(principal))
    assert principal.credential is not None, "a request has proved it"
    return Ticket(ticket=web.fl.tickets.create(principal.credential), expires_in=int(TICKET.total_seconds()))


@router.get(
    "/organizations/{organization}/events",
    operation_id="watchOrganization",
    response_class=StreamingResponse,
    responses=_EVENT_STREAM,
)
async def watch(
    request: Request,
    scope: _Watching,
    job: Annotated[str | None, Query(max_length=100, description="Only of this job.", examples=[EXAMPLE_ID])] = None,
    last_event_id: _After = None,
) -> Response:
    """Watch an organization, or one of its jobs, as server-sent events."""
    web = web_of(request)
    opened = await web.live.ask(tenant_in(scope.access), web.door.open_for, scope.access, job)
    return await _stream(request, scope.principal, opened, last_event_id)


@router.get("/operator/events", operation_id="watchAll", response_class=StreamingResponse, responses=_EVENT_STREAM)
async def watch_all(request: Request, operation: _Operating, last_event_id: _After = None) -> Response:
    """Watch the jobs of all organizations as server-sent events."""
    web = web_of(request)
    opened = await web.live.ask(web.door.tenant(operation.principal), web.door.open_all, operation.principal)
    return await _stream(request, operation.principal, opened, last_event_id)


@router.get("/operator/realtime", operation_id="getRealtime")
def get_realtime(request: Request, _operation: _Operating) -> Realtime:
    """Count open sockets and streams of the node that answers, and events that it did not send."""
    hub = web_of(request).live.hub
    return Realtime(clients=len(hub.clients), rooms=len(hub.rooms), dropped=hub.dropped, strays=hub.strays)


async def _stream(request: Request, principal: Principal, opened: Opened, after: str | None) -> Response:
    stream = Stream(web_of(request).live, principal)
    return EventStream(stream, await stream.open(opened, after))
