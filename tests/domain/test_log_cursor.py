"""The cursor skips nothing and repeats nothing, in whatever order transactions draw numbers, commit and roll back."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.log_cursor import LogCursor, Position, Range


@dataclass
class Log:
    """A table whose numbers are drawn before they can be seen."""

    drawn: int = 0
    visible: set[int] = field(default_factory=set)
    open: dict[str, list[int]] = field(default_factory=dict)
    made: int = 0

    def begin(self) -> None:
        self.made += 1
        self.open[str(self.made)] = []

    def draw(self, which: int) -> None:
        if self.open:
            self.drawn += 1
            list(self.open.values())[which % len(self.open)].append(self.drawn)

    def end(self, which: int, *, commits: bool) -> None:
        if self.open:
            numbers = self.open.pop(list(self.open)[which % len(self.open)])
            self.visible |= set(numbers) if commits else set()

    def step(self, step: tuple[str, int]) -> None:
        kind, which = step
        match kind:
            case "begin":
                self.begin()
            case "draw":
                self.draw(which)
            case "commit":
                self.end(which, commits=True)
            case "roll back":
                self.end(which, commits=False)

    def look(self, cursor: LogCursor, most: int = 1_000) -> tuple[list[int], Position, dict[int, Position]]:
        """Look like the feed; return the numbers read, the position then, and the position after each number."""
        late = [one for one in sorted(self.visible) if within(one, cursor.gaps)][:most]
        is_all = len(late) < most
        fresh = [one for one in sorted(self.visible) if one > cursor.high][:most] if is_all else []
        taken = cursor.take(late, ranges(fresh), is_all=is_all)
        read = late + fresh
        return read, cursor.position, {one: taken.after(one) for one in read}

    def missing(self, position: Position) -> set[int]:
        return {one for one in self.visible if one > position.high or within(one, position.gaps)}


def within(number: int, gaps: Iterable[Range]) -> bool:
    return any(first <= number <= last for first, last in gaps)


def ranges(numbers: list[int]) -> list[Range]:
    found: list[Range] = []
    for one in numbers:
        if found and found[-1][1] == one - 1:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return found


steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "draw", "draw", "draw", "commit", "roll back", "look", "settle"]), st.integers(0, 5)
    ),
    max_size=120,
)


@given(steps)
def test_every_number_that_appears_is_read_once(steps: list[tuple[str, int]]):
    log, cursor, read = Log(), LogCursor(0), list[int]()
    for step in steps:
        if step[0] == "look":
            read += log.look(cursor, step[1] + 1)[0]
        elif step[0] == "settle":
            cursor.settle(frozenset(log.open))
        else:
            log.step(step)
    while log.open:
        log.end(0, commits=True)
    read += log.look(cursor)[0]
    assert sorted(read) == sorted(log.visible)
    assert len(read) == len(set(read))


@given(steps, steps, st.integers(1, 9))
def test_a_reader_that_returns_to_any_position_misses_exactly_what_was_not_read(
    before: list[tuple[str, int]], after: list[tuple[str, int]], most: int
):
    log, cursor, read = Log(), LogCursor(0), set[int]()
    for step in before:
        if step[0] == "look":
            read |= set(log.look(cursor, most)[0])
        elif step[0] == "settle":
            cursor.settle(frozenset(log.open))
        else:
            log.step(step)
    numbers, end, positions = log.look(cursor, most)
    for step in after:
        log.step(step)
    for one in numbers:
        read.add(one)
        assert log.missing(positions[one]) == log.visible - read
    assert log.missing(end) == log.visible - read


@given(steps, st.integers(0, 3))
def test_a_position_of_few_gaps_misses_nothing(steps: list[tuple[str, int]], most: int):
    log, cursor = Log(), LogCursor(0)
    for step in steps:
        if step[0] == "look":
            log.look(cursor)
        else:
            log.step(step)
    short = cursor.position.within(most)
    assert len(short.gaps) <= most
    assert log.missing(short) >= log.missing(cursor.position)


def test_a_gap_is_kept_for_as_long_as_somebody_may_fill_it():
    cursor = LogCursor(0)
    cursor.take((), [(1, 3), (5, 5)])
    cursor.settle(frozenset({"a", "b"}))
    cursor.take((), [])
    cursor.settle(frozenset({"b", "c"}))
    assert cursor.take((), []).gaps == ((4, 4),)
    # Who came later can't: the number was drawn before.
    cursor.settle(frozenset({"c"}))
    assert cursor.gaps == ((4, 4),), "until a look that is younger than the answer"
    assert cursor.take((), []).gaps == ()


def test_what_comes_late_is_cut_out_of_its_gap():
    cursor = LogCursor(0)
    cursor.take((), [(10, 10)])
    taken = cursor.take([4, 5], [])
    assert taken.gaps == ((1, 3), (6, 9))
    assert taken.after(4) == Position(10, ((1, 3), (5, 5), (6, 9)))


def test_a_gap_that_is_closed_is_kept_until_all_that_came_of_it_was_taken():
    cursor = LogCursor(0)
    cursor.take((), [(10, 10)])
    cursor.settle(frozenset({"a"}))
    cursor.settle(frozenset())
    assert cursor.take([4, 5], [], is_all=False).gaps == ((1, 3), (6, 9))
    assert cursor.take([7], []).gaps == ()
