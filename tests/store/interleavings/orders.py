"""The orders of the participants' steps; of those that differ only in steps that commute, just one.

Two steps of different participants race if they do not commute and nothing that came between has ordered them. Of each
race that a play has shown, another play takes the other order: it repeats the play up to the first of the two steps,
and goes on with the second, or with what has to come before that. What has been tried at a choice *sleeps* beyond it,
until a step is taken with which it does not commute: before that it would only lead where another play has been. This
is dynamic partial order reduction with sleep sets and source sets (Abdulla, Aronis, Jonsson and Sagonas, 2014).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

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
        self.want([self.taken])

    @property
    def step(self) -> Step:
        return self.turns[self.taken]

    @property
    def place(self) -> int:
        """Return the place of the participant whose turn it was."""
        return self.taken[0]

    def is_awake(self, turn: Turn) -> bool:
        """Return True if the turn has to be tried here, and was not."""
        return turn in self.wanted and turn not in self.asleep

    def want(self, firsts: Sequence[Turn]) -> None:
        """Let one of these be tried here, its participant's crash, too; everyone, where they all wait for others.

        Where one is asleep or wanted there is nothing more to want: what begins with it has been played, or will be.
        """
        possible = [turn for turn in firsts if turn in self.turns]
        if not possible:
            self.wanted |= self.turns.keys()
        elif self.asleep.keys().isdisjoint(possible) and self.wanted.isdisjoint(possible):
            self.wanted |= {turn for turn in self.turns if turn[0] == possible[0][0]}


class Orders:
    """Chooses whose turn it is, play by play.

    Args:
        random: draws the next turn from those to be tried, so that with each seed other orders come first; None: it is
            the first participant's.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random
        self._path: list[_Choice] = []
        self._depth = 0

    def choose(self, turns: Mapping[Turn, Step]) -> Turn:
        """The next turn of this play."""
        if self._depth == len(self._path):
            self._path.append(_Choice(self._shuffled(turns), self._asleep()))
        choice = self._path[self._depth]
        assert turns.keys() == choice.turns.keys(), "the same turns led elsewhere: the play is left to chance"
        self._depth += 1
        return choice.taken

    def has_another(self) -> bool:
        """Turn to the next play, if there is one."""
        for choice, firsts in self._races():
            choice.want(firsts)
        self._depth = 0
        while self._path:
            choice = self._path[-1]
            choice.asleep[choice.taken] = choice.step
            if (awake := next((turn for turn in choice.turns if choice.is_awake(turn)), None)) is not None:
                choice.taken = awake
                return True
            self._path.pop()
        return False

    def _shuffled(self, turns: Mapping[Turn, Step]) -> dict[Turn, Step]:
        items = list(turns.items())
        if self._random is not None:
            self._random.shuffle(items)
        return dict(items)

    def _asleep(self) -> dict[Turn, Step]:
        """Return the turns that sleep after the last turn."""
        if not self._path:
            return {}
        last = self._path[-1]
        return {turn: step for turn, step in last.asleep.items() if turn[0] != last.place and commute(step, last.step)}

    def _races(self) -> Iterator[tuple[_Choice, list[Turn]]]:
        """Yield for each race of the last play the place of its first step, and what could be taken instead."""
        before: list[set[int]] = []  # of each step, those that had to come before it
        for index, choice in enumerate(self._path):
            if choice.is_idle:
                return
            ordered: set[int] = set()
            awaited: set[int] = set()
            before.append(ordered)
            for earlier in reversed(range(index)):
                other = self._path[earlier]
                if earlier in ordered or (other.place != choice.place and commute(other.step, choice.step)):
                    continue
                if other.place != choice.place:
                    yield other, self._firsts(earlier, before)
                    if all(place != choice.place for place, _ in other.turns):
                        # It waited for that step: the race was lost before, where the other took what it waited for.
                        awaited |= {earlier, *before[earlier]}
                        continue
                ordered |= {earlier, *before[earlier]}
            ordered |= awaited

    def _firsts(self, first: int, before: Sequence[set[int]]) -> list[Turn]:
        """Return the turns that could replace the first step of a race, so that its second step comes before it.

        The second step is the last one of the play. The turns are steps that need not come after the first step, and
        that no other such step has to precede.
        """
        last = len(before) - 1
        free = [*(index for index in range(first + 1, last) if first not in before[index]), last]
        return [self._path[index].taken for index in free if before[index].isdisjoint(free)]
