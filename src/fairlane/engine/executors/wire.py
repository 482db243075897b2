"""The messages between a worker and its child processes: JSON, one message a line. Nothing is pickled.

From the worker:
    hello: path, pythonpath, directory,  once; the directory is for files under way. `logs`: level and form of log
           logs                          lines, None if the application has set up logging itself
    start: inputs, target, middlewares,  run this handler, in these middlewares; `errors` names its type's own transient
           errors, limit, run            and permanent ones, `limit` is of its result in bytes, and `run` numbers what
                                         is run, so that nothing late is mistaken
    interrupt: reason                    stop it
    done | failed: number                the answer to a report or read of that number
    paced: run                           more progress is welcome

From the child, each with its `run`, but for the first:
    ready
    begun                                the handler is imported and called now
    report | read, number                `number` None: wants no answer
    returned: JSON text | raised: report | snoozed: seconds, reason | stopped, clean
                                         not `clean`: not for another handler, because this one
                                         has left processes running or has limited what the process may use
"""

import json
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pydantic import TypeAdapter

from fairlane.domain.errors import FairlaneError, PermanentError
from fairlane.engine.reports import AttemptInputs, Checkpoint, File, LoggedLine, Progress, Report

Message = dict[str, Any]

LINE_LIMIT: Final = 16 * 1024 * 1024  # bytes
INPUTS: Final = TypeAdapter(AttemptInputs)

_REPORTS: Final = {kind.__name__: kind for kind in (Progress, LoggedLine, Checkpoint, File)}
_TEXT_LIMIT: Final = 100_000  # characters of an error


def place_for_file(directory: Path) -> Path:
    """Return a path for a file under way. The first file makes the directory: most children never need it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory / uuid4().hex


def line(message: Message, times: int = 1) -> bytes:
    """Return a message as bytes.

    Args:
        times: the factor of the limit, as text within this text is escaped.

    Raises:
        PermanentError: it is too long.
    """
    text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    data = text.encode(errors="surrogatepass") + b"\n"  # as `json.loads` reads it; a path may have halves of pairs
    refuse_longer(len(data), times)
    return data


def refuse_longer_texts(texts: Iterable[str]) -> None:
    """Raise PermanentError if these are too long for a message, before the message is made."""
    size = 0
    for text in texts:
        size += len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
        refuse_longer(size)


def refuse_longer(size: int, times: int = 1) -> None:
    """Raise PermanentError if a message of so many bytes is too long to be sent."""
    if size > times * LINE_LIMIT:
        raise PermanentError(
            f"{size:,} bytes can't be passed between the worker and the handler's process, {LINE_LIMIT:,} are "
            "allowed: pass the bulk as artifacts"
        )


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
    """Return an error as a message, the answer to a handler's report or read."""
    is_mistake = not isinstance(error, FairlaneError)
    return {
        "classes": [(one.__module__, one.__qualname__) for one in type(error).__mro__],
        "text": str(error)[:_TEXT_LIMIT],
        "errno": error.errno if isinstance(error, OSError) else None,
        "traceback": "".join(traceback.format_exception(error))[-_TEXT_LIMIT:] if is_mistake else "",
    }


def unpack_error(packed: Message) -> Exception:
    """Return an error of the nearest class that this process has and that takes a text."""
    error = Exception(packed["text"])
    for module, name in packed["classes"]:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            with suppress(TypeError, ValueError):
                error = kind(packed["text"])
                break
    if isinstance(error, OSError):
        error.errno = packed["errno"]
    if packed["traceback"]:
        error.add_note(packed["traceback"])
    return error
