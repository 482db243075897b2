"""R7: which errors are tried again, and what is kept of them; R8: by what they are grouped."""

import asyncio
import errno
import http.client
import json
import socket
import sqlite3
import ssl
import subprocess
import urllib.error
from collections.abc import Callable
from datetime import timedelta
from email.message import Message
from http import HTTPStatus
from math import inf, nan
from types import CodeType, SimpleNamespace
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain import errors
from fairlane.domain.classify import (
    LONGEST_WAIT,
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    TYPE_LIMIT,
    classify,
    is_brief,
    snooze_of,
)
from fairlane.domain.error_types import name_of
from fairlane.domain.errors import PermanentError, TransientError
from fairlane.domain.secrets import secret_values

NOW = "Thu, 01 Jan 2026 12:00:00 GMT"
SECRET = "hunter" + "2"


def third_party(name: str, *bases: type[BaseException], **members: object) -> type[Exception]:
    """A class that is called as one of a library that need not be installed."""
    module, _, short = name.rpartition(".")
    return type(short, bases or (Exception,), {"__module__": module, **members})


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The exception after it was raised."""
    try:
        raise error from cause
    except BaseException as raised:  # noqa: BLE001 - whatever it is
        return raised


def with_attribute(name: str, value: object) -> Exception:
    error = ValueError()
    setattr(error, name, value)
    return error


def named(*kinds: type[BaseException]) -> tuple[str, ...]:
    return tuple(map(name_of, kinds))


def name_and_text(error: BaseException) -> str:
    return f"{type(error).__module__}.{error!r}"


def invalid_model() -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as raised:
        pydantic.TypeAdapter(int).validate_python("x")
    return raised.value


def undecodable_json() -> json.JSONDecodeError:
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads("<html>")
    return raised.value


def http_error(status: object, headers: object = None, name: str = "status_code") -> Exception:
    """Make an error like those of requests and httpx: the response is in the error."""
    error = RuntimeError(f"HTTP {status}")
    error.response = SimpleNamespace(**{name: status}, headers=headers)  # type: ignore[attr-defined]
    return error


def http_error_itself(name: str, status: object) -> Exception:
    error = RuntimeError(f"HTTP {status}")
    setattr(error, name, status)
    return error


def urllib_error(status: int, retry_after: str | None = None) -> urllib.error.HTTPError:
    headers = Message()
    if retry_after is not None:
        headers["retry-after"], headers["date"] = retry_after, NOW
    return urllib.error.HTTPError("https://x", status, "no", headers, None)


def aws_error(status: int, code: str = "Other", headers: dict[str, str] | None = None) -> Exception:
    error = third_party("botocore.exceptions.ClientError")("no")
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    error.response = {"Error": {"Code": code}, "ResponseMetadata": metadata}  # type: ignore[attr-defined]
    return error


OperationalError = third_party("psycopg.OperationalError")
RequestException = third_party("requests.exceptions.RequestException", OSError)
FrappeValidationError = third_party("frappe.exceptions.ValidationError")

TRANSIENT = [
    # Network and timeouts
    *(ConnectionResetError(), BrokenPipeError(), ConnectionRefusedError(), TimeoutError()),
    *(socket.gaierror(socket.EAI_AGAIN, "temporary"), socket.gaierror(socket.EAI_NONAME, "unknown"), ssl.SSLError()),
    ssl.SSLCertVerificationError("expired"),
    http.client.RemoteDisconnected("no answer"),
    http.client.IncompleteRead(b""),
    asyncio.IncompleteReadError(b"", 1),
    urllib.error.URLError(PermissionError()),
    subprocess.TimeoutExpired("x", 1),
    third_party("requests.exceptions.ConnectionError", RequestException)(),
    third_party("httpx.ConnectTimeout", third_party("httpx.TransportError"))(),
    third_party("redis.exceptions.ConnectionError")(),
    # Resources
    *(MemoryError(), BlockingIOError(), InterruptedError()),
    *(OSError(number, "no") for number in (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)),
    # Databases
    OperationalError(),
    third_party("sqlalchemy.exc.OperationalError")(),
    third_party("psycopg.errors.DeadlockDetected", OperationalError)(),
    third_party("frappe.exceptions.TimestampMismatchError", FrappeValidationError)(),
    sqlite3.OperationalError("database is locked"),
    # Fairlane's own
    TransientError("again"),
    errors.StorageUnavailable("no"),
    errors.OrganizationSuspended("no"),
    errors.InvalidParameters("undecodable"),
    errors.QueueFull("full", retry_after=5),
    # Unknown
    *(Exception(), RuntimeError(), ValueError(), TypeError(), KeyError("x"), AssertionError(), ZeroDivisionError()),
    *(sqlite3.IntegrityError(), RequestException(), undecodable_json(), SystemExit(404), asyncio.CancelledError()),
]
PERMANENT = [
    PermanentError("no"),
    # Validation
    invalid_model(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    third_party("jsonschema.exceptions.ValidationError")(),
    third_party("django.core.exceptions.ValidationError")(),
    third_party("botocore.exceptions.ParamValidationError")(),
    third_party("psycopg.errors.NumericValueOutOfRange", third_party("psycopg.DataError"))(),
    FrappeValidationError(),
    # Permission and authentication
    *(PermissionError(), OSError(errno.EACCES, "no"), OSError(errno.EPERM, "no"), OSError(errno.EROFS, "no")),
    third_party("psycopg.errors.InvalidPassword", OperationalError)(),
    third_party("redis.exceptions.AuthenticationError", third_party("redis.exceptions.ConnectionError"))(),
    errors.PermissionDenied("no"),
    # Not found
    *(FileNotFoundError(), OSError(errno.ENOENT, "no"), NotADirectoryError(), ModuleNotFoundError()),
    third_party("app.models.Order.DoesNotExist", third_party("django.core.exceptions.ObjectDoesNotExist"))(),
    *(errors.JobNotFound("no"), errors.ParentNotFound("no"), errors.ConfigurationError("no")),
]


# How each client has a status in its errors.
CLIENTS: dict[str, Callable[[int], BaseException]] = {
    "requests, httpx": http_error,
    "response.status": lambda status: http_error(status, name="status"),
    "openai": lambda status: http_error_itself("status_code", status),
    "aiohttp, kubernetes": lambda status: http_error_itself("status", status),
    "google": lambda status: http_error_itself("code", HTTPStatus(status)),
    "urllib": urllib_error,
    "botocore": aws_error,
}
TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
PERMANENT_STATUSES = (400, 401, 403, 404, 409, 410, 413, 422)
STATUSES = (*TRANSIENT_STATUSES, *PERMANENT_STATUSES)
RETRY_AFTER = {
    "120": 120,
    "0": 0,
    "-5": 0,
    "1.5": 1.5,
    "999999999": LONGEST_WAIT,
    "Thu, 01 Jan 2026 12:02:00 GMT": 120,
    "Thu, 01 Jan 2026 13:02:00 +0100": 120,
    "Thu, 01 Jan 2026 11:00:00 GMT": 0,
    "Fri, 01 Jan 2027 11:00:00 -0000": LONGEST_WAIT,
    "soon": None,
    "": None,
    "nan": None,
    "inf": None,
    "9" * 5_000: None,
    "Thu, 99 Jan 2026 99:99:99 GMT": None,
}


def noted(error: BaseException) -> BaseException:
    error.add_note("a note")
    return error


def quits_when_asked() -> BaseException:
    def quit_(_: object) -> None:
        raise SystemExit

    quits: BaseException = type("Quits", (Exception,), {"args": property(quit_)})()
    return quits


def deep(depth: int) -> None:
    deep(depth - depth // depth)


def test_an_error_is_brief_whose_few_words_can_be_counted_without_asking_it():
    """The words of others, which may be long, are read for secrets where no loop waits."""
    brief = [
        ValueError(),
        caught(RuntimeError("no paper", 3, None), OSError(errno.ENOENT, "no such file", "a.txt")),
        ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
        type("OfAnApplication", (TransientError,), {"__doc__": "It may come back.", "status_code": 503})("later"),
        with_attribute("retry_after", 7),
    ]
    with pytest.raises(ZeroDivisionError) as far:
        deep(100)
    not_brief = [
        ValueError("x" * 2_000),
        ValueError("x" * 600, "y" * 600),
        ValueError(["x"]),
        caught(RuntimeError("no paper"), ValueError("x" * 2_000)),
        ExceptionGroup("two", [ValueError("a"), ValueError("x" * 2_000)]),
        noted(ValueError("no paper")),
        type("OwnWords", (Exception,), {"__str__": lambda _: "x" * 2_000})(),
        ExceptionGroup("many", [ValueError(str(number)) for number in range(100)]),
        far.value,
        ValueError(10**5_000),
        OSError(errno.ENOENT, "no such file", "x" * 2_000),
        ImportError("x" * 2_000),
        quits_when_asked(),
        ValueError(*range(100)),
        type("OwnArguments", (Exception,), {"args": property(lambda _: 1 // 0)})(),
        type("OwnClass", (Exception,), {"__class__": property(lambda _: ValueError)})(),
        type("OwnResponse", (Exception,), {"response": property(lambda _: None)})(),
        type("OwnGetter", (Exception,), {"__getattr__": lambda _, name: None})(),
        type("OwnKind", (type,), {"__hash__": lambda _: 1})("OfOwnKind", (Exception,), {})(),
        with_attribute("response", {"status": 503}),
        with_attribute("retry_after", "1" * 2_000),
    ]
    assert [one for one in brief if not is_brief(one)] == []
    assert [one for one in not_brief if is_brief(one)] == []


def test_network_timeout_resources_and_the_unknown_are_transient_r7():
    assert [name_and_text(error) for error in TRANSIENT if classify(error).permanent] == []


def test_validation_permission_not_found_and_authentication_are_permanent_r7():
    assert [name_and_text(error) for error in PERMANENT if not classify(error).permanent] == []


AWAY, FAILURE = errors.StorageUnavailable("no"), ValueError("half an answer")
# Fairlane's own storage did not answer; no failure of the handler.
STORAGE = [
    AWAY,
    errors.CommitUnanswered("perhaps"),
    errors.InstallationError("not this login"),
    caught(RuntimeError("the application's words"), AWAY),
    ExceptionGroup("all", [AWAY, errors.CommitUnanswered("perhaps")]),
    ExceptionGroup("one snoozes", [errors.Snooze(1), AWAY]),
    ExceptionGroup("one is permanent", [PermissionError(), AWAY]),
]
NO_STORAGE = [
    errors.StatementTooSlow("ask for less"),
    errors.IdentityProviderUnavailable("no"),
    caught(TransientError("again"), AWAY),
    caught(ConnectionResetError(), AWAY),
    ExceptionGroup("one failed", [AWAY, FAILURE]),
    FAILURE,
]


@pytest.mark.parametrize(
    ("error", "is_storage"),
    [*((error, True) for error in STORAGE), *((error, False) for error in NO_STORAGE)],
    ids=name_and_text,
)
def test_what_met_fairlanes_own_storage_is_no_failure_of_the_handler_r5(error, is_storage):
    report = classify(error)
    assert (report.is_storage, report.permanent) == (is_storage, False)


def test_a_types_own_lists_go_before_what_is_known_of_fairlanes_storage_r5():
    kinds = named(errors.StorageUnavailable)
    assert not classify(AWAY, transient=kinds).is_storage
    assert not classify(AWAY, permanent=kinds).is_storage
    assert classify(AWAY, permanent=kinds).permanent


def test_an_http_status_decides_whatever_the_client_is_r7():
    found = {(name, status): classify(make(status)).permanent for name, make in CLIENTS.items() for status in STATUSES}
    assert [case for case, permanent in found.items() if permanent != (case[1] in PERMANENT_STATUSES)] == []


def test_what_is_no_status_of_an_error_decides_nothing_r7():
    others = (True, "404", 4040, 200, 302, None, 404.0, object())
    assert [status for status in others if classify(http_error(status)).permanent] == []


def test_throttling_by_aws_is_transient_though_it_is_a_400_r7():
    codes = ("ThrottlingException", "SlowDown", "RequestTimeout")
    assert [code for code in codes if classify(aws_error(400, code)).permanent] == []


def test_the_header_retry_after_is_honoured_as_seconds_and_as_date_r7():
    ways: dict[str, Callable[[str], BaseException]] = {
        "Retry-After": lambda asked: http_error(503, {"Retry-After": asked, "Date": NOW}),
        "retry-after": lambda asked: http_error(503, {"retry-after": asked, "date": NOW}),
        "urllib": lambda asked: urllib_error(503, asked),
        "botocore": lambda asked: aws_error(503, headers={"retry-after": asked, "date": NOW}),
    }
    found = {(asked, way): classify(make(asked)).retry_after for asked in RETRY_AFTER for way, make in ways.items()}
    assert [(case, seconds) for case, seconds in found.items() if seconds != RETRY_AFTER[case[0]]] == []


def test_a_date_needs_the_time_r7():
    assert classify(http_error(503, {"Retry-After": "Thu, 01 Jan 2026 12:02:00 GMT"})).retry_after is None


def test_an_error_that_says_when_to_retry_is_transient_r7():
    """GitHub answers 403 with Retry-After, RFC 9110 has it for 413."""
    report = classify(http_error(403, {"Retry-After": "60"}))
    assert (report.permanent, report.retry_after) == (False, 60)


@given(
    st.floats() | st.integers() | st.sampled_from([nan, inf, -inf, 10**400, True, None, "x", timedelta(5), object()])
)
def test_the_wait_is_finite_not_negative_and_a_day_at_most_r7(asked):
    error = TransientError("again")
    error.retry_after = asked
    wait = classify(error).retry_after
    assert wait is None or 0 <= wait <= LONGEST_WAIT


def test_a_transient_error_brings_its_wait_and_a_permanent_one_none_r7():
    assert classify(TransientError("again", retry_after=7)).retry_after == 7
    error = PermanentError("no")
    error.retry_after = 7  # type: ignore[attr-defined]
    assert classify(error).retry_after is None


# Per-type additions


class Base(Exception):
    pass


class Middle(Base):
    pass


class Nearest(Middle):
    pass


class Stubborn(TransientError):
    pass


OWN_LISTS: list[tuple[Exception, tuple[type[Exception], ...], tuple[type[Exception], ...], bool]] = [
    (ValueError(), (), (ValueError,), True),
    (FileNotFoundError(), (FileNotFoundError,), (), False),
    (FileNotFoundError(), (OSError,), (), False),
    (Nearest(), (Middle,), (Base,), False),
    (Nearest(), (Base,), (Middle,), True),
    (Nearest(), (Middle,), (Base, Nearest), True),
    (Nearest(), (Middle,), (Middle,), False),
    (PermanentError(), (Exception,), (), True),
    (TransientError(), (), (Exception,), False),
    (PermanentError(), (PermanentError,), (), False),
    (Stubborn(), (), (Stubborn,), True),
    (http_error(503), (), (RuntimeError,), True),
    (http_error(404), (RuntimeError,), (), False),
]


def test_a_types_own_lists_decide_first_and_the_nearest_class_wins_r7():
    found = [
        (*case, classify(case[0], transient=named(*case[1]), permanent=named(*case[2])).permanent) for case in OWN_LISTS
    ]
    assert [case for case in found if case[-1] is not case[-2]] == []


# Causes and groups


def test_an_unknown_error_is_what_it_was_raised_from_r7():
    assert classify(caught(RuntimeError("no report"), PermissionError())).permanent
    report = classify(caught(RuntimeError("no report"), http_error(429, {"Retry-After": "30"})))
    assert (report.permanent, report.retry_after, report.error_type) == (False, 30, "RuntimeError")


def test_a_known_error_is_not_asked_for_its_cause_r7():
    assert not classify(caught(ConnectionError(), PermissionError())).permanent
    assert not classify(caught(OSError(errno.ENOSPC, "full"), PermissionError())).permanent


def test_an_error_in_an_except_block_has_no_cause_r7():
    error = RuntimeError("while another was handled")
    error.__context__ = PermissionError()
    assert not classify(error).permanent


def test_a_circle_of_causes_has_an_end_r7():
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert not classify(one).permanent


def test_a_group_is_permanent_only_if_all_its_leaves_are_r7():
    permanent = ExceptionGroup("a", [PermissionError("p"), ExceptionGroup("b", [FileNotFoundError("f")])])
    report = classify(permanent)
    assert (report.permanent, report.error_type, report.message) == (True, "PermissionError", "p")
    mixed = ExceptionGroup("a", [PermissionError("p"), ExceptionGroup("b", [TransientError("t", retry_after=9)])])
    report = classify(mixed)
    assert (report.permanent, report.message, report.retry_after) == (False, "t", 9)
    assert "PermissionError: p" in report.traceback


def test_a_deeply_nested_group_is_classified_r7():
    group: Exception = PermissionError("p")
    for _ in range(5_000):
        group = ExceptionGroup("g", [group])
    assert classify(group).permanent


def test_groups_that_share_members_are_gone_through_once_r7():
    """Two tasks of a handler may await the same task, at each level: nested, it would stand there 2^60 times."""
    group: Exception = PermissionError("p")
    for _ in range(60):
        group = ExceptionGroup("g", [group, group])
    report = classify(group)
    assert (report.permanent, report.message) == (True, "p")
    assert "PermissionError: p" in report.traceback
    assert snooze_of(ExceptionGroup("s", [group, group])) is None


# What is kept


def test_the_report_names_type_message_and_traceback_r7():
    report = classify(caught(ValueError("no such colour")))
    assert report.error_type == "ValueError"
    assert report.message == "no such colour"
    assert report.traceback.startswith("Traceback (most recent call last):")
    assert "raise error from cause" in report.traceback
    assert report.traceback.endswith("ValueError: no such colour\n")
    assert classify(Base()).error_type == f"{__name__}.Base"


def test_secrets_are_neither_in_the_message_nor_in_the_traceback_r7():
    def connect(password: str) -> None:
        raise RuntimeError(f"no answer from postgresql://me:{password}@host/db")

    with pytest.raises(RuntimeError) as raised:
        connect(SECRET)
    report = classify(raised.value)
    assert SECRET not in repr(report)
    assert "postgresql://me:[redacted]@host/db" in report.message


@pytest.mark.parametrize("is_cause", [False, True])
def test_no_line_of_a_secret_is_in_the_traceback_of_a_group_r7(is_cause):
    secret = "line-one-of-the-key\nline-two-of-the-key\nline-three-of-the-key"
    error: Exception = ExceptionGroup("tasks", [ExceptionGroup("more", [ConnectionError(f"no login with {secret}")])])
    if is_cause:
        group, error = error, RuntimeError("upload failed")
        error.__cause__ = group
    report = classify(error, secrets=secret_values(json.dumps({"password": secret})))
    assert "no login with" in report.traceback
    assert not [line for line in secret.splitlines() if line in repr(report)]


def test_local_variables_are_not_kept_r7():
    def fail() -> None:
        unmentioned = "only in a " + "variable"
        raise RuntimeError(len(unmentioned))

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert "only in a variable" not in classify(raised.value).traceback


def test_a_secret_across_the_limit_of_the_message_leaves_nothing_behind_r7():
    for length in range(MESSAGE_LIMIT - 30, MESSAGE_LIMIT + 5):
        assert "hunt" not in classify(RuntimeError("x" * length + f" password={SECRET}")).message


def test_long_texts_are_cut_and_say_so_r7():
    long_type = type("T" * 500, (Exception,), {})
    report = classify(caught(long_type("m" * 5_000_000)))
    assert len(report.error_type) == TYPE_LIMIT
    assert len(report.fingerprint) <= TYPE_LIMIT
    assert len(report.message) == MESSAGE_LIMIT
    assert report.message.endswith("m…")
    assert len(report.traceback.encode()) <= TRACEBACK_LIMIT
    assert report.traceback.startswith("Traceback")
    assert "omitted" in report.traceback


def test_of_a_long_traceback_begin_and_end_are_kept_r7():
    report = classify(caught(RuntimeError("\n".join(f"é line {number}" for number in range(10_000)))))
    assert len(report.traceback.encode()) <= TRACEBACK_LIMIT
    assert report.traceback.startswith("Traceback")
    assert report.traceback.endswith("é line 9999\n")


def test_a_recursion_without_end_is_reported_r7():
    def again(depth: int) -> int:
        return again(depth + 1) + 1

    with pytest.raises(RecursionError) as raised:
        again(0)
    assert classify(raised.value).error_type == "RecursionError"


def test_what_no_database_can_store_is_replaced_r7():
    report = classify(caught(RuntimeError("a\0b\ud800c")))
    assert report.message == "a\ufffdb\ufffdc"
    assert "\0" not in report.traceback
    report.traceback.encode()


class Hostile(Exception):
    """Every look at it raises."""

    def __str__(self) -> str:
        raise ValueError("no text")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_an_error_that_can_not_be_looked_at_is_still_reported_r7():
    report = classify(caught(Hostile()))
    assert report.message == "(no message: its __str__ raised ValueError)"
    assert report.error_type.endswith("Hostile")
    assert not report.permanent


@pytest.mark.slow
@given(st.text(), st.text())
def test_whatever_the_message_is_the_report_can_be_stored_r7(message, cause):
    report = classify(caught(RuntimeError(message), ValueError(cause)))
    assert len(report.message) <= MESSAGE_LIMIT
    for text in (report.message, report.traceback, report.fingerprint):
        assert "\0" not in text
        text.encode()


# Fingerprints

RUN = "def run(fail, error):\n    fail(error)\n"
HERE = compile(RUN, "/srv/app/reports/jobs.py", "exec")
MOVED = compile(f"\n\n\n{RUN}", "/srv/app/reports/jobs.py", "exec")
ELSEWHERE = compile(RUN, "/srv/app/mails/jobs.py", "exec")
LIBRARY = compile(
    "def parse(error):\n    raise error\ndef read(error):\n    raise error\n",
    "/venv/lib/python3.11/site-packages/csvlib/parser.py",
    "exec",
)


def fingerprint(code: CodeType, error: Exception, library: str = "parse") -> str:
    """Return the fingerprint of an error that an application's `run`, the code, gets from a function of a library."""
    application: dict[str, Any] = {"__name__": code.co_filename.split("/")[3] + ".jobs"}
    foreign: dict[str, Any] = {"__name__": "csvlib.parser"}
    exec(code, application)
    exec(LIBRARY, foreign)
    with pytest.raises(type(error)) as raised:
        application["run"](foreign[library], error)
    return classify(without_this_file(raised.value)).fingerprint


def without_this_file(error: BaseException) -> BaseException:
    """The error without the frames of this file, which counts as an application too."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)


def test_a_fingerprint_is_the_type_and_a_hash_r8():
    short, digest = classify(caught(Base())).fingerprint.split(" ")
    assert short == "Base"
    assert len(digest) == 16
    int(digest, 16)


def test_alike_errors_have_one_fingerprint_whatever_their_message_and_line_r8():
    assert fingerprint(HERE, ValueError("a")) == fingerprint(MOVED, ValueError("b"))


def test_another_type_or_place_is_another_fingerprint_r8():
    cases = [(HERE, ValueError("a")), (HERE, KeyError("a")), (ELSEWHERE, ValueError("a"))]
    assert len({fingerprint(code, error) for code, error in cases}) == len(cases)


def test_an_error_that_was_never_raised_has_a_fingerprint_r8():
    assert classify(ValueError("a")).fingerprint == classify(ValueError("b")).fingerprint


def test_the_place_is_the_innermost_frame_of_the_application_not_of_a_library_r8():
    assert fingerprint(HERE, ValueError("a"), "parse") == fingerprint(HERE, ValueError("a"), "read")


def test_without_a_frame_of_the_application_the_innermost_frame_counts_r8():
    installed = compile(RUN, "/venv/lib/python3.11/site-packages/jobs.py", "exec")
    assert fingerprint(installed, ValueError("a"), "parse") != fingerprint(installed, ValueError("a"), "read")
