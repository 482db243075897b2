"""The page about reliability has the results of storms, and nothing else."""

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
    assert "There are no figures yet" in page.page([])
    assert "There are no figures yet" not in page.page([RESULT])


def test_the_page_counts_what_must_not_happen() -> None:
    text = page.page([RESULT])
    assert "| SQLite | 50,000 | 30 | 100 | **1** | **2** | **3** | **6** | **7** |" in text
    for row in ("| **Lost jobs** | **1** |", "| **Unexplained duplicates** | **2** |", "| **Zombies** | **3** |"):
        assert row in text
    assert "| **Jobs taken from a healthy worker** | **6** |" in text
    assert "| **Other broken promises** | **7** |" in text
    assert "| Jobs that stopping workers released | 8 |" in text
    assert "| Running jobs canceled | 9 |" in text
    assert "| Reads of submitted jobs during the storm | 10,000 |" in text
    assert "| Most jobs at once of a type with the limit 4 | 4 |" in text
    assert "| Planned duplicates accepted, because the first job had ended | 2 |" in text
    assert "| Jobs rescued after kill -9 of a worker | 110 |" in text
    assert "| Ticks of schedules, one job each | 77 |" in text
    assert "| Duplicates explained by kill -9 of a worker | 100 |" in text
    assert "| Dead letters of suspects: faults took three of their workers | 5 |" in text
    assert '`make storm ARGS="--seed 42 --database sqlite --jobs 50000"`' in text
    slow = page.page([RESULT | {"planned": 900.0}])
    assert '`make storm ARGS="--seed 42 --database sqlite --jobs 50000 --seconds 900"`' in slow


def test_the_page_says_how_long_after_its_effect_a_fault_explains_a_duplicate() -> None:
    text, row = page.page([RESULT]), "| an effect until the fault that explains its duplicate |"
    assert f"{row} 0.20 s | 4.50 s | 4.50 s | 3 |" in text
    assert "The fault that explains a duplicate came 1 time more than 3 s after the effect" in text
    assert row not in page.page([{**RESULT, "gaps": []}])
    assert "The fault that explains a duplicate" not in page.page([{**RESULT, "gaps": []}])


def test_the_page_has_recoveries_in_seconds_and_in_leases() -> None:
    row = "| a kill until the worker's jobs ran again, without canceled jobs |"
    times = "5.00 s, 1.00 leases | 10.00 s, 2.00 leases | 10.00 s, 2.00 leases | 3 |"
    assert f"{row} {times}" in page.page([RESULT])


def test_the_page_counts_suspects_apart_as_they_may_have_been_started_apart() -> None:
    assert "2 more jobs were suspects, and ran again after 7.00 to 99.00 s" in page.page([RESULT])


def test_the_page_says_nothing_that_was_not_measured() -> None:
    text = page.page([RESULT])
    assert "kills with no other fault in the way until their jobs ran again" not in text
    assert "After the database's return" not in text
    assert "In an outage" not in text
    outage = {"seconds": 60.0, "rescued": 5, "buried": 6}
    more = page.page(
        [RESULT | {"outage": outage, "undisturbed": [5.0], "undisturbed_kills": 3, "first_claims": [0.5, 1.5]}]
    )
    assert "| 3 kills with no other fault in the way until their jobs ran again | 5.00 s, 1.00 leases |" in more
    assert "was called within 0.50 to 1.50 s (2 returns)." in more
    assert "60 s under load, workers lost 5 jobs, and there were 6 unplanned dead letters" in more


def test_a_long_storm_has_the_memory_of_a_spared_worker() -> None:
    mib = [50.0] * 30 + [80.0] * 30 + [120.0] + [84.0] * 59
    memory = {"every": 10.0, "mib": mib, "anonymous": [one / 2 for one in mib]}
    text = page.page([RESULT | {"jobs": 1_000_000, "spared": 1, "memory": memory}])
    assert "## SQLite, 1,000,000 jobs" in text
    assert "4 workers and 1 spared worker (only faults of the database reach it)" in text
    assert "--database sqlite --long" in text
    assert "| 5 minutes until the 10th | last 5 of 20 minutes | growth | at most |" in text
    assert "| all | 80 MiB | 84 MiB | +5.0% | 120 MiB |" in text
    assert "| without files (`RssAnon`) | 40 MiB | 42 MiB | +5.0% | 60 MiB |" in text


def test_a_long_storm_has_the_most_that_memory_grew_in_half_an_hour() -> None:
    mib = [50.0] * 60 + [100.0] * 120 + [110.0] * 240
    memory = {"every": 10.0, "mib": mib, "anonymous": mib}
    text = page.page([RESULT | {"jobs": 1_000_000, "spared": 1, "memory": memory}])
    assert "| most growth in 30 minutes, from the 10th on |" in text
    assert "| 110 MiB | +10.0% |" in text
