"""Secret parameters are hidden from readers, found in texts, and put back in their places."""

import json
import tracemalloc
from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.redact import REDACTED
from fairlane.domain.secrets import (
    MARK,
    Secret,
    bare,
    changed,
    has_redacted_secret,
    is_hidden_name,
    restored,
    secret_values,
    veiled,
    without,
)

MARKED = {MARK: "hunter22"}
names = st.sampled_from(["password", "refreshToken", "month", "monkey"])
leaves = st.sampled_from([None, True, 5, "text", MARKED])
plains = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=6
)
objects = st.dictionaries(names, plains, max_size=3)


@given(objects)
def test_what_is_shown_can_be_edited_and_given_back_without_losing_a_secret(plain):
    shown = veiled(plain)
    assert "hunter22" not in json.dumps(shown)
    assert veiled(shown) == shown
    assert restored(shown, plain) == plain


@given(objects)
def test_what_has_no_secret_is_the_very_same(plain):
    shown = veiled(plain)
    assert (shown is plain) == (shown == plain)


def test_secrets_are_known_by_their_mark_and_by_their_name():
    plain = {
        "key": MARKED,
        "stripe_api_key": "k",
        "Password": 1234,
        "token": None,
        "credentials": {"user": "ana"},
        "has_secret": True,
        "months": [{"session": "s"}, MARKED],
        "secretary": "bea",
        "max_tokens": 5,
    }
    assert veiled(plain) == {
        "key": REDACTED,
        "stripe_api_key": REDACTED,
        "Password": REDACTED,
        "token": None,
        "credentials": REDACTED,
        "has_secret": True,
        "months": [{"session": REDACTED}, REDACTED],
        "secretary": "bea",
        "max_tokens": 5,
    }
    assert veiled({"token": "page 2", "key": MARKED}, by_name=False) == {"token": "page 2", "key": REDACTED}


def test_the_handler_gets_the_values():
    assert bare({"key": MARKED, "more": [MARKED, {"a": MARKED}]}) == {
        "key": "hunter22",
        "more": ["hunter22", {"a": "hunter22"}],
    }


def test_only_what_was_a_secret_is_restored():
    before = {"password": "p", "name": "n", "list": [MARKED, "x"]}
    edited = {"password": REDACTED, "name": REDACTED, "list": [REDACTED, "y"], "token": REDACTED}
    assert restored(edited, before) == {**edited, "password": "p", "list": [MARKED, "y"]}
    assert has_redacted_secret({"token": REDACTED})
    assert has_redacted_secret([{MARK: REDACTED}])
    assert not has_redacted_secret({"name": REDACTED, "token": "t"})


ACCOUNTS = [{"user": "alice", "password": "AAAA"}, {"user": "bob", "password": "BBBB"}]


@pytest.mark.parametrize(
    "edited",
    [
        [{"user": "bob", "password": REDACTED}],
        [{"user": "bob", "password": REDACTED}, {"user": "alice", "password": REDACTED}],
        [{"user": "carol", "password": REDACTED}, {"user": "bob", "password": REDACTED}],
        [{"user": "alice", "password": REDACTED, "admin": True}, {"user": "bob", "password": REDACTED}],
        [*veiled(ACCOUNTS), {"user": "carol", "password": "CCCC"}],
        [REDACTED, {"user": "bob", "password": REDACTED}],
    ],
)
def test_in_a_list_that_was_changed_no_secret_becomes_anothers(edited):
    with pytest.raises(InvalidParameters, match="give the value of each secret"):
        restored({"accounts": edited}, {"accounts": ACCOUNTS})


def test_in_a_list_secrets_are_left_beside_what_was_changed():
    edited = [{"user": "alicia", "password": "NEW!"}, {"user": "bob", "password": REDACTED}]
    assert restored(edited, ACCOUNTS) == [edited[0], ACCOUNTS[1]]
    assert restored([{"user": "carol", "password": "C"}], ACCOUNTS) == [{"user": "carol", "password": "C"}]
    # What was no secret is what it was made.
    assert restored([REDACTED], ["x", "y"]) == [REDACTED]
    with pytest.raises(InvalidParameters):
        restored([{"a": True, "key": REDACTED}], [{"a": 1, "key": MARKED}])


@given(st.lists(plains, max_size=3), st.lists(plains.map(veiled), max_size=3))
def test_a_secret_of_a_list_stays_with_what_it_stood_beside(before, edited):
    try:
        found = restored(edited, before)
    except InvalidParameters:
        return
    for place, (new, old) in enumerate(zip(edited, found, strict=True)):
        if old != new or "hunter22" in json.dumps(old):
            assert (old, len(edited)) == (before[place], len(before))


def test_the_names_of_what_was_changed_are_told():
    assert changed({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "d": 4}) == ("b", "c", "d")


@pytest.mark.parametrize("text", ["not JSON", "fl1:1:abcd"])
def test_of_a_text_that_is_no_json_nothing_is_known(text):
    assert secret_values(text) == ()


def test_nothing_is_left_of_a_text_where_recursion_went_too_deep_to_read_the_secrets():
    """A handler that logs in `except RecursionError` had its secrets kept in all lines after that."""
    text = json.dumps({"password": "hunter22"})

    def deeper():
        try:
            return deeper()
        except RecursionError:
            return secret_values(text)

    values = deeper()
    assert "hunter22" not in without("it was hunter22", values)


@pytest.mark.parametrize("secret", [[1] * 5_000, [None] * 5_000, [{"a": [1]}] * 2_000, [{MARK: "YWFh"}] * 5_000])
def test_of_thousands_of_secrets_no_text_is_kept_though_they_are_short_or_alike(secret):
    """To list a quarter of a million of them took a fifth of a second of the loop."""
    assert without("a line", secret_values(json.dumps({"password": secret}))) == REDACTED


@pytest.mark.parametrize("begin", ["a", "_", "password", "🙂", "access_"])
def test_a_name_of_any_length_is_looked_at_from_its_end_and_not_kept(begin):
    """A name of 250,000 characters took 50 ms, and 4,096 of them were kept: gigabytes."""
    tracemalloc.start()
    try:
        for number in range(20):
            assert is_hidden_name(f"{begin * 100_000}{number}_password")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000
    assert not is_hidden_name("password" * 100_000 + "s of all users")


def test_values_are_found_as_they_may_stand_in_a_text():
    text = json.dumps(
        {"key": {MARK: 'a "quoted"\nline'}, "password": 12345, "pin_secret": "123", "b": {MARK: "aHVudGVyMjI="}}
    )
    values = secret_values(text)
    for said in ('a "quoted"\nline', repr('a "quoted"\nline'), json.dumps('a "quoted"\nline'), "12345", "hunter22"):
        assert REDACTED in without(f"it was {said}!", values)
    assert without("123 is too short to be one", values) == "123 is too short to be one"
    assert without("nothing", ()) == "nothing"


def test_bytes_and_texts_with_quotes_are_found_however_they_are_escaped():
    key = b"\xff\xfe\x80binary\x00'"
    spoken = """pässwörd"it's"""
    values = secret_values(
        json.dumps({"key": {MARK: b64encode(key).decode()}, "password": spoken, "secret": "pässwörd's"})
    )
    for said in (
        repr(key),
        repr(f"key {key!r}"),
        json.dumps(spoken, ensure_ascii=False),
        repr([spoken]),
        repr(f"it is {spoken}"),
        ascii(spoken),
        ascii("pässwörd's"),
        ascii([f"it is {spoken}"]),
        "pässwörd's".encode("unicode_escape").decode(),
    ):
        found = without(said, values)
        assert REDACTED in found, said
        assert "binary" not in found, said
        assert "rd" not in found, said


WRITERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "in a list": lambda text: repr([text]),
    "beside quotes": lambda text: repr(f"'{text}\""),
    "repr of a repr": lambda text: repr(repr(text)),
    "ascii": ascii,
    "ascii beside quotes": lambda text: ascii(f"'{text}\""),
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "repr of JSON": lambda text: repr(json.dumps(text)),
    "bytes": lambda text: repr(text.encode()),
    "bytes beside quotes": lambda text: repr(f"'{text}\"".encode()),
    "unicode_escape": lambda text: text.encode("unicode_escape").decode(),
    "repr of unicode_escape": lambda text: repr(text.encode("unicode_escape")),
}


@given(st.text("01xä€😀'\"\\\n\t\x00\x7f", min_size=4, max_size=12))
def test_of_a_secret_nothing_is_left_whatever_wrote_it(secret):
    values = secret_values(json.dumps({"password": secret}))
    found = {name: without(write(secret), values) for name, write in WRITERS.items()}
    assert not {name: said for name, said in found.items() if said.replace(REDACTED, "").strip("b'\"[]\\")}


def test_each_line_of_a_secret_goes_by_itself():
    values = secret_values(json.dumps({"key": {MARK: "first line\n  'tis ä\r\nend\n"}}))
    assert without("  | first line\n  |   'tis ä\n", values) == f"  | {REDACTED}\n  |   {REDACTED}\n"
    assert without(ascii("'tis ä"), values) == f'"{REDACTED}"'
    assert without("the end", values) == "the end"


def test_a_long_plain_secret_that_is_no_base64_hides_nothing_else():
    values = secret_values(json.dumps({"key": {MARK: "plain words " * 5_000}}))
    assert without("a line", values) == "a line"


@pytest.mark.parametrize("before", ["aaaa\n", "a\n"])
def test_the_last_of_very_many_lines_is_found_behind_short_and_equal_ones(before):
    values = secret_values(json.dumps({"password": before * 1_200 + "hunter22"}))
    assert "hunter22" not in without("it is hunter22!", values)


def test_the_longest_goes_first():
    values = secret_values(json.dumps({"password": "hunter", "secret": "hunter22"}))
    assert without("hunter22 hunter", values) == f"{REDACTED} {REDACTED}"


# Of other characters than all else, so that each that is left is seen.
digits = st.lists(st.text("01", min_size=4, max_size=9), min_size=1, max_size=3)


@given(digits, st.data())
def test_of_a_secret_nothing_is_left_wherever_a_text_is_cut(secrets, data):
    values = tuple(sorted(secrets, key=len, reverse=True))
    text = "".join(data.draw(st.lists(st.sampled_from([*secrets, "x", "yz "]), max_size=12)))
    start, stop = data.draw(st.integers(0, 80)), data.draw(st.integers(0, 80))
    found = without(text, values, start, stop)
    assert found.replace(REDACTED, "") == text[start:stop].replace("0", "").replace("1", "")
    assert (REDACTED in found) == any(one in "01" for one in text[start:stop])
    # However long the text is, no more of it is read.
    assert without(text[: stop + len(values[0])], values, start, stop) == found


def test_a_long_secret_that_overlaps_itself_takes_no_longer():
    values = ("a" * 100_000,)
    assert without("a" * 1_000_000 + "b", values) == f"{REDACTED}b"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (secret_values(json.dumps({"password": [*range(1000, 20_000)]})), "fine"),
        (tuple("a" * length + "b" for length in range(1000, 4, -1)), "a" * 10_000),
        (("abc1", "bca2"), "abc1 bca2 " * 20_000),
        (tuple("a" * 70 + f"{number:04}" + "a" * 25 for number in range(2000)), "a" * 10_000),
        (tuple("a" * 1200 + f"{number:04}a" for number in range(1000)), "a" * 2400),
    ],
    ids=[
        *("values", "values that begin as the text", "places", "values that are long"),
        "values half as long as the text",
    ],
)
def test_where_there_is_too_much_to_search_nothing_is_left(values, text):
    assert without(text, values) == REDACTED
    assert without(f"{text} and more", values, len(text) + 20) == ""
    assert without("", values) == ""


def test_of_many_secrets_those_that_are_there_are_found():
    numbers = tuple(str(number) for number in range(1000, 9000))
    assert without("1000" + "x" * 20_000, numbers) == REDACTED + "x" * 20_000


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["a" * length for length in range(4, 350)], "a" * 400 + "!"),
        ([("12345678" * 2)[i:][:length] for i in range(8) for length in range(4, 9)], "12345678" * 49 + "!"),
    ],
    ids=["many secrets", "many places"],
)
def test_once_a_job_s_texts_have_taken_long_to_search_nothing_is_left_of_such(values, text):
    """Its submitter chooses secrets and texts: one job kept the loop of all for minutes."""
    secrets = secret_values(json.dumps({"password": values}))
    texts = [without(text, secrets) for _ in range(1_000)]
    assert REDACTED in texts
    assert without("row 5", secret_values(json.dumps({"password": "hunter22"}))) == "row 5"


many = st.lists(st.text("01", min_size=4, max_size=12), min_size=301, max_size=320)


@given(many, st.text("01x", max_size=60))
def test_of_many_secrets_nothing_is_left_and_all_else(secrets, text):
    hidden = [
        any(text.startswith(one, at - begin) for one in secrets for begin in range(min(len(one), at + 1)))
        for at in range(len(text))
    ]
    found = without(text, tuple(sorted(secrets, key=len, reverse=True)), by="")
    assert found == "".join(one for one, is_hidden in zip(text, hidden, strict=True) if not is_hidden)


@pytest.mark.parametrize("value", ["é" * 100_000, "line\n" * 50_000, "é'" * 30_000])
def test_of_a_secret_that_is_long_and_written_in_many_forms_no_text_is_kept(value):
    assert without("a line", secret_values(json.dumps({"password": value}))) == REDACTED
    encoded = b64encode(value.encode()).decode()
    assert without("a line", secret_values(json.dumps({"key": {MARK: encoded}}))) == REDACTED


def test_twenty_secrets_are_found_in_a_long_text():
    text = json.dumps({"password": [f"pä'{number:037}" for number in range(20)]})
    assert without("x" * 200_000 + f"pä'{19:037}.", secret_values(text)) == "x" * 200_000 + f"{REDACTED}."


def test_a_secret_does_not_show_itself():
    assert "hunter22" not in f"{Secret('hunter22')} {[Secret('hunter22')]!r}"
    assert Secret("a") == Secret("a") != Secret(b"a")
    assert len({Secret("a"), Secret("a")}) == 1


def test_secrets_that_can_be_written_in_very_many_forms_leave_nothing_of_a_text() -> None:
    """Every line has some twenty forms: of 95,000 characters they were 180,000, and each log line took two seconds."""
    many = secret_values(json.dumps({"password": "\n".join(f"😀'{number:04}" for number in range(1_000))}))
    assert without("a line", many) == REDACTED


def test_secrets_whose_forms_are_long_together_leave_nothing_of_a_text() -> None:
    """Of 1,000 lines of German they were 7,009 forms of ten million characters: each log line took half a second."""
    prose = "\n".join(f"{number} " + "für die Prüfung " * 12 for number in range(1_000))
    assert without("a line", secret_values(json.dumps({"password": prose}))) == REDACTED


KEY = "sk-proj-9aXbQ2mT7vKcLd8RzWn4EyHuJp0SgFiBo6MqV1xNt"


def pydantic_s_words(value: object, model: type = int) -> str:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(model).validate_python(value)
    return str(refused.value)


class Lines:
    """An object that shows itself in lines."""

    def __repr__(self) -> str:
        return f"Lines(\n  key={KEY[:20]}\n{KEY[20:]}\n)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [
        pydantic_s_words(KEY),
        pydantic_s_words([*"abcdefghijklmnopqrstuvwxyz", KEY], list[int]),
        pydantic_s_words({"name": "ä" * 30, "key": KEY}),
        pydantic_s_words(f"{KEY[:24]}.{KEY[24:]}"),
        "Loading... " * 20 + pydantic_s_words(KEY),
        repr([pydantic_s_words({"name": "O'Brien", "key": KEY})]),
        json.dumps(pydantic_s_words({"ä": "ü" * 4, "key": KEY})),
        repr(pydantic_s_words({"账户": "上海上海上海上海", "key": KEY}).encode()),
        repr(repr(pydantic_s_words({"账户": "上海上海上海上海", "key": KEY}).encode())),
        pydantic_s_words(Lines()),
    ],
    ids=[
        *("alone", "behind others", "in a dict", "with a dot", "behind dots", "in a list", "as JSON"),
        *("as bytes", "as bytes in a text", "in lines"),
    ],
)
def test_of_a_secret_that_pydantic_has_shortened_nothing_is_left(said: str) -> None:
    """Of 49 characters it left 47."""
    found = without(said, secret_values(json.dumps({"password": KEY})))
    assert REDACTED in found
    assert not [KEY[at : at + 8] for at in range(len(KEY) - 7) if KEY[at : at + 8] in found]
    assert without(said, ()) == said
    for stop in range(len(said)):
        left = without(said, secret_values(json.dumps({"password": KEY})), stop=stop)
        assert not [KEY[at : at + 8] for at in range(len(KEY) - 7) if KEY[at : at + 8] in left]


def test_quotes_of_pydantic_go_though_what_stands_whole_is_nowhere() -> None:
    """In a long search, values of which the text holds no part are skipped: the quotes were then not looked at."""
    keys = [json.dumps({"k": f"{number:03}{KEY}\n"}) for number in range(30)]
    values = secret_values(json.dumps({"password": keys}))
    said = "x" * 200_000 + pydantic_s_words(keys[0])
    assert KEY[:8] not in without(said, values)


def test_very_many_quotes_of_pydantic_leave_nothing_of_a_text() -> None:
    quotes = "input_value=a...b, input_type=str " * 20_001
    assert without(quotes, ("hunter22",)) == REDACTED
    assert without(quotes, ()) == quotes


def test_quotes_of_pydantic_that_never_end_hide_nothing() -> None:
    quotes = "input_value=a...b " * 20_000
    assert without(quotes, ("hunter22",)) == quotes
