"""Sealed texts: the fields of a job that are encrypted if its organization has a key, and the form of such a text.

    fl1:<version of the organization's key>:<base64 of nonce and ciphertext>

`encryption.sealing` encrypts and decrypts them. This module has what the store needs to know, and no key.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeAlias

PREFIX: Final = "fl1:"
HIDDEN: Final = "h1:"  # begins a hash that reveals nothing without the organization's keys


class Field(StrEnum):
    """The field of a sealed text. The text is bound to its field: moved to another one it can't be decrypted."""

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

# Makes the sealed text for a field of one job.
Seal: TypeAlias = Callable[[Field, str], str]

# The texts that readers see in the place of a text that can't be decrypted.
ERASED: Final = "[erased]"  # its key was destroyed
LOCKED: Final = "[encrypted]"  # this process lacks the master key
BROKEN: Final = "[unreadable]"  # it was not sealed for this place, or was changed, or is not what the place holds


def is_sealed(text: str) -> bool:
    """Return True if a stored text is a sealed one."""
    return text.startswith(PREFIX)
