"""Settings: frozen, checked once, every default named here."""

from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from fairlane.domain.errors import ConfigurationError

LONGEST_DIRECTORY_AGE = 30.0  # seconds (R19)
HARD_PAYLOAD_LIMIT = 1024 * 1024  # bytes (R1)


class Settings(BaseSettings):
    """What an application may set, in code or as FAIRLANE_… in the environment; times in seconds, sizes in bytes.

    Raises:
        ConfigurationError: a value is wrong, or there is no such setting.
    """

    model_config = SettingsConfigDict(env_prefix="FAIRLANE_", frozen=True, extra="forbid")

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
    lease: float = Field(default=15.0, gt=0, description="A worker that is silent for longer has lost its jobs (R5)")
    poll_interval: float = Field(
        default=0.5, gt=0, description="How often an idle worker looks for jobs that no hint told of"
    )
    stage_interval: float = Field(default=1.0, gt=0, description="How often due jobs are made ready")
    cleanup_interval: float = Field(default=60.0, gt=0, description="How often ended jobs past retention are deleted")
    watch_interval: float = Field(default=0.25, gt=0, description="How often a worker looks for cancel requests")
    progress_interval: float = Field(default=1.0, ge=0, description="At most one progress write per job in this time")
    grace: float = Field(default=30.0, ge=0, description="How long a stopping worker lets its jobs finish (R17)")
    stop_grace: float = Field(default=5.0, ge=0, description="How long a handler may take to stop once it is asked to")
    payload_limit: int = Field(default=256 * 1024, gt=0, le=HARD_PAYLOAD_LIMIT, description="Of one job's parameters")
    result_limit: int = Field(default=1024 * 1024, gt=0, description="Of one job's result as JSON")
    retention: float = Field(
        default=30 * 86400.0,
        gt=0,
        description="How long ended jobs are kept where neither their organization nor their type says (R14)",
    )
    dead_letter_alert: int = Field(default=50, ge=0, description="Unresolved dead letters that raise an alert (R8)")
    directory_max_age: float = Field(
        default=5.0, ge=0, le=LONGEST_DIRECTORY_AGE, description="How old a host's answers may be when jobs start (R19)"
    )
    lock_timeout: float = Field(default=5.0, gt=0, description="How long to wait for somebody else's transaction")
    pool_size: int = Field(default=5, gt=0, description="Database connections kept open")

    @classmethod
    def load(cls, url: str | None = None) -> Self:
        """Settings from the environment, with `url` in place of FAIRLANE_URL if it is given.

        Raises:
            ConfigurationError: a value is wrong; the message says which and what it must be.
        """
        return cls(url=url) if url is not None else cls()

    @model_validator(mode="wrap")
    @classmethod
    def _told_in_a_sentence(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            wrong = "; ".join(map(_told, error.errors()))
            raise ConfigurationError(f"Fairlane's settings are wrong: {wrong}.") from None


def what_is_wrong(name: str, text: str) -> str | None:
    """Why a setting can't be what the environment says; None: it can."""
    field = Settings.model_fields[name]
    kind: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        return error.errors()[0]["msg"].lower()
    return None


def _told(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg'].lower()}"
    close = get_close_matches(name, Settings.model_fields, n=1)
    return f"there is no setting {name}" + (f" (did you mean {close[0]}?)" if close else "")
