"""All orders of the participants' steps; of those that differ only in steps that commute, just one.

Two steps of different participants race if they do not commute and nothing that came between has ordered them. Of each
race that a play has shown, another play takes the other order: it repeats the play up to the first of the two steps,
and goes on with the second one's participant. What has been tried at a choice *sleeps* beyond it, until a step is taken
with which it does not commute: before that it would only lead where another play has been. This is dynamic partial
order reduction with sleep sets (Flanagan and Godefroid, 2005).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.store.interleavings.order import Turn
from tests.store.interleavings.steps import Step, commute


@dataclass
class _Choice:
    """`wanted` are the turns that have to be tried here, `asleep` those that have been, here or by another play."""

    turns: Mapping[Turn, Step]
    asleep: dict[Turn, Step]
    taken: Turn = field(init=False)
    wanted: set[Turn] = field(default_factory=set)

    def __post_init__(self) -> None:
        # Where all sleep, the play only has to end.
        self.is_idle = self.turns.keys() <= self.asleep.keys()
        self.taken = next((turn for turn in self.turns if turn not in self.asleep), next(iter(self.turns)))
        self.want(self.place)

    @property
    def step(self) -> Step:
        return self.turns[self.taken]

    @property
    def place(self) -> int:
        """Whose turn it was."""
        return self.taken[0]

    def want(self, place: int) -> None:
        """Let this participant be tried here, its crash, too; everyone, where it waits for others."""
        mine = {turn for turn in self.turns if turn[0] == place}
        self.wanted |= mine or self.turns.keys()


class Orders:
    """Chooses whose turn it is, play by play."""

    def __init__(self) -> None:
        self._path: list[_Choice] = []
        self._depth = 0

    def choose(self, turns: Mapping[Turn, Step]) -> Turn:
        """The next turn of this play."""
        if self._depth == len(self._path):
            self._path.append(_Choice(turns, self._asleep()))
        choice = self._path[self._depth]
        assert turns.keys() == choice.turns.keys(), "the same turns led elsewhere: the play is left to chance"
        self._depth += 1
        return choice.taken

    def has_another(self) -> bool:
        """Turn to the next play, if there is one."""
        for choice, place in self._races():
            choice.want(place)
        self._depth = 0
        while self._path:
            choice = self._path[-1]
            choice.asleep[choice.taken] = choice.step
            if awake := sorted(choice.wanted - choice.asleep.keys()):
                choice.taken = awake[0]
                return True
            self._path.pop()
        return False

    def _asleep(self) -> dict[Turn, Step]:
        """What sleeps after the last turn."""
        if not self._path:
            return {}
        last = self._path[-1]
        return {turn: step for turn, step in last.asleep.items() if turn[0] != last.place and commute(step, last.step)}

    def _races(self) -> Iterator[tuple[_Choice, int]]:
        """For each race of the last play, where its first step was taken, and who took the second."""
        before: list[set[int]] = []  # of each step, those that had to come before it
        for index, choice in enumerate(self._path):
            if choice.is_idle:
                return
            ordered: set[int] = set()
            awaited: set[int] = set()
            for earlier in reversed(range(index)):
                other = self._path[earlier]
                if earlier in ordered or (other.place != choice.place and commute(other.step, choice.step)):
                    continue
                if other.place != choice.place:
                    yield other, choice.place
                    if all(place != choice.place for place, _ in other.turns):
                        # It waited for that step: the race was lost before, where the other took what it waited for.
                        awaited |= {earlier, *before[earlier]}
                        continue
                ordered |= {earlier, *before[earlier]}
            before.append(ordered | awaited)
