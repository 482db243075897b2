"""The straight line through a series, and how sure one can be of its slope.

Measurements of neighbouring periods resemble each other, so the textbook formula promises too much. The moving-block
bootstrap does not: it shuffles the deviations from the line in blocks, thousands of times, and watches the slope vary.
"""

import math
import random
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import mul
from typing import Final

from examples.reports.series import Series

RESAMPLES: Final = 10_000  # so that the ends of a 95 % interval hardly depend on chance
_FORTIETHS: Final = 40  # of which the outermost two, 2.5 % each, are cut off


@dataclass(frozen=True, slots=True)
class Trend:
    """The change per year, and the interval that holds 95 % of the resampled ones."""

    slope: float
    low: float
    high: float


def trend(series: Series, resampled: Iterable[float]) -> Trend:
    """Return the trend of a series whose slopes were resampled. A series too short for a line has trend 0."""
    slopes = list(resampled)
    if not slopes:
        return Trend(0.0, 0.0, 0.0)
    slope, _ = statistics.linear_regression([row.years for row in series.rows], series.values)
    cuts = statistics.quantiles(slopes, n=_FORTIETHS)
    return Trend(slope, cuts[0], cuts[-1])


def resampled_slopes(series: Series, resamples: int = RESAMPLES) -> Iterator[float]:
    """Yield the slopes of `resamples` shuffled copies of the series; none for fewer than three rows."""
    years, values = [row.years for row in series.rows], series.values
    if len(values) < 3:
        return
    slope, intercept = statistics.linear_regression(years, values)
    deviations = [value - (intercept + slope * year) for year, value in zip(years, values, strict=True)]
    # A slope is a weighted sum of the values. That of the line and shuffled deviations is the sum of their two slopes.
    middle = statistics.fmean(years)
    spread = sum((year - middle) ** 2 for year in years)
    weights = [(year - middle) / spread for year in years]
    chance = random.Random(0)  # always the same chance: a report made twice is the same report
    for _ in range(resamples):
        yield slope + sum(map(mul, weights, _in_blocks(deviations, chance)))


def _in_blocks(deviations: list[float], chance: random.Random) -> Iterator[float]:
    """Draw as many deviations or some more, in blocks from anywhere.

    The root of their number is a customary length.
    """
    count = len(deviations)
    length = math.isqrt(count)
    places = count - length + 1
    for _ in range(math.ceil(count / length)):
        start = int(chance.random() * places)
        yield from deviations[start : start + length]
