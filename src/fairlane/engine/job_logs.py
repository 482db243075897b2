"""Log lines with the fields of the job whose code writes them, as text or JSON; `fairlane worker` sets this up.

Logging is set up once in a process. The processes of handlers log as their worker does.
"""

import json
import logging
import time
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from fairlane.domain.events import Event
from fairlane.engine.context import CurrentJob, current_job

_NAME: Final = "fairlane"  # of the handler
_FIELDS: Final = CurrentJob._fields
# What a record has by itself, what `Formatter.format` adds, and the event of Fairlane's own lines.
_NO_EXTRAS: Final = {*vars(logging.makeLogRecord({})), *_FIELDS, "message", "asctime", "taskName", "event"}


class LogFormat(StrEnum):
    """The form of log lines."""

    TEXT = "text"
    JSON = "json"


class JobLogFilter(logging.Filter):
    """A filter that refuses no record, and gives each the fields `job_id`, `organization`, `job_type` and `attempt`.

    They are None outside of jobs. A line of the logger `fairlane` has those of the job that it tells of. Add the filter
    to a handler, so that the records of all loggers have the fields.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the record does not have."""
        event = getattr(record, "event", None)
        of = event if isinstance(event, Event) else current_job()
        for name in _FIELDS:
            record.__dict__.setdefault(name, getattr(of, name, None))
        return True


class JsonFormatter(logging.Formatter):
    """A formatter that writes each record as one line of JSON, with the fields of `JobLogFilter` that are not None."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: ASCII, so that no character ends it early."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        given = vars(record)
        line |= {name: given[name] for name in _FIELDS if given.get(name) is not None}
        line |= {name: value for name, value in given.items() if name not in _NO_EXTRAS and name not in line}
        if error := self._error(record):
            line["exception"] = error
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # an extra value that JSON can't hold
            return json.dumps({name: str(value) for name, value in line.items()})

    def _error(self, record: logging.LogRecord) -> str:
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        stack = self.formatStack(record.stack_info) if record.stack_info else ""
        return "\n".join(filter(None, (record.exc_text, stack)))


class Logs(NamedTuple):
    """The way in which a process logs. `level`: the lowest of the lines that are written."""

    level: int
    form: LogFormat

    @classmethod
    def present(cls) -> Self | None:
        """Return how this process logs by `set_up`; None: it does not."""
        for handler in logging.root.handlers:
            if handler.name == _NAME:
                is_json = isinstance(handler.formatter, JsonFormatter)
                return cls(logging.root.level, LogFormat.JSON if is_json else LogFormat.TEXT)
        return None

    def set_up(self, handler: logging.Handler | None = None) -> None:
        """Set up log lines, unless the application has configured logging itself.

        Args:
            handler: has a formatter already; None = lines on standard error.
        """
        if handler is None:
            handler = logging.StreamHandler()
            handler.setFormatter(_formatter(self.form))
        handler.name = _NAME
        if self.form is LogFormat.JSON:  # lines of text name no fields
            handler.addFilter(JobLogFilter())
        logging.basicConfig(level=self.level, handlers=[handler])
        logging.getLogger("fairlane").setLevel(self.level)
        # It logs each look at the schema's revision.
        logging.getLogger("alembic").setLevel(logging.WARNING)


def _formatter(form: LogFormat) -> logging.Formatter:
    if form is LogFormat.JSON:
        return JsonFormatter()
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%SZ")
    formatter.converter = time.gmtime
    return formatter
