"""R7: what is stored of an error holds no secret, and is still readable."""

import time
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlane.domain.redact import REDACTED, redact, safe_url
from tests.depth import far

# Put together at run time, so that no scanner takes this file for a leak.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4"
GITHUB = "ghp_" + "a1B2" * 9
SLACK = "xoxb-" + "123456789012-abcdefABCDEF"
STRIPE = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
FAIRLANE = "fl_" + "B0r-9Qx_" * 5 + "a1Z"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/IBAAK\nCAQEA=\n-----END RSA PRIVATE KEY-----"

PAIRS = [
    ("password=hunter2", "password=[redacted]"),
    ("DB_PASSWORD=ab)c<d user=x", "DB_PASSWORD=[redacted] user=x"),
    ("AWS_SECRET_ACCESS_KEY=abc/def+x", "AWS_SECRET_ACCESS_KEY=[redacted]"),
    ('{"password": "hun\\"ter2", "a": 1}', '{"password": "[redacted]", "a": 1}'),
    ("{'api_key': 'x', 'b': 2}", "{'api_key': '[redacted]', 'b': 2}"),
    ('{\\"client_secret\\": \\"x\\", \\"a\\": 1}', '{\\"client_secret\\": \\"[redacted]\\", \\"a\\": 1}'),
    ('"token": 123, "x"', '"token": [redacted], "x"'),
    ("GET /x?token=abc&page=1", "GET /x?token=[redacted]&page=1"),
    ("?X-Amz-Signature=abc&a=b", "?X-Amz-Signature=[redacted]&a=b"),
    ("x-api-key: abc", "x-api-key: [redacted]"),
    ("passwd = b'abc'", "passwd = b'[redacted]'"),
    ("f(apikey='a', n=1)", "f(apikey='[redacted]', n=1)"),
    ("credentials=Password('hunter2')", "credentials=Password('[redacted]')"),
    ('password: str = "hunter2"', 'password: str = "[redacted]"'),
    ('if token == "abc":', 'if token == "[redacted]":'),
    ("password: hunter2", "password: [redacted]"),
    ("password: swordfish user: bob", "password: [redacted] user: bob"),
    ("secret: token: abc1", "secret: token: [redacted]"),
    ("PWD={my;pass};Server=x", "PWD=[redacted];Server=x"),
    ("session_id=abc; path=/", "session_id=[redacted]; path=/"),
    ('"credentials": {"user": "bob", "secret": "x"}', '"credentials": {"user": "bob", "secret": "[redacted]"}'),
    ("private_key='", "private_key='[redacted]"),
    ("secret=abc'def'ghi", "secret=[redacted]"),
    ("'secret=abc' and 'it'", "'secret=[redacted]' and 'it'"),
    ("secret='abc'def", "secret='[redacted]'"),
    (r"token=abc\npassword: hunter2", r"token=[redacted]\npassword: [redacted]"),
    ("private_key='abc token='def'", "private_key='[redacted]token='[redacted]'"),
]
HEADERS = [
    ("Authorization: Bearer abc", "Authorization: [redacted]"),
    ("Authorization: Basic dXNlcjpwYXNz\nHost: x", "Authorization: [redacted]\nHost: x"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature=c", "Authorization: [redacted]"),
    ("Cookie: a=b; c=d", "Cookie: [redacted]"),
    ("Authorization: Bearer abc api_key='k-1234567'", "Authorization: [redacted]'[redacted]'"),
    ("curl -H 'Authorization: Bearer abc' https://x", "curl -H 'Authorization: [redacted]' https://x"),
    ("{'Authorization': 'Bearer x'}", "{'Authorization': '[redacted]'}"),
    ("sent Bearer abcDEF123 to it", "sent Bearer [redacted] to it"),
    ("sent Bearer abcdefghijklmnop.", "sent Bearer [redacted]"),
    ("sent Basic dXNlcjpwYXNz", "sent Basic [redacted]"),
]
SHAPES = [
    ("postgresql://u:p@ss@host:5432/db", "postgresql://u:[redacted]@host:5432/db"),
    ("redis://:pw@host/0", "redis://:[redacted]@host/0"),
    ("amqp://a:b@h1,amqp://c:d@h2", "amqp://a:[redacted]@h1,amqp://c:[redacted]@h2"),
    (f"key {AWS}.", "key [redacted]."),
    (f"got {JWT}, sorry", "got [redacted], sorry"),
    (repr(f"line\n{JWT}"), "'line\\n[redacted]'"),
    (f"push with {GITHUB} failed", "push with [redacted] failed"),
    (f"({SLACK})", "([redacted])"),
    (f"{STRIPE}: no such charge", "[redacted]: no such charge"),
    (f"GET /api/v1/jobs with {FAIRLANE}.", "GET /api/v1/jobs with [redacted]."),
    (
        f"https://fairlane.example/api/v1/login?link={FAIRLANE[3:]}",
        "https://fairlane.example/api/v1/login?link=[redacted]",
    ),
    (repr(f"line\n{FAIRLANE[:36]}"), "'line\\n[redacted]'"),  # cut short
    (f"login?next=%2Fcb%3Ft%3D{FAIRLANE}", "login?next=%2Fcb%3Ft%3D[redacted]"),
    (repr(f"\x1b[31m{FAIRLANE}"), r"'\x1b[31m[redacted]'"),
    (f"login?next=%2F&link={FAIRLANE[3:]}", "login?next=%2F&link=[redacted]"),
    (f"login%3Flink%3D{FAIRLANE[3:]}", "login%3Flink%3D[redacted]"),
    (f"/events?ticket={FAIRLANE[3:]}", "/events?ticket=[redacted]"),
    (f"a\n{PEM}\nb", "a\n[redacted]\nb"),
    (repr(PEM), "'[redacted]'"),
    (PEM.replace("-----END RSA PRIVATE KEY-----", ""), "[redacted]"),
]
PROSE = [
    "password: must be at least 8 characters",
    "Invalid token: expected ')' before ']'",
    "The secret: nobody knows.",
    "Authorization: you may not do this",
    "Basic configuration of the server",
    "Basic responsibilities of the server",
    "Bearer authentication failed",
    "Bearer unauthenticated",
    "max_tokens: 100, tokens=120",
    "f(token=None, password=null)",
    "{'password': None}",
    "http://host:8080/path?email=a@b.example",
    'File "/app/session.py", line 3, in cookie',
    "KeyError: 'token'",
    "the secretary signed the compass-card",
    "begins with -----BEGIN CERTIFICATE-----",
    "task-manager-with-a-rather-long-name",
    "fl_tokens of fl_a_module_with_a_long_name",
    "",
]
WORDS = """
    password token secret authorization cookie session Bearer Basic a Ab1 hunter2 None str foo api_key _id b' sk-
    eyJabcdefghij xoxb-1234567890a = : { } [ ] ( ) , ; & < > @ :// ! => == / - . [redacted] ' " \\
"""
FRAGMENTS = st.sampled_from(
    [*WORDS.split(), " ", "\n", AWS, JWT, FAIRLANE, "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"]
)


def test_secrets_are_replaced_and_what_is_around_them_stays_r7():
    cases = PAIRS + HEADERS + SHAPES
    assert [(text, redact(text)) for text, expected in cases if redact(text) != expected] == []


def test_ordinary_text_stays_as_it_is_r7():
    assert [(text, redact(text)) for text in PROSE if redact(text) != text] == []


# What a text may consist of that has a pattern look again and again.
UNITS = [
    *("a", " ", "\\", "=", "password=", 'password="', "password='", 'password=\\"', 'password=\\\\"', "password=(("),
    *("token: ", "password: a ", "token=a(", '"password": {', "pwd={", "secret token", "cookie: a "),
    *("a'", "token=a", "token=a\\n", "secret=a'b", "secret='a token="),
    *("://", "://a:", "a:@", "Bearer ", "Bearer a", "eyJ", "-eyJ", "eyJaaaaaaaaaaa.", "sk-aa-", "xoxb-", "fl_"),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----a"),
]


@given(st.lists(FRAGMENTS | st.text(max_size=3), max_size=14).map("".join))
@example(AWS + FAIRLANE)
@settings(max_examples=far(50, 500, 500))
def test_a_second_pass_changes_nothing_r7(text):
    once = redact(text)
    assert redact(once) == once


@given(
    st.sampled_from(["password", "client_secret", "X-Api-Key", "accessToken", "DB_PASSWD", "Set-Cookie"]),
    st.sampled_from(["{}={}", "{}='{}'", '"{}": "{}"', "{}: {}", "{}:{}", "({}={})", "a=1&{}={}&b=2"]),
    st.text("abcXYZ0189+/-_$%!", min_size=1),
)
def test_the_value_of_a_secret_key_never_survives_r7(key, form, value):
    secret = f"q7{value}7q"
    assert secret not in redact(form.format(key, secret))


# Each takes its secret in the place of {}; digits make sure that none is taken for a word of a sentence.
SNIPPETS = [
    *("password={}", "DB_PASSWORD={} user=x", "x-api-key: {}", "secret: token: {}", "GET /x?token={}&page=1"),
    *("PWD={{my;{}}};Server=x", "session_id={}; path=/", '"token": {}, "x"'),
    *("api_key='{}'", 'token="{}"', "passwd = b'{}'", "f(apikey='{}', n=1)", "credentials=Password('{}')"),
    *('password: str = "{}"', 'if token == "{}":', "private_key='{}", 'signature="{}', "secret=abc'{}'ghi"),
    *("{{'api_key': '{}', 'b': 2}}", '{{"password": "hun\\"{}", "a": 1}}', '{{\\"secret\\": \\"{}\\", \\"a\\": 1}}'),
    *("Authorization: Bearer {}", "Authorization: AWS4 Credential=a/b, Signature={}", "Cookie: a=b; c={}"),
    *("curl -H 'Authorization: Bearer {}' https://x", "{{'Authorization': 'Bearer {}'}}", "sent Bearer {} to it"),
    *("postgresql://u:p@{}@host:5432/db", "-----BEGIN RSA PRIVATE KEY-----\nMII{}\nCAQEA="),
    "-----BEGIN RSA PRIVATE KEY-----\nMII{}\nCAQEA=\n-----END RSA PRIVATE KEY-----",
    *("fl_{0}{0}-{0}{0}{0}{0}{0}", "login?link={0}{0}{0}-{0}{0}{0}{0}", "push with ghp_{0}{0}{0} failed"),
    *("got eyJ{0}{0}.{0}{0}.{0}, sorry", "(xoxb-{0}{0})"),
]


@pytest.mark.slow
def test_no_secret_stays_because_of_another_one_beside_it_r7():
    stay = [
        (text, redact(text))
        for one, other, between in product(SNIPPETS, SNIPPETS, [" ", ",", ", ", "\n", "\\n", "'", '"', "' '", '", "'])
        for text in [f"{one.format('q7abc7q')}{between}{other.format('z9Def9z')}"]
        if any(secret in redact(text) for secret in ("q7abc7q", "z9Def9z")) or redact(redact(text)) != redact(text)
    ]
    assert stay == []


@pytest.mark.slow
def test_time_grows_only_with_the_length_of_the_text_r7():
    """Quadratic time would be minutes for a megabyte; the bound is far from both."""
    slow = []
    for unit in UNITS:
        text = "password=" + unit * (1_000_000 // len(unit))
        started = time.process_time()
        redact(text)
        if time.process_time() - started >= 20:
            slow.append(unit)
    assert slow == []


def test_what_was_redacted_says_so_r7():
    assert REDACTED == "[redacted]"


URLS = {
    "postgresql://me:secret@db:5432/x?y=1": "postgresql://me:***@db:5432/x?y=1",
    "postgresql://me:sec/ret@db/x": "postgresql://me:***@db/x",
    "postgresql://me:sec@ret@db/x": "postgresql://me:***@db/x",
    "postgresql://db/x?user=me&password=secret": "postgresql://db/x?user=me&password=***",
    "postgresql:///x?host=/run&password=secret&port=1": "postgresql:///x?host=/run&password=***&port=1",
    "postgresql://me@db:5432/x": "postgresql://me@db:5432/x",
    "sqlite:///jobs.db": "sqlite:///jobs.db",
    "sqlite:///:memory:": "sqlite:///:memory:",
    "sqlite:////home/my jobs.db": "sqlite:////home/my jobs.db",
}


def test_a_url_is_shown_as_it_was_written_without_its_password() -> None:
    assert {url: safe_url(url) for url in URLS} == URLS
