"""Shares and their differences at one look: intervals and tests for what is measured once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

_HALVINGS = 60


def wilson(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (JASA 1927) of a share of which `hits` of `count` were seen; raises ValueError without any."""
    if not 0 <= hits <= count or count < 1:
        raise ValueError(f"{hits} of {count} is no share")
    share, z2 = hits / count, NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two versions asked the same `count` questions: `gained` only the second had right, `lost` only the first."""

    count: int
    gained: int
    lost: int

    def __post_init__(self) -> None:
        if min(self.gained, self.lost) < 0 or not 0 < self.count >= self.gained + self.lost:
            raise ValueError(f"{self.gained} gained and {self.lost} lost of {self.count} cannot be")

    @property
    def difference(self) -> float:
        """The second version's share of right answers minus the first's."""
        return (self.gained - self.lost) / self.count

    def interval(self, confidence: float = 0.9) -> tuple[float, float]:
        """Tango's score interval of the difference (Statistics in Medicine 17, 1998).

        Its lower end at a confidence of 1 - 2 alpha is a test of non-inferiority at the level alpha, which keeps that
        level where Wald's interval does not: with few questions, or few that the two answer differently.
        """
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        return (
            _crossing(lambda delta: self._score(delta) <= z, -1.0, self.difference),
            _crossing(lambda delta: self._score(delta) < -z, self.difference, 1.0),
        )

    def _score(self, delta: float) -> float:
        """The score statistic of "the difference is `delta`": falls as delta rises, 0 at the estimate."""
        n, gained, lost = self.count, self.gained, self.lost
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        only_first = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * only_first + delta * (1 - delta))
        distance = gained - lost - n * delta
        if variance > 0:
            return distance / math.sqrt(variance)
        return math.copysign(math.inf, distance) if distance else 0.0

    @property
    def mid_p_worse(self) -> float:
        """One-sided mid-p value of McNemar's exact test (Psychometrika 1947) of "the second is no worse".

        The mid-p value is the one that Fagerland, Lydersen and Laake recommend (BMC Medical Research Methodology 13,
        2013): the exact one is too cautious.
        """
        different = self.gained + self.lost
        weights = [math.comb(different, k) for k in range(self.gained + 1)]
        return (2 * sum(weights[:-1]) + weights[-1]) / (1 << (different + 1))


def _crossing(beyond: Callable[[float], bool], low: float, high: float) -> float:
    """Where `beyond`, false at first, becomes true between `low` and `high`."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if beyond(middle):
            high = middle
        else:
            low = middle
    return (low + high) / 2
