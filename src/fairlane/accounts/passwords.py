"""Passwords: argon2id, by argon2-cffi with its recommended parameters."""

from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Final

from fairlane.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST: Final = 12  # characters; NIST SP 800-63B asks for 8 beside another factor, for 15 alone
# Each hash takes 64 MiB of memory and a whole core, so only a few run at once. Logins by the REST API wait in a queue
# before they take a thread. Others, for example by `fl.users`, wait here.
AT_ONCE: Final = 3
_ROOM: Final = BoundedSemaphore(AT_ONCE)
LONGEST: Final = 1024  # characters: a longer one costs the server time, and nobody has it
# The hash of a random text, with the parameters of current hashes. An unknown user's password is compared with it.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$qpfNz7c7eL2nzK8SVHtmvw$oPJeCQAn3nJzBh6+zv0GPSbGkrKcj9VH1sAYnVsjZWo"


def hashed(password: object) -> str:
    """Return the hash under which a password is stored.

    Raises:
        ConfigurationError: it is too short or too long, or argon2 is not installed.
    """
    if not isinstance(password, str) or not SHORTEST <= len(password) <= LONGEST:
        raise ConfigurationError(f"A password has {SHORTEST} to {LONGEST} characters.")
    try:
        with _ROOM:
            return _hasher().hash(password)
    except UnicodeEncodeError:
        raise ConfigurationError("A password holds half a surrogate pair; remove it.") from None


def fits(kept: str | None, password: object) -> bool:
    """Return True if a password matches its stored hash. Without a hash it takes as long, so time reveals nothing."""
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - an extra

    tried = password if isinstance(password, str) and len(password) <= LONGEST else ""
    try:
        with _ROOM:
            _hasher().verify(kept or _NOBODY, tried)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return kept is not None


def _hasher() -> "PasswordHasher":
    try:
        from argon2 import PasswordHasher  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError("Passwords need argon2: pip install 'fairlane[web]'.") from None
    return PasswordHasher()
