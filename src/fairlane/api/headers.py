"""Headers that all answers share, and the outermost middleware: it adds them, and answers unexpected errors."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlane.api import problems

# No answer is a page. A browser that shows one as a page must run, load and frame nothing.
SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_MOST_PARAMETERS: Final = 1_000  # of a query

# Descriptions in the OpenAPI document of headers that some answers have.
_TOLD: Final[Mapping[str, str]] = {
    "Accept-Ranges": "bytes: a `Range` may ask for a part.",
    "Allow": "The methods that the address takes.",
    "Content-Disposition": "An attachment, and its name.",
    "Content-Range": "Which bytes these are, and how many there are.",
    "ETag": "Changes with what is answered; send it as `If-None-Match`.",
    "Idempotent-Replayed": "true: these jobs were submitted before.",
    "Location": "The address to go on at.",
    "Retry-After": "In seconds; omitted where waiting alone does not help.",
    "WWW-Authenticate": "How to prove who you are.",
}


def refuse_long_query(scope: Scope) -> None:
    """Refuse a query of very many parameters, before anything parses it: 16,000 took the event loop 48 ms.

    Raises:
        Problem: there are too many.
    """
    if scope["query_string"].count(b"&") >= _MOST_PARAMETERS:
        detail = f"Send at most {_MOST_PARAMETERS} query parameters."
        raise problems.Problem(400, "too-many-parameters", detail)


def headers_told(*names: str) -> dict[str, Any]:
    """Return the part of a response in the OpenAPI document that says which headers it has."""
    return {"headers": {one: {"description": _TOLD[one], "schema": {"type": "string"}} for one in names}}


def is_same(tag: str, if_none_match: str | None) -> bool:
    """Return True if an If-None-Match names a weak ETag, by the weak comparison of RFC 9110."""
    given = [one.strip() for one in (if_none_match or "").split(",")]
    return given == ["*"] or tag in {one if one.startswith("W/") else f"W/{one}" for one in given}


class Outermost:
    """ASGI middleware that adds the shared headers to each answer that does not set them itself.

    It refuses a query that is too long, and a request that gives its length twice. If one of two servers in a row goes
    by Content-Length and the other by Transfer-Encoding, the body for one is the next request for the other.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer an error that was not caught with a problem."""
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
        try:
            refuse_long_query(scope)
            if "content-length" in headers and "transfer-encoding" in headers:
                detail = "Send Content-Length or Transfer-Encoding, not both; the connection is closed."
                raise problems.Problem(400, "ambiguous-length", detail, headers={"Connection": "close"})
            await self._app(scope, receive, secured)
        except Exception as error:
            if has_begun:
                raise
            await problems.problem_of(error).response()(scope, receive, secured)
