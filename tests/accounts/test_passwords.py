"""Guessing a password is expensive with the real parameters; other tests use cheaper ones."""

from argon2 import PasswordHasher, extract_parameters

from tests.accounts.cheap_passwords import REAL, REAL_NOBODY


def test_a_password_costs_what_argon2_recommends_and_so_does_that_of_nobody():
    recommended = PasswordHasher()
    ours = extract_parameters(REAL().hash("a password of somebody"))
    assert ours == extract_parameters(REAL_NOBODY)
    assert (ours.memory_cost, ours.time_cost) == (recommended.memory_cost, recommended.time_cost)
