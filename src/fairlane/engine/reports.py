"""The reports of a running handler to its worker, as values, with checks of their content.

Reports cross threads and, as JSON, the process boundary.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, cast
from uuid import UUID

from fairlane.domain.errors import PermanentError
from fairlane.domain.secrets import bare, without
from fairlane.domain.statuses import JobStatus
from fairlane.encryption.pieces import PIECE

CHECKPOINT_LIMIT: Final = 1024 * 1024  # bytes
TEXT_LIMIT: Final = 10_000  # characters of a log line or a progress message
NAME_LIMIT: Final = 200  # characters of an artifact's name
_MEDIA_TYPE: Final = re.compile("[!-.0-~]+/[!-~][ -~]*")  # printable ASCII
Data = bytes | bytearray | memoryview | str | Path | BinaryIO | Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Progress:
    """A progress: percent from 0 to 100, or None for unknown, and the present work."""

    percent: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """A log line of the job."""

    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: the state, as JSON text, from which the next attempt may resume."""

    state: str


@dataclass(frozen=True, slots=True)
class File:
    """An artifact: its bytes, or the path of a file, or an open file that is read from its start."""

    name: str
    data: bytes | Path | BinaryIO
    content_type: str | None = None


Report = Progress | LoggedLine | Checkpoint | File


class Interruption(StrEnum):
    """The reason why a handler is asked to stop."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease lost"


class Channel(Protocol):
    """The channel from an attempt to its worker. Safe to use from any thread; `send` never blocks."""

    def send(self, report: Report) -> "Future[Any]":
        """Take the report; the future is done when it is durable, or fails with the reason why it can't be."""

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        """Return the bytes of a parent's artifact in pieces. Blocks.

        Raises StorageUnavailable if the storage did not answer.
        """


@dataclass(frozen=True, slots=True)
class ParentInput:
    """A parent in the inputs: its status, result and artifacts. `result` is JSON text until `with_results` reads it."""

    id: UUID
    job_type: str
    status: JobStatus
    result: Any
    labels: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # by name: the path and the size
    headers: str | None = None


class AttemptInputs(NamedTuple):
    """The inputs of an attempt, as plain data.

    `timeout` in seconds; `checkpoint`, `parameters` and `headers` are JSON text; `is_sealed`: the organization has an
    encryption key.
    """

    organization: str
    job_id: UUID
    job_type: str
    user: str | None
    attempt: int
    lease_token: UUID
    parameters: str
    labels: Mapping[str, str]
    timeout: float | None
    checkpoint: str | None = None
    parents: tuple[ParentInput, ...] = ()
    headers: str | None = None
    is_sealed: bool = False

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of {self.job_id}>"  # no log and no traceback holds a job's data


def with_results(inputs: AttemptInputs) -> AttemptInputs:
    """Return the inputs with the results of parents decoded for the handler.

    Raises:
        ValueError, RecursionError: a result is not JSON.
    """
    parents = [
        one if one.result is None else replace(one, result=bare(json.loads(one.result))) for one in inputs.parents
    ]
    return inputs._replace(parents=tuple(parents))


def storable(text: object, secrets: tuple[str, ...] = ()) -> str:
    """Return a text that any database can hold: a character that can't be stored must not fail the job.

    Args:
        secrets: the values of the job's secret parameters (`secret_values`), which are removed before it is cut.
    """
    clean = without(str(text), secrets, stop=TEXT_LIMIT)[:TEXT_LIMIT]
    return clean.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def contents(data: Data, check: Callable[[], object]) -> bytes | Path | BinaryIO:
    """Return the content of an artifact. Data that can be read only once is read here, into a spool.

    Args:
        check: called before each piece that is read, to raise if the handler should stop.

    Raises:
        FileNotFoundError: there is no file at the path.
        TypeError: no file can be made of the data.
        PermanentError: UTF-8 can't hold the text.
    """
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError:
            raise PermanentError(
                "an artifact's text holds half a surrogate pair, which no file can hold; replace it, for example by "
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
    # Another process may read it, and this process may change its directory.
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
    """Return a file without a name, which no crash leaves behind. A small file needs no disk."""
    return cast("BinaryIO", _Spool(PIECE))


class _Spool(SpooledTemporaryFile[bytes]):
    """A temporary file that is closed with its last reference: its report may be written again without the handler."""

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
    """Return an artifact's name that can't be used as a path. Raises PermanentError for any other."""
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
