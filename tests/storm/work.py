"""The submissions of a storm: job graphs of all kinds, planned with the end of each job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any, Final
from uuid import uuid4

from fairlane import Submission, new_id
from tests.storm.handlers import IN_LOOP, IN_PROCESS, IN_THREAD, LIMITED, MOST_LIMITED, name
from tests.storm.verdict import Expected

ORGANIZATIONS: Final = ("acme", "brook", "cedar", "dune", "elm")
_LONGEST: Final = 0.3  # seconds of a handler
_SHORT: Final = 0.05  # seconds of a limited one: else those of a million jobs are what is left for half an hour
_LONG: Final = 2.0  # seconds of one that is to be canceled while it runs
_TIMEOUT: Final = 0.5  # seconds, of what is to time out at first
_LATER: Final = 3600.0  # seconds: never, in a storm
_PLAIN: Final = (40, 15, 3)  # how often plain ones come, in the loop, a thread and a process


@dataclass(frozen=True, slots=True)
class Order:
    """A job to be submitted. `cancel`: ask for its cancel afterwards; `again`: submit its twin, too.

    `parents`: the ids of the jobs that it is to come after.
    """

    submission: Submission
    expected: Expected = Expected.COMPLETED
    cancel: bool = False
    again: bool = False
    parents: tuple[str, ...] = ()

    @property
    def delay(self) -> float:
        """Seconds until its time comes."""
        delay = self.submission.delay
        return delay.total_seconds() if isinstance(delay, timedelta) else delay or 0.0


Maker = Callable[[Random, str], list[Order]]


def _one(random: Random, organization: str, job_type: str, way: str = "plain", **options: Any) -> Submission:
    seconds = random.uniform(0, _SHORT if job_type == LIMITED else _LONGEST)
    return _exactly(organization, job_type, seconds, way, **options)


def _exactly(organization: str, job_type: str, seconds: float, way: str, **options: Any) -> Submission:
    job = new_id()
    parameters = {"seconds": seconds, "way": way, "own": name(organization, job)}
    return Submission(job_type, organization=organization, parameters=parameters, id=job, **options)


def twin(of: Submission) -> Submission:
    """Another job that is the same, under the same key."""
    job = new_id()
    return replace(of, id=job, parameters={**of.parameters, "own": name(of.organization, job)})


def _plain(job_type: str, way: str = "plain") -> Maker:
    return lambda random, organization: [Order(_one(random, organization, job_type, way))]


def _anywhere(random: Random) -> str:
    # As often as the plain ones. A process that is stopped is replaced, which takes a core the better part of a second:
    # with more of these a storm would mostly start processes.
    (job_type,) = random.choices((IN_LOOP, IN_THREAD, IN_PROCESS), _PLAIN)
    return job_type


def _timing_out(random: Random, organization: str) -> list[Order]:
    job_type = _anywhere(random)
    # The second attempt takes no time, or on a busy machine it may run past its timeout as well, after its effect.
    return [Order(_exactly(organization, job_type, 0.0, "time out once", timeout=_TIMEOUT))]


def _breaking(random: Random, organization: str) -> list[Order]:
    """A parent that breaks, and a child that it takes down."""
    parent = _one(random, organization, IN_LOOP, "break")
    return [Order(parent, Expected.DEAD), _child(random, organization, IN_LOOP, [parent], Expected.DEAD)]


def _family(random: Random, organization: str) -> list[Order]:
    """Fan-out and fan-in."""
    root = _one(random, organization, IN_LOOP)
    middle = [_child(random, organization, kind, [root]) for kind in (IN_LOOP, IN_THREAD)]
    last = _child(random, organization, IN_LOOP, [one.submission for one in middle])
    return [Order(root), *middle, last]


def _child(
    random: Random,
    organization: str,
    job_type: str,
    parents: Sequence[Submission],
    expected: Expected = Expected.COMPLETED,
) -> Order:
    submission = _one(random, organization, job_type, depends_on=parents)
    return Order(submission, expected, parents=tuple(str(one.id) for one in parents))


def _twice(random: Random, organization: str) -> list[Order]:
    key = uuid4().hex
    return [Order(_one(random, organization, IN_LOOP, dedup_key=key, delay=1.0), again=True)]


def _canceled_in_time(random: Random, organization: str) -> list[Order]:
    return [Order(_one(random, organization, IN_LOOP, delay=_LATER), Expected.CANCELED, cancel=True)]


def _canceled_while_it_runs(random: Random, organization: str) -> list[Order]:
    job_type = _anywhere(random)
    return [Order(_exactly(organization, job_type, _LONG, "plain"), Expected.EITHER, cancel=True)]


# How often each comes. What fails has to stay well below half of each type, or a circuit breaker opens.
_MAKERS: Final[Mapping[Maker, int]] = {
    _plain(IN_LOOP): _PLAIN[0],
    _plain(IN_THREAD): _PLAIN[1],
    _plain(IN_PROCESS): _PLAIN[2],
    _plain(LIMITED): 6,
    _plain(IN_LOOP, "fail once"): 4,
    _plain(IN_THREAD, "fail once"): 1,
    _plain(IN_LOOP, "checkpoint"): 4,
    _plain(IN_THREAD, "checkpoint"): 3,
    _plain(IN_LOOP, "report"): 3,
    _plain(IN_THREAD, "report"): 2,
    _plain(IN_LOOP, "file"): 2,
    _plain(IN_THREAD, "file"): 1,
    _timing_out: 1,
    _family: 3,
    _breaking: 1,
    _twice: 1,
    _canceled_in_time: 1,
    _canceled_while_it_runs: 1,
}


def rush(random: Random) -> list[Order]:
    """More of the limited type than may run at once, each for long: the limit is reached, however short the storm."""
    chosen = (random.choice(ORGANIZATIONS) for _ in range(3 * MOST_LIMITED))
    return [Order(_exactly(organization, LIMITED, _LONGEST, "plain")) for organization in chosen]


def batch(random: Random, size: int) -> list[Order]:
    """Plan at least so many jobs; the first organization has half of them."""
    orders: list[Order] = []
    while len(orders) < size:
        (maker,) = random.choices(list(_MAKERS), list(_MAKERS.values()))
        organization = random.choice((*ORGANIZATIONS[:1] * (len(ORGANIZATIONS) - 1), *ORGANIZATIONS[1:]))
        orders += maker(random, organization)
    return orders
