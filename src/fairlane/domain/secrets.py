"""Secret parameters: how they are marked, and how they are hidden from people.

A value is secret because of its type (`SecretStr`, `SecretBytes`), or because of its name (`password`, `api_key`). In
the first case the stored JSON marks it, `{"$secret": "…"}`: a reader of the job needs neither the handler nor its
registered schema to know what to hide, and the value stays secret when the handler has changed. Only the handler gets
the value, whatever rights people have.
"""

import json
import time
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import islice, repeat
from operator import is_
from typing import Any, Final

from pydantic_core import from_json

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.redact import NAME_END, REDACTED, is_secret_name
from fairlane.domain.sealing import BROKEN

MARK: Final = "$secret"
# Shorter values stand in half of all words, and can be guessed anyway.
SHORTEST: Final = 4  # characters
# Beyond these bounds the whole text is omitted: a search would hold up all other work in the process.
# Each job also has its secrets listed once, on the shared loop: for 256 KB of parameters in 10 to 30 ms.
_MOST_VALUES: Final = 1_000
_MOST_HIDDEN: Final = 4_000  # places that hold a secret, also short or equal ones
_MOST_FORMS: Final = 4_000
_MOST_CHARACTERS: Final = 1_000_000  # of all values
_MOST_ODD: Final = 50_000  # characters of values that are written in many forms
_FEW: Final = 300  # values that are searched one by one; if there are more, the pieces of a text are looked up
_MOST_WORK: Final = 125_000_000  # characters that are compared, 15 ms at worst
_MOST_LOOKS: Final = 2_000_000  # characters that are looked up; that many take some 10 ms
_STEP: Final = 8  # the cost of a look at one place of a text, in such characters
_MOST_PLACES: Final = 2_000  # each takes some 4 µs
_EACH: Final = 100  # the least cost of a search for a value, in characters of the text
_LOOK: Final = 20  # the cost of a look at one place of the text, in characters that are compared
# At worst Python compares a whole value with each place of a text. In a text that is not short it searches longer
# values in another way, which takes no longer than for these.
_LONG: Final = 100
_SHORT_TEXT: Final = 2_500
# A job's texts are searched on the shared loop, and its submitter chooses the secrets, and often the texts. So a job
# has some processor time for all its texts, and more with each text, by its length.
_SECONDS: Final = 0.005
_SECONDS_A_TEXT: Final = 0.0001
_SECONDS_A_CHARACTER: Final = 0.000_000_1
# pydantic quotes the value that it refuses, and omits the middle of a value of more than 50 bytes.
_QUOTED, _CUT, _QUOTE_END = "input_value=", "...", ", input_type="
# It keeps 25 bytes of each side at most. The `repr` of a `repr` of these bytes has 125 characters.
_HALF: Final = 200
_LONGEST_QUOTE: Final = len(_QUOTED) + 2 * _HALF + len(_CUT) + len(_QUOTE_END)
_QUOTES: Final = "'\""  # a `repr` escapes the first if the value has both
_ESCAPED: Final = frozenset("'\"\\")


class SecretValues(tuple[str, ...]):
    """The secret values of a job, the longest first, with an index of them and the time that is left to find them.

    Attributes:
        seconds: the processor time that is left to search the job's texts; less than 0 once it is used up.
    """

    seconds = _SECONDS

    @cached_property
    def weights(self) -> tuple[int, int]:
        """Return the number of characters compared at worst at each place of a text, and of a short text."""
        lengths = list(map(len, self))
        long = sum(_LOOK + min(length, _LONG) for length in lengths)
        return long, sum(_LOOK + min(length, _SHORT_TEXT) for length in lengths)

    @cached_property
    def heads(self) -> Mapping[str, list[int]]:
        """Return the lengths of the values by their first characters, the longest first."""
        found = defaultdict[str, dict[int, None]](dict)
        for value in self:
            found[value[:SHORTEST]][len(value)] = None
        return {head: list(lengths) for head, lengths in found.items()}

    @cached_property
    def known(self) -> frozenset[str]:
        """Return the values in no order."""
        return frozenset(self)


_ALL: Final = SecretValues(("",))  # a value that stands everywhere in a text
_NONE: Final = SecretValues()


class Secret:
    """A secret value on its way from the submitter to the stored text, and from there to the handler."""

    __slots__ = ("value",)

    def __init__(self, value: str | bytes) -> None:
        self.value = value

    def __repr__(self) -> str:
        return REDACTED

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


_CONTAINERS: Final = frozenset({dict, list})
# Names repeat from job to job.
_is_secret_end: Final = lru_cache(4096)(is_secret_name)


def is_hidden_name(name: str) -> bool:
    """Return what `is_secret_name` returns. The cache keeps only the end of a name."""
    return _is_secret_end(name[-NAME_END:])


def is_marked(value: object) -> bool:
    """Return True if a plain JSON value is `{"$secret": …}`."""
    return isinstance(value, dict) and len(value) == 1 and MARK in value


def veiled(plain: Any, *, by_name: bool = True) -> Any:
    """Return plain JSON with `[redacted]` in the place of each secret; the same object only if there is no secret.

    Args:
        by_name: whether names make a value secret, as with parameters; marks always do.
    """
    if isinstance(plain, dict):
        if is_marked(plain):
            return REDACTED
        # Every submission calls this, so nothing is copied before there is a secret.
        hidden = {name: REDACTED for name, item in plain.items() if by_name and _hides(name, item)}
        for name, item in plain.items():
            if name not in hidden and type(item) in _CONTAINERS:
                shown = veiled(item, by_name=by_name)
                if shown is not item:
                    hidden[name] = shown
        return plain | hidden if hidden else plain
    if isinstance(plain, list):
        items = [veiled(item, by_name=by_name) if type(item) in _CONTAINERS else item for item in plain]
        return plain if all(map(is_, items, plain)) else items
    return plain


def shown_json(text: str, *, by_name: bool = True) -> Any:
    """Return a JSON text as people see it: `[unreadable]` if it is not JSON, since somebody planted it.

    The reader also refuses a value that no answer can hold: one that nests deeply, or has half a surrogate pair.
    """
    try:
        plain = from_json(text)
    except ValueError:
        return BROKEN
    return veiled(plain, by_name=by_name)


def shown_object(text: str, name: str, *, by_name: bool = True) -> Mapping[str, Any]:
    """Return the same for a text that should hold an object; another value is shown under the object's name."""
    found = shown_json(text, by_name=by_name)
    return found if isinstance(found, dict) else {name: BROKEN}


def shown_labels(text: str) -> Mapping[str, str]:
    """Return a job's labels as people see them."""
    found = shown_object(text, "labels", by_name=False)
    return found if all(isinstance(value, str) for value in found.values()) else {"labels": BROKEN}


def _hides(name: object, value: object) -> bool:
    """Return True if the name makes the value secret; None, True and False are never secret."""
    return value is not None and not isinstance(value, bool) and isinstance(name, str) and is_hidden_name(name)


def bare(plain: Any) -> Any:
    """Return plain JSON with the value of each marked secret, as the handler gets it."""
    if isinstance(plain, dict):
        return plain[MARK] if is_marked(plain) else {name: bare(item) for name, item in plain.items()}
    return [bare(item) for item in plain] if isinstance(plain, list) else plain


def restored(edited: Any, before: Any) -> Any:
    """Return edited parameters, with the secret from `before` wherever `[redacted]` was left.

    Raises:
        InvalidParameters: a list has changed so much that it is not clear which secret a `[redacted]` in it stands for.
    """
    if isinstance(edited, Mapping) and isinstance(before, Mapping):
        return {
            name: before[name] if item == REDACTED and name in before and _was_hidden(name, before[name])
            # A new place has no secret to restore.
            else restored(item, before.get(name))
            for name, item in edited.items()
        }  # fmt: skip
    if isinstance(edited, list | tuple) and isinstance(before, list) and veiled(before) is not before:
        return list(_restored_items(edited, before))
    return edited


def _restored_items(edited: Sequence[Any], before: list[Any]) -> Iterator[Any]:
    """Return the items of a list that held secrets.

    Only the place of an item tells its secret, so the rest of the item must be unchanged.
    """
    is_as_long = len(edited) == len(before)
    for place, new in enumerate(edited):
        if not _holds_redacted(new):
            yield new
        elif is_as_long and _is_same(new, veiled(before[place])):
            yield before[place]
        else:
            raise InvalidParameters(
                f"A list with secrets was changed, so it is not clear which of them item {place + 1} had: give the "
                f"value of each secret in it, in the place of {REDACTED!r}."
            )


def _holds_redacted(plain: Any) -> bool:
    if isinstance(plain, Mapping):
        return any(map(_holds_redacted, plain.values()))
    return any(map(_holds_redacted, plain)) if isinstance(plain, list | tuple) else bool(plain == REDACTED)


def _is_same(new: Any, old: Any) -> bool:
    """Compare as JSON: `True` is not 1."""
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        return new.keys() == old.keys() and all(_is_same(item, old[name]) for name, item in new.items())
    if isinstance(new, list | tuple) and isinstance(old, list):
        return len(new) == len(old) and all(map(_is_same, new, old))
    return type(new) is type(old) and bool(new == old)


def _was_hidden(name: str, value: object) -> bool:
    return is_marked(value) or _hides(name, value)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the parameters that differ."""
    both = before.keys() & after.keys()
    return tuple(sorted(name for name in {**before, **after} if name not in both or before[name] != after[name]))


def has_redacted_secret(plain: Any) -> bool:
    """Return True if `[redacted]` stands in the place of a secret: somebody copied the parameters that they saw."""
    if isinstance(plain, dict):
        if is_marked(plain):
            return bool(plain[MARK] == REDACTED)
        return any(
            (item == REDACTED and _hides(name, item)) or has_redacted_secret(item) for name, item in plain.items()
        )
    return any(map(has_redacted_secret, plain)) if isinstance(plain, list) else False


def secret_values(text: str) -> SecretValues:
    """Return the secrets in a job's stored parameters, as they may stand in a text: the longest first.

    If there are very many, the result matches any text: then `without` keeps nothing of a text.

    Args:
        text: JSON. A text that is not JSON has no secrets: no handler gets it.
    """
    try:
        plain = json.loads(text)
    except ValueError:
        return _NONE
    except RecursionError:  # the handler's own recursion has used up the stack, so the secrets are unknown
        return _ALL
    found = set[str]()
    try:
        for value in _values(plain):
            is_plain = _is_plain(value)
            if not is_plain and len(value) > _MOST_ODD:
                return _ALL
            found.update(filter(_is_long_enough, (value, value.strip()) if is_plain else _lines(value)))
            if len(found) > _MOST_VALUES:
                return _ALL
    except OverflowError:
        return _ALL
    odd = {value for value in found if not _is_plain(value)}
    if sum(map(len, odd)) > _MOST_ODD:
        return _ALL
    forms, size = set[str](), 0
    for value in found:
        new = _forms(value) if value in odd else {value}
        forms |= new
        size += sum(map(len, new))
        if len(forms) > _MOST_FORMS or size > _MOST_CHARACTERS:
            return _ALL
    return SecretValues(sorted(forms, key=len, reverse=True))


def _is_long_enough(value: str) -> bool:
    return len(value) >= SHORTEST


def _is_plain(value: str) -> bool:
    """Return True if the value has the same form in every notation."""
    return value.isascii() and value.isprintable() and _ESCAPED.isdisjoint(value)


def _lines(value: str) -> Iterator[str]:
    """Return the value and each of its lines: in an ExceptionGroup's traceback a line begins with `  | `."""
    yield value
    yield from map(str.strip, value.splitlines())


def _forms(value: str) -> set[str]:
    """Return the forms of a value in a text: itself, and as `repr`, `ascii`, JSON, `unicode_escape` and the `repr` of
    its bytes write it; and the `repr` of each of these."""
    data = value.encode(errors="surrogatepass")
    once = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        *_quoted(repr(value + _QUOTES)[1:-4]),
        *_quoted(ascii(value + _QUOTES)[1:-4]),
        *_quoted(repr(data + _QUOTES.encode())[2:-4]),
    }
    return once.union(*(_quoted(repr(one + _QUOTES)[1:-4]) for one in once))


def _quoted(body: str) -> tuple[str, str]:
    """Return the body of a `repr` if the value has both kinds of quotes, and if it has one or, as in unicode_escape,
    escapes none."""
    return body, body.replace("\\'", "'")


def _values(plain: Any) -> Iterator[str]:
    """Yield the secret values, by their mark or by a name above them.

    Raises:
        OverflowError: there are too many.
    """
    left = _MOST_HIDDEN
    waiting: list[tuple[Any, bool]] = [({"": plain}, False)]  # nested generators would pass each value on many times
    while waiting:
        container, is_hidden = waiting.pop()
        if is_marked(container):
            yield from _as_bytes(container[MARK])
        is_named = isinstance(container, dict)
        if not (is_named or is_hidden):
            waiting += [(item, False) for item in container if item and type(item) in _CONTAINERS]
            continue
        for name, item in container.items() if is_named else zip(repeat(""), container, strict=False):
            hides = is_hidden or name == MARK or (is_named and _hides(name, item))
            if item and type(item) in _CONTAINERS:
                waiting.append((item, hides))
            if hides:
                left -= 1
                if left < 0:
                    raise OverflowError
                if isinstance(item, str | int | float) and not isinstance(item, bool):
                    yield str(item)


def _as_bytes(value: object) -> Iterator[str]:
    """Return the text of secret bytes that are stored as base64, if they are text: the handler gets them so."""
    if isinstance(value, str) and len(value) % 4 == 0:
        with suppress(ValueError):
            found = b64decode(value, validate=True)
            if len(value) > _MOST_ODD:
                raise OverflowError
            yield from _quoted(repr(found + _QUOTES.encode())[2:-4])
            yield found.decode()


def without(text: str, values: tuple[str, ...], start: int = 0, stop: int | None = None, *, by: str = REDACTED) -> str:
    """Return `text[start:stop]` with `[redacted]` in the place of each of these values.

    A value across an end of that part is removed, too. Beyond the part, only the length of the longest value, or of a
    quote by pydantic, is searched. Values that overlap themselves or each other become one place. Values that pydantic
    quotes and shortens are removed, too. If the search would take long, `[redacted]` replaces the whole text.

    Args:
        values: as `secret_values` returns them, the longest first.
        start, stop: 0 or more.
        by: the mark in the place of a value.
    """
    stop = len(text) if stop is None else min(stop, len(text))
    longest = max(len(values[0]), _LONGEST_QUOTE) if values else 0
    first = max(start - longest, 0)
    around = text[first : stop + longest]
    at, end = start - first, stop - first
    if not values:
        return text[start:stop]
    values = values if isinstance(values, SecretValues) else SecretValues(values)
    began = time.thread_time()
    values.seconds = min(values.seconds + _SECONDS_A_TEXT + len(around) * _SECONDS_A_CHARACTER, _SECONDS)
    places = _all_places(around, values) if values.seconds > 0 else None
    clean = (by if at < end else "") if places is None else _cut_out(around, places, at, end, by)
    values.seconds -= time.thread_time() - began
    return clean


def _cut_out(around: str, places: Sequence[tuple[int, int]], at: int, end: int, by: str) -> str:
    """Return `around[at:end]` with a mark in each of these places, which come in order."""
    parts: list[str] = []
    for left, right in places:
        if max(left, at) >= end:
            break
        if right > at:
            # A place that begins before this has its mark already, or begins before the part.
            if left >= at or not parts:
                parts += around[at:left], by
            at = right
    return "".join((*parts, around[at:end]))


def _all_places(text: str, values: SecretValues) -> list[tuple[int, int]] | None:
    """Return where secrets and quotes by pydantic begin and end, in order; None: the search would take long."""
    if values == _ALL:
        return None
    is_little = len(values) <= _FEW and _work(text, values) <= _MOST_WORK
    places = list(islice(_places(text, values), _MOST_PLACES + 1)) if is_little else _looked_up(text, values)
    if places is None:
        return None
    places = sorted((*places, *islice(_shortened(text), _MOST_PLACES + 1)))
    return places if len(places) <= _MOST_PLACES else None


def _looked_up(text: str, values: SecretValues) -> list[tuple[int, int]] | None:
    """Return where each of many values begins and ends; None: the search would take long."""
    heads, known, looks = values.heads, values.known, _STEP * len(text)
    places: list[tuple[int, int]] = []
    for place in range(len(text) - SHORTEST + 1):
        for length in heads.get(text[place : place + SHORTEST], ()):
            looks += _EACH + length
            if looks > _MOST_LOOKS or len(places) > _MOST_PLACES:
                return None
            if text[place : place + length] in known:
                places.append((place, place + length))
                break  # the others that begin here are shorter
    return places


def _work(text: str, values: SecretValues) -> int:
    """Return the number of characters that are compared at worst to find the values in a text."""
    return values.weights[len(text) < _SHORT_TEXT] * (len(text) + _EACH)


def _repeats(text: str, start: int, period: int) -> int:
    """Return the number of characters from `start` on that equal the character `period` before."""
    here, step = start, period
    while step and here < len(text):
        # Both are compared as a whole, since a comparison of each character in Python would be slow.
        if text[here : here + step] == text[here - period : here - period + step] and here + step <= len(text):
            here, step = here + step, 2 * step
        else:
            step //= 2
    return here - start


def _shortened(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each quote begins and ends whose middle pydantic has omitted."""
    left = text.find(_QUOTED) + len(_QUOTED)
    while left >= len(_QUOTED):
        cut = text.find(_CUT, left + 1, left + _HALF + len(_CUT))
        end = text.find(_QUOTE_END, cut + len(_CUT) + 1, left + _LONGEST_QUOTE - len(_QUOTED)) if cut >= 0 else -1
        if end >= 0:
            yield left, end
        left = text.find(_QUOTED, left) + len(_QUOTED)


def _places(text: str, values: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Yield where each of the values begins and ends. The time is proportional to the text, even for "aaaa…"."""
    for value in values:
        left = text.find(value)
        while left >= 0:
            right = left + len(value)
            again = text.find(value, left + 1)
            if 0 <= again < right:  # it overlaps itself, maybe over and over
                right += _repeats(text, right, again - left)
                again = text.find(value, right - len(value) + 1)
            yield left, right
            left = again
