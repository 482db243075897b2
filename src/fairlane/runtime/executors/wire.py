"""What a worker and its child processes say to each other: JSON, one message a line. Nothing is pickled.

From the worker:
    hello: path, pythonpath, directory   once; the directory is for files on their way
    start: facts, target, run            run this handler; `run` numbers what is run, so that nothing late is mistaken
    interrupt: reason                    stop it
    done | failed: number                the answer to a report or read of that number
    paced: run                           more progress is welcome

From the child, each with its `run`, but for the first:
    ready
    report | read, number                `number` None: wants no answer
    returned: JSON text | raised: error | stopped
"""

import json
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from email.message import Message as Headers
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from pydantic import TypeAdapter

from fairlane.domain.errors import PermanentError
from fairlane.runtime.reports import AttemptFacts, Checkpoint, File, Line, Progress, Report

Message = dict[str, Any]

LINE_LIMIT: Final = 16 * 1024 * 1024  # bytes
FACTS: Final = TypeAdapter(AttemptFacts)

_REPORTS: Final = {kind.__name__: kind for kind in (Progress, Line, Checkpoint, File)}
_MESSAGE_LIMIT: Final = 10_000  # characters
_TRACEBACK_LIMIT: Final = 100_000  # characters, of its end
# What is carried of an exception beside its message: what classifying it may depend on.
_CARRIED: Final = ("retry_after", "status_code", "status", "code", "errno", "seconds", "reason")


class RemoteError(Exception):
    """An exception of a handler in another process: as much of it as text and numbers can carry.

    Each is also an instance of the nearest of the original's classes that this process has loaded, so that it is
    classified as in the worker itself. `lineage` names all the original's classes, as `module:name`.
    """

    lineage: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.args[0])


class RemoteTraceback(Exception):
    """The traceback of a `RemoteError` as text: the cause of it, so that it is shown wherever that is."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def line(message: Message) -> bytes:
    """A message as it is sent. Raises PermanentError if it is too long."""
    data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(data) > LINE_LIMIT:
        raise PermanentError(
            f"{len(data):,} bytes can't be passed between the worker and the handler's process, {LINE_LIMIT:,} are "
            "allowed: pass the bulk as artifacts"
        )
    return data


def pack_report(report: Report) -> Message:
    """A report as a message; a file must be a path by now."""
    packed = asdict(report) | {"kind": type(report).__name__}
    return packed | {"data": str(report.data)} if isinstance(report, File) else packed


def unpack_report(packed: Message) -> Report:
    """The report that was packed."""
    kind = _REPORTS[packed.pop("kind")]
    if kind is File:
        packed["data"] = Path(packed["data"])
    report: Report = kind(**packed)
    return report


def pack_error(error: BaseException) -> Message:
    """An exception as a message."""
    return {
        "lineage": [f"{one.__module__}:{one.__qualname__}" for one in type(error).__mro__[:-2]],  # not BaseException
        "message": _text(error)[:_MESSAGE_LIMIT],
        "traceback": "".join(traceback.format_exception(error))[-_TRACEBACK_LIMIT:],
        **_carried(error),
        "response": _carried(response) if (response := getattr(error, "response", None)) is not None else None,
    }


def unpack_error(packed: Message) -> Exception:
    """An exception that says of itself, and is classified, what the packed one was."""
    lineage = tuple(packed["lineage"])
    error = next(mirror for name in (*lineage, "builtins:Exception") if (mirror := _mirror(lineage[0], name)))
    error.args = (packed["message"],)
    error.lineage = lineage
    error.__cause__ = RemoteTraceback(packed["traceback"])
    _put_back(error, packed)
    if packed["response"] is not None:
        response = SimpleNamespace()
        _put_back(response, packed["response"])
        _set(error, "response", response)
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - an exception whose text can't be had must not hide that it was raised
        return f"(no message: its __str__ raised {type(broken).__name__})"


def _carried(source: object) -> Message:
    attributes = {name: getattr(source, name, ...) for name in _CARRIED}
    header = getattr(getattr(source, "headers", None), "get", None)
    return {
        "attributes": {k: v for k, v in attributes.items() if v is None or isinstance(v, int | float | str)},
        "retry_after_header": header("Retry-After") if header is not None else None,
    }


def _put_back(target: object, packed: Message) -> None:
    for name, value in packed["attributes"].items():
        _set(target, name, value)
    if packed["retry_after_header"] is not None:
        headers = Headers()  # its keys have no case
        headers["Retry-After"] = packed["retry_after_header"]
        _set(target, "headers", headers)


def _set(target: object, name: str, value: object) -> None:
    # Some classes have a read-only property of the name; then what it says without the original's state must do.
    with suppress(AttributeError, TypeError):
        setattr(target, name, value)


def _mirror(original: str, known: str) -> RemoteError | None:
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
        error: RemoteError = mirror.__new__(mirror)
    except TypeError:
        return None  # a final class, or one that can't be made without arguments
    return error
