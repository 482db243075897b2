"""Text that callers give, before it goes to a database."""

import re
from typing import Final

from fairlane.domain.errors import InvalidParameters

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def storable(**texts: str | None) -> None:
    """Refuse what no database stores, and so can't find: NULs, lone surrogates, and what is no text at all.

    Args:
        texts: by the names under which the caller gave them.

    Raises:
        InvalidParameters: it names the argument.
    """
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise InvalidParameters(f"{name} must be text, not {text!r:.80}.")
        if text is not None and _UNSTORABLE.search(text):
            raise InvalidParameters(f"{name} holds a NUL or half a surrogate pair, which can't be stored; remove it.")


def printable(text: str) -> str:
    """Return the text without control characters: it ends no line of a log, and moves no cursor."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def is_storable(text: str) -> bool:
    """Whether a database can store, and so find, the text."""
    return _UNSTORABLE.search(text) is None
