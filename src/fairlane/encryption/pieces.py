"""Files in pieces, so that no file is in memory whole. A handler's process loads this module without the database."""

from collections.abc import Iterable, Iterator
from functools import partial
from io import IOBase
from pathlib import Path
from typing import BinaryIO, Final

PIECE: Final = 1024 * 1024  # bytes of a file in memory at once


def pieces_of(data: bytes | Path | BinaryIO | Iterator[bytes], size: int = PIECE) -> Iterator[bytes]:
    """Yield bytes in pieces of `size`, those of an open file from its start; the last one may be smaller."""
    if isinstance(data, bytes):
        yield from (data[at : at + size] for at in range(0, len(data), size))
    elif isinstance(data, Path):
        with data.open("rb") as file:
            yield from iter(partial(file.read, size), b"")
    elif isinstance(data, IOBase):
        data.seek(0)
        yield from iter(partial(data.read, size), b"")
    else:
        yield from in_pieces(data, size)


def in_pieces(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of `size`; the last one may be smaller."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= size:
            yield _cut(held, size)
    if held:
        yield bytes(held)


def _cut(held: bytearray, size: int) -> bytes:
    """Remove and return the first bytes, so that they are not in memory twice while a reader is slow."""
    piece = bytes(held[:size])
    del held[:size]
    return piece


def save(pieces: Iterable[bytes], path: Path | str) -> Path:
    """Write pieces to a new file, whole or not at all, and return its path. Raises FileExistsError."""
    with Path(path).open("xb") as file:
        try:
            file.writelines(pieces)
        except BaseException:
            Path(path).unlink()  # otherwise a part looks like a whole file
            raise
    return Path(path)
