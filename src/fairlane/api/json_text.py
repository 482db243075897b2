"""Check a body's JSON while it comes in, and read it. Bad UTF-8, deep nesting and too many parts are refused."""

from codecs import getincrementaldecoder
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from fairlane.api.problems import Problem
from fairlane.domain.numbers import read_json

DEEPEST: Final = 32
# A value takes about 100 bytes of memory, and a microsecond at each of several steps. Parameters have no more values
# than bytes, so `create_app` takes the limit of parameters if that is larger.
MOST_VALUES: Final = 256 * 1024
# Each unknown name is an error, which takes ten times as long as reading the name.
MOST_NAMES: Final = 25_000
# Arrays and objects. Each is copied at several steps, and the garbage collector visits all of them.
MOST_ARRAYS: Final = 25_000
# Python takes quadratic time to read a long number.
MOST_DIGITS: Final = 2_000_000
CUT: Final = {"Connection": "close"}  # the rest of the body is not read
_PIECE: Final = 64 * 1024  # bytes that are looked at together
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS: Final = b"0123456789"


class JsonText:
    """Check the body of one request as JSON text, without building values."""

    def __init__(self, headers: Headers, most_values: int) -> None:
        self._kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._most_values = most_values
        self._decoder = getincrementaldecoder("utf-8")()
        self._counts = Counts()

    def add(self, piece: bytes) -> None:
        """Check the next piece.

        Raises:
            Problem
        """
        if piece and self._kind != "application/json":
            detail = "Send JSON, with Content-Type: application/json."
            raise Problem(415, "unsupported-media-type", detail, headers=CUT)
        for start in range(0, len(piece), _PIECE):
            part = piece[start : start + _PIECE]
            # The parser also accepts UTF-16 and UTF-32, which `Counts` can't read.
            if b"\0" in part or not self._is_utf8(part):
                raise _no_utf8()
            self._counts.add(part)
            for kind, found, most, what in (
                ("values", self._counts.values, self._most_values, "values"),
                ("names", self._counts.names, MOST_NAMES, "names in its objects"),
                ("arrays", self._counts.brackets // 2, MOST_ARRAYS, "arrays and objects"),
                ("digits", self._counts.digits, MOST_DIGITS, "digits in its numbers"),
            ):
                if found > most:
                    detail = f"A body has at most {most} {what}; send less at once."
                    raise Problem(413, f"too-many-{kind}", detail, headers=CUT)

    def end(self) -> None:
        """Check the whole text.

        Raises:
            Problem
        """
        if not self._is_utf8(b"", final=True):
            raise _no_utf8()
        if self._counts.is_deeper_than(DEEPEST):
            raise Problem(400, "too-deep", f"The body nests more than {DEEPEST} arrays and objects; make it flatter.")

    def _is_utf8(self, part: bytes, *, final: bool = False) -> bool:
        try:
            self._decoder.decode(part, final)
        except UnicodeDecodeError:
            return False
        return True


class Counts:
    """Count the parts of JSON text by its marks outside of strings, while the text comes in pieces.

    The counts of text that is not JSON may be wrong. A parser stops where they start to be wrong.
    """

    def __init__(self) -> None:
        self.values = 1
        self.names = 0
        self.digits = 0  # of numbers
        self._held = b""  # a backslash whose escape ends in the next part
        self._quotes = 0
        self._brackets = bytearray()

    def add(self, part: bytes) -> None:
        """Count a part."""
        part = (self._held + part).replace(rb"\\", b"")
        whole = len(part) - part.endswith(b"\\")
        part, self._held = part[:whole], part[whole:]
        pieces = part.replace(rb"\"", b"").split(b'"')
        outside = b"".join(pieces[self._quotes % 2 :: 2])
        brackets = outside.translate(_BRACKETS, _NO_BRACKETS)
        self._brackets += brackets
        self._quotes += len(pieces) - 1
        self.names += outside.count(b":")
        self.digits += len(outside) - len(outside.translate(None, _DIGITS))
        self.values += outside.count(b",") + brackets.count(b"[")
        # In JSON a value has at most four quotation marks: its own two, and its name's two.
        self.values = max(self.values, self._quotes // 4)

    @property
    def brackets(self) -> int:
        """Return the number of opening and closing brackets."""
        return len(self._brackets)

    def is_deeper_than(self, most: int) -> bool:
        """Return True if more than `most` arrays and objects are nested."""
        left = bytes(self._brackets)
        for _ in range(most):
            less = left.replace(b"[]", b"")
            if len(less) == len(left):
                break
            left = less
        return b"[]" in left or left.count(b"[") > most


class ExactRoute(APIRoute):
    """A route whose body may hold parameters. Every digit of a number is kept."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, called with an `_ExactRequest`."""
        handle = super().get_route_handler()

        async def handling(request: Request) -> Response:
            return await handle(_ExactRequest(request.scope, request.receive))

        return handling


class _ExactRequest(Request):
    async def json(self) -> Any:
        """Return the body as JSON."""
        return read_json((await self.body()).decode("utf-8-sig"))


def _no_utf8() -> Problem:
    return Problem(400, "invalid-json", "The body is not JSON in UTF-8.", headers=CUT)
