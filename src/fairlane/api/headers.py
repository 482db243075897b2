"""Headers that answers have in common, and the outermost layer: it adds them, and answers where nobody else did."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlane.api import problems

# No answer is a page: a browser that shows one all the same runs, loads and frames nothing.
SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# What the OpenAPI document says of the headers that some answers have.
_TOLD: Final[Mapping[str, str]] = {
    "Accept-Ranges": "bytes: a `Range` may ask for a part.",
    "Allow": "The methods that the address takes.",
    "Content-Disposition": "An attachment, and its name.",
    "Content-Range": "Which bytes these are, and how many there are.",
    "ETag": "Changes with what is answered; send it as `If-None-Match`.",
    "Idempotent-Replayed": "true: these were submitted before.",
    "Location": "Where to go on.",
    "Retry-After": "In seconds; left out where waiting alone does not help.",
    "WWW-Authenticate": "How to prove who one is.",
}


def headers_told(*names: str) -> dict[str, Any]:
    """Return the part of a response in the OpenAPI document that says which headers it has."""
    return {"headers": {one: {"description": _TOLD[one], "schema": {"type": "string"}} for one in names}}


def is_same(tag: str, if_none_match: str | None) -> bool:
    """Return True if a weak ETag is among those of an If-None-Match; compared weakly, as RFC 9110 has it."""
    given = [one.strip() for one in (if_none_match or "").split(",")]
    return given == ["*"] or tag in {one if one.startswith("W/") else f"W/{one}" for one in given}


class Outermost:
    """ASGI middleware; what an answer says itself of these headers stays.

    It refuses a request that gives its length twice. Of two servers in a row, one may go by Content-Length and the
    other by Transfer-Encoding: what one takes for a body is the next request to the other.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer with a problem for an error that nobody has caught."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def secured(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            detail = "Send Content-Length or Transfer-Encoding, not both; the connection is closed."
            problem = problems.Problem(400, "ambiguous-length", detail, headers={"Connection": "close"})
            await problem.response()(scope, receive, secured)
            return
        try:
            await self._app(scope, receive, secured)
        except Exception as error:
            if has_begun:
                raise
            await problems.problem_of(error).response()(scope, receive, secured)
