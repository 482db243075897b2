"""Classify the exception of a handler: retry or give up, and what is kept of the exception (R7, R8).

The first rule that knows the exception decides. If none does, the rules are applied to its cause (`raise … from …`).

| rule | transient | permanent |
|---|---|---|
| it has a class that the job type lists, or `TransientError`, `PermanentError`: the nearest of them | if so listed | if so listed |
| it says when to retry: `retry_after`, the header Retry-After | yes, also a 403 or 413 | |
| it carries an HTTP status | 408, 425, 429, 5xx, throttling by AWS (which is a 400) | every other 4xx |
| it has a class that is known by name | network, timeout, resources that ran out | validation, permission, authentication, not found (an ORM's row after two retries) |
| it carries an `errno` | ENOSPC, EMFILE, and all that are not permanent | EACCES, ENOENT, EROFS, … |
| nothing is known | yes | |

`StorageUnavailable` and `InstallationError` are Fairlane's own. The same rules find them, but they are no failure of
the handler: it runs again. In a group such an error decides if no other error is transient; a class that the job type
lists goes before it.

`ValueError`, `TypeError`, `KeyError`, `RuntimeError` and the like are unknown on purpose. The parameters were validated
before the handler ran, so the reason may be half an answer, or a bug that the next release mends. `JSONDecodeError` is
unknown too: a proxy's error page causes it. So is an integrity error: the other row may still appear or go. But
`UnicodeError` is permanent, for the bytes are mostly the job's own. A useless retry costs a few attempts; giving up too
early costs a person's time.

Classes are known by their names, so nothing is imported for them. The exception of a handler in another process is
classified in that process, which has its classes (`engine/executors/child.py`).
"""  # noqa: E501 - a table

import re
import sys
import sysconfig
import traceback
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Final

from fairlane.domain import errors
from fairlane.domain.error_types import (
    AWS_TRANSIENT,
    HEADERS_NAMES,
    KNOWN_TYPES,
    PERMANENT_ERRNOS,
    STATUS_NAMES,
    TRANSIENT_STATUSES,
    Ruling,
    name_of,
)
from fairlane.domain.outcomes import ErrorReport
from fairlane.domain.redact import REDACTED, redact
from fairlane.domain.secrets import SecretValues, without
from fairlane.domain.texts import printable
from fairlane.domain.timing import DAY

TYPE_LIMIT: Final = 200  # characters, of the fingerprint too
MESSAGE_LIMIT: Final = 2_000  # characters
TRACEBACK_LIMIT: Final = 16_384  # bytes
LONGEST_WAIT: Final = DAY  # no foreign server parks a job for longer

# The part that is searched for secrets, which takes 0.2 to 1 ms for a thousand characters. It is a little more than is
# kept, as the mark in the place of a secret may be shorter.
_RAW_MESSAGE_LIMIT: Final = 4_000  # characters
_RAW_TRACEBACK_LIMIT: Final = 24_000  # characters
# An exception that has more is not brief.
_FEW_EXCEPTIONS: Final = 10
_FEW_WORDS: Final = 10
_FEW_FRAMES: Final = 50
_FEW_CHARACTERS: Final = 1_000
# The message of these is made of the arguments and a file's name; other classes may make a longer one.
_PLAIN_WORDS: Final = frozenset(one.__str__ for one in (BaseException, BaseExceptionGroup, KeyError, OSError))
_PLAIN: Final = frozenset({str, bytes, int, float, bool, type(None)})
# What a class may have beside plain values, without running code of its own when it is read.
_HARMLESS: Final = frozenset(
    {"__init__", "__dict__", "__weakref__", "__static_attributes__", "__annotations__", "__annotate_func__"}
)
_PYTHON_CLASS: Final = 1 << 9  # of a class's flags: it was made when the program ran
_OMITTED: Final = "\n… omitted …\n"
# The mark in the place of a secret value while `redact` reads the text: a word, so that the text around it keeps its
# shape.
_HIDDEN: Final = "SecretParameter"
_LONGEST_CHAIN: Final = 20
_SHORT_TYPE_LIMIT: Final = TYPE_LIMIT - 17  # a space and 16 digits of a hash follow

_LIBRARIES: Final = frozenset({"site-packages", "dist-packages"})
_FAIRLANE: Final = Path(__file__).parents[1]
_FOREIGN: Final = (
    _FAIRLANE,
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")),
)
_NOT_STORABLE: Final = re.compile("[\0\ud800-\udfff]")


# The names of classes that decide before all others, and whether what has them is permanent.
Declared = Mapping[str, bool]
_OURS: Final[Declared] = {name_of(errors.TransientError): False, name_of(errors.PermanentError): True}


def classify(
    error: BaseException,
    *,
    transient: Collection[str] = (),
    permanent: Collection[str] = (),
    secrets: tuple[str, ...] = (),
) -> ErrorReport:
    """Return a report of the exception; it also says whether the job is retried. Raise nothing, whatever `error` does.

    A group is permanent only if all its leaves are. The report describes the first transient leaf, else the first leaf
    that met Fairlane's storage, else the first one; the traceback is the whole group's.

    Args:
        error: the exception that the handler raised.
        transient: the names (`name_of`) of the job type's own classes to retry.
        permanent: those of its classes to give up on. The nearest class decides; a class in both is retried.
        secrets: the values of the job's secret parameters (`secret_values`), which are removed from the report.

    The report's type and fingerprint have at most 200 characters, its message 2,000, its traceback 16 KiB;
    `retry_after` is 0 to 86,400 seconds.
    """
    declared = {**_OURS, **dict.fromkeys(permanent, True), **dict.fromkeys(transient, False)}
    # A leaf that wanted to snooze says nothing about the leaf that failed.
    failures = [leaf for leaf in _leaves(error) if not isinstance(leaf, errors.Snooze)] or list(_leaves(error))
    judged = [(leaf, _judge(leaf, declared)) for leaf in failures]
    decisive, ruling = min(judged, key=lambda one: one[1].rank)
    return ErrorReport(
        error_type=_error_type(decisive),
        message=_message(decisive, secrets),
        traceback=_traceback(error, secrets),
        permanent=ruling.permanent,
        retries=ruling.retries,
        is_storage=ruling.is_storage,
        retry_after=ruling.retry_after,
        fingerprint=_fingerprint(decisive),
    )


def is_brief(error: BaseException) -> bool:
    """Return True if `classify` is quick for the exception, as far as can be told without running its code."""
    try:
        return _is_brief(error)
    except BaseException:  # noqa: BLE001 - raised by a class with code of its own
        return False


def _is_brief(error: BaseException) -> bool:
    waiting, size, frames = [error], 0, 0
    for number, one in enumerate(waiting):
        if number == _FEW_EXCEPTIONS or not _answers_nothing(type(one)):
            return False
        words = one.args[:1] if isinstance(one, BaseExceptionGroup) else one.args
        words = (*words, *vars(one).values())
        if isinstance(one, OSError):
            words = (*words, one.filename, one.filename2)
        if type(one).__str__ not in _PLAIN_WORDS or len(words) > _FEW_WORDS or not _PLAIN.issuperset(map(type, words)):
            return False
        size += sum(len(word) if isinstance(word, str | bytes) else sys.getsizeof(word) for word in words)
        frames += sum(1 for _ in islice(traceback.walk_tb(one.__traceback__), _FEW_FRAMES + 1))
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        before = one.__context__ if one.__cause__ is None else one.__cause__
        waiting += () if before is None else (before,)
    return size <= _FEW_CHARACTERS and frames <= _FEW_FRAMES


def _answers_nothing(kind: type) -> bool:
    """Return True if Python's own code answers all that is asked of an exception of this class."""
    return type(kind) is type and all(
        name in _HARMLESS or type(value) in _PLAIN
        for one in kind.__mro__
        if one.__flags__ & _PYTHON_CLASS
        for name, value in vars(one).items()
    )


def snooze_of(error: BaseException) -> errors.Snooze | None:
    """Return the snooze that a handler asked for; the longest of a group that has nothing else."""
    snoozes = [leaf for leaf in _leaves(error) if isinstance(leaf, errors.Snooze)]
    is_all = len(snoozes) == sum(1 for _ in _leaves(error))
    return max(snoozes, key=lambda one: one.seconds) if is_all else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group and of the groups in it; if it is not a group, the exception itself.

    Yield each once: groups share members where two tasks of a handler await the same one, and nested it would be many.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(one.exceptions))
        else:
            yield one


def _flat(error: BaseException) -> BaseException:
    """Return the exception; if it is a group of groups that share members, one group of all its leaves.

    Python formats a shared member once for each way that leads to it: 20 groups deep that are a million.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            return BaseExceptionGroup("of groups that share exceptions", [*_leaves(error)])
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
    return error


def _judge(error: BaseException, declared: Declared) -> Ruling:
    for _ in range(_LONGEST_CHAIN):
        if (ruling := _ruling(error, declared)) is not None:
            return ruling
        if error.__cause__ is None:
            break
        error = error.__cause__
    return Ruling(permanent=False)


def _ruling(error: BaseException, declared: Declared) -> Ruling | None:
    """Return the ruling for this exception alone; None if no rule knows it."""
    lineage = [name_of(kind) for kind in type(error).__mro__]
    wait = _retry_after(error)
    for name in lineage:
        if name in declared:
            return Ruling(declared[name], None if declared[name] else wait)
    if wait is not None:
        return Ruling(permanent=False, retry_after=wait)
    if (permanent := _by_status(error)) is not None:
        return Ruling(permanent)
    known = next((KNOWN_TYPES[name] for name in lineage if name in KNOWN_TYPES), None)
    if known is None and isinstance(error, OSError) and error.errno is not None:
        return Ruling(error.errno in PERMANENT_ERRNOS)
    return known


def _by_status(error: BaseException) -> bool | None:
    """Return True if the exception carries a permanent HTTP status, False if a transient one, None if neither."""
    code = _read(_read(_read(error, "response"), "Error"), "Code")
    if isinstance(code, str) and code in AWS_TRANSIENT:
        return False
    for source in _http_sources(error) if isinstance(error, Exception) else ():  # `SystemExit.code` is none
        for name in STATUS_NAMES:
            status = _read(source, name)
            if isinstance(status, int) and 400 <= status <= 599:
                return status < 500 and status not in TRANSIENT_STATUSES
    return None


def _retry_after(error: BaseException) -> float | None:
    """Return the wait that the exception or the response in it asks for, in seconds."""
    now: datetime | None = None
    wait = _seconds(_read(error, "retry_after"), now)
    for source in _http_sources(error):
        for name in HEADERS_NAMES:
            headers = _read(source, name)
            # A date to wait for is compared with the clock of the server that named it, if the answer has its time.
            now = now or _date(_read(headers, "Date")) or _date(_read(headers, "date"))
            for header in ("Retry-After", "retry-after"):  # a plain dict is case-sensitive
                wait = _seconds(_read(headers, header), now) if wait is None else wait
    return wait


def _seconds(value: object, now: datetime | None) -> float | None:
    if isinstance(value, str):
        value = _from_header(value, now)
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    return float(min(max(value, 0), LONGEST_WAIT))


def _from_header(text: str, now: datetime | None) -> float | timedelta | None:
    try:
        return float(text)
    except ValueError:
        pass
    date = _date(text)
    return date - now if date is not None and now is not None else None


def _date(text: object) -> datetime | None:
    """Read an HTTP date."""
    try:
        date = parsedate_to_datetime(text) if isinstance(text, str) else None
    except (IndexError, OverflowError, TypeError, ValueError):
        return None
    return date if date is None or date.tzinfo else date.replace(tzinfo=UTC)


def _http_sources(error: BaseException) -> tuple[object, ...]:
    response = _read(error, "response")
    return response, _read(response, "ResponseMetadata"), error


def _read(source: object, name: str) -> object:
    """Return the item or the attribute of this name; None if there is none or it can't be read."""
    try:
        get = getattr(source, "get", None)  # all headers have it, but not all are a Mapping
        item = get(name) if callable(get) else None
        return getattr(source, name, None) if item is None else item
    except BaseException:  # noqa: BLE001 - this is foreign code, and there is a failure to report
        return None


def _error_type(error: BaseException) -> str:
    is_ours = isinstance(error, errors.FairlaneError)
    name = (
        type(error).__qualname__ if is_ours else name_of(type(error)).removeprefix("builtins.")
    )  # classes of Fairlane need no module
    return _cut(printable(name), TYPE_LIMIT)  # a class can have any name


def without_words(error: BaseException) -> Exception:
    """Return the part of a handler's error that Fairlane's own log may hold: its class, and where it was raised."""
    kind: type[Exception] = type(_error_type(error), (Exception,), {"__module__": "builtins"})
    return kind().with_traceback(error.__traceback__)


def _message(error: BaseException, secrets: tuple[str, ...]) -> str:
    try:
        text = str(error)
    except BaseException as broken:  # noqa: BLE001 - a failure without its message is still worth a report
        text = f"(no message: its __str__ raised {type(broken).__name__})"
    return _cut(_redacted(without(text, secrets, stop=_RAW_MESSAGE_LIMIT, by=_HIDDEN)), MESSAGE_LIMIT)


def _traceback(error: BaseException, secrets: tuple[str, ...]) -> str:
    secrets = SecretValues(secrets)  # the message may have used up the time for both
    try:
        text = _raw_traceback(error)
    except BaseException as broken:  # noqa: BLE001 - as for the message
        text = f"(no traceback: formatting it raised {type(broken).__name__})"
    if len(text) <= _RAW_TRACEBACK_LIMIT:
        text = without(text, secrets, by=_HIDDEN)
    else:
        head = without(text, secrets, stop=_RAW_TRACEBACK_LIMIT // 4, by=_HIDDEN)
        tail = without(text, secrets, len(text) - _RAW_TRACEBACK_LIMIT * 3 // 4, by=_HIDDEN)
        text = head + _OMITTED + tail
    return _cut_middle(_redacted(text), TRACEBACK_LIMIT)


def _redacted(text: str) -> str:
    """Return a text without secret values in the form that is kept: without other secrets, and storable."""
    return redact(_storable(text)).replace(_HIDDEN, REDACTED)


def _fingerprint(error: BaseException) -> str:
    """Return the key by which errors count as the same: their type and where the application raised them.

    The number of the line is not part of the key, so that an edit above does not make a new error of an old one.
    """
    error_type = _error_type(error)
    digest = sha256(_storable(f"{error_type} {_place(error)}").encode()).hexdigest()[:16]
    return f"{error_type.rpartition('.')[2][:_SHORT_TYPE_LIMIT]} {digest}"


def _place(error: BaseException) -> str:
    """Return where in the application the exception was raised, as module:function; empty if it never was."""
    frames = [
        (frame.f_code.co_filename, f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}")
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    places = [place for file, place in frames if _is_application(file)] or [place for _, place in frames] or [""]
    return places[-1]


def _is_application(file: str) -> bool:
    path = Path(file)
    is_library = not _LIBRARIES.isdisjoint(path.parts) or any(path.is_relative_to(folder) for folder in _FOREIGN)
    return not is_library and not file.startswith("<")  # `<frozen importlib._bootstrap>`


def _storable(text: str) -> str:
    """Return the text without characters that PostgreSQL's text or UTF-8 can't hold."""
    return _NOT_STORABLE.sub("\ufffd", text)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _cut_middle(text: str, limit: int) -> str:
    """Return at most `limit` bytes of the text: its head says where it began, its longer end what happened."""
    data = text.encode()
    if len(data) <= limit:
        return text
    room = limit - len(_OMITTED.encode())
    head, tail = data[: room // 4], data[-(room - room // 4) :]
    return head.decode(errors="ignore") + _OMITTED + tail.decode(errors="ignore")


def _raw_traceback(error: BaseException) -> str:
    """Return the traceback from the application's own code on, without the frames of Fairlane that lead to it.

    If no code of the application is in it, as with a result that can't be stored, the error's message says enough.
    """
    trace = error.__traceback__
    error = _flat(error)
    while trace is not None and Path(trace.tb_frame.f_code.co_filename).is_relative_to(_FAIRLANE):
        trace = trace.tb_next
    if trace is not None:
        return "".join(traceback.format_exception(type(error), error, trace))
    if isinstance(error, errors.FairlaneError):
        return "".join(traceback.format_exception_only(error))
    return "".join(traceback.format_exception(error))
