"""Whether two kinds of times can be told apart: Mann and Whitney's test, however the times are spread."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

SURE, SEEN = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)
"""Two-sided at 5 %, and with a chance of 80 %."""


@dataclass(frozen=True, slots=True)
class Compared:
    """``auc`` is how often one of the first kind took longer than one of the second: 0.5 tells nothing.

    Its 95 % confidence interval is ``auc`` plus and minus ``margin``. ``p`` is two-sided.
    """

    auc: float
    margin: float
    p: float


def compare(first: Sequence[float], second: Sequence[float]) -> Compared:
    """Raises ZeroDivisionError for a kind without values."""
    deviation = math.sqrt((len(first) + len(second) + 1) / (12 * len(first) * len(second)))
    auc = _auc(first, sorted(second))
    p = 2 * NormalDist().cdf(-abs(auc - 0.5) / deviation)
    return Compared(auc, SURE * deviation, p)


def visible(first: Sequence[float], second: Sequence[float]) -> float:
    """The least delay of one kind that so many values would show four times in five, in their unit."""
    deviation = math.sqrt((len(first) + len(second) + 1) / (12 * len(first) * len(second)))
    together = sorted([*first, *second])
    low, high = 0.0, together[-1] - together[0]
    for _ in range(40):
        middle = (low + high) / 2
        if _auc([one + middle for one in together], together) - 0.5 < (SURE + SEEN) * deviation:
            low = middle
        else:
            high = middle
    return high


def _auc(first: Sequence[float], ordered: Sequence[float]) -> float:
    """``ordered`` is sorted. Equal values count half."""
    longer = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in first) / 2
    return longer / (len(first) * len(ordered))
