"""What a worker and its child processes say to each other: JSON, one message a line. Nothing is pickled.

From the worker:
    hello: path, pythonpath, directory   once; the directory is for files on their way
    start: facts, target, run            run this handler; `run` numbers what is run, so that nothing late is mistaken
    interrupt: reason                    stop it
    done | failed: number                the answer to a report or read of that number
    paced: run                           more progress is welcome

From the child, each with its `run`, but for the first:
    ready
    begun                                the handler is imported and called now
    report | read, number                `number` None: wants no answer
    returned: JSON text | raised: error | stopped, clean
                                         not `clean`: not for another handler, because this one
                                         has left processes running or has limited what the process may use
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from email.message import Message as Headers
from itertools import islice
from math import isfinite
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import uuid4

from pydantic import TypeAdapter

from fairlane.domain.classify import leaves, place_of, read, traceback_of
from fairlane.domain.error_types import HEADERS_NAMES, STATUS_NAMES
from fairlane.domain.errors import PermanentError
from fairlane.engine.reports import AttemptFacts, Checkpoint, File, LoggedLine, Progress, Report

Message = dict[str, Any]

LINE_LIMIT: Final = 16 * 1024 * 1024  # bytes
FACTS: Final = TypeAdapter(AttemptFacts)

_REPORTS: Final = {kind.__name__: kind for kind in (Progress, LoggedLine, Checkpoint, File)}
_MESSAGE_LIMIT: Final = 10_000  # characters
_TRACEBACK_LIMIT: Final = 100_000  # characters, of its end
_TEXT_LIMIT: Final = 2_000  # characters, of what is carried beside message and traceback
_MOST_LEAVES: Final = 100  # of a group; so many messages fit into a line
_MOST_CAUSES: Final = 19  # classifying looks no further
# What classifying may depend on: of an exception, of the HTTP answer in it, and of the parts of an answer of AWS.
_CARRIED: Final = ("retry_after", "errno", "seconds", "reason", "Code", *STATUS_NAMES)
_HEADERS: Final = ("Retry-After", "retry-after", "Date", "date")
_PARTS: Final = {"error": ("response",), "response": ("Error", "ResponseMetadata")}


class RemoteError(Exception):
    """An exception of a handler in another process: as much of it as text and numbers can carry.

    Each is also an instance of the nearest of the original's classes that this process has loaded, so that it is
    classified as in the worker itself. `lineage` names all the original's classes, as `module:name`; `place` is where
    in the application it was raised.
    """

    lineage: tuple[str, ...]
    place: str

    def __str__(self) -> str:
        return str(self.args[0])


class RemoteTraceback(Exception):
    """The traceback of a `RemoteError` as text: the cause of it, so that it is shown wherever that is."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def place_for_file(directory: Path) -> Path:
    """Return a path for a file on its way. The directory is made for the first: most children never see one."""
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory / uuid4().hex


def line(message: Message) -> bytes:
    """Return a message as it is sent. Raises PermanentError if it is too long."""
    data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(data) > LINE_LIMIT:
        raise PermanentError(
            f"{len(data):,} bytes can't be passed between the worker and the handler's process, {LINE_LIMIT:,} are "
            "allowed: pass the bulk as artifacts"
        )
    return data


def pack_report(report: Report) -> Message:
    """Return a report as a message; a file must be a path by now."""
    packed = asdict(report) | {"kind": type(report).__name__}
    return packed | {"data": str(report.data)} if isinstance(report, File) else packed


def unpack_report(packed: Message) -> Report:
    """Return the report that was packed."""
    kind = _REPORTS[packed.pop("kind")]
    if kind is File:
        packed["data"] = Path(packed["data"])
    report: Report = kind(**packed)
    return report


def pack_error(error: BaseException) -> Message:
    """Return an exception as a message."""
    text = traceback_of(error)[-_TRACEBACK_LIMIT:]
    packed = _pack(error) | {"traceback": text, "leaves": []}
    if isinstance(error, BaseExceptionGroup):
        packed["leaves"] = [_pack(leaf) for leaf in islice(leaves(error), _MOST_LEAVES)]
    return packed


def _pack(error: BaseException) -> Message:
    return {
        **_kind(error),
        "message": _text(error)[:_MESSAGE_LIMIT],
        "place": place_of(error),
        "causes": [_kind(cause) for cause in islice(_causes(error), _MOST_CAUSES)],
    }


def _kind(error: BaseException) -> Message:
    names = [f"{one.__module__}:{one.__qualname__}" for one in type(error).__mro__[:-2]]  # not BaseException
    return {
        "lineage": list(error.lineage) if isinstance(error, RemoteError) else names,
        # `SystemExit.code` is no HTTP status, and must not become one on its way.
        "carried": _carried(error, "error") if isinstance(error, Exception) else None,
    }


def _causes(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__) is not None:
        yield cause
        error = cause


def unpack_error(packed: Message) -> Exception:
    """Return an exception that says of itself, and is classified, what the packed one was."""
    error = _unpack(packed, [_unpack(leaf) for leaf in packed["leaves"]])
    shown = RemoteTraceback(packed["traceback"])
    shown.__cause__ = error.__cause__
    error.__cause__ = shown
    return error


def _unpack(packed: Message, within: Sequence[Exception] = ()) -> RemoteError:
    error = _made(packed["lineage"], packed["message"], within)
    error.place = packed["place"]
    _put_back(error, packed["carried"])
    effect = error
    for cause in packed["causes"]:
        effect.__cause__ = made = _made(cause["lineage"], "")
        _put_back(made, cause["carried"])
        effect = made
    return error


def _made(lineage: Sequence[str], message: str, within: Sequence[Exception] = ()) -> RemoteError:
    names = (*lineage, "builtins:Exception")
    error = next(mirror for name in names if (mirror := _mirror(lineage[0], name, message, within)))
    error.args = (message,)
    error.lineage = tuple(lineage)
    error.place = ""
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - an exception whose text can't be had must not hide that it was raised
        return f"(no message: its __str__ raised {type(broken).__name__})"


def _carried(source: object, role: str) -> Message:
    """Return what the rules may read of an exception, an answer or a part of one, read as they do it."""
    headers = {name: _plain(read(source, name), _HEADERS) for name in HEADERS_NAMES}
    parts = {name: read(source, name) for name in _PARTS.get(role, ())}
    return {
        "attributes": _plain(source, _CARRIED),
        "headers": {name: lines for name, lines in headers.items() if lines},
        "parts": {name: _carried(part, name) for name, part in parts.items() if part is not None},
    }


def _plain(source: object, names: Sequence[str]) -> Message:
    """Return those of these items or attributes that JSON has."""
    found: Message = {}
    for name in names:
        value = read(source, name)
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, str):
            found[name] = value[:_TEXT_LIMIT]
        elif isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
            found[name] = value
    return found


def _put_back(target: object, carried: Message | None) -> None:
    if carried is None:
        return
    for name, value in carried["attributes"].items():
        _set(target, name, value)
    for name, lines in carried["headers"].items():
        headers = Headers()  # its keys have no case
        for header, value in lines.items():
            headers[header] = value
        _set(target, name, headers)
    for name, part in carried["parts"].items():
        made = SimpleNamespace()
        _put_back(made, part)
        _set(target, name, made)


def _set(target: object, name: str, value: object) -> None:
    # Some classes have a read-only property of the name; then what it says without the original's state must do.
    with suppress(AttributeError, TypeError):
        setattr(target, name, value)


def _mirror(original: str, known: str, message: str, within: Sequence[Exception]) -> RemoteError | None:
    """An error called as the original, of a class that this process has loaded; None if it has not, or can't be made.

    Nothing is imported: what a handler raises must not decide what its worker loads.
    """
    module, _, name = known.partition(":")
    base: Any = sys.modules.get(module)
    for part in name.split("."):
        base = getattr(base, part, None)
    if not (isinstance(base, type) and issubclass(base, Exception)):
        return None
    module, _, name = original.partition(":")
    try:
        mirror: Any = type(name.rpartition(".")[2], (RemoteError, base), {"__module__": module, "__qualname__": name})
        group = (message, within) if issubclass(base, ExceptionGroup) else ()
        error: RemoteError = mirror.__new__(mirror, *group)
    except (TypeError, ValueError):
        return None  # a final class, or one that can't be made without its arguments
    return error
