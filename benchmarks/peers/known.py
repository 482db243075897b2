"""The peers, the needs of each, and what else is measured of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Store = Literal["postgresql", "redis", "sqlite"]


@dataclass(frozen=True, slots=True)
class Known:
    """A peer, or a way to set one up.

    Attributes:
        script: in `scripts/`.
        packages: from PyPI, into an environment of its own; none = the environment of this repository.
        python: the oldest that it runs on.
        environment: what the script is told.
    """

    store: Store
    script: str
    packages: Sequence[str] = ()
    python: tuple[int, int] = (3, 11)
    environment: Mapping[str, str] = field(default_factory=dict)


# What is measured, in this order, with the most jobs of it. A killed worker takes up to two minutes, and comes once.
MEASURES: Final[Mapping[str, int]] = {"drain": 10**9, "neighbour": 10**9, "single": 2000, "pickup": 200, "killed": 1}

_PSYCOPG: Final = "psycopg[binary,pool]"

# In order of importance.
PEERS: Final[Mapping[str, Known]] = {
    "fairlane": Known("postgresql", "fairlane"),
    "fairlane-without-dedup": Known("postgresql", "fairlane", environment={"BENCH_DEDUP": "0"}),
    "fairlane-100-slots": Known("postgresql", "fairlane", environment={"BENCH_SLOTS": "100"}),
    "pgqueuer": Known("postgresql", "pgqueuer", ("pgqueuer[asyncpg]", "uvloop", _PSYCOPG)),
    "procrastinate": Known("postgresql", "procrastinate", ("procrastinate", _PSYCOPG)),
    "chancy": Known("postgresql", "chancy", ("chancy", _PSYCOPG)),
    "dbos": Known("postgresql", "dbos", ("dbos", _PSYCOPG)),
    "oban": Known("postgresql", "oban", ("oban", _PSYCOPG), (3, 12)),
    "fairlane-sqlite": Known("sqlite", "fairlane"),
    "honker": Known("sqlite", "honker", ("honker",)),
    "huey": Known("sqlite", "huey", ("huey",)),
    "celery": Known("redis", "celery", ("celery[redis]",)),
    "dramatiq": Known("redis", "dramatiq", ("dramatiq[redis]",)),
    "saq": Known("redis", "saq", ("saq[redis,hiredis]", "typing-extensions")),
    "rq": Known("redis", "rq", ("rq", "hiredis")),
    "arq": Known("redis", "arq", ("arq", "hiredis")),
    "taskiq": Known("redis", "taskiq", ("taskiq", "taskiq-redis")),
}
