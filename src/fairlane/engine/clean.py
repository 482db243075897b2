"""Takes the secrets of a job out of what its handler says."""

from dataclasses import replace
from functools import cached_property

from fairlane.domain.outcomes import ErrorReport
from fairlane.domain.secrets import secret_values, without
from fairlane.engine.reports import Line, Progress, Report


class Cleaner:
    """Knows the secrets among the parameters of one job, once there is a text in which they may be.

    Args:
        parameters: of the job, as JSON text.
    """

    def __init__(self, parameters: str) -> None:
        self._parameters = parameters

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        return secret_values(self._parameters)

    def text(self, text: str) -> str:
        """Return the text without them."""
        return without(text, self._secrets)

    def report(self, report: Report) -> Report:
        """Return the report with its texts without them; checkpoints and files are the handler's own."""
        match report:
            case Line(level, message) if self._secrets:
                return Line(level, self.text(message))
            case Progress(percent, str() as message) if self._secrets:
                return Progress(percent, self.text(message))
            case _:
                return report

    def error(self, error: ErrorReport) -> ErrorReport:
        """Return what is kept of an error, without them."""
        if not self._secrets:
            return error
        return replace(error, message=self.text(error.message), traceback=self.text(error.traceback))
