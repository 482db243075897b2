"""The plan is sound: whatever it names is there."""

from collections.abc import Iterator

import pytest

from examples.reports.importing import DATA
from examples.reports.plan import FIRMS, Firm, Step, steps
from fairlane import JobStatus


def all_steps() -> Iterator[tuple[Firm, list[Step]]]:
    return ((firm, list(steps(firm, "http://127.0.0.1/x"))) for firm in FIRMS)


@pytest.mark.parametrize("firm", FIRMS, ids=lambda firm: firm.id)
def test_steps_have_names_of_their_own_and_parents_come_first(firm: Firm) -> None:
    seen: set[str] = set()
    for step in steps(firm, "http://127.0.0.1/x"):
        assert step.name not in seen
        assert set(step.after) <= seen
        assert step.user in firm.members
        seen.add(step.name)


def test_every_file_is_there() -> None:
    files = {step.parameters["file"] for _, plan in all_steps() for step in plan if step.job_type == "csv.import"}
    assert files == {path.name for path in DATA.glob("*.csv")}


def test_every_kind_of_ending_is_in_the_plan() -> None:
    endings = [step.expected for _, plan in all_steps() for step in plan]
    assert (endings.count(JobStatus.DEAD_LETTER), endings.count(JobStatus.CANCELED)) == (1, 1)
    assert endings.count(JobStatus.COMPLETED) == len(endings) - 2


def test_what_is_packed_is_each_report_with_its_thumbnails() -> None:
    for firm, plan in all_steps():
        (pack,) = (step for step in plan if step.job_type == "reports.pack")
        assert len(pack.after) == 2 * len(firm.reports)
