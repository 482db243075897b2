"""The page of benchmarks says what was measured, and nothing else."""

from benchmarks import page

MACHINE = {"cores": 2, "processor": "Abacus", "system": "Linux", "python": "3.11.7", "fairlane": "0.1.0"}
OWN = {
    "machine": MACHINE,
    "database": {"kind": "SQLite", "version": "3.46.1", "synchronous": "full"},
    "jobs": 50,
    "samples": 10,
    "figures": [
        {
            "name": "bulk",
            "what": "Submitted in bulk",
            "unit": "jobs/s",
            "value": 1234.5,
            "runs": [1000.0, 1234.5, 2000.0],
        }
    ],
}


def peer(name, **more):
    figures = {figure: {"value": 2000.0, "runs": [2000.0]} for figure in ("bulk", "drain")}
    about = {"store": "redis", "version": "1.0", "settings": "defaults", "source": "https://example.com/docs"}
    return {"name": name, **about, **figures, "neighbour": {"value": 0.25, "runs": [0.25]}, **more}


PEERS = {
    "measured_on": "2026-11-25",
    "machine": MACHINE,
    "stores": {"redis": {"version": "8.0"}},
    "jobs": 100,
    "runs": 1,
    "peers": [
        peer("abides", again=31.2),
        peer("loses", again=None),
        peer("untried"),
        {"name": "absent", "store": "redis", "not_run": "no Redis server here"},
    ],
}


def test_the_page_is_made_from_the_results_that_are_there() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(page.results()), "run `make bench-page`"


def test_without_results_it_says_so() -> None:
    assert "Nothing has been measured yet" in page.page({})
    assert "Nothing has been measured yet" not in page.page({"own": OWN})


def test_figures_stand_with_the_machine_and_the_runs_that_they_are_of() -> None:
    text = page.page({"own": OWN})
    assert "| Submitted in bulk | 1,234 /s | 1,000 /s – 2,000 /s |" in text
    assert "2 cores, Abacus, Linux" in text
    assert "synchronous = full" in text


def test_what_a_killed_worker_costs_is_told_only_where_it_was_measured() -> None:
    rows = {line.split()[1]: line for line in page.page({"peers": PEERS}).splitlines() if line.startswith("| ")}
    assert "| 250 ms | runs again after 31 s |" in rows["abides"]
    assert "not run again within 90 s" in rows["loses"]
    assert "not measured" in rows["untried"]
    assert "- absent: not run: no Redis server here" in page.page({"peers": PEERS})


def test_the_peers_that_were_measured_job_by_job_have_a_table_of_what_was_measured() -> None:
    picked = {"pickup-p50": {"value": 5.25, "runs": [5.25]}, "pickup-p99": {"value": 17.5, "runs": [17.5]}}
    single = {"single": {"value": 1500.0, "runs": [1500.0]}}
    about = {"store": "postgresql", "version": "1.0", "settings": "defaults", "source": "docs/how-to.md"}
    taken = {"cpu-worker": {"value": 40.0, "runs": [40.0]}}
    both, one = {"name": "both", **about, **taken, **single, **picked}, {"name": "one", **about, **single}
    text = page.page({"peers": PEERS, "peers-alone": {**PEERS, "jobs": 10_000, "peers": [both, one, peer("untried")]}})
    _, chapter, table = text.partition("### Beside PgQueuer, job by job")
    assert chapter
    assert "- 2,000 jobs one after another, 200 picked up, medians of 1 runs" in table
    assert "| both 1.0 | postgresql | 40.0 µs | 1,500 /s | 5.2 ms | 17.5 ms | defaults |" in table
    assert "| one 1.0 | postgresql | not measured | 1,500 /s | not measured | not measured | defaults |" in table
    assert "| untried" not in table
    assert "### Beside PgQueuer, job by job" not in page.page({"peers": PEERS})


def test_a_soak_is_told_in_a_dozen_rows_to_its_end() -> None:
    table = {"rows": 3 * 2**20, "indexes": 5 * 2**20, "dead": 0, "vacuums": 1}
    tables = dict.fromkeys(("jobs", "live", "ended", "execution_log", "dedup_keys"), table)
    samples = [{"minute": float(n), "total": n * 1000, "speed": 50.0, **tables} for n in range(1, 31)]
    about = {
        "measured_on": "2026-11-26",
        "machine": MACHINE,
        "database": OWN["database"],
        "retention": 60,
        "snapshot": 0,
    }
    text = page.page({"soak": {**about, "samples": samples}})
    assert "another session holds a snapshot" not in text
    beside = page.page({"soak": {**about, "snapshot": 10, "samples": samples}})
    assert "For 10 minutes, from the end of the second on, another session holds a snapshot" in beside
    assert "## A soak\n\nJobs come without end" in beside, "it may stand without the other"
    rows = [line for line in text.splitlines() if line.startswith("| ") and "3 + 5" in line]
    assert 10 <= len(rows) <= 15
    assert rows[-1] == "| 30 | 30,000 | 50 /s | 3 + 5 | 3 + 5 | 3 + 5 | 3 + 5 | 3 + 5 |"
