"""A fault alone: one statement or COMMIT of one service or verb loses its connection once."""

import re
from collections import Counter
from functools import cache
from typing import Final, NamedTuple
from zlib import crc32

from tests.faults.fault import Fault, calls
from tests.faults.injection import Faults

# Several placeholders are as many as there were jobs by chance.
_PLACEHOLDER: Final = r"(?:\?|:\w+|%\(\w+\)s(?:::[\w ]+)?)"
_MANY: Final = re.compile(rf"{_PLACEHOLDER}(?:, {_PLACEHOLDER})+")
_NUMBERED: Final = re.compile(r"__\d+")


class Kind(NamedTuple):
    """The statements of one place and one text, whatever their values and the number of their values."""

    place: str
    text: str

    @property
    def weight(self) -> int:
        """2: it is a COMMIT after something that may have written; 1: another COMMIT; 0: none."""
        is_of_a_look = self.text.startswith(("COMMIT after SELECT", "COMMIT after BEGIN"))
        return self.text.startswith("COMMIT") * (1 if is_of_a_look else 2)

    def __str__(self) -> str:
        shown = self.text if len(self.text) < 100 else f"{self.text[:60]} … {self.text[-35:]}"
        return f"{self.place}: {shown}"


class Loss(NamedTuple):
    """The first statement of this kind loses its connection: before it took effect, or after it."""

    kind: Kind
    has_effect: bool

    @property
    def name(self) -> str:
        """Short, and the same in each run."""
        return f"{crc32(repr(self).encode()):08x}"

    def __str__(self) -> str:
        return f"{self.kind} is lost {'after' if self.has_effect else 'before'} it took effect"


class Losing(Faults):
    """Injects one loss, or none, and notes the kinds of all that is sent."""

    def __init__(self, loss: Loss | None = None) -> None:
        super().__init__(rate=0.0, seed=0, test="")
        self.loss = loss
        self.sent: Counter[Kind] = Counter()

    def _drawn(self, statement: str, *, is_a_workers: bool, is_alone: bool = True) -> tuple[Fault | None, bytes]:
        loss, text = self.loss, _skeleton(statement)
        # To look at the stack takes longer than many a statement.
        if loss is not None and (self.injected or text != loss.kind.text):
            return None, b""
        has_effect = loss is not None and loss.has_effect
        fault = Fault(calls(), statement, 1, has_effect=has_effect, is_alone=is_alone)
        kind = Kind(fault.place, text)
        with self._lock:
            self.sent[kind] += 1
            is_it = loss is not None and kind == loss.kind and self.sent[kind] == 1
        return (fault if is_it else None), crc32(repr(loss).encode()).to_bytes(4)


@cache
def _skeleton(statement: str) -> str:
    text = _NUMBERED.sub("", " ".join(statement.split()))
    return _MANY.sub("…", text)
