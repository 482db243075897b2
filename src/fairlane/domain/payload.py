"""What of a job may quote what it worked on, and how the rest looks to whoever may not read that.

Whatever a handler says stands after a colon: "ValueError: no row 4711", "snoozed by the handler: waits for row 4711".
What stands before it is of our making, or a class's name.
"""

from dataclasses import replace

from fairlane.domain.jobs import Job, LogEntry


def without_quotes(message: str) -> str:
    """Return a message without what its handler said."""
    return message.partition(": ")[0]


def entry_without_payload(entry: LogEntry) -> LogEntry:
    """Return an entry of the execution log without what its handler said."""
    return replace(entry, message=without_quotes(entry.message), traceback=None)


def job_without_errors(job: Job) -> Job:
    """Return a job without what its handler said of its error."""
    return replace(job, error_message=None)
