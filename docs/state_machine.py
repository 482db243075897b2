"""Write docs/state-machine.md from the transition table, so that the page can't differ from the code."""

from pathlib import Path
from typing import Final

from fairlane.domain.statuses import LIVE, PASSING, TERMINAL, TRANSITIONS, WAITING, JobStatus

PAGE: Final = Path(__file__).with_name("state-machine.md")

_INTRO: Final = """\
<!-- Written by docs/state_machine.py from `fairlane.domain.statuses`; change that, then run `make docs`. -->

# Job status

A job is always in one of these statuses. Its row changes by the transitions below and by no others: whatever else is
asked for raises `IllegalTransition` and changes nothing. Each transition leaves a row in the job's execution log.
"""


def page() -> str:
    """Return the page, as Markdown."""
    return "\n".join([_INTRO, *_diagram(), "", "## Transitions", "", *_table(), "", "## Sets", "", *_sets(), ""])


def _diagram() -> list[str]:
    edges = [f"  {source or '[*]'} --> {target}" for source, target in TRANSITIONS]
    ends = [f"  {status} --> [*]" for status in JobStatus if status in TERMINAL]
    return ["```mermaid", "stateDiagram-v2", *edges, *ends, "```"]


def _table() -> list[str]:
    rows = [f"| {_name(source)} | {_name(target)} | {when} |" for (source, target), when in TRANSITIONS.items()]
    return ["| from | to | when |", "|---|---|---|", *rows]


def _sets() -> list[str]:
    means = {
        "Live": (LIVE, "They count against an organization's `max_live_jobs` and hold a deduplication key."),
        "Waiting": (WAITING, "Not started yet: a cancel takes effect at once."),
        "Passing": (PASSING, "Outcomes of one attempt. The next transition follows at once, so no job rests in them."),
        "Terminal": (TERMINAL, "Ended. A dead letter goes on if a person retries it or the parent that took it down."),
    }
    return [f"- **{name}**: {_names(statuses)}. {meaning}" for name, (statuses, meaning) in means.items()]


def _name(status: JobStatus | None) -> str:
    return f"`{status}`" if status else "–"


def _names(statuses: frozenset[JobStatus]) -> str:
    return ", ".join(_name(status) for status in JobStatus if status in statuses)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
