"""Promise 3 and R4: no organization waits behind another."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.fairness import quotas

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=3), max_size=40)
SLOTS = st.integers(0, 200)
TURNS = st.integers(0, 10**12)


@given(NAMES, st.integers(-5, 200), TURNS)
def test_all_slots_are_shared_out_and_never_more(names, slots, turn):
    shares = quotas(names, slots, turn)
    assert sum(shares.values()) == (max(slots, 0) if names else 0)
    assert set(shares) <= set(names)
    assert all(share > 0 for share in shares.values())


@given(NAMES, SLOTS, TURNS)
def test_in_one_round_no_share_is_more_than_one_above_another(names, slots, turn):
    shares = quotas(names, slots, turn)
    every = [shares.get(name, 0) for name in set(names)]
    assert not every or max(every) - min(every) <= 1


@given(NAMES, st.integers(1, 200), TURNS)
def test_every_organization_is_served_within_as_many_rounds_as_there_are_organizations(names, slots, turn):
    served = {name for step in range(len(set(names))) for name in quotas(names, slots, turn + step)}
    assert served == set(names)


@given(NAMES, SLOTS, TURNS)
def test_over_a_full_turn_all_shares_are_equal(names, slots, turn):
    total = Counter[str]()
    for step in range(len(set(names))):
        total.update(quotas(names, slots, turn + step))
    assert {total[name] for name in names} <= {slots}


@given(NAMES, SLOTS, TURNS)
def test_neither_order_nor_repetition_of_the_names_matters(names, slots, turn):
    assert quotas(names, slots, turn) == quotas([*reversed(names), *names], slots, turn)


@pytest.mark.parametrize(("names", "slots"), [([], 5), (["a"], 0), (["a"], -1)])
def test_without_organizations_or_slots_nobody_starts(names, slots):
    assert quotas(names, slots, 0) == {}
