"""What is refused of a body's JSON while it comes in: no UTF-8, nested too deeply, of too many values or names."""

from codecs import getincrementaldecoder
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from fairlane.api.problems import Problem

DEEPEST: Final = 32
# A value takes some 100 bytes of memory, and a microsecond at each of several steps. Parameters have no more values
# than bytes, so `create_app` takes their limit where that is larger.
MOST_VALUES: Final = 256 * 1024
# Of a body's objects together: each that is unknown is an error of its own, ten times as dear as to read it.
MOST_NAMES: Final = 50_000
CUT: Final = {"Connection": "close"}  # the rest of the body is not read
_PIECE: Final = 64 * 1024  # bytes that are looked at together
_LONG: Final = 64 * 1024  # brackets that take long enough to look at to hold up others
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class JsonText:
    """What a body says of itself, and what it is made of: counted while it comes in, and nothing is built of it."""

    def __init__(self, headers: Headers, most_values: int) -> None:
        self._kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._most_values = most_values
        self._decoder = getincrementaldecoder("utf-8")()
        self._counts = Counts()

    def add(self, piece: bytes) -> None:
        """Look at the next piece of it.

        Raises:
            Problem
        """
        if piece and self._kind != "application/json":
            detail = "Send JSON, with Content-Type: application/json."
            raise Problem(415, "unsupported-media-type", detail, headers=CUT)
        for start in range(0, len(piece), _PIECE):
            part = piece[start : start + _PIECE]
            # The parser would take UTF-16 and UTF-32, too, of which the counts know nothing.
            if b"\0" in part or not self._is_utf8(part):
                raise _no_utf8()
            self._counts.add(part)
            if self._counts.values > self._most_values:
                detail = f"A body has at most {self._most_values} values; send less at once."
                raise Problem(413, "too-many-values", detail, headers=CUT)
            if self._counts.names > MOST_NAMES:
                detail = f"The objects of a body have at most {MOST_NAMES} names; send less at once."
                raise Problem(413, "too-many-names", detail, headers=CUT)

    async def end(self) -> None:
        """Look at it as a whole.

        Raises:
            Problem
        """
        if not self._is_utf8(b"", final=True):
            raise _no_utf8()
        if await self._is_deep():
            raise Problem(400, "too-deep", f"The body nests more than {DEEPEST} arrays and objects; make it flatter.")

    async def _is_deep(self) -> bool:
        if self._counts.brackets > _LONG:
            return await run_in_threadpool(self._counts.is_deeper_than, DEEPEST)
        return self._counts.is_deeper_than(DEEPEST)

    def _is_utf8(self, part: bytes, *, final: bool = False) -> bool:
        try:
            self._decoder.decode(part, final)
        except UnicodeDecodeError:
            return False
        return True


class Counts:
    """Counts of JSON text that comes in parts, by its marks outside of strings.

    Of text that is no JSON they may be wrong: a parser then comes no further than to where they are right.
    """

    def __init__(self) -> None:
        self.values = 1
        self.names = 0
        self._held = b""  # a backslash, whose escape the next part ends
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
        self.values += outside.count(b",") + brackets.count(b"[")
        # What is no JSON may be nothing but quotation marks. In JSON a value has four at most: its own, and its name's.
        self.values = max(self.values, self._quotes // 4)

    @property
    def brackets(self) -> int:
        """Return how many there are."""
        return len(self._brackets)

    def is_deeper_than(self, most: int) -> bool:
        """Return whether more than so many arrays and objects stand within each other."""
        left = bytes(self._brackets)
        for _ in range(most):
            less = left.replace(b"[]", b"")
            if len(less) == len(left):
                break
            left = less
        return b"[]" in left or left.count(b"[") > most


def _no_utf8() -> Problem:
    return Problem(400, "invalid-json", "The body is no JSON in UTF-8.", headers=CUT)
