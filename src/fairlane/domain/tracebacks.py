"""The traceback of what a handler raised, as its author needs it: from the application's own code on."""

import traceback
from pathlib import Path
from typing import Final

from fairlane.domain.errors import FairlaneError

_OURS: Final = Path(__file__).parents[1]


def traceback_of(error: BaseException) -> str:
    """Return the traceback without the frames by which Fairlane came to the handler.

    Where it never came to one, as with a result that can't be stored, the error's own words say all that helps.
    """
    trace = error.__traceback__
    while trace is not None and Path(trace.tb_frame.f_code.co_filename).is_relative_to(_OURS):
        trace = trace.tb_next
    if trace is not None:
        return "".join(traceback.format_exception(type(error), error, trace))
    if isinstance(error, FairlaneError):
        return "".join(traceback.format_exception_only(error))
    return "".join(traceback.format_exception(error))
