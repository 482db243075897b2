"""Moments of the time of day are told on the monotonic clock also where the time of day was set meanwhile."""

import time
from datetime import UTC, datetime

import pytest

from tests.storm.clocks import Clocks


def test_what_was_written_before_a_step_of_the_time_of_day_keeps_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"time": 1_000_000.0, "monotonic": 500.0}
    monkeypatch.setattr(time, "time", lambda: shown["time"])
    monkeypatch.setattr(time, "monotonic", lambda: shown["monotonic"])
    clocks = Clocks()
    shown = {"time": 1_000_106.0, "monotonic": 560.0}  # it stood still for 46 s
    clocks.look()
    shown = {"time": 1_000_116.0, "monotonic": 570.0}
    clocks.look()
    moments = [datetime.fromtimestamp(1_000_000.0 + seconds, UTC) for seconds in (-10, 30, 106, 116)]
    assert [clocks.monotonic(one) for one in moments] == [490.0, 530.0, 560.0, 570.0]
