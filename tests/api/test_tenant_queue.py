"""Requests of organizations take queue, so that a flood of one waits behind itself."""

import asyncio
from collections import Counter, defaultdict, deque
from functools import partial
from threading import Event
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from fairlane.accounts import users
from fairlane.api.tenant_queue import QueueState, TenantQueue, TenantQueueFull
from tests.api.served import Api
from tests.engine.worker_kit import until
from tests.patience import PATIENCE
from tests.store.logins import plain
from tests.store.races.race import waiting_for_locks

PLACES = st.sampled_from(["acme", "other", "third"])
USERS = st.sampled_from(["ana", "bea"])
STEPS = st.lists(st.tuples(st.sampled_from(["come", "linger", "answer", "go", "leave"]), PLACES, USERS), max_size=80)


class Book:
    """A line, and beside it what is to be so."""

    def __init__(self, at_once: int, each: int, longest: int) -> None:
        self.state = QueueState[int](at_once, each, longest)
        self.at_once, self.each, self.longest = at_once, each, longest
        self.begun, self.quick = Counter[tuple[str, str]](), set[str]()
        self.answered = Counter[tuple[str, str]]()
        self.waiting: defaultdict[str, deque[tuple[str, int]]] = defaultdict(deque)

    def at(self, tenant: str) -> int:
        return sum(number for (there, _), number in self.begun.items() if there == tenant)

    def come(self, tenant: str, user: str, number: int) -> None:
        try:
            is_begun = self.state.add(tenant, user, number)
        except TenantQueueFull:
            assert len(self.waiting[tenant]) >= self.longest
            assert user in {one for one, _ in self.waiting[tenant]}
            return
        if is_begun:
            assert tenant not in self.quick
            self._begin(tenant, user)
        else:
            self.waiting[tenant].append((user, number))

    def linger(self, tenant: str) -> None:
        if tenant in self.quick:
            self.quick.remove(tenant)
            self._following(self.state.linger(tenant))

    def answer(self, tenant: str, user: str, number: int) -> None:
        if self.begun[tenant, user] > self.answered[tenant, user]:
            is_quick = self._is_quick(tenant, number)
            self.answered[tenant, user] += 1
            self.quick -= {tenant} if is_quick else set()
            self._following(self.state.answer(tenant, is_quick=is_quick))

    def go(self, tenant: str, user: str, number: int) -> None:
        if self.begun[tenant, user]:
            is_answered = self.begun[tenant, user] == self.answered[tenant, user]
            is_quick = not is_answered and self._is_quick(tenant, number)
            self.begun[tenant, user] -= 1
            self.answered[tenant, user] -= is_answered
            self.quick -= {tenant} if is_quick else set()
            self._following(self.state.end(tenant, user, is_quick=is_quick, is_answered=is_answered))

    def _is_quick(self, tenant: str, number: int) -> bool:
        """Return True for the quick request of its tenant; a tenant with one request at work has no other."""
        at_work = self.at(tenant) - sum(answered for (there, _), answered in self.answered.items() if there == tenant)
        return tenant in self.quick and (at_work == 1 or number % 2 == 0)

    @property
    def at_work(self) -> int:
        return self.begun.total() - self.answered.total()

    def leave(self, tenant: str) -> None:
        if self.waiting[tenant]:
            user, number = self.waiting[tenant].pop()
            self.state.remove(tenant, user, number)

    def able(self) -> dict[tuple[str, str], int]:
        """Return the waiting users that could begin, with their tenant's count at work: none, between two steps."""
        open_places = self.waiting.keys() - self.quick
        waiting = {(tenant, user) for tenant in open_places for user, _ in self.waiting[tenant]}
        is_full = self.at_work >= self.at_once
        most = {one: self.each + (not self.begun[one]) for one in waiting}
        return {} if is_full else {one: self.at(one[0]) for one in waiting if self.at(one[0]) < most[one]}

    def _begin(self, tenant: str, user: str) -> None:
        self.begun[tenant, user] += 1
        self.quick.add(tenant)

    def _following(self, number: int | None) -> None:
        able = self.able()
        assert (number is None) == (not able)
        if number is not None:
            # Of each user in the order of their coming.
            first = {(at, user): next(one for who, one in self.waiting[at] if who == user) for at, user in able}
            tenant, user = next(one for one in able if first[one] == number)
            assert able[tenant, user] == min(able.values())
            self.waiting[tenant].remove((user, number))
            self._begin(tenant, user)


@given(STEPS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_nobody_has_more_than_their_share_nor_is_kept_waiting_beside_a_free_place(
    steps: list[tuple[str, str, str]], at_once: int, each: int, longest: int
):
    book = Book(at_once, each, longest)
    for number, (step, tenant, user) in enumerate(steps):
        match step:
            case "come":
                book.come(tenant, user, number)
            case "linger":
                book.linger(tenant)
            case "answer":
                book.answer(tenant, user, number)
            case "go":
                book.go(tenant, user, number)
            case "leave":
                book.leave(tenant)
        assert book.at_work <= at_once
        assert all(number <= each for number in book.begun.values())
        assert all(book.at(tenant) <= each + 1 for tenant, _ in book.begun)  # one more of a user who has none
        assert all(len(one) <= longest + 2 for one in book.waiting.values())  # one more of each user
        assert book.able() == {}
        assert +book.state.begun == +Counter({tenant: book.at(tenant) for tenant, _ in book.begun})
        assert book.state.waiting == +Counter({one: len(book.waiting[one]) for one in book.waiting})


def test_one_that_takes_long_lets_the_next_begin_beside_it():
    state = QueueState[str](4, 2, 10)
    assert state.add("acme", "ana", "report")
    assert not state.add("acme", "ana", "look")
    assert not state.add("acme", "ana", "another")
    assert state.linger("acme") == "look"
    assert state.end("acme", "ana") == "another"
    assert state.end("acme", "ana", is_quick=False) is None
    assert state.begun == {"acme": 1}


def test_an_answer_that_is_not_taken_counts_for_its_user_and_holds_up_no_other_place():
    state = QueueState[str](1, 1, 10)
    assert state.add("acme", "ana", "large")
    assert not state.add("acme", "ana", "another")
    assert not state.add("other", "ana", "look")
    assert state.answer("acme", is_quick=True) == "look"
    assert state.end("other", "ana") is None  # the other one of acme waits until the first was taken
    assert state.add("acme", "bea", "b0")
    assert state.end("acme", "bea") is None
    assert state.end("acme", "ana", is_quick=False, is_answered=True) == "another"
    assert state.end("acme", "ana") is None
    assert state.begun == {}


def test_users_of_a_place_take_turns_and_one_who_has_none_at_work_waits_for_nobody_who_takes_long():
    state = QueueState[str](8, 2, 3)
    assert state.add("acme", "ana", "a0")
    assert [state.add("acme", "ana", one) for one in ("a1", "a2", "a3")] == [False] * 3
    assert state.linger("acme") == "a1"
    assert state.linger("acme") is None  # two of ana fill the tenant
    assert not state.add("acme", "ana", "a4")
    with pytest.raises(TenantQueueFull):
        state.add("acme", "ana", "a5")
    assert state.add("acme", "bea", "b0")
    assert [state.add("acme", "bea", one) for one in ("b1",)] == [False]
    assert state.end("acme", "bea") == "b1"
    assert state.end("acme", "ana", is_quick=False) is None
    assert state.end("acme", "bea") == "a2"


def test_of_many_users_who_have_one_each_a_bounded_number_waits():
    state = QueueState[str](1, 1, 100)
    assert state.add("guess", "ana", "at work")
    waiting = [state.add("guess", f"address {number}", "login") for number in range(1000)]
    assert not any(waiting)
    with pytest.raises(TenantQueueFull):
        state.add("guess", "address 1000", "login")


def test_places_that_wait_take_turns_however_many_wait_there():
    state = QueueState[str](1, 1, 10)
    assert state.add("acme", "ana", "a0")
    for tenant, one in [
        ("acme", "a1"),
        ("acme", "a2"),
        ("acme", "a3"),
        ("other", "o1"),
        ("other", "o2"),
        ("third", "t1"),
    ]:
        assert not state.add(tenant, "ana", one)
    order, tenant = [], "acme"
    while (begins := state.end(tenant, "ana")) is not None:
        order.append(begins)
        tenant = {"a": "acme", "o": "other", "t": "third"}[begins[0]]
    assert order == ["a1", "o1", "t1", "a2", "o2", "a3"]


def test_a_request_that_gives_up_while_waiting_takes_nobodys_turn():
    async def play() -> None:
        queue = TenantQueue(1)
        turn = await queue.begin("acme")
        gone, lucky = (asyncio.create_task(queue.begin("acme")) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        turn.end()
        lucky.cancel()  # in the same moment in which its turn has come
        await asyncio.wait([lucky])
        async with asyncio.timeout(PATIENCE), queue.at("other"):
            pass

    asyncio.run(play())


def client(api: Api, secret: str) -> httpx.AsyncClient:
    """Return a client on this loop, with no network between."""
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://test/api/v1", headers=headers)


def hold_passwords(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Have each check of a password wait; events: one does, and they may end."""
    held, let_go = Event(), Event()

    def fits(*_: object) -> bool:
        held.set()
        return not let_go.wait(PATIENCE)

    monkeypatch.setattr(users, "fits", fits)
    return held, let_go


async def log_in(api: Api, address: str, user: str) -> int:
    """Return the status that answers a wrong password from an address."""
    transport = httpx.ASGITransport(api.app, client=(address, 443))
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as stranger:
        return (await stranger.post("/sessions", json={"user": user, "password": "wrong"})).status_code


class Hold:
    """A hold on all requests of acme's member, once it is on, until it is let go."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held, self.let_go = Event(), Event()
        self._ask = api.fl.directory.members
        self._directory, self._monkeypatch = type(api.fl.directory), monkeypatch

    def on(self) -> None:
        self._monkeypatch.setattr(self._directory, "members", lambda _directory, pairs: self._members(pairs))

    def _members(self, pairs: Any) -> Any:
        if ("acme", "member") in pairs:
            self.held.set()
            assert self.let_go.wait(PATIENCE)
        return self._ask(pairs)


@pytest.mark.slow
def test_a_flood_of_one_organization_that_is_held_up_holds_up_no_other(serve: Any, monkeypatch: pytest.MonkeyPatch):
    api: Api = serve({"requests_at_once": 4})
    hold = Hold(api, monkeypatch)
    secrets = [api.token("member"), api.token("other-member", "other")]

    async def play() -> tuple[Counter[int], int, int]:
        flooding, other = (client(api, secret) for secret in secrets)
        assert (await flooding.get("/organizations/acme")).status_code == 200
        hold.on()
        flood = [asyncio.create_task(flooding.get("/organizations/acme")) for _ in range(110)]
        assert await asyncio.to_thread(hold.held.wait, PATIENCE)
        first = (await other.get("/organizations/other")).status_code
        second = (await other.post("/organizations/other/jobs", json={"job_type": "report"})).status_code
        hold.let_go.set()
        answers = await asyncio.gather(*flood)
        refused = [one for one in answers if one.status_code == 429]
        assert {one.json()["type"] for one in refused} == {"urn:fairlane:problem:too-many-waiting"}
        assert {one.headers["retry-after"] for one in refused} == {"1"}
        return Counter(one.status_code for one in answers), first, second

    assert asyncio.run(play()) == (Counter({200: 101, 429: 9}), 200, 201)


def test_a_request_that_takes_long_does_not_hold_up_its_own_organization(serve: Any, monkeypatch: pytest.MonkeyPatch):
    api: Api = serve({"requests_at_once": 16})
    hold = Hold(api, monkeypatch)
    secrets = [api.token("member"), api.token("admin")]

    async def play() -> int:
        slow, quick = (client(api, secret) for secret in secrets)
        assert (await slow.get("/organizations/acme")).status_code == 200
        hold.on()
        holding = asyncio.create_task(slow.get("/organizations/acme"))
        assert await asyncio.to_thread(hold.held.wait, PATIENCE)
        answer = (await quick.get("/organizations/acme")).status_code
        assert not holding.done()
        hold.let_go.set()
        await holding
        return answer

    assert asyncio.run(play()) == 200


def test_logins_from_many_addresses_hold_up_no_other_request(serve: Any, monkeypatch: pytest.MonkeyPatch):
    api: Api = serve({"requests_at_once": 4})
    held, let_go = hold_passwords(monkeypatch)
    other = client(api, api.token("member"))

    async def play() -> tuple[int, set[int]]:
        logins = [asyncio.create_task(log_in(api, f"203.0.113.{number}", "ana")) for number in range(20)]
        assert await asyncio.to_thread(held.wait, PATIENCE)
        answer = (await other.get("/organizations/acme")).status_code
        assert not any(one.done() for one in logins)
        let_go.set()
        return answer, set(await asyncio.gather(*logins))

    assert asyncio.run(play()) == (200, {401})


def test_logins_that_wait_from_one_address_have_none_of_another_refused(serve: Any, monkeypatch: pytest.MonkeyPatch):
    api: Api = serve({})
    held, let_go = hold_passwords(monkeypatch)
    other = client(api, api.token("member"))

    async def play() -> tuple[list[int], list[int]]:
        flood = [asyncio.create_task(log_in(api, "198.51.100.1", f"user{number}")) for number in range(110)]
        assert await asyncio.to_thread(held.wait, PATIENCE)
        refused, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)  # the line of its network is full
        honest = [asyncio.create_task(log_in(api, "203.0.113.7", f"user{number}")) for number in range(3)]
        assert (await other.get("/organizations/acme")).status_code == 200  # by then they have come
        let_go.set()
        await asyncio.gather(*flood)
        return [one.result() for one in refused], await asyncio.gather(*honest)

    refused, honest = asyncio.run(play())
    assert set(refused) == {429}
    assert honest == [401] * 3


def test_a_line_break_at_the_end_of_its_path_gives_a_login_no_other_turn(serve: Any, monkeypatch: pytest.MonkeyPatch):
    api: Api = serve({"requests_at_once": 1})
    held, let_go = hold_passwords(monkeypatch)
    member = client(api, api.token("member"))

    async def play() -> int:
        login = asyncio.create_task(member.post("/sessions%0A", json={"user": "ana", "password": "wrong"}))
        assert await asyncio.to_thread(held.wait, PATIENCE)
        try:
            return (await asyncio.wait_for(member.get("/organizations/acme"), PATIENCE / 2)).status_code
        finally:
            let_go.set()
            await login

    assert asyncio.run(play()) == 200


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock, for all who write
def test_a_user_s_writes_that_wait_for_a_lock_hold_up_no_other_user_of_the_organization(
    database_url: str, serve: Any, monkeypatch: pytest.MonkeyPatch
):
    """A host's transaction holds the key that they all wait for."""
    monkeypatch.setenv("FAIRLANE_LOCK_TIMEOUT", f"{PATIENCE}")
    api: Api = serve({"requests_at_once": 16})
    secrets = [api.token("member"), api.token("admin")]
    host_engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))

    async def play() -> tuple[set[int], set[int]]:
        writing, reading = (client(api, secret) for secret in secrets)
        assert (await writing.get("/organizations/acme")).status_code == 200
        with host_engine.begin() as host:
            api.fl.submit("unique", organization="acme", connection=host)
            post = partial(writing.post, "/organizations/acme/jobs", json={"job_type": "unique"})
            writes = [asyncio.create_task(post()) for _ in range(20)]
            await asyncio.to_thread(until, lambda: waiting_for_locks(plain(database_url)) == 2)
            reads = {(await reading.get("/organizations/acme/access")).status_code for _ in range(5)}
            assert not any(one.done() for one in writes)
        return reads, {one.status_code for one in await asyncio.gather(*writes)}

    assert asyncio.run(play()) == ({200}, {409})
    host_engine.dispose()
