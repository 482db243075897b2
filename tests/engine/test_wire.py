"""Exceptions on their way from a child process to its worker."""

import json
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter, ValidationError

from fairlane.domain.classify import classify, snooze_of
from fairlane.domain.errors import PermanentError, Snooze, StorageUnavailable, TransientError
from fairlane.engine.executors.base import HandlerQuit
from fairlane.engine.executors.process import _how_it_ended
from fairlane.engine.executors.wire import RemoteError, pack_error, unpack_error


class ServiceDown(TransientError):
    """An application's own transient error."""


class HttpError(Exception):
    """Like those of HTTP clients."""

    def __init__(self, status: int, retry_after: str) -> None:
        super().__init__(f"HTTP {status}")
        self.response = SimpleNamespace(status_code=status, headers={"Retry-After": retry_after})


class NeedsArguments(ConnectionError):
    """Can't be made without knowing more than its message."""

    def __new__(cls, host: str, port: int) -> "NeedsArguments":
        return super().__new__(cls, f"{host}:{port}")

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def sent(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as raised:
        return unpack_error(json.loads(json.dumps(pack_error(raised))))


def caused(error: Exception, *causes: BaseException) -> Exception:
    """An exception that was raised from others."""
    effect: BaseException = error
    for cause in causes:
        effect.__cause__ = cause
        effect = cause
    return error


def answered(response: object) -> Exception:
    """An exception with an answer in it, as botocore and HTTP clients have it."""
    error = RuntimeError("refused")
    error.response = response  # type: ignore[attr-defined]
    return error


def aws(code: str, status: int, **headers: str) -> Exception:
    return answered(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": dict(headers)}}
    )


DATES = {"Retry-After": "Thu, 01 Jan 2026 12:01:00 GMT", "Date": "Thu, 01 Jan 2026 12:00:00 GMT"}
ERRORS = [
    ConnectionResetError(104, "reset"),
    KeyError("x"),
    TransientError("again", retry_after=7),
    ServiceDown("down", retry_after=9),
    PermanentError("never"),
    StorageUnavailable("gone"),
    HttpError(503, "120"),
    HttpError(404, "120"),
    NeedsArguments("host", 80),
    MemoryError(),
    OSError(13, "denied"),
    # Of answers
    answered({"status_code": 404}),
    answered(SimpleNamespace(status_code=429, headers={"retry-after": 30})),
    answered(SimpleNamespace(status_code=429, headers=DATES)),
    answered(SimpleNamespace(status_code=429, retry_after=float("nan"))),
    aws("Throttling", 400),
    aws("NoSuchKey", 404),
    aws("SlowDown", 503, **{"retry-after": "5"}),
    # Of causes
    caused(ValueError("odd"), PermissionError("denied")),
    caused(ValueError("odd"), RuntimeError("odd"), TransientError("again", retry_after=3)),
    caused(HandlerQuit("it quit"), SystemExit(404)),
    caused(HandlerQuit("it quit"), BaseExceptionGroup("several", [SystemExit(1)])),
    caused(ValueError("odd"), ExceptionGroup("several", [PermanentError("never")])),
    # Of groups
    ExceptionGroup("several", [PermanentError("never"), PermissionError("denied")]),
    ExceptionGroup("several", [PermanentError("never"), TransientError("again", retry_after=5)]),
    ExceptionGroup("several", [PermanentError("never"), ExceptionGroup("more", [aws("Throttling", 400)])]),
    ExceptionGroup("several", [caused(ValueError("odd"), PermissionError("denied"))]),
    ExceptionGroup("several", [Snooze(5), PermanentError("never")]),
    # Of snoozes
    Snooze(90, "not yet"),
    ExceptionGroup("several", [Snooze(5, "soon"), ExceptionGroup("more", [Snooze(60, "later")])]),
]


@pytest.mark.parametrize("error", ERRORS, ids=[f"{place} {type(one).__name__}" for place, one in enumerate(ERRORS)])
def test_an_error_means_the_same_as_in_the_worker_itself(error: Exception) -> None:
    there = meaning(sent(error))
    assert there == meaning(error)


def meaning(error: Exception) -> object:
    """What a worker makes of it, but for the traceback."""
    snooze = snooze_of(error)
    return (snooze.seconds, snooze.reason) if snooze is not None else replace(classify(error), traceback="")


def test_a_group_is_one_with_all_in_it() -> None:
    group = sent(ExceptionGroup("several", [KeyError("x"), ExceptionGroup("more", [OSError(13, "denied")])]))
    assert isinstance(group, ExceptionGroup)
    assert [type(one).__name__ for one in group.exceptions] == ["KeyError", "PermissionError"]
    assert "several" in classify(group).traceback


def test_an_error_that_the_worker_sent_and_the_handler_let_pass_is_still_what_it_was() -> None:
    answer = sent(aws("NoSuchKey", 404))
    assert meaning(sent(answer)) == meaning(answer)


def test_an_error_is_of_the_class_that_it_was() -> None:
    error = sent(ConnectionResetError(104, "reset"))
    assert isinstance(error, ConnectionResetError)
    assert (error.errno, str(error)) == (104, "[Errno 104] reset")
    assert isinstance(sent(ServiceDown("down")), ServiceDown)


def test_a_snooze_is_one() -> None:
    snooze = sent(Snooze(90, "not yet"))
    assert isinstance(snooze, Snooze)
    assert (snooze.seconds, snooze.reason) == (90, "not yet")


def test_the_answer_of_an_http_server_is_carried() -> None:
    error = sent(HttpError(503, "120"))
    assert isinstance(error, HttpError)
    assert (error.response.status_code, error.response.headers["retry-after"]) == (503, "120")


def test_what_can_not_be_made_again_is_of_the_nearest_class_that_can() -> None:
    error = sent(NeedsArguments("host", 80))
    assert isinstance(error, ConnectionError)
    assert not isinstance(error, NeedsArguments)
    assert isinstance(error, RemoteError)
    assert error.lineage[0].endswith(":NeedsArguments")
    assert type(sent(ExceptionGroup("several", [ValueError()]))).__name__ == "ExceptionGroup"


def test_a_final_class_is_no_obstacle() -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(int).validate_python("x")
    error = sent(refused.value)
    assert isinstance(error, ValueError)
    assert type(error).__name__ == "ValidationError"


def test_nothing_is_imported_for_an_error() -> None:
    packed = pack_error(ValueError("x")) | {"lineage": ["antigravity:Error", "os:system", "builtins:ValueError"]}
    error = unpack_error(packed)
    assert isinstance(error, ValueError)
    assert type(error).__name__ == "Error"


def test_an_error_without_a_text_is_still_an_error() -> None:
    assert "its __str__ raised RuntimeError" in str(sent(Unspeakable()))


def test_its_traceback_is_its_cause() -> None:
    assert "test_wire.py" in str(sent(ValueError("x")).__cause__)


def test_the_error_of_a_crash_says_what_may_have_killed_it() -> None:
    assert _how_it_ended(-signal.SIGKILL, None) == "was killed by SIGKILL; Linux does that when memory runs out"
    assert _how_it_ended(-60, None) == "was killed by signal 60"
    assert _how_it_ended(-9, ValueError("no JSON")) == "said what can't be understood, so it was killed: no JSON"
