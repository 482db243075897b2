"""The page of reliability says what a storm has found, and nothing else."""

from typing import Any

from tests.storm import page

RESULT: dict[str, Any] = {
    "database": "sqlite",
    "measured_on": "2026-11-26",
    "machine": {"cores": 2, "processor": "Abacus", "system": "Linux", "python": "3.11.7", "fairlane": "0.1.0"},
    "seed": 42,
    "jobs": 50_000,
    "seconds": 200.4,
    "workers": 4,
    "spared": 0,
    "lease": 5.0,
    "submitted": 50_000,
    "ticks": 77,
    "rejected": 12,
    "twins": 2,
    "limited": 4,
    "released": 8,
    "stopped": 9,
    "looks": 10_000,
    "effects": 50_100,
    "lost": 1,
    "duplicates": 2,
    "zombies": 3,
    "taken": 6,
    "broken": 7,
    "rescued": {"kill -9 of a worker": 110},
    "explained": {"kill -9 of a worker": 100},
    "gaps": [0.1, 0.2, 4.5],
    "late_effects": 4,
    "buried": 5,
    "faults": {"kill -9 of a worker": 30},
    "recoveries": [2.0, 5.0, 10.0],
    "suspects": [7.0, 99.0],
    "undisturbed": [],
    "undisturbed_kills": 0,
    "first_claims": [],
    "outage": None,
    "memory": None,
}


def test_the_page_is_made_from_the_results_that_are_there() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(page.results()), "run `make storm-page`"


def test_without_results_it_says_so() -> None:
    assert "No storm has gone by yet" in page.page([])
    assert "No storm has gone by yet" not in page.page([RESULT])


def test_what_must_not_be_is_told_as_it_is() -> None:
    text = page.page([RESULT])
    assert "| SQLite | 50,000 | 30 | 100 | **1** | **2** | **3** | **6** | **7** |" in text
    for row in ("| **Lost jobs** | **1** |", "| **Unexplained duplicates** | **2** |", "| **Zombies** | **3** |"):
        assert row in text
    assert "| **Jobs taken from a healthy worker** | **6** |" in text
    assert "| **Other promises broken** | **7** |" in text
    assert "| Jobs that workers gave back as they were told to stop | 8 |" in text
    assert "| Running jobs canceled | 9 |" in text
    assert "| Looks for submitted jobs amid the storm | 10,000 |" in text
    assert "| Jobs at once of a type that is limited to 4, at most | 4 |" in text
    assert "| Their like that were taken, as the job with their key had ended | 2 |" in text
    assert "| Jobs rescued after kill -9 of a worker | 110 |" in text
    assert "| Ticks of schedules, a job each | 77 |" in text
    assert "| Duplicates explained by kill -9 of a worker | 100 |" in text
    assert "| Dead letters, as promised, of jobs under which faults took three workers away | 5 |" in text
    assert '`make storm ARGS="--seed 42 --database sqlite --jobs 50000"`' in text
    slow = page.page([RESULT | {"planned": 900.0}])
    assert '`make storm ARGS="--seed 42 --database sqlite --jobs 50000 --seconds 900"`' in slow


def test_how_long_after_its_effect_a_fault_explains_a_duplicate_is_told() -> None:
    text = page.page([RESULT])
    assert "came 0.20 s (p50), 4.50 s (p99) and at most 4.50 s after the effect, and 1 time after more than 3 s" in text
    assert "after the effect" not in page.page([{**RESULT, "gaps": []}])


def test_recovery_is_told_in_seconds_and_in_leases() -> None:
    assert (
        "after 5.00 s (p50), 10.00 s (p99) and at most 10.00 s, that is 1.00, 2.00 and 2.00 leases (3 jobs)"
        in page.page([RESULT])
    )


def test_jobs_that_may_have_been_started_apart_are_told_apart() -> None:
    assert "2 more had lost a worker for the third time or more, and ran again after 7.00 to 99.00 s" in page.page(
        [RESULT]
    )


def test_what_was_not_measured_is_not_told() -> None:
    text = page.page([RESULT])
    assert "no other fault in the way until two leases later" not in text
    assert "When the database was back" not in text
    assert "In an outage" not in text
    outage = {"seconds": 60.0, "rescued": 5, "buried": 6}
    more = page.page(
        [RESULT | {"outage": outage, "undisturbed": [5.0], "undisturbed_kills": 3, "first_claims": [0.5, 1.5]}]
    )
    assert "Those of 3 kills with no other fault in the way until two leases later ran again after 5.00 s" in more
    assert "after 0.50 to 1.50 s (2 times;" in more
    assert "60 s under load, jobs taken from workers: 5; dead letters that nobody planned: 6" in more


def test_a_long_storm_says_what_a_worker_that_lived_through_it_took() -> None:
    mib = [50.0] * 30 + [80.0] * 30 + [120.0] + [84.0] * 59
    memory = {"every": 10.0, "mib": mib, "anonymous": [one / 2 for one in mib]}
    text = page.page([RESULT | {"jobs": 1_000_000, "spared": 1, "memory": memory}])
    assert "## SQLite, 1,000,000 jobs" in text
    assert "4 workers and 1 that only the database's faults reach" in text
    assert "--database sqlite --long" in text
    assert "in the 5 minutes until the 10th and in the last 5 of 20: 80 and 84 MiB, that is +5.0%, and 120" in text
    assert "(`RssAnon`): 40 and 42 MiB, that is +5.0%, and 60 MiB at most" in text


def test_of_a_long_storm_the_most_that_memory_grew_in_half_an_hour_is_told() -> None:
    mib = [50.0] * 60 + [100.0] * 120 + [110.0] * 240
    memory = {"every": 10.0, "mib": mib, "anonymous": mib}
    text = page.page([RESULT | {"jobs": 1_000_000, "spared": 1, "memory": memory}])
    assert "and 110 MiB at most, +10.0% at most in 30 minutes from the 10th on" in text
