"""A flood of one is refused, and takes nothing of what the others may ask."""

import asyncio
import json
import threading
from contextlib import AsyncExitStack
from typing import Any

import pytest
import socketio
import websockets
from sqlalchemy import event
from websockets.exceptions import InvalidStatus

from fairlane.api.problems import Problem
from fairlane.api.rates import Rates, Windows
from fairlane.api.request_tenants import KnownTenants
from fairlane.config import WebSettings
from fairlane.domain.permissions import Credential, Principal
from fairlane.realtime.live import THREADS
from tests.api.served import OPERATOR, PASSWORD, Api
from tests.patience import PATIENCE
from tests.realtime.wire import Wire

ALLOWANCE = 5
FLOOD = 60
RATES = {f"rate_{kind}": ALLOWANCE for kind in ("submit", "status", "list", "cancel", "metrics", "login")}


def test_a_flood_of_one_user_takes_no_allowance_of_others(serve):
    api: Api = serve(RATES)
    flooding = api.as_("member")
    flood = [flooding.get("/organizations/acme/jobs").status_code for _ in range(FLOOD)]
    assert (flood.count(200), flood.count(429)) == (ALLOWANCE, FLOOD - ALLOWANCE)
    for user, organization in (("colleague", "acme"), ("admin", "acme"), ("other-member", "other")):
        client, jobs = api.as_(user, organization), f"/organizations/{organization}/jobs"
        assert [client.get(jobs).status_code for _ in range(ALLOWANCE)] == [200] * ALLOWANCE
        submitted = [client.post(jobs, json={"job_type": "report"}).status_code for _ in range(ALLOWANCE)]
        assert submitted == [201] * ALLOWANCE


@pytest.mark.slow
def test_a_flood_without_a_credential_or_with_a_wrong_one_takes_no_allowance_of_anybody(serve):
    api: Api = serve(RATES)
    for client, status in ((api.client(), {401}), (api.client("fl_wrong"), {401, 429})):
        assert {client.get("/organizations/acme/jobs").status_code for _ in range(FLOOD)} <= status
    assert [api.as_("member").get("/organizations/acme/jobs").status_code for _ in range(ALLOWANCE)] == [
        200
    ] * ALLOWANCE


def test_a_flood_into_the_organization_of_others_takes_nothing_of_its_members(serve):
    api: Api = serve(RATES)
    stranger = api.as_("other-member", "other")
    assert {stranger.get("/organizations/acme/jobs").status_code for _ in range(FLOOD)} == {404, 429}
    assert [api.as_("member").get("/organizations/acme/jobs").status_code for _ in range(ALLOWANCE)] == [
        200
    ] * ALLOWANCE


def test_who_enrolls_a_user_of_others_can_t_use_up_what_they_may_ask_elsewhere(serve):
    api: Api = serve(RATES)
    there = api.as_("other-admin", "other")
    assert there.put("/organizations/other/members/member", json={"role": "member"}).status_code == 200
    secret = there.post("/organizations/other/tokens", json={"name": "x", "user": "member"}).json()["secret"]
    flooding = api.client(secret)
    for organization in ("other", "acme"):
        address = f"/organizations/{organization}/jobs"
        assert [flooding.get(address).status_code for _ in range(ALLOWANCE + 1)][-1] == 429
    client = api.as_("member")
    assert [client.get("/organizations/acme/jobs").status_code for _ in range(ALLOWANCE)] == [200] * ALLOWANCE


def test_all_users_of_an_organization_together_have_a_few_times_what_one_has(serve):
    api: Api = serve({"rate_list": ALLOWANCE, "rate_organization": 2})
    # Neither who is no member nor an operator takes anything of it.
    for outsider in (api.as_("other-member", "other"), api.operator()):
        assert {outsider.get("/organizations/acme/jobs").status_code for _ in range(ALLOWANCE)} <= {200, 404}
    for user in ("member", "colleague"):
        client = api.as_(user)
        assert [client.get("/organizations/acme/jobs").status_code for _ in range(ALLOWANCE)] == [200] * ALLOWANCE
    refused = api.as_("admin").get("/organizations/acme/jobs")
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:fairlane:problem:too-many-requests")
    assert "all users of the organization" in refused.json()["detail"]
    # Another kind, and another organization, are counted apart.
    assert api.as_("admin").get("/organizations/acme").status_code == 200
    assert api.as_("other-admin", "other").get("/organizations/other/jobs").status_code == 200


def test_a_credential_that_opens_an_organization_no_more_takes_nothing_of_its_allowance():
    tenants, session = KnownTenants(), Principal("ana", "session")
    assert tenants.of("key", "acme", "here") == "address here"
    tenants.prove("key", session)
    assert tenants.of("key", "acme", "here") == "user ana"
    tenants.open("key", "acme", is_member=True)
    assert (tenants.of("key", "acme", "here"), tenants.of("key", "other", "here")) == ("organization acme", "user ana")
    tenants.open("key", "acme", is_member=False)
    assert (tenants.of("key", "acme", "here"), tenants.has_opened("key", "acme")) == ("user ana", False)
    tenants.open("key", "acme", is_member=True)
    tenants.prove("key", None)
    assert tenants.of("key", "acme", "here") == "address here"
    # A token's organization is the only one that it can take the turns of.
    tenants.prove("token", Principal("ana", "token", organization="acme"))
    assert tenants.of("token", "other", "here") == "organization acme"


def test_invented_credentials_are_counted_for_their_address_before_the_database_is_asked(serve):
    api: Api = serve({"rate_unproved": ALLOWANCE})
    known = api.as_("member")
    assert known.get("/organizations/acme").status_code == 200
    asked: list[str] = []
    event.listen(api.fl.database.engine, "before_cursor_execute", lambda *_: asked.append("a statement"))
    answers = [api.client(f"fl_invented{one}").get("/organizations/acme").status_code for one in range(ALLOWANCE + 3)]
    assert answers == [401] * (ALLOWANCE - 1) + [429] * 4
    asked.clear()
    assert api.client().get("/organizations/acme", headers={"Cookie": "fairlane_session=x"}).status_code == 429
    assert asked == []
    # Whoever was seen to be good from there before goes on.
    assert known.get("/organizations/acme").status_code == 200


async def test_invented_tickets_are_counted_for_their_address_before_the_database_is_asked(serve):
    api: Api = serve({"rate_unproved": ALLOWANCE})
    tickets = [api.fl.tickets.create(credential_of(api)) for _ in range(ALLOWANCE + 3)]
    for ticket in tickets:
        async with Wire(api) as wire:
            assert (await wire.come_in(ticket=ticket)).startswith('0{"sid"'), "good ones are as many as one likes"
    asked: list[str] = []
    event.listen(api.fl.database.engine, "before_cursor_execute", lambda *_: asked.append("a statement"))
    async with Wire(api) as wire:
        answers = [await wire.come_in(ticket=f"invented {one}") for one in range(ALLOWANCE)]
        assert set(answers) == {'4{"message":"unauthorized"}'}
        asked.clear()
        assert "More than" in await wire.come_in(ticket="invented")
    assert asked == []


POLLING = "/socket.io/?EIO=4&transport=polling"


async def test_sockets_without_a_ticket_are_counted_for_their_network(serve):
    api: Api = serve({"rate_unproved": ALLOWANCE})
    client = api.client()
    # An empty name is none, for Engine.IO as well.
    answers = [client.get(f"{POLLING}{more}").status_code for more in ("", "&sid=") * ALLOWANCE]
    assert answers == [200] * ALLOWANCE + [429] * ALLOWANCE
    refused = client.get(POLLING)
    assert refused.json()["type"] == "urn:fairlane:problem:too-many-requests"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    with pytest.raises(InvalidStatus) as error:
        await websockets.connect(f"{api.url.replace('http', 'ws', 1)}/api/v1/socket.io/?EIO=4&transport=websocket")
    assert error.value.response.status_code == 429
    # What is open goes on, and another network comes in.
    assert client.get(f"{POLLING}&sid=unknown").status_code == 400
    assert client.get(POLLING, headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 200


async def test_pages_behind_one_address_come_in_again_as_often_as_they_like(serve):
    api: Api = serve({"rate_unproved": 1})
    credential = credential_of(api)
    for transports in (["polling"], ["websocket"], ["polling", "websocket"]) * 2:
        client = socketio.AsyncClient(reconnection=False)
        ticket = {"ticket": api.fl.tickets.create(credential)}
        await client.connect(api.url, auth=ticket, transports=transports, socketio_path="/api/v1/socket.io")
        await client.disconnect()


async def test_two_addresses_of_a_network_share_its_allowance_of_tickets(serve):
    api: Api = serve({"rate_unproved": ALLOWANCE})
    addresses = [f"2001:db8::{one}" for one in range(ALLOWANCE)] + ["2001:db8:0:1::1", "2001:db8::ffff"]
    answers = [api.client().get(POLLING, headers={"X-Forwarded-For": one}).status_code for one in addresses]
    assert answers == [200] * (ALLOWANCE + 1) + [429]
    # Other tickets by one connection are counted for its network, too.
    door, there = api.app.state.web.door, {"client": ("2001:db8::1", 1)}
    with pytest.raises(Problem):
        door.count(there)


async def test_all_users_of_an_organization_together_have_a_few_times_what_one_has_over_sockets_too(serve):
    api: Api = serve({"rate_status": ALLOWANCE, "rate_organization": 1})
    users = ("other-member", "other"), ("olga", None), ("member", "acme"), ("colleague", "acme")
    told = {}
    for user, organization in users:
        async with Wire(api) as wire:
            await wire.come_in(ticket=api.fl.tickets.create(credential_of(api, user, organization)))
            asked = 3 if organization == "acme" else ALLOWANCE
            told[user] = [await wire.ask("subscribe", {"organization": "acme"}) for _ in range(asked)]
    # Neither who is no member nor an operator takes anything of it.
    assert all("organization-not-found" in one for one in told["other-member"])
    *let_in, refused = told["olga"] + told["member"] + told["colleague"]
    assert all("org:acme" in one for one in let_in)
    assert "all users of the organization" in refused


@pytest.mark.slow
async def test_a_ticket_and_another_organization_s_subscription_wait_behind_none_of_many_slow_ones(
    serve, monkeypatch: pytest.MonkeyPatch
):
    api: Api = serve()
    reads, let_go = type(api.fl.reads), threading.Event()
    by_status = reads.by_status

    def held_up(self: Any, organization: str | None = None) -> Any:
        if organization == "acme":
            let_go.wait(PATIENCE)
        return by_status(self, organization)

    monkeypatch.setattr(reads, "by_status", held_up)
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire(api)) for _ in range(THREADS * 2 + 1)]
        stack.callback(let_go.set)
        *slow, other = wires
        for wire in slow:
            await wire.come_in(ticket=api.fl.tickets.create(credential_of(api)))
            await wire.send("subscribe", {"organization": "acme"}, number=7)
        await other.come_in(ticket=api.fl.tickets.create(credential_of(api, "other-member", "other")))
        assert "org:other" in await other.ask("subscribe", {"organization": "other"})
        assert not let_go.is_set()
        let_go.set()
        assert all(["org:acme" in await wire.answer(7) for wire in slow])


async def test_a_ticket_waits_for_no_thread_of_looks(serve, monkeypatch: pytest.MonkeyPatch):
    api: Api = serve()
    reads, begun, let_go = type(api.fl.reads), threading.Semaphore(0), threading.Event()
    by_status = reads.by_status

    def held_up(self: Any, organization: str | None = None) -> Any:
        begun.release()
        let_go.wait(PATIENCE)
        return by_status(self, organization)

    monkeypatch.setattr(reads, "by_status", held_up)
    async with AsyncExitStack() as stack:
        *slow, other = [await stack.enter_async_context(Wire(api)) for _ in range(THREADS + 1)]
        stack.callback(let_go.set)
        for number, wire in enumerate(slow):
            user, organization = (("member", "acme"), ("other-member", "other"))[number % 2]
            await wire.come_in(ticket=api.fl.tickets.create(credential_of(api, user, organization)))
            await wire.send("subscribe", {"organization": organization}, number=7)
        for _ in slow:
            assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE)
        assert (await other.come_in(ticket=api.fl.tickets.create(credential_of(api)))).startswith('0{"sid"')
        assert not let_go.is_set()


def test_a_node_keeps_a_bounded_number_of_sockets_without_a_ticket(serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlane.api.sockets.MOST_TICKETLESS", 3)
    api: Api = serve()
    client = api.client()
    opened = [json.loads(client.get(POLLING).text.removeprefix("0"))["sid"] for _ in range(5)]
    # The oldest have made room.
    kept = [client.post(f"{POLLING}&sid={one}", content="3").status_code for one in opened]
    assert kept == [400] * 2 + [200] * 3


async def test_a_ticket_lets_in_though_the_node_is_full_of_sockets_without_one(serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlane.api.sockets.MOST_TICKETLESS", 3)
    api: Api = serve()
    for _ in range(5):
        assert api.client().get(POLLING).status_code == 200
    async with Wire(api) as wire, Wire(api):
        assert (await wire.come_in(ticket=api.fl.tickets.create(credential_of(api)))).startswith('0{"sid"')
        for _ in range(5):
            assert api.client().get(POLLING).status_code == 200
        # Whoever was let in makes room for nobody.
        assert "org:acme" in await wire.ask("subscribe", {"organization": "acme"})


async def test_whoever_waits_for_their_ticket_to_be_looked_for_makes_room_for_nobody(
    serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.api.sockets.MOST_TICKETLESS", 3)
    monkeypatch.setattr("fairlane.realtime.sockets._MOST_ASKING", 5)
    api: Api = serve()
    tickets, let_go = type(api.fl.tickets), threading.Event()
    redeem = tickets.redeem

    def held_up(self: Any, secret: str) -> Any:
        let_go.wait(PATIENCE)
        return redeem(self, secret)

    monkeypatch.setattr(tickets, "redeem", held_up)
    async with AsyncExitStack() as stack:
        stack.callback(let_go.set)
        *coming, last = [api.fl.tickets.create(credential_of(api)) for _ in range(6)]
        wires = []
        for ticket in coming:
            wires.append(await stack.enter_async_context(Wire(api)))
            await wires[-1].send_ticket(ticket=ticket)
        async with Wire(api) as late:
            assert await late.come_in(ticket=last) == '4{"message":"unavailable"}'
        for _ in range(5):  # as many as there is no room for
            assert api.client().get(POLLING).status_code == 200
        let_go.set()
        assert {(await one.next())[:7] for one in wires} == {'0{"sid"'}


def credential_of(api: Api, user: str = "member", organization: str | None = "acme") -> Credential:
    principal = api.fl.tokens.principal(api.token(user, organization))
    assert principal is not None
    assert principal.credential is not None
    return principal.credential


def test_a_credential_is_one_however_its_header_is_written(serve):
    api: Api = serve({f"rate_{kind}": 1 for kind in ("submit", "status", "list", "cancel", "metrics", "login")})
    secret = api.token("member")
    spelled = [f"{scheme} {' ' * one}{secret}" for one in range(4) for scheme in ("Bearer", "bearer")]
    answers = [api.client().get("/nothing", headers={"Authorization": one}).status_code for one in spelled]
    assert answers == [404] * 6 + [429] * 2


def test_what_was_counted_is_forgotten_after_a_minute_and_bounded_before():
    now = 0.0
    windows = Windows(most=10, monotonic=lambda: now)
    assert [windows.hit("ana", 2) for _ in range(3)] == [0.0, 0.0, 60.0]
    for one in range(50):
        now = one / 10
        windows.hit(f"invented {one}", 1)
    assert len(windows) == 10
    now = 64.95
    assert windows.hit("ben", 1) == 0.0
    assert len(windows) == 1


def test_a_credential_that_was_good_once_and_is_no_longer_counts_for_its_address_again():
    rates = Rates(WebSettings(rate_unproved=1))
    key = rates.count_all("fl_x", "here")
    rates.tenants.prove(key, Principal("ana", "token"))
    rates.count_all("fl_x", "here")
    rates.tenants.prove(key, None)
    with pytest.raises(Problem):
        rates.count_all("fl_x", "here")


def test_wrong_passwords_from_one_address_lock_nobody_out_at_another(serve):
    api: Api = serve({"rate_login": 2})
    api.with_password()
    wrong, right = ({"user": OPERATOR, "password": one} for one in ("wrong", PASSWORD))
    assert [api.client().post("/sessions", json=wrong).status_code for _ in range(4)] == [401, 401, 429, 429]
    elsewhere = api.client().post("/sessions", json=right, headers={"X-Forwarded-For": "203.0.113.7"})
    assert elsewhere.status_code == 201
