"""Requests of organizations take turns, so that a flood of one waits behind itself."""

import asyncio
from collections import Counter, defaultdict, deque
from threading import Event
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlane.api.turns import Line, LineFull, Turns
from tests.api.served import Api
from tests.patience import PATIENCE

PLACES = st.sampled_from(["acme", "other", "third"])
STEPS = st.lists(st.tuples(st.sampled_from(["come", "go", "leave"]), PLACES), max_size=80)


@settings(deadline=None)
@given(STEPS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_nobody_has_more_than_their_share_nor_is_kept_waiting_beside_a_free_place(
    steps: list[tuple[str, str]], at_once: int, each: int, longest: int
):
    line = Line[int](at_once, each, longest)
    begun: Counter[str] = Counter()
    waiting: defaultdict[str, deque[int]] = defaultdict(deque)
    for number, (step, place) in enumerate(steps):
        match step:
            case "come":
                try:
                    if line.come(place, number):
                        begun[place] += 1
                    else:
                        waiting[place].append(number)
                except LineFull:
                    assert len(waiting[place]) == longest
            case "go" if begun[place]:
                begun[place] -= 1
                able = {one: begun[one] for one in waiting if waiting[one] and begun[one] < each}
                following = line.go(place)
                assert (following is None) == (not able)
                if following is not None:
                    chosen = next(one for one in able if waiting[one][0] == following)  # in the order of their coming
                    assert able[chosen] == min(able.values())
                    waiting[chosen].popleft()
                    begun[chosen] += 1
            case "leave" if waiting[place]:
                line.leave(place, waiting[place].pop())
        assert begun.total() <= at_once
        assert all(number <= each for number in begun.values())
        assert all(len(one) <= longest for one in waiting.values())
        if begun.total() < at_once:
            assert all(begun[one] == each for one in waiting if waiting[one])
        assert +line.begun == +begun
        assert line.waiting == +Counter({one: len(waiting[one]) for one in waiting})


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
        await turns.begin("acme")
        gone, lucky = (asyncio.create_task(turns.begin("acme")) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        turns.end("acme")
        lucky.cancel()  # in the same moment in which its turn has come
        await asyncio.wait([lucky])
        async with asyncio.timeout(PATIENCE), turns.at("other"):
            pass

    asyncio.run(play())


def test_a_flood_of_one_organization_that_is_held_up_holds_up_no_other(serve: Any, monkeypatch: pytest.MonkeyPatch):
    api: Api = serve({"requests_at_once": 4})
    held, let_go, get_access = Event(), Event(), api.fl.directory.members

    def hold(pairs: Any) -> Any:
        if ("acme", "member") in pairs:
            held.set()
            assert let_go.wait(PATIENCE)
        return get_access(pairs)

    secrets = [api.token("member"), api.token("other-member", "other")]

    async def play() -> tuple[Counter[int], int, int]:
        flooding, other = (
            httpx.AsyncClient(
                transport=httpx.ASGITransport(api.app),
                base_url="http://test/api/v1",
                headers={"Authorization": f"Bearer {secret}"},
            )
            for secret in secrets
        )
        assert (await flooding.get("/organizations/acme")).status_code == 200
        monkeypatch.setattr(type(api.fl.directory), "members", lambda _self, pairs: hold(pairs))
        flood = [asyncio.create_task(flooding.get("/organizations/acme")) for _ in range(110)]
        assert await asyncio.to_thread(held.wait, PATIENCE)
        first = (await other.get("/organizations/other")).status_code
        second = (await other.post("/organizations/other/jobs", json={"job_type": "report"})).status_code
        let_go.set()
        answers = await asyncio.gather(*flood)
        refused = [one for one in answers if one.status_code == 429]
        assert {one.json()["type"] for one in refused} == {"urn:fairlane:problem:too-many-waiting"}
        assert {one.headers["retry-after"] for one in refused} == {"1"}
        return Counter(one.status_code for one in answers), first, second

    assert asyncio.run(play()) == (Counter({200: 101, 429: 9}), 200, 201)
