"""The dashboard's files. Anybody may load them; the dashboard gets its data from the API, like any other client.

The build makes them from frontend/ into the package's folder dashboard/. Their names depend on their content, so a
browser may cache all but the page itself. The page's <base> tells it the path where it is mounted.
"""

import gzip
import html
import mimetypes
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

import fairlane
from fairlane.api.authentication import path_of

FOLDER: Final = Path(fairlane.__path__[0]) / "dashboard"
# Only the dashboard's own scripts, styles and API are allowed, so that no text that a user sent ever runs.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = "index.html"
_BASE: Final = '<base href="/" />'
_FOREVER: Final = "public, max-age=31536000, immutable"
ABSENT: Final = (
    "The dashboard is not built here. npm builds it, which comes with Node.js (20 or newer): run `make dashboard` in "
    "Fairlane's repository and start this again, or install Fairlane from there once more."
)


def is_built() -> bool:
    """Return True if the dashboard is built."""
    return (FOLDER / _PAGE).is_file()


@dataclass(frozen=True, slots=True)
class _File:
    """A file, plain and compressed."""

    body: bytes
    packed: bytes
    media_type: str

    def response(self, headers: Headers, caching: str) -> Response:
        """Return the response with the file; 304 if the browser has it."""
        tag = f'"{sha256(self.body).hexdigest()[:32]}"'
        answer = {"Cache-Control": caching, "ETag": tag, "Vary": "Accept-Encoding", "Content-Security-Policy": POLICY}
        if headers.get("if-none-match") == tag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=answer)
        if "gzip" in headers.get("accept-encoding", ""):
            return Response(self.packed, headers=answer | {"Content-Encoding": "gzip"}, media_type=self.media_type)
        return Response(self.body, headers=answer, media_type=self.media_type)


class Dashboard:
    """ASGI middleware that answers all requests outside of /api.

    Files are read once and found by name, so no path leads out of their folder. All other paths get the page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._files = _read(FOLDER) if is_built() else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        path = path_of(scope).lstrip("/") if scope["type"] == "http" else ""
        is_ours = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"} and path.split("/")[0] != "api"
        if not is_ours:
            await self._app(scope, receive, send)
            return
        await self._answer(path, str(scope.get("root_path", "")), Headers(scope=scope))(scope, receive, send)

    def _answer(self, path: str, root: str, headers: Headers) -> Response:
        if not self._files:
            rest = f"The REST API is served: {root}/api/v1/openapi.json describes it."
            return PlainTextResponse(f"{ABSENT}\n{rest}\n", status_code=HTTPStatus.NOT_FOUND)
        found = self._files.get(path)
        if found is not None and path != _PAGE:
            return found.response(headers, _FOREVER)
        if path.startswith("assets/"):
            # A file of an older release: the page has to be reloaded.
            return PlainTextResponse("There is no such file.\n", status_code=HTTPStatus.NOT_FOUND)
        page = self._files[_PAGE].body.decode().replace(_BASE, f'<base href="{html.escape(root)}/" />', 1).encode()
        return _file(page, "text/html").response(headers, "no-cache")


def _read(folder: Path) -> dict[str, _File]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: _file(path.read_bytes(), mimetypes.guess_type(name)[0] or "application/octet-stream")
        for name, path in found.items()
    }


def _file(body: bytes, media_type: str) -> _File:
    return _File(body, gzip.compress(body, mtime=0), media_type)
