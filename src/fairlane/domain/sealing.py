"""Sealed texts: what of a job is stored encrypted where its organization has a key, and how such a text looks.

    fl1:<version of the organization's key>:<base64 of nonce and ciphertext>

`encryption.sealing` makes and opens them; here is what the store needs to know of them, and it knows no key.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeAlias

PREFIX: Final = "fl1:"
HIDDEN: Final = "h1:"  # begins a hash that tells nothing without the organization's keys


class Field(StrEnum):
    """What a sealed text is. It is bound to that: moved to another field it can't be opened."""

    PARAMETERS = "parameters"
    RESULT = "result"
    CHECKPOINT = "checkpoint"
    PROGRESS = "progress"
    LOG_LINE = "log line"
    LOG_ENTRY = "log entry"
    ERROR = "error"
    ATTEMPT_ERROR = "attempt error"
    TRACEBACK = "traceback"
    REASON = "reason"


JSON_FIELDS: Final = frozenset({Field.PARAMETERS, Field.RESULT, Field.CHECKPOINT})

# Makes a sealed text of what a field of one job is to hold.
Seal: TypeAlias = Callable[[Field, str], str]

# What readers see in the place of a text that can't be opened.
ERASED: Final = "[erased]"  # its key was destroyed
LOCKED: Final = "[encrypted]"  # this process lacks the master key
BROKEN: Final = "[unreadable]"  # it was not sealed for this place, or was changed, or is not what the place holds


def is_sealed(text: str) -> bool:
    """Return True if a stored text is a sealed one."""
    return text.startswith(PREFIX)
