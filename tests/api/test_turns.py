"""Requests of organizations take turns, so that a flood of one waits behind itself."""

import asyncio
from collections import Counter, defaultdict, deque
from threading import Event
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.api.turns import Line, LineFull, Turns
from tests.api.served import Api
from tests.patience import PATIENCE

PLACES = st.sampled_from(["acme", "other", "third"])
STEPS = st.lists(st.tuples(st.sampled_from(["come", "linger", "go", "leave"]), PLACES), max_size=80)


class Book:
    """A line, and beside it what is to be so."""

    def __init__(self, at_once: int, each: int, longest: int) -> None:
        self.line = Line[int](at_once, each, longest)
        self.at_once, self.each, self.longest = at_once, each, longest
        self.begun, self.quick = Counter[str](), set[str]()
        self.waiting: defaultdict[str, deque[int]] = defaultdict(deque)

    def come(self, place: str, number: int) -> None:
        try:
            is_begun = self.line.come(place, number)
        except LineFull:
            assert len(self.waiting[place]) == self.longest
            return
        if is_begun:
            assert place not in self.quick
            self._begin(place)
        else:
            self.waiting[place].append(number)

    def linger(self, place: str) -> None:
        if place in self.quick:
            self.quick.remove(place)
            self._following(self.line.linger(place))

    def go(self, place: str, number: int) -> None:
        if self.begun[place]:
            is_quick = place in self.quick and (self.begun[place] == 1 or number % 2 == 0)
            self.begun[place] -= 1
            self.quick -= {place} if is_quick else set()
            self._following(self.line.go(place, is_quick=is_quick))

    def leave(self, place: str) -> None:
        if self.waiting[place]:
            self.line.leave(place, self.waiting[place].pop())

    def able(self) -> dict[str, int]:
        """Who may begin, though somebody waits there: nobody, between two steps. With how many are worked on there."""
        places = [one for one in self.waiting if self.waiting[one] and one not in self.quick]
        is_full = self.begun.total() >= self.at_once
        return {} if is_full else {one: self.begun[one] for one in places if self.begun[one] < self.each}

    def _begin(self, place: str) -> None:
        self.begun[place] += 1
        self.quick.add(place)

    def _following(self, number: int | None) -> None:
        able = self.able()
        assert (number is None) == (not able)
        if number is not None:
            chosen = next(one for one in able if self.waiting[one][0] == number)  # in the order of their coming
            assert able[chosen] == min(able.values())
            self.waiting[chosen].popleft()
            self._begin(chosen)


@given(STEPS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_nobody_has_more_than_their_share_nor_is_kept_waiting_beside_a_free_place(
    steps: list[tuple[str, str]], at_once: int, each: int, longest: int
):
    book = Book(at_once, each, longest)
    for number, (step, place) in enumerate(steps):
        match step:
            case "come":
                book.come(place, number)
            case "linger":
                book.linger(place)
            case "go":
                book.go(place, number)
            case "leave":
                book.leave(place)
        assert book.begun.total() <= at_once
        assert all(number <= each for number in book.begun.values())
        assert all(len(one) <= longest for one in book.waiting.values())
        assert book.able() == {}
        assert +book.line.begun == +book.begun
        assert book.line.waiting == +Counter({one: len(book.waiting[one]) for one in book.waiting})


def test_one_that_takes_long_lets_the_next_begin_beside_it():
    line = Line[str](4, 2, 10)
    assert line.come("acme", "report")
    assert not line.come("acme", "look")
    assert not line.come("acme", "another")
    assert line.linger("acme") == "look"
    assert line.go("acme") == "another"
    assert line.go("acme", is_quick=False) is None
    assert line.begun == {"acme": 1}


def test_places_that_wait_take_turns_however_many_wait_there():
    line = Line[str](1, 1, 10)
    assert line.come("acme", "a0")
    for place, one in [
        ("acme", "a1"),
        ("acme", "a2"),
        ("acme", "a3"),
        ("other", "o1"),
        ("other", "o2"),
        ("third", "t1"),
    ]:
        assert not line.come(place, one)
    order, place = [], "acme"
    while (begins := line.go(place)) is not None:
        order.append(begins)
        place = {"a": "acme", "o": "other", "t": "third"}[begins[0]]
    assert order == ["a1", "o1", "t1", "a2", "o2", "a3"]


def test_whoever_gives_up_while_waiting_takes_nobodys_turn():
    async def play() -> None:
        turns = Turns(1)
        turn = await turns.begin("acme")
        gone, lucky = (asyncio.create_task(turns.begin("acme")) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        turn.end()
        lucky.cancel()  # in the same moment in which its turn has come
        await asyncio.wait([lucky])
        async with asyncio.timeout(PATIENCE), turns.at("other"):
            pass

    asyncio.run(play())


def client(api: Api, secret: str) -> httpx.AsyncClient:
    """On this loop, with no network between."""
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://test/api/v1", headers=headers)


class Hold:
    """Holds up all that acme's member asks for, once it is on, until it is let go."""

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
