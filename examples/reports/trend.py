"""The straight line through a series, and how sure one can be of its slope.

Measurements of neighbouring periods resemble each other, so the textbook formula promises too much. The moving-block
bootstrap does not: it shuffles the deviations from the line in blocks, thousands of times, and watches the slope vary.
"""

import math
import random
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .series import Series

RESAMPLES: Final = 10_000  # so that the ends of a 95 % interval hardly depend on chance
_FORTIETHS: Final = 40  # of which the outermost two, 2.5 % each, are cut off


@dataclass(frozen=True, slots=True)
class Trend:
    """The change per year, and the interval that holds 95 % of the resampled ones."""

    slope: float
    low: float
    high: float


def trend(series: Series, resampled: Iterable[float]) -> Trend:
    """The trend of a series whose slopes were resampled. A series too short for a line has trend 0."""
    slopes = list(resampled)
    if not slopes:
        return Trend(0.0, 0.0, 0.0)
    slope, _ = statistics.linear_regression([row.years for row in series.rows], series.values)
    cuts = statistics.quantiles(slopes, n=_FORTIETHS)
    return Trend(slope, cuts[0], cuts[-1])


def resampled_slopes(series: Series, resamples: int = RESAMPLES) -> Iterator[float]:
    """The slopes of `resamples` shuffled copies of the series, one by one; none for fewer than three rows."""
    years, values = [row.years for row in series.rows], series.values
    if len(values) < 3:
        return
    slope, intercept = statistics.linear_regression(years, values)
    line = [intercept + slope * year for year in years]
    deviations = [value - fitted for value, fitted in zip(values, line, strict=True)]
    chance = random.Random(0)  # always the same chance: a report made twice is the same report
    for _ in range(resamples):
        shuffled = [fitted + moved for fitted, moved in zip(line, _in_blocks(deviations, chance), strict=True)]
        yield statistics.linear_regression(years, shuffled).slope


def _in_blocks(deviations: list[float], chance: random.Random) -> list[float]:
    """As many deviations again, in blocks from anywhere. The root of their number is a customary block length."""
    count = len(deviations)
    length = math.isqrt(count)
    starts = [chance.randrange(count - length + 1) for _ in range(math.ceil(count / length))]
    return [deviation for start in starts for deviation in deviations[start : start + length]][:count]
