"""The job in ordinary log lines: `current_job`, the filter, lines of JSON, tracebacks."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fairlane import JobLogFilter, JsonFormatter, current_job
from fairlane.domain.events import JobEnded
from tests.engine import watched_handlers as handlers
from tests.engine.sealed_engine import FIRST
from tests.engine.worker_kit import Engine, engine


@pytest.fixture
def fl(sqlite_url: str) -> Iterator[Engine]:
    with engine(sqlite_url) as fl:
        yield fl


@pytest.mark.parametrize("isolation", handlers.HANDLERS)
def test_code_that_a_handler_calls_knows_the_job(fl: Engine, isolation: Any) -> None:
    fl.job_type("look", isolation=isolation, dedup_window=0)(handlers.HANDLERS[isolation])
    jobs = [fl.give("look") for _ in range(3)]
    fl.drain(concurrency=1)
    assert [fl.value(job) for job in jobs] == [[str(job.id), "acme", "look", 1] for job in jobs]
    assert current_job() is None


def test_the_filter_gives_records_of_all_loggers_the_fields_of_their_job(
    fl: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(JobLogFilter())
    fl.job_type("tell")(handlers.tell)
    job = fl.give("tell", parameters={"words": "half done"})
    logging.getLogger("shop").warning("outside")
    with caplog.at_level(logging.INFO, "fairlane"):
        fl.drain()
    caplog.handler.filters.clear()
    told = {
        one.getMessage(): [getattr(one, name) for name in ("job_id", "organization", "job_type", "attempt")]
        for one in caplog.records
    }
    assert told["half done"] == [job.id, "acme", "tell", 1]
    assert told["outside"] == [None] * 4
    (ended,) = [told[line] for line in told if "completed" in line]
    assert ended == [job.id, "acme", "tell", None]


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    JobLogFilter().filter(record)
    text = JsonFormatter().format(record)
    assert text.isascii()
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return line


def record(message: str = "said", **more: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "shop", "levelname": "INFO", "levelno": 20, "msg": message, **more})


class Speechless:
    def __str__(self) -> str:
        return "speechless"


def test_a_record_is_one_object_of_json_whatever_is_in_it() -> None:
    line = line_of(record("two\nlines\u2028 and \ud800", created=0.5, msecs=500.0))
    assert line == {
        "time": "1970-01-01T00:00:00.500Z", "level": "INFO", "logger": "shop", "message": "two\nlines\u2028 and \ud800"
    }  # fmt: skip
    extras: dict[str, Any] = {"order": 7, "tags": ["a"], "thing": Speechless()}
    assert line_of(record(**extras)).items() >= {"order": 7, "tags": ["a"], "thing": "speechless"}.items()
    circle: list[object] = []
    circle.append(circle)
    for odd in (float("nan"), {("a", "b"): 1}, circle):
        assert line_of(record(odd=odd))["odd"] == str(odd)
    try:
        raise ValueError("no paper")
    except ValueError as error:
        trace = line_of(record(exc_info=(type(error), error, error.__traceback__), stack_info="Stack:"))["exception"]
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("ValueError: no paper\nStack:")


@contextmanager
def broken_off(url: str, **settings: Any) -> Iterator[tuple[Engine, str]]:
    """Run a job that fails for good and says a secret, and words that look like a line of a log."""
    with engine(url, **settings) as fl:
        if "encryption_keys" in settings:
            fl.keys.enable(organization="acme")
        fl.job_type("break", max_retries=0)(handlers.break_off)
        job = fl.give("break", parameters={"words": "x\nERROR forged\x1b[2J", "password": "hunter22"})
        fl.drain()
        yield fl, str(job.id)


def test_a_dead_letter_is_logged_as_an_error_without_its_words(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_off(sqlite_url) as (fl, job):
        (line,) = [one for one in caplog.records if job in one.getMessage()]
        assert line.levelno == logging.ERROR
        assert "forged" not in caplog.text
        assert [one.traceback for one in fl.events.of(JobEnded)] == [None]


def test_a_dead_letter_is_logged_with_its_traceback_where_the_setting_asks_for_it(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_off(sqlite_url, log_tracebacks=True) as (fl, job):
        (line,) = [one for one in caplog.records if job in one.getMessage()]
        (event,) = fl.events.of(JobEnded)
        (failed,) = [one for one in fl.history(job, organization="acme") if one.to_status == "failed"]
        assert event.traceback == failed.traceback
        assert "hunter22" not in caplog.text
        assert "password=[redacted]" in caplog.text
        first, *quoted = logging.Formatter().format(line).splitlines()
        assert job in first
        assert quoted[0] == "  > Traceback (most recent call last):"
        assert "  > ERROR forged�[2J with password=[redacted]" in quoted
        assert all(one.startswith("  > ") and one.isprintable() for one in quoted)
        assert "forged" not in repr(event)


def test_a_traceback_that_a_key_seals_is_in_no_log(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with broken_off(sqlite_url, log_tracebacks=True, encryption_keys=FIRST) as (fl, job):
        assert any(job in one.getMessage() for one in caplog.records)
        assert "forged" not in caplog.text
        assert [one.traceback for one in fl.events.of(JobEnded)] == [None]
