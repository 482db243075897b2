"""The simulation that the charts of fairness are drawn from."""

from benchmarks.simulation import Tenant, rounds


def test_an_organization_that_comes_later_ends_with_half_of_the_slots() -> None:
    tenants = {"long": Tenant(lambda: 60.0), "short": Tenant(lambda: 0.5, since=10.0)}
    *_, last = rounds(tenants, slots=10, seconds=300, every=0.5)
    assert last.running == {"long": 5, "short": 5}


def test_it_starts_within_one_round() -> None:
    tenants = {"long": Tenant(lambda: 60.0), "short": Tenant(lambda: 0.5, since=10.0)}
    started = [
        one.started.get("short", 0) for one in rounds(tenants, slots=10, seconds=70, every=0.5) if one.now >= 10.0
    ]
    # Nobody else was there when the long jobs took all slots, so the first is that of the first that ends.
    assert next(number for number, jobs in enumerate(started) if jobs) <= 100
