"""Foreign objects and missing objects cost the database the same statements, so that no clock tells them apart.

`python -m benchmarks.api_alike` measures how long they take in fact.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from math import inf

import httpx
import pytest
from sqlalchemy import event

from fairlane.accounts import tokens
from fairlane.api import scope
from tests.api import matrix as m
from tests.api.matrix import MATRIX, Within
from tests.api.routes import Route, body_of, nobodys, routes
from tests.api.served import Api
from tests.api.test_matrix import World, values_of
from tests.security.swaps import SWAPS, Others

pytestmark = pytest.mark.slow


@contextmanager
def listened_to(api: Api) -> Iterator[list[str]]:
    """The statements that are sent while the block runs."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.current_thread().name != "fairlane-hints":  # sends in its own time
            sent.append(statement)

    with pytest.MonkeyPatch.context() as patch:
        # Whoever asks for what: keys of organizations are asked for every few seconds, the credential once more in a
        # request that takes a second, and once in a minute is noted that a token is used.
        patch.setattr(api.fl.keyring, "_max_age", inf)
        patch.setattr(scope, "PROOF_KEPT", inf)
        patch.setattr(tokens, "_NOTED", timedelta(days=1))
        event.listen(api.fl.database.engine, "before_cursor_execute", note)
        try:
            yield sent
        finally:
            event.remove(api.fl.database.engine, "before_cursor_execute", note)


def cost(sent: list[str], send: Callable[[], httpx.Response]) -> tuple[int, list[str]]:
    """The status, and what the database was asked for it."""
    sent.clear()
    status = send().status_code
    assert sent, "the database was asked nothing"
    return status, list(sent)


def asked(
    world: World, principal: str, route: Route, organization: str, chosen: Callable[[str], str]
) -> Callable[[], httpx.Response]:
    """A request for what is chosen for each parameter of the path."""
    values = {**values_of(route, chosen), "organization": organization}
    return partial(world.send, principal, route, values, body_of(MATRIX[route.name], route))


def within(api: Api) -> list[tuple[Route, Within]]:
    found = [(route, MATRIX[route.name]) for route in routes(api)]
    return [(route, row) for route, row in found if isinstance(row, Within)]


@pytest.mark.parametrize("principal", [m.VIEWER, m.MEMBER, m.ADMIN, m.OPERATOR])
def test_an_id_of_others_costs_what_one_of_nobody_costs(api: Api, principal: str):
    world = World(api)
    world.clients[principal].get("/sessions/current")  # notes that the token is used, as is done once in a while
    with_objects = [(route, row) for route, row in within(api) if set(route.parameters) - {"organization", "name"}]
    assert len(with_objects) >= 12
    with listened_to(api) as sent:
        for route, row in with_objects:
            foreign = asked(world, principal, route, "acme", partial(world.others, row=row))
            unknown = asked(world, principal, route, "acme", nobodys)
            assert cost(sent, foreign) == cost(sent, unknown), route.name


@pytest.mark.parametrize("principal", [m.MEMBER, m.ADMIN])
def test_an_organization_of_others_costs_what_one_of_nobody_costs(api: Api, principal: str):
    world = World(api)
    world.clients[principal].get("/sessions/current")
    with listened_to(api) as sent:
        for route, row in within(api):
            foreign, unknown = (
                cost(sent, asked(world, principal, route, organization, partial(world.others, row=row)))
                for organization in ("other", "nowhere")
            )
            assert foreign == unknown, route.name
            assert foreign[0] == 404


def test_an_id_of_others_within_a_request_costs_what_one_of_nobody_costs(api: Api):
    others, client = Others(api), api.as_("admin")
    with listened_to(api) as sent:
        for name, swap in SWAPS.items():
            theirs, nobody = others.pair(swap.kind)
            swap.answer(client, others.pair(swap.kind)[1])  # so that what is asked only once was asked
            of_theirs = cost(sent, partial(swap.answer, client, theirs))
            assert of_theirs == cost(sent, partial(swap.answer, client, nobody)), name
