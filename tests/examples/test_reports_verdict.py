"""The demo's judgement, on jobs made by hand; statuses are plain strings here, equal to Fairlane's."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from examples.reports.verdict import Planned, due_for_cancel, verdict


@dataclass
class Job:
    id: UUID
    status: Any
    progress: float | None = None
    error_message: str | None = None


def planned(number: int, expected: Any = "completed", cancel_at: int | None = None) -> Planned:
    return Planned(UUID(int=number), "reed", "miriam", f"step {number}", "csv.import", expected, cancel_at)


def test_nothing_to_say_when_all_ended_as_planned() -> None:
    plan = [planned(1), planned(2, "dead_letter")]
    assert verdict(plan, [Job(UUID(int=2), "dead_letter"), Job(UUID(int=1), "completed")]) == []


def test_each_mismatch_is_a_sentence() -> None:
    jobs = [Job(UUID(int=1), "dead_letter", error_message="no rows"), Job(UUID(int=2), "running")]
    assert verdict([planned(1), planned(2, "canceled"), planned(3)], jobs) == [
        "reed: step 1 (csv.import) should be completed and is dead_letter: no rows.",
        "reed: step 2 (csv.import) should be canceled and is running.",
        "reed: step 3 (csv.import) was submitted and is not to be found.",
    ]


def test_a_job_is_due_for_cancel_from_its_percentage_on() -> None:
    plan = [planned(1, cancel_at=50), planned(2, cancel_at=50), planned(3, cancel_at=50), planned(4)]
    jobs = [Job(UUID(int=1), "running", 49), Job(UUID(int=2), "running", 50.0), Job(UUID(int=4), "running", 99)]
    assert [plan.name for plan in due_for_cancel(plan, jobs)] == ["step 2"]
