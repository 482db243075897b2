"""Downloads: their number per user, and headers that are safe although handlers chose the names and types."""

import re
from collections import Counter
from typing import Final, NamedTuple
from urllib.parse import quote

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from fairlane.api.rates import rate_key
from fairlane.api.scope import web_of
from fairlane.domain.errors import RateLimited
from fairlane.domain.timing import RETRY_LATER

MOST_OF_USER: Final = 16  # downloads of one user on a node, and of a user's tokens of one organization
MOST_EXPORTS: Final = 2  # of one organization on a node: an export keeps the interpreter from other requests
_UNKNOWN: Final = "application/octet-stream"
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}", re.ASCII)
# Types that a browser would run or show as a page if it ignored that the file is an attachment.
_ACTIVE: Final = re.compile(r"html|xml|svg|script|flash|pdf\+")
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_LONGEST: Final = 150  # characters of a file's name


class Download(StreamingResponse):
    """A response in pieces. A user may have only some open, as each holds memory and a connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by ASGI.

        Raises:
            RateLimited: the user has too many downloads open.
        """
        request = Request(scope)
        downloads, bounds = web_of(request).downloads, self.bounds(request)
        for key, (most, sentence) in bounds.items():
            if downloads[key] >= most:
                raise RateLimited(sentence.format(most), retry_after=RETRY_LATER)
        downloads.update(bounds.keys())
        try:
            await super().__call__(scope, receive, send)
        finally:
            downloads -= Counter(bounds.keys())  # which keeps no zeros

    def bounds(self, request: Request) -> dict[tuple[str, str], tuple[int, str]]:
        """Return the bounds by owner: how many downloads may be open, and the error text beyond that."""
        sentence = "A user may have {} downloads open; wait until one ends, or close one."
        return {("user", rate_key(request.state.principal)): (MOST_OF_USER, sentence)}


class Export(Download):
    """Lines of JSON that are made while they are sent. An organization, or the operators, may have few of them open."""

    def bounds(self, request: Request) -> dict[tuple[str, str], tuple[int, str]]:
        """Return the bounds of the user, and the bound of all exports."""
        sentence = "{} exports of this audit are open already; wait until one ends, or close one."
        return {
            **super().bounds(request),
            ("exports", request.path_params.get("organization", "")): (MOST_EXPORTS, sentence),
        }


class Part(NamedTuple):
    """A range of bytes from `start` to `stop`, which is excluded."""

    start: int
    stop: int


def disposition(name: str) -> str:
    """Return the Content-Disposition of an attachment.

    The name has no folders. It is given in ASCII, and for newer clients in full.
    """
    last = re.split(r"[/\\]", name)[-1].strip(" .")
    clean = "".join(one for one in last if one.isprintable() and one not in '<>:"|?*')[:_LONGEST].strip(" .")
    shown = clean if clean and clean not in {".", ".."} else "artifact"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", shown)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='', errors='replace')}"


def media_type(given: str) -> str:
    """Return the given type if it is a valid and harmless one; else the type of plain bytes."""
    kind = given.partition(";")[0].strip().lower()
    return kind if _TYPE.fullmatch(kind) and not _ACTIVE.search(kind) else _UNKNOWN


def part_of(header: str | None, size: int) -> Part | None:
    """Return the part of a file of `size` bytes that a Range header asks for.

    It is the whole file if the range is not supported; None if the file has no byte of the range.
    """
    asked = _RANGE.fullmatch(header.strip()) if header is not None else None
    if asked is None or asked[1] == asked[2] == "":
        return Part(0, size)
    if asked[1] == "":
        last = min(int(asked[2]), size)
        return Part(size - last, size) if last else None
    start, stop = int(asked[1]), int(asked[2]) + 1 if asked[2] else size
    if start >= size:
        return None
    # RFC 9110: a range that ends before its start is ignored.
    return Part(start, min(stop, size)) if stop > start else Part(0, size)
