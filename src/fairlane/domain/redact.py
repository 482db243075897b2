"""Remove secrets from a text before it is stored or shown: errors and tracebacks quote any value.

There are two kinds of rules: shapes that are secret wherever they stand (keys, tokens, passwords in URLs), and values
whose key says so (`password=…`, `"api_key": "…"`, `Authorization: …`). In doubt the value is removed; but a colon is
also punctuation, so `password: must be longer` stays a sentence.

Each pattern reads the text once: its repetitions are bounded, possessive, or begin where no earlier one could have
begun. Pairs in quotes go before tokens and headers, which would remove a pair's key and leave its value. Other pairs go
last.
"""

import re
from typing import Final

REDACTED: Final = "[redacted]"

_JWT: Final = r"eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+){1,3}"
_KNOWN_TOKENS: Final = re.compile(
    r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))(?:"  # in the repr of a text, a line begins after the letter of its `\n`
    + "|".join(
        (
            _JWT,
            r"fl_[\w-]{32,}+",  # Fairlane, with 43; a token that was cut to fewer than 32 is no secret
            r"(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA)[A-Z0-9]{16}(?![A-Za-z0-9])",  # AWS
            r"gh[opsur]_[A-Za-z0-9_]{20,}+",  # GitHub
            r"github_pat_\w{20,}+",
            r"glpat-[\w-]{20,}+",  # GitLab
            r"xox[a-z]-[A-Za-z0-9-]{10,}+",  # Slack
            r"xapp-[A-Za-z0-9-]{10,}+",
            r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}+",  # Stripe
            r"whsec_[A-Za-z0-9+/=]{16,}+",
            r"sk-(?:[a-z0-9]{2,10}-){0,2}[A-Za-z0-9_]{20,}+",  # OpenAI, Anthropic
            r"AIza[\w-]{35}",  # Google
        )
    )
    + ")",
    re.ASCII,
)
# Fairlane's own tokens, whole, wherever they stand: escapes and percent signs end in letters.
_OURS: Final = re.compile(r"(?:fl_|(?<=link=)|(?<=link%3D)|(?<=ticket=))[\w-]{43,}+", re.ASCII)
# To the last @ before the path: a password may hold an @.
_URL_PASSWORD: Final = re.compile(r"(://[^\s/:@]{0,200}:)[^\s/]+@")
# SQLAlchemy reads a longer password, up to the next @, if there is a slash in it.
_USER_AND_PASSWORD: Final = re.compile(r"(://[^/:@]*:)(?:[^/]*|[^@]*)@")
_PASSWORD_OF_QUERY: Final = re.compile(r"(\bpassword=)[^&]*")
_SCHEME: Final = re.compile(r"\b(bearer|basic)([ \t]{1,8})([A-Za-z0-9._~+/=-]{6,}+)", re.IGNORECASE)

_KEY: Final = (
    r"(?:passwords?|passwd|pwd|passphrases?|secrets?|token|credentials?|sessions?|signatures?|(?<![a-z])sig"
    r"|authorization|cookies?|api[_-]?keys?|(?:access|account|encryption|master|private|signing)[_-]?keys?)"
    r"(?:[_-]?(?:id|key|value|hash|[0-9]{1,3}))?"
)
_LITERAL: Final = r"(?:none|null|true|false)(?=[\s,;&)\]}\"']|\Z)"
# A word and more text, but no further pair: a colon before it is punctuation.
_PROSE: Final = r"[a-z’-]{1,40}[,.;!?]?[ \t]{1,8}(?![\"']?[\w-]{1,40}[\"']?[ \t]?[:=])\S"
_ANNOTATED: Final = r":[ \t]?(?:str|bytes|SecretStr)(?: \| None)?[ \t]?="
_COLON: Final = rf"(?:(?<=[\"']):|:(?![:=]|[ \t]{{1,8}}{_PROSE}))"
# Atomic: after backtracking, a part of it would be read as the value's beginning.
_SEPARATOR: Final = rf"(?>\\{{0,4}}[\"']?[ \t]{{0,8}}(?:{_ANNOTATED}|=>|[:!=]=|=|{_COLON})[ \t]{{0,8}})"
# No key and separator follow, maybe with more of the key's name before.
_NO_PAIR: Final = rf"(?![\w.-]{{0,40}}?{_KEY}{_SEPARATOR})"
# A quote within a word belongs to the word, as in a shell, unless a pair begins behind it.
_QUOTE_WITHIN: Final = rf"[\"'](?![\s\"'&;,<>()\[\]{{}}.:\\]|\Z){_NO_PAIR}"
# A backslash belongs to the word, too, unless a line begins behind `\n` in the repr of a text.
_BACKSLASH: Final = rf"\\(?![nrt](?!{_NO_PAIR}))"
_WORD: Final = rf"(?:[^\s\"'&;,\\]+|{_BACKSLASH})++"
_REST_OF_WORD: Final = rf"(?:(?!{_KEY}{_SEPARATOR})[^\s\"'&;,\\]|{_BACKSLASH}|{_QUOTE_WITHIN})"
# The repr of an object may stand around a string: SecretStr('…').
_REPR: Final = r"(?:[a-z_][\w.]{0,60}\()?[bru]{0,2}"
_QUOTED: Final = (
    # A string in a string: its quotes are escaped.
    r"(?P<open_escaped>\\{1,4}[\"'])[^\"'\n]*?(?=\\?[\"'\n]|\Z)"
    # If a quote opens the next pair's value, no quote has closed this one: the text was cut.
    rf"|(?P<open>{_REPR}(?P<quote>[\"']))(?:(?!(?P=quote)|{_KEY}{_SEPARATOR}{_REPR}(?P=quote))[^\\\n]|\\.)*+"
    rf"(?:(?P<close>(?P=quote))(?:(?=\w){_NO_PAIR}{_REST_OF_WORD}++)?)?"
)
# A container holds pairs of its own; in ODBC's connection strings braces are quotes. A key is no value.
_NO_VALUE: Final = rf"(?![\[{{<]|{_KEY}[ \t]?[:=])"
_BARE: Final = rf"\{{[^{{}}\"'\n]*+\}}|{_NO_VALUE}(?P<bare>{_WORD}{_REST_OF_WORD}*+)"
_HALF_QUOTED: Final = rf"{_NO_VALUE}(?P<bare>[^\s\"'&;,\\]{{1,200}}{_QUOTE_WITHIN}{_REST_OF_WORD}++)"
_PUNCTUATION: Final = "<>)]}.:"  # around a value, at its end
_NAME: Final = re.compile(rf"{_KEY}\Z", re.IGNORECASE)
NAME_END: Final = 40  # the characters at the end of a name that decide whether it is the name of a secret
_BEGIN_OF_PAIR: Final = rf"(?P<key>{_KEY})(?P<separator>{_SEPARATOR})(?!{_LITERAL})"
_QUOTED_PAIR: Final = re.compile(rf"{_BEGIN_OF_PAIR}(?:{_QUOTED}|{_HALF_QUOTED})", re.IGNORECASE)
_PAIR: Final = re.compile(rf"{_BEGIN_OF_PAIR}(?:{_QUOTED}|{_BARE})", re.IGNORECASE)
# A body has any number of lines, maybe with `\n` for the line breaks, maybe with headers; a cut one has no end, and any
# text may follow it.
_PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    rf"(?:(?!(?i:\s{{0,4}}{_KEY}{_SEPARATOR}))(?:[\w+/=\s\\|:,.()]|-(?!-)))*+"
    r"(?:-----END [A-Z0-9 ]{1,60}-----)?"
)
# Headers whose whole line is the secret; elsewhere they are keys like the others.
_SCHEMES: Final = r"(?:basic|bearer|digest|negotiate|token|apikey)[ \t]"
_HEADER: Final = re.compile(
    rf"(?P<key>authorization|cookies?)(?P<separator>:[ \t]{{0,8}})(?!{_LITERAL}|(?!{_SCHEMES}){_PROSE})"
    r"[^\s\"'\[{][^\"'\r\n]*+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return the text with `[redacted]` in the place of each secret; a second call changes nothing.

    Keys, separators, quotes and the user in a URL stay, so that the reader sees what was there. The time is
    proportional to the length of the text.
    """
    text = _URL_PASSWORD.sub(rf"\1{REDACTED}@", text)
    text = _PEM.sub(REDACTED, text)  # A key that was cut also removes the text behind it, up to a foreign character.
    text = _OURS.sub(REDACTED, text)  # First: a known token before it ends only once it is gone.
    text = _QUOTED_PAIR.sub(_without_value, text)
    text = _KNOWN_TOKENS.sub(REDACTED, text)
    text = _SCHEME.sub(_without_token, text)
    text = _HEADER.sub(_without_value, text)
    return _PAIR.sub(_without_value, text)


def is_secret_name(name: str) -> bool:
    """Return True if this is the name of a secret: `password`, `stripe_api_key`, `refreshToken`."""
    return _NAME.search(name[-NAME_END:]) is not None


def safe_url(url: str) -> str:
    """Return the URL unchanged, but with `***` in place of its password."""
    return _PASSWORD_OF_QUERY.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1***@", url, count=1))


def _without_token(match: re.Match[str]) -> str:
    """Remove a token, as in `Basic dXNlcjpwYXNz`, but not prose, as in `Basic configuration`."""
    scheme, space, token = match.groups()
    word = token.rstrip(".")
    shortest = 20 if scheme.lower() == "basic" else 16  # `Basic responsibilities`
    is_word = not any(c.isdigit() for c in word) and word in {word.lower(), word.upper(), word.title()}
    if is_word and len(word) < shortest:
        return match[0]
    return f"{scheme}{space}{REDACTED}"


def _without_value(match: re.Match[str]) -> str:
    groups = match.groupdict(default="")
    bare = groups.get("bare", "")
    value = bare.rstrip(_PUNCTUATION)
    if bare and not value:
        return match[0]
    opened = groups.get("open_escaped", "") or groups.get("open", "")
    return f"{groups['key']}{groups['separator']}{opened}{REDACTED}{groups.get('close', '')}{bare[len(value) :]}"
