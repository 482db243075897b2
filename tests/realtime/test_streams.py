"""Server-sent events: many streams that have much to send."""

import json
import threading
from contextlib import ExitStack, closing

from fairlane.realtime.events import JobProgress, Reset
from fairlane.realtime.hub import Message
from fairlane.realtime.sse import _AT_ONCE
from tests.api.served import Api
from tests.patience import PATIENCE
from tests.realtime.stream import Stream

STREAMS, MESSAGES = 8, 200


def test_streams_with_much_to_send_give_the_loop_away_after_each_few_messages(api: Api):
    live = api.app.state.web.live
    sent, are_sent = list[int](), threading.Event()

    def look(before: int) -> None:
        left = sum(map(len, live.hub.clients))
        sent.append(before - left)
        loop.call_soon(look, left) if left else are_sent.set()

    def tell() -> None:
        (room,) = live.hub.rooms
        for number in range(MESSAGES):
            message = Message(room, Reset(room=room.name, cursor=""))
            message.name, message.data = JobProgress.name, {"number": number, "message": "x" * 300}
            live.hub.tell(message)
        look(sum(map(len, live.hub.clients)))

    with ExitStack() as stack:
        token = api.token("member")
        streams = [stack.enter_context(closing(Stream(api, token, "/organizations/acme"))) for _ in range(STREAMS)]
        loop = live._task.get_loop()
        loop.call_soon_threadsafe(tell)
        for stream in streams:
            stream.wait_for(f'"number": {MESSAGES - 1}')
            told = [json.loads(line[6:]) for line in stream.told.splitlines() if line.startswith("data: ")]
            assert [one["number"] for one in told if "number" in one] == list(range(MESSAGES))
        assert are_sent.wait(PATIENCE)
    assert max(sent) <= _AT_ONCE
