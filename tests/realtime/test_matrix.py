"""Every event that clients may send, by every kind of principal, with what is theirs, another's and nobody's."""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import uuid4

import pytest

from fairlane.realtime.sockets import REQUESTS
from tests.api import matrix as m
from tests.api.served import OPERATOR, Api
from tests.realtime.watching import ticket_of
from tests.realtime.wire import Wire

INSIDE: Final = (m.STRANGER, m.VIEWER, m.MEMBER, m.ADMIN, m.SUSPENDED, m.OPERATOR)
REFUSED: Final = '4{"message":"unauthorized"}'
WHOSE: Final = ("own", "another's", "nobody's")


class Row(NamedTuple):
    """The answers to an event about one's own, another organization's and nobody's: 200, or a problem's status.

    Args:
        body: of an organization and a job.
        members: the answers to any member of an organization, in any role, also of a suspended one.
        operator: the answers to an operator, whose own is a member's.
    """

    body: Callable[[str, str], Any]
    members: tuple[int, ...]
    operator: tuple[int, ...]


def job_in(organization: str, job: str) -> dict[str, str]:
    return {"organization": organization, "job": job}


MATRIX: Final = {
    ("subscribe", "an organization"): Row(lambda one, _: {"organization": one}, (200, 404, 404), (200, 200, 404)),
    ("subscribe", "a job"): Row(job_in, (200, 404, 404), (200, 404, 404)),
    ("subscribe", "a job elsewhere"): Row(job_in, (200, 404, 404), (200, 200, 404)),
    ("subscribe", "all"): Row(lambda *_: {"operator": True}, (403,), (200,)),
    ("unsubscribe", "an organization"): Row(lambda one, _: {"room": f"org:{one}"}, (200, 200, 200), (200, 200, 200)),
    ("unsubscribe", "a job"): Row(lambda _, job: {"room": f"job:{job}"}, (200, 200, 200), (200, 200, 200)),
    ("unsubscribe", "all"): Row(lambda *_: {"room": "admin:jobs"}, (200,), (200,)),
}


class World:
    """The principals, and what they ask for: an organization and a job."""

    def __init__(self, api: Api) -> None:
        fl = api.fl
        fl.organizations.create("frozen")
        fl.members.add("frozen", "frozen-member")
        self.jobs = {one: str(fl.submit("report", organization=one).id) for one in ("acme", "other", "frozen")}
        self.secrets = {
            m.STRANGER: api.token("other-member", "other"),
            m.SUSPENDED: api.token("frozen-member", "frozen"),
            m.OPERATOR: api.token(OPERATOR, None),
            **{user: api.token(user) for user in (m.VIEWER, m.MEMBER, m.ADMIN)},
        }
        fl.organizations.suspend("frozen")

    def asked(self, principal: str, what: str) -> list[tuple[str, str]]:
        """An organization and a job: one's own, another's and nobody's; of what names none, one's own alone."""
        own = {m.STRANGER: "other", m.SUSPENDED: "frozen"}.get(principal, "acme")
        other = "acme" if own == "other" else "other"
        if what == "a job":
            return [(own, self.jobs[own]), (own, self.jobs[other]), (own, str(uuid4()))]
        elsewhere = [(other, self.jobs[other]), ("nowhere", self.jobs[other])]
        return [(own, self.jobs[own]), *(elsewhere if what != "all" else ())]


def status_of(answer: str) -> int:
    (told,) = json.loads(answer)
    return int(told["error"]["status"]) if "error" in told else 200


async def wrong(world: World, api: Api, principal: str) -> list[str]:
    """Return the answers to a principal that differ from the matrix."""
    found = []
    async with Wire(api) as wire:
        assert (await wire.come_in(ticket=await ticket_of(api, world.secrets[principal]))).startswith("0")
        for (event, what), row in MATRIX.items():
            statuses = row.operator if principal == m.OPERATOR else row.members
            answers = [await wire.ask(event, row.body(*asked)) for asked in world.asked(principal, what)]
            assert len(answers) == len(statuses)
            for whose, status, answer in zip(WHOSE, statuses, answers, strict=False):
                if status_of(answer) != status:
                    found.append(f"{event} {what}, {whose}, by {principal}: not {status}: {answer}")
            if len(set(statuses[1:])) == 1 and len(set(answers[1:])) > 1:
                found.append(f"{event} {what} by {principal}: another's differs from nobody's: {answers[1:]}")
    return found


@pytest.mark.slow
async def test_every_event_gives_each_principal_what_the_matrix_says(api: Api):
    world = World(api)
    assert {event for event, _ in MATRIX} == set(REQUESTS), "each event needs a row, and each row an event"
    assert {*INSIDE, m.ANONYMOUS, m.REVOKED} == set(m.PRINCIPALS)
    assert [one for principal in INSIDE for one in await wrong(world, api, principal)] == []


@pytest.mark.parametrize("principal", [m.ANONYMOUS, m.REVOKED])
async def test_a_client_that_was_not_let_in_is_answered_nothing_whatever_it_asks_for(api: Api, principal: str):
    world = World(api)
    token, secret = api.fl.tokens.create(organization="acme", as_user="member", name="test")
    shown = {"ticket": await ticket_of(api, secret)} if principal == m.REVOKED else {}
    api.fl.tokens.revoke(token.id, organization="acme")
    async with Wire(api) as wire:
        for (event, what), row in MATRIX.items():
            for asked in world.asked(m.MEMBER, what):
                await wire.send(event, row.body(*asked), number=0)
        # The first packet that comes at all.
        assert await wire.come_in(**shown) == REFUSED
