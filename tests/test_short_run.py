"""Which tests a short run of everything takes."""

from tests.by_turns import whose_turn


def on_both(name: str) -> list[str]:
    return [name.replace("*", database) for database in ("sqlite", "postgresql")]


def test_one_test_of_two_that_differ_by_their_database_alone():
    names = [name for number in range(100) for name in on_both(f"tests/api/test_jobs.py::test_one[*-{number}]")]
    turns = whose_turn(names)
    assert len(turns) == 100
    assert {name.replace("sqlite", "postgresql") for name in turns} == set(names[1::2])
    assert 20 < sum("sqlite" in name for name in turns) < 80
    assert whose_turn(names) == turns


def test_all_others_are_taken():
    names = [
        "tests/domain/test_keys.py::test_a_key",
        "tests/cli/test_init.py::test_postgresql_is_named",
        "tests/api/test_jobs.py::test_on_one[postgresql]",
        "tests/api/test_jobs.py::test_of_names[my-postgresql-9]",
        *on_both("tests/store/test_rows.py::test_a_row[*]"),
    ]
    assert whose_turn(names) == set(names)
