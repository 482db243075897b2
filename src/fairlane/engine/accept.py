"""What a handler hands over, checked before it goes on its way: texts, files and their names."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

from fairlane.domain.errors import PermanentError
from fairlane.domain.secrets import without
from fairlane.encryption.pieces import PIECE

CHECKPOINT_LIMIT: Final = 1024 * 1024  # bytes
TEXT_LIMIT: Final = 10_000  # characters of a log line or a progress message
NAME_LIMIT: Final = 200  # characters of an artifact's name

_MEDIA_TYPE: Final = re.compile("[!-.0-~]+/[!-~][ -~]*")  # printable ASCII


Data = bytes | bytearray | memoryview | str | Path | BinaryIO | Iterator[bytes]


def storable(text: object, secrets: tuple[str, ...] = ()) -> str:
    """Return a text that any database can hold: a character that can't be stored is no reason for a job to fail.

    Args:
        secrets: the values of the job's secret parameters (`secret_values`), which are taken out before it is cut.
    """
    clean = without(str(text), secrets, stop=TEXT_LIMIT)[:TEXT_LIMIT]
    return clean.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def contents(data: Data, check: Callable[[], object]) -> bytes | Path | BinaryIO:
    """Return what to make a file of. What can be read only once is read here, into a spool.

    Args:
        check: called before each piece that is read, to raise if the handler should stop.

    Raises:
        FileNotFoundError: there is nothing at the path.
        TypeError: nothing that a file can be made of.
        PermanentError: a text that UTF-8 can't hold.
    """
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError:
            raise PermanentError(
                "an artifact's text holds half a surrogate pair, which no file can hold; replace it, as by "
                "text.encode(errors='replace')"
            ) from None
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if not isinstance(data, Path):
        spool = new_spool()
        for piece in _pieces(data):
            check()
            spool.write(as_piece(piece))
        return spool
    if not data.is_file():
        raise FileNotFoundError(f"there is no file {data} to make an artifact of")
    # Whoever reads it may be another process, and this one may change its directory.
    return data.absolute()


def _pieces(data: BinaryIO | Iterator[bytes]) -> Iterator[bytes]:
    if hasattr(data, "read"):
        return iter(partial(data.read, PIECE), b"")
    if isinstance(data, Iterator):
        return data
    raise TypeError(
        "an artifact is made of bytes, text, a path, an open binary file or an iterator of bytes, "
        f"not of {type(data).__name__}; give json.dumps(…) of it for a JSON file"
    )


def new_spool() -> BinaryIO:
    """Return a file without a name, which no crash leaves behind. A small one needs no disk."""
    return cast("BinaryIO", _Spool(PIECE))


class _Spool(SpooledTemporaryFile[bytes]):
    """A spool is closed with its last reference: its report may have to be written again, when nobody waits for it."""

    def __del__(self) -> None:
        self.close()


def as_piece(piece: object) -> bytes | bytearray | memoryview:
    """Return a piece of a file. Raises TypeError if it is not bytes."""
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise TypeError(
            f"the pieces of an artifact are bytes, not {type(piece).__name__}; open a file with mode 'rb', "
            "and give text as text.encode()"
        )
    return piece


async def spooled(pieces: AsyncIterator[bytes]) -> BinaryIO:
    """Return the pieces as a spool, which is written in threads. Raises TypeError if one is not bytes."""
    spool, held = new_spool(), bytearray()
    async for piece in pieces:
        held += as_piece(piece)
        if len(held) >= PIECE:
            await asyncio.to_thread(spool.write, held)
            held = bytearray()
    spool.write(held)
    return spool


def safe_name(name: str) -> str:
    """Return an artifact's name that no path can be made of. Raises PermanentError for any other."""
    if not name.strip() or len(name) > NAME_LIMIT:
        raise PermanentError(f"an artifact's name has 1 to {NAME_LIMIT} characters: {name!r}")
    if not name.isprintable():
        raise PermanentError(f"an artifact's name has printable characters only: {name!r}")
    if "/" in name or "\\" in name or ".." in name or name == ".":
        raise PermanentError(f"an artifact's name is no path, so it has no slash and no '..': {name!r}")
    return name


def media_type(content_type: str | None) -> str | None:
    """Return a content type that can be a header of a download. Raises PermanentError for any other."""
    if content_type is not None and (len(content_type) > NAME_LIMIT or not _MEDIA_TYPE.fullmatch(content_type)):
        raise PermanentError(
            f"a content type is a media type like 'text/csv' or 'text/plain; charset=utf-8', at most {NAME_LIMIT} "
            f"printable ASCII characters: {content_type!r}"
        )
    return content_type
