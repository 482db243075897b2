"""The settings: frozen and checked once, with every default."""

import os
import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from fairlane.domain.errors import ConfigurationError
from fairlane.domain.timing import (
    GRACE,
    LEASE,
    LOCK_TIMEOUT,
    LONGEST_DIRECTORY_AGE,
    POLL_INTERVAL,
    READ_TIMEOUT,
    STOP_GRACE,
)

HARD_PAYLOAD_LIMIT = 1024 * 1024  # bytes (R1)


# A commit of SQLite returns when the disk has it, or as soon as the operating system has it.
Synchronous: TypeAlias = Literal["full", "normal"]
FULL: Final[Synchronous] = "full"

# The settings for the same database with other logins.
OTHER_LOGINS = ("worker_url", "owner_url")


class _FromEnvironment(BaseModel):
    """Settings that come from code, else from the environment as FAIRLANE_…"""

    # Without pydantic-settings, whose import takes a tenth of the start of the command line.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __init__(self, **given: Any) -> None:
        environment = {name.lower(): value for name, value in os.environ.items()}
        alone = OTHER_LOGINS if "url" in given else ()  # these belong to the environment's database
        names = {name: f"fairlane_{name}" for name in type(self).model_fields if name not in alone}
        found = {name: environment[variable] for name, variable in names.items() if variable in environment}
        try:
            super().__init__(**found | given)
        except ValidationError as error:
            raise _in_a_sentence(type(self), error) from None


class Settings(_FromEnvironment):
    """The settings of an application, in code or as FAIRLANE_… in the environment; times in seconds, sizes in bytes.

    If `url` is set in code, `worker_url` and `owner_url` come from code, too, and not from the environment: those
    belong to the database of FAIRLANE_URL.

    Raises:
        ConfigurationError: a value is wrong, or there is no such setting.
    """

    url: str = Field(default="sqlite:///fairlane.db", description="Of the database: sqlite:///… or postgresql://…")
    worker_url: str | None = Field(
        default=None, description="The same database for workers, by a login of their own; None = url"
    )
    owner_url: str | None = Field(
        default=None,
        description="The same database for `fairlane migrate`, by the tables' owner; None = url",
    )
    production: bool = Field(
        default=False,
        description="Refuse logins of PostgreSQL that row security does not bind: superusers, and the tables' owner",
    )
    artifacts_url: str | None = Field(
        default=None,
        description="Where artifacts are kept: file:///…, memory:///, s3://…; None = a folder beside a SQLite file, "
        "else ./fairlane-artifacts",
    )
    encryption_keys: SecretStr | None = Field(
        default=None,
        description="Master keys for the keys of organizations, NAME:KEY with the key's 32 bytes as base64; several "
        "with commas between, the newest first (R19)",
    )
    lease: float = Field(default=LEASE, gt=0, description="A worker that is silent for longer has lost its jobs (R5)")
    poll_interval: float = Field(
        default=POLL_INTERVAL, gt=0, description="How often an idle worker looks for jobs that no hint told of"
    )
    stage_interval: float = Field(default=1.0, gt=0, description="How often due jobs are made ready")
    cleanup_interval: float = Field(default=60.0, gt=0, description="How often ended jobs past retention are deleted")
    watch_interval: float = Field(default=0.25, gt=0, description="How often a worker looks for cancel requests")
    progress_interval: float = Field(default=1.0, ge=0, description="At most one progress write per job in this time")
    grace: float = Field(default=GRACE, ge=0, description="How long a stopping worker lets its jobs finish (R17)")
    stop_grace: float = Field(
        default=STOP_GRACE, ge=0, description="How long a handler may take to stop once it is asked to"
    )
    payload_limit: int = Field(default=256 * 1024, gt=0, le=HARD_PAYLOAD_LIMIT, description="Of one job's parameters")
    result_limit: int = Field(default=1024 * 1024, gt=0, description="Of one job's result as JSON")
    retention: float = Field(
        default=30 * 86400.0,
        gt=0,
        description="How long ended jobs are kept where neither their organization nor their type says (R14)",
    )
    dead_letter_alert: int = Field(default=50, ge=0, description="Unresolved dead letters that raise an alert (R8)")
    log_tracebacks: bool = Field(
        default=False,
        description="Log each dead letter's traceback, as it is stored. It may quote what belongs to an organization: "
        "set it where all readers of the log may read that. Of organizations with an encryption key none is logged",
    )
    directory_max_age: float = Field(
        default=5.0, ge=0, le=LONGEST_DIRECTORY_AGE, description="How old a host's answers may be when jobs start (R19)"
    )
    lock_timeout: float = Field(
        default=LOCK_TIMEOUT, gt=0, description="How long to wait for somebody else's transaction"
    )
    pool_size: int = Field(default=5, gt=0, description="Database connections kept open")
    sqlite_synchronous: Synchronous = Field(
        default=FULL,
        description="Whether a commit on SQLite waits for the disk: full, or normal, by which a power cut takes the "
        "last commits with it",
    )

    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Where `fairlane worker` serves its metrics and probes; with --processes the first process, and "
        "each further one at the next port; None = nowhere",
    )
    metrics_host: str = Field(default="127.0.0.1", min_length=1, description="The address at which it does")
    metrics_organizations: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="How many organizations have series of their own in the metrics of a worker; all others share one",
    )

    @classmethod
    def load(cls, url: str | None = None) -> Self:
        """Read the settings from the environment.

        A `url` that is given is used without the environment's other logins.

        Raises:
            ConfigurationError: a value is wrong; the message says which and what it must be.
        """
        return cls(url=url) if url is not None else cls()


# Tokens are signed with a private key that only the identity provider has. With a shared secret (HS256) every checker
# of tokens could make them; and if both are accepted, a public key can be used as a secret.
SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


_ORIGIN = re.compile(r"https?://[^/?#@*\s]+")


class WebSettings(_FromEnvironment):
    """The settings of the REST API, in code or as FAIRLANE_… in the environment; rates are per minute and user.

    Raises:
        ConfigurationError: a value is wrong, or there is no such setting.
    """

    rate_submit: int = Field(default=100, gt=0, description="Submissions; a batch is one")
    rate_status: int = Field(default=600, gt=0, description="Looks at one job, its log, its result")
    rate_list: int = Field(default=300, gt=0, description="Lists, of jobs and of all else")
    rate_cancel: int = Field(default=30, gt=0, description="Cancels, retries and all other changes")
    rate_metrics: int = Field(default=120, gt=0, description="Looks at numbers")
    rate_login: int = Field(default=10, gt=0, description="Logins, of each address; of each user ten times as many")
    rate_unproved: int = Field(
        default=300,
        gt=0,
        description="Of each address: by credentials that were not good there before, and sockets without a ticket; "
        "and, counted apart, looks at the OpenAPI document",
    )
    rate_organization: int = Field(
        default=10, gt=0, description="How many times a user's rates all users of an organization have together"
    )
    rates_url: str | None = Field(
        default=None,
        description="Where all nodes count rates together: redis://… or valkey://…; None = each by itself",
    )
    requests_at_once: int = Field(
        default=16,
        gt=0,
        le=32,
        description="Requests that a node works on at once; an eighth of them, or one, of one organization, "
        "and one more of a user of it who has none",
    )
    read_timeout: float = Field(
        default=READ_TIMEOUT, gt=0, description="How many seconds the database may take for a look before it is stopped"
    )
    connection_limit: int = Field(
        default=5000, gt=0, description="Open connections of `fairlane serve`, sockets and streams among them"
    )
    body_limit: int = Field(default=8 * 1024 * 1024, gt=0, description="Of the body of a request, in bytes")
    web_origins: tuple[str, ...] = Field(
        default=(), description="Other origins whose pages may call the API, such as https://jobs.example; with commas"
    )
    jwt_issuer: str | None = Field(default=None, description="Whose JWTs are taken: `iss`, to the letter")
    jwt_audience: str | None = Field(default=None, description="For whom they must be made: one of `aud`")
    jwt_jwks_url: str | None = Field(default=None, description="Where the issuer publishes its keys: https://…")
    jwt_algorithms: tuple[str, ...] = Field(
        default=("RS256", "ES256"), min_length=1, description="How they may be signed; with commas"
    )
    jwt_operators: bool = Field(
        default=False, description="Whether a JWT is enough to act as the operator whom it names"
    )
    jwt_leeway: float = Field(default=10.0, ge=0, le=60, description="How many seconds the issuer's clock may be off")

    @field_validator("web_origins", "jwt_algorithms", mode="before")
    @classmethod
    def _at_commas(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("web_origins")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(_ORIGIN.fullmatch(one) is None for one in value):
            raise ValueError("name each origin, such as https://jobs.example; * would let in the pages of everybody")
        return value

    @field_validator("jwt_algorithms")
    @classmethod
    def _signed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(SIGNATURES):
            raise ValueError(f"they are some of {', '.join(SIGNATURES)}")
        return value

    @model_validator(mode="after")
    def _all_of_jwt(self) -> Self:
        given = (self.jwt_issuer, self.jwt_audience, self.jwt_jwks_url)
        if any(given) and not all(given):
            raise ValueError("set jwt_issuer, jwt_audience and jwt_jwks_url, or none of them")
        return self

    @property
    def takes_jwt(self) -> bool:
        """Return True if an identity provider's tokens are taken."""
        return self.jwt_issuer is not None


def is_secret(name: str) -> bool:
    """Return True if a setting must not be shown."""
    field = (Settings.model_fields | WebSettings.model_fields)[name]
    return SecretStr in get_args(field.annotation)


def meant(name: str, known: Collection[str]) -> str:
    """Return the known name that a misspelled one looks like, as words in brackets; "" if there is none."""
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def what_is_wrong(name: str, text: str) -> str | None:
    """Return why the environment's value of a setting is wrong; None if it is right."""
    if name in WebSettings.model_fields:
        try:
            WebSettings.model_validate({name: text})
        except ConfigurationError as error:
            # A setting that goes with others can be checked only together with them.
            return str(error).partition(f"{name}: ")[2].rstrip(".") or None
        return None
    field = Settings.model_fields[name]
    kind: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        return _message(error.errors()[0])
    return None


def _message(error: ErrorDetails) -> str:
    if error["type"] == "bool_parsing":
        variable = f"FAIRLANE_{error['loc'][0]}".upper() if error["loc"] else "the variable"
        return f"input should be true or false; for its default leave {variable} unset"
    message = error["msg"].removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}"


def _in_a_sentence(settings: type[BaseModel], error: ValidationError) -> ConfigurationError:
    wrong = "; ".join(_told(settings, one) for one in error.errors())
    return ConfigurationError(f"Fairlane's settings are wrong: {wrong}.")


def _told(settings: type[BaseModel], error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{name}: {_message(error)}" if name else error["msg"].removeprefix("Value error, ")
    return f"there is no setting {name}{meant(name, settings.model_fields)}"
