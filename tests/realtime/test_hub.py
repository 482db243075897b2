"""Rooms and what waits for clients, without any socket."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from fairlane import JobStatus, RateLimited
from fairlane.domain.permissions import Principal
from fairlane.realtime.events import Event, JobProgress, JobStatusChanged, Reset
from fairlane.realtime.hub import (
    MOST_JOBS,
    MOST_JOBS_OF_USER,
    MOST_OF_USER,
    MOST_WAITING,
    Client,
    Hub,
    Message,
    Room,
    RoomKind,
)

ACME, OTHER = (Room(RoomKind.ORGANIZATION, one) for one in ("acme", "other"))
NOW = datetime(2026, 11, 26, tzinfo=UTC)
JOB = uuid4()


@pytest.fixture
def hub() -> Hub:
    return Hub()


def client(hub: Hub, *rooms: Room, user: str = "ana", organization: str | None = None) -> Client:
    made = Client(Principal(user, "test", organization=organization), lambda: None)
    hub.add(made)
    for room in rooms:
        hub.enter(made, room)
    return made


def step(number: int, room: Room = ACME) -> Message:
    event: Any = JobStatusChanged(
        room=room.name,
        cursor=f"c{number}",
        organization=room.organization,
        job_id=JOB,
        job_type="report",
        queue="default",
        sequence=number,
        from_status=None,
        to_status=JobStatus.QUEUED,
        at=NOW,
        attempt=0,
        user=None,
    )
    return Message(room, event)


def progress(percent: float, job_id: UUID = JOB) -> Message:
    event: Event = JobProgress(
        room="org:acme",
        cursor="c",
        organization="acme",
        job_id=job_id,
        attempt=1,
        percent=percent,
        message=None,
        at=NOW,
    )
    return Message(ACME, event, key=(ACME, job_id))


def seen(message: Message) -> Any:
    return message.data.get("sequence")


def waiting(one: Client) -> list[Any]:
    return [seen(message) or message.data.get("percent", message.name) for message in one.take(10_000)]


def test_a_message_waits_for_those_in_its_room_alone(hub: Hub):
    mine, theirs, both = client(hub, ACME), client(hub, OTHER), client(hub, ACME, OTHER)
    hub.tell(step(1))
    hub.tell(step(2, OTHER))
    assert (waiting(mine), waiting(theirs), waiting(both)) == ([1], [2], [1, 2])


def test_of_progress_only_the_latest_waits_and_behind_what_came_before_it(hub: Hub):
    one, other = client(hub, ACME), uuid4()
    for percent in range(10_000):
        hub.tell(progress(percent))
    hub.tell(progress(5, other))
    hub.tell(step(1))
    hub.tell(progress(100))
    assert len(one) == 3
    assert waiting(one) == [5, 1, 100]


def test_heartbeats_go_to_a_few_at_a_time_and_to_each_once_in_a_round(hub: Hub):
    clients = [client(hub, ACME, user=f"{one}") for one in range(200)]
    heard = []
    for part in range(10):
        hub.beat({part}, of=10)
        heard.append([one for one in clients if one.take(10)])
    assert sorted(map(id, clients)) == sorted(id(one) for those in heard for one in those)
    assert {len(those) for those in heard} == {20}


def test_what_waits_is_bounded_and_a_reset_stands_for_the_most_of_it(hub: Hub):
    slow, reading = client(hub, ACME, OTHER), client(hub, ACME)
    hub.tell(step(1, OTHER))
    for number in range(2, MOST_WAITING):
        hub.tell(step(number))
        assert reading.take(10)
    hub.beat({0}, of=1)
    assert len(slow) == MOST_WAITING
    hub.tell(step(1_001, OTHER))
    told = slow.take(10_000)
    assert [seen(one) or one.name for one in told] == [1, "heartbeat", 1_001, "reset"]
    assert told[-1].data == {"room": "org:acme", "cursor": "c999"}
    hub.tell(step(1_002))
    assert waiting(slow) == [1_002]
    assert hub.dropped == 0


def test_what_is_kept_back_from_who_enters_is_bounded_and_a_reset_stands_for_it(hub: Hub):
    one = client(hub)
    one.hold(ACME)
    hub.enter(one, ACME)
    for number in range(2, MOST_WAITING + 4):
        hub.tell(step(number))
    one.release(ACME, [step(1)])
    told = one.take(10_000)
    assert [seen(message) or message.data["cursor"] for message in told] == ["c1002", 1_003]


def test_who_is_dropped_is_told_nothing_more_and_is_in_no_room(hub: Hub):
    stalled, reading = client(hub, ACME), client(hub, ACME)
    hub.tell(step(1))
    hub.drop(stalled)
    hub.tell(step(2))
    assert (len(stalled), len(reading)) == (0, 2)
    assert not stalled.is_open
    assert hub.dropped == 1
    hub.leave(reading, ACME)
    assert not hub.rooms
    assert list(hub.clients) == [stalled, reading], "its connection is still there"


def test_a_reset_stands_for_what_waited_of_its_room(hub: Hub):
    one = client(hub, ACME, OTHER)
    for message in (step(1), step(2, OTHER), progress(5)):
        hub.tell(message)
    hub.tell(Message(ACME, Reset(room="org:acme", cursor="c")))
    hub.tell(step(3))
    assert waiting(one) == [2, "reset", 3]


def test_what_comes_while_somebody_enters_waits_for_what_was_missed(hub: Hub):
    one = client(hub)
    one.hold(ACME)
    hub.enter(one, ACME)
    for number in (4, 5):
        hub.tell(step(number))
    assert len(one) == 0
    one.release(ACME, [step(2), step(3)])
    hub.tell(step(6))
    assert waiting(one) == [2, 3, 4, 5, 6]


def test_who_loses_a_room_before_the_answer_is_told_nothing_of_it_behind_that(hub: Hub):
    one = client(hub)
    one.hold(ACME)
    hub.enter(one, ACME)
    hub.tell(step(4))
    hub.revoke(one, [ACME])
    one.release(ACME, [step(3)])
    assert waiting(one) == ["revoked"]


def test_who_leaves_a_room_that_could_not_be_entered_is_not_told_what_came_meanwhile(hub: Hub):
    one = client(hub)
    one.hold(ACME)
    hub.enter(one, ACME)
    hub.tell(step(4))
    hub.leave(one, ACME)
    one.release(ACME)
    assert waiting(one) == []


def test_a_client_that_loses_a_room_gets_nothing_of_it_that_waited(hub: Hub):
    one = client(hub, ACME, OTHER)
    hub.tell(step(1))
    hub.tell(step(2, OTHER))
    hub.revoke(one, [ACME])
    hub.tell(step(3))
    assert not one.is_ending
    assert waiting(one) == [2, "revoked"]
    hub.revoke(one, [OTHER])
    assert one.is_ending
    assert waiting(one) == ["revoked"]


def test_nobody_is_listened_for_once_all_have_left(hub: Hub):
    one = client(hub, ACME, Room(RoomKind.JOB, "acme", JOB))
    assert hub.audience().organizations == {"acme"}
    assert hub.audience().jobs == {("acme", JOB)}
    hub.remove(one)
    assert not hub.audience()
    assert list(hub.rooms) == []


def test_one_user_has_so_many_clients_and_no_more(hub: Hub):
    for _ in range(MOST_OF_USER):
        client(hub)
    with pytest.raises(RateLimited):
        client(hub)
    client(hub, user="bob")


def test_by_tokens_of_one_organization_nobody_uses_up_what_a_user_may_have_elsewhere(hub: Hub):
    for _ in range(MOST_OF_USER):
        client(hub, organization="other")
    with pytest.raises(RateLimited):
        client(hub, organization="other")
    client(hub, organization="acme")
    client(hub)


def some_job(organization: str = "acme") -> Room:
    return Room(RoomKind.JOB, organization, uuid4())


def test_of_an_organization_so_many_jobs_are_watched_and_no_more(hub: Hub):
    watchers = [client(hub, user=f"user{n}") for n in range(MOST_JOBS // MOST_JOBS_OF_USER)]
    watched = [some_job() for _ in range(MOST_JOBS)]
    for number, room in enumerate(watched):
        hub.enter(watchers[number % len(watchers)], room)
    late = client(hub, user="late")
    with pytest.raises(RateLimited, match="watch the organization"):
        hub.enter(late, some_job())
    for room in (watched[0], ACME, some_job("other")):
        hub.enter(late, room)
    hub.remove(watchers[1])
    hub.enter(late, some_job())


def test_one_user_leaves_rooms_of_jobs_to_others(hub: Hub):
    one, other, room = client(hub), client(hub), some_job()
    for number in range(MOST_JOBS_OF_USER - 1):
        hub.enter((one, other)[number % 2], some_job())
    for _ in range(2):
        hub.enter(one, room)
    for refused in (room, some_job()):
        with pytest.raises(RateLimited, match="A user may watch 200 jobs"):
            hub.enter(other, refused)
    for let_in in (ACME, some_job("other")):
        hub.enter(other, let_in)
    hub.enter(client(hub, user="ben"), some_job())
    for _ in range(2):
        hub.leave(one, room)
    hub.enter(other, some_job())
    with pytest.raises(RateLimited):
        hub.enter(other, some_job())
