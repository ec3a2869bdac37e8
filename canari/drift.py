"""Whether what users send still looks like what a version was made of: places counted, and compared with a reference.

A measure has moved where the difference is no chance (Pearson's chi-squared test of two samples, its p-values held by
Holm, 1979) and matters (a population stability index of at least 0.1: Siddiqi, 2006). Pure, and of numpy alone: the
platform's image holds no scipy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari.measures import NO_NUMBER, Measure, Reference

ALPHA = 0.01
"""The chance that a window without drift is flagged. Windows are looked at hourly: at 0.05 one a day would be."""
FLOOR = 0.1
"""The population stability index under which a difference does not matter, however sure it is."""
LEAST = 50
"""With fewer inputs than this only a landslide would show, and its absence would tell nothing."""

_COCHRAN = 5
_PERMUTATIONS = 9_999
_ANSWERS = "answers"

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Movement:
    """How one measure's inputs lie beside the reference's.

    `psi` is the population stability index, `distance` the Jensen-Shannon distance (base 2, from 0 to 1: the square
    root of Lin's divergence, 1991), and `p` the test's p-value before Holm's correction. `was` and `now` are the shares
    of each place in the reference and in the window, and `edges` divides the places. `sentence` tells people where.
    """

    name: str
    psi: float
    distance: float
    p: float
    moved: bool
    was: tuple[float, ...]
    now: tuple[float, ...]
    edges: tuple[float, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Drift:
    """A window's inputs against a version's reference.

    `inputs` counts the different ones. `share` of `measures` moved; `flagged` where any did, and as large a share as
    asked for. `answers` tells of the answers' shares, which move also where users ask about other things in other
    proportions: they flag nothing by themselves. `reason` says why there is nothing to tell, where that is so.
    """

    inputs: int
    measures: tuple[Movement, ...] = ()
    answers: Movement | None = None
    share: float = 0.0
    flagged: bool = False
    reason: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What moved, the most first, as people read it; or why nothing can be said."""
        if self.reason is not None:
            return (self.reason,)
        moved = sorted((one for one in self.measures if one.moved), key=lambda one: -one.psi)
        also = [self.answers] if self.answers and self.answers.moved else []
        told = tuple(one.sentence for one in (*moved, *also))
        return told or (f"none of {len(self.measures)} measures of {self.inputs} inputs moved",)

    def document(self) -> dict[str, Any]:
        """Everything as JSON values, the sentences included."""
        return {**asdict(self), "sentences": list(self.sentences)}


def assess(
    reference: Reference,
    counts: Mapping[str, Counts],
    answers: Mapping[str, int],
    *,
    alpha: float = ALPHA,
    threshold: float | None = None,
) -> Drift:
    """Compare a window's `counts` of each measure's places (PLACES,) and its `answers` with the reference.

    All its tests together flag a window without drift with a chance of at most `alpha`. `threshold` is the share of
    measures that must have moved (a specification's `triggers.drift`); with none, one suffices.
    """
    pairs = [(one, np.asarray(counts[one.name], np.int64)) for one in reference.measures if one.name in counts]
    inputs = max((int(now.sum()) for _, now in pairs), default=0)
    if inputs < LEAST:
        return Drift(inputs, reason=f"{inputs} inputs are too few to see whether they moved: it takes {LEAST}")
    labels = sorted({*reference.answers, *answers})
    said = [np.array([given.get(label, 0) for label in labels], np.int64) for given in (reference.answers, answers)]
    tables = [*((np.array(one.counts, np.int64), now) for one, now in pairs), (said[0], said[1])]
    chances = [_chance(was, now) for was, now in tables]
    moved = [
        rejected and stability_index(was, now) >= FLOOR
        for rejected, (was, now) in zip(holm(chances, alpha), tables, strict=True)
    ]
    told = [_of_measure(one, now, component=one.name in reference.components) for one, now in pairs]
    told.append(_of_answers(labels, said[0], said[1]))
    names = [*(one.name for one, _ in pairs), _ANSWERS]
    edges = [*(one.edges for one, _ in pairs), ()]
    *measures, answered = (_movement(*parts) for parts in zip(names, tables, edges, chances, moved, told, strict=True))
    share = sum(one.moved for one in measures) / len(measures)
    flagged = share > 0 and share >= (threshold or 0)
    return Drift(inputs, tuple(measures), answered, share, flagged)


def holm(chances: Sequence[float], alpha: float) -> list[bool]:
    """Which of the p-values count, so that one counts by luck with a chance of at most `alpha` (Holm, 1979)."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    counts = [False] * len(chances)
    for rank, place in enumerate(order):
        if chances[place] > alpha / (len(chances) - rank):
            break
        counts[place] = True
    return counts


def stability_index(was: Counts, now: Counts) -> float:
    """The population stability index of two tables of counts (Siddiqi, "Credit Risk Scorecards", 2006).

    Half a count is added to each place that either has, so that a place which only one has is no infinity.
    """
    seen = (was + now) > 0
    p, q = (_shares(table[seen] + 0.5) for table in (was, now))
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(was: Counts, now: Counts) -> float:
    """The Jensen-Shannon distance of two tables of counts, from 0 (alike) to 1 (apart)."""
    p, q = _shares(was), _shares(now)
    middle = (p + q) / 2
    divergence = 0.0
    for one in (p, q):
        there = one > 0
        divergence += float((one[there] * np.log2(one[there] / middle[there])).sum()) / 2
    return math.sqrt(min(1.0, max(0.0, divergence)))


def _chance(was: Counts, now: Counts) -> float:
    """The p-value of "both are samples of the same": the reference is a sample too, and a small one counts as such.

    Where a place expects fewer than five (Cochran, 1954), the inputs are dealt out anew instead, by a fixed seed.
    """
    seen = (was + now) > 0
    was, now = was[seen], now[seen]
    if len(was) < 2 or not was.sum() or not now.sum():
        return 1.0
    both = was + now
    least = both.min() * min(was.sum(), now.sum()) / both.sum()
    found = _statistic(was[None], both)[0]
    if least >= _COCHRAN:
        return _tail(found, len(both) - 1)
    random = np.random.default_rng(0)
    dealt = random.multivariate_hypergeometric(both, was.sum(), _PERMUTATIONS, method="marginals")
    as_far = np.count_nonzero(_statistic(dealt, both) >= found * (1 - 1e-9))
    return float((1 + as_far) / (1 + _PERMUTATIONS))


def _statistic(samples: Counts, both: Counts) -> NDArray[np.float64]:
    """Pearson's chi-squared of tables with `samples` (tables, places) as first rows and `both` as the columns' sums."""
    part = samples.sum(axis=1, keepdims=True) / both.sum()
    expected = both * part
    statistic: NDArray[np.float64] = (((samples - expected) ** 2) / (expected * (1 - part))).sum(axis=1)
    return statistic


def _tail(statistic: float, freedom: int) -> float:
    """The chance of at least this from chi-squared of whole `freedom` (Abramowitz and Stegun, 26.4.4 and 26.4.5)."""
    half = statistic / 2
    if half <= 0:
        return 1.0
    tail, power = (math.erfc(math.sqrt(half)), 0.5) if freedom % 2 else (0.0, 0.0)
    while power < freedom / 2:
        tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
        power += 1
    return min(1.0, tail)


def _movement(
    name: str, table: tuple[Counts, Counts], edges: tuple[float, ...], p: float, moved: bool, told: str
) -> Movement:
    was, now = table
    return Movement(
        name=name,
        psi=round(stability_index(was, now), 6),
        distance=round(jensen_shannon(was, now), 6),
        p=p,
        moved=moved,
        was=tuple(_shares(was).round(6).tolist()),
        now=tuple(_shares(now).round(6).tolist()),
        edges=edges,
        sentence=f"{name} {'moved' if moved else 'did not move'}: {told}",
    )


def _of_measure(one: Measure, now: Counts, *, component: bool) -> str:
    """The stretch of places in which the window has most more than the reference."""
    p, q = np.array(one.shares), _shares(now)
    first, last = _fullest((q - p)[:NO_NUMBER])
    if q[NO_NUMBER] - p[NO_NUMBER] > (q - p)[first : last + 1].sum():
        first = last = NO_NUMBER
    stretch = slice(first, last + 1)
    place, data = ("", "examples held out") if component else (_place(one.edges, first, last), "training data")
    return f"{q[stretch].sum():.0%} of the inputs lie{place} where {p[stretch].sum():.0%} of the {data} lay"


def _fullest(gains: NDArray[np.float64]) -> tuple[int, int]:
    """The stretch of the largest sum (Kadane)."""
    best, found, total, start = -math.inf, (0, 0), 0.0, 0
    for place, gain in enumerate(gains.tolist()):
        if total <= 0:
            total, start = 0.0, place
        total += gain
        if total > best:
            best, found = total, (start, place)
    return found


def _place(edges: Sequence[float], first: int, last: int) -> str:
    if first == NO_NUMBER:
        return " at no number,"
    low = edges[first - 1] if first else None
    high = edges[last] if last < len(edges) else None
    over = first > 1 and _next(edges[first - 2]) == low
    if low is None:
        return f" under {high:.4g}," if high is not None else ""
    if high is None:
        return f" over {low:.4g}," if over else f" at {low:.4g} or more,"
    return f" at {low:.4g}," if _next(low) == high else f" from {low:.4g} to {high:.4g},"


def _next(number: float) -> float:
    """The next number of the inputs' precision: a bin up to it holds one value alone."""
    return float(np.nextafter(np.float32(number), np.float32(np.inf)))


def _of_answers(labels: Sequence[str], was: Counts, now: Counts) -> str:
    if not labels:
        return "there are none"
    p, q = _shares(was), _shares(now)
    most = int(np.abs(q - p).argmax())
    return f"{labels[most]!r} is {q[most]:.0%} of them, and was {p[most]:.0%} on the examples held out"


def _shares(counts: NDArray[Any]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / max(1, counts.sum())
    return shares
