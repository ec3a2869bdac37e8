"""Where people say wrong more than elsewhere: slices of the votes, each held against the rest. Pure.

Every slice is tested against the other votes of its dimension (Fisher's exact test, one-sided, 1922), and the p-values
are held by Holm (1979) over all slices that were looked at: among votes that fall alike everywhere, one slice is found
with a chance of at most `alpha`, however many there are. One is told of where it matters, too: FLOOR points more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any
from uuid import UUID

from canari.drift import holm
from canari.measures import NO_NUMBER, Measure
from canari.stats import wilson

ALPHA = 0.05
FLOOR = 0.1
"""The difference of two shares under which nothing is told, however sure it is."""
LEAST = 20
"""With fewer votes than this only a landslide would show."""


class Dimension(StrEnum):
    """What votes are told apart by. A `measure` is one of the drift reference's: inputs that look alike."""

    VERSION = "version"
    ANSWER = "answer"
    TRUTH = "truth"
    CERTAINTY = "certainty"
    CLOCK = "clock"
    DAY = "day"
    SIZE = "size"
    MEASURE = "measure"


@dataclass(frozen=True, slots=True)
class Slice:
    """`wrong` of `votes` say wrong where the dimension is `name`; of a measure, `part` names it. Slices may overlap."""

    dimension: Dimension
    name: str
    votes: int
    wrong: int
    part: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A slice beside the rest of its dimension's votes.

    `share` of its votes say wrong, `elsewhere` is the same share of the others, and `interval` Wilson's 95 % one of the
    first. `excess` is how many votes say wrong beyond what the rest would make one expect. `found` where it stands out.
    """

    slice: Slice
    share: float
    elsewhere: float
    interval: tuple[float, float]
    excess: float
    p: float
    found: bool

    @property
    def sentence(self) -> str:
        """As people read it."""
        where = _WORDS[self.slice.dimension].format(name=self.slice.name, part=self.slice.part)
        return f"{where} {self.share:.0%} of {self.slice.votes:,} votes say wrong, elsewhere {self.elsewhere:.0%}"


@dataclass(frozen=True, slots=True)
class Confused:
    """`n` predictions answered `answer` that were `truth`, by the people who said so."""

    answer: str
    truth: str
    n: int


@dataclass(frozen=True, slots=True)
class Worst:
    """A prediction that somebody said was wrong, and how sure the version was; `kept`: its input may be looked at."""

    prediction_id: UUID
    made_at: datetime
    answer: str | None
    truth: str | None
    score: float | None
    kept: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of why people say wrong of a version's answers of the window [since, until).

    `findings` are all slices that were looked at, those that stand out first, then by what they explain. `reason` says
    why there is nothing to tell, where that is so.
    """

    model: str
    version: int
    since: datetime
    until: datetime
    votes: int
    wrong: int
    findings: tuple[Finding, ...] = ()
    confused: tuple[Confused, ...] = ()
    worst: tuple[Worst, ...] = ()
    reason: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What stands out, the most telling first; or that nothing does."""
        if self.reason is not None:
            return (self.reason,)
        told = tuple(one.sentence for one in self.findings if one.found)
        share = self.wrong / self.votes
        so = f"{share:.0%} of {self.votes:,} votes say wrong, and none of {len(self.findings)} slices stands out"
        return told or (f"{so}: it is so about everywhere",)

    def document(self) -> dict[str, Any]:
        """Everything as JSON values, the sentences included."""
        moments = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        worst = [
            {**asdict(one), "prediction_id": str(one.prediction_id), "made_at": one.made_at.isoformat()}
            for one in self.worst
        ]
        findings = [{**asdict(one), "sentence": one.sentence} for one in self.findings]
        return {**asdict(self), **moments, "findings": findings, "worst": worst, "sentences": list(self.sentences)}


def find(slices: Iterable[Slice], totals: Mapping[tuple[Dimension, str], tuple[int, int]]) -> tuple[Finding, ...]:
    """Each slice beside the rest, those that stand out first.

    `totals` are the votes of each dimension and part, and those that say wrong. Of a measure's slices, which overlap,
    the one that tells most stands for all.
    """
    looked = [one for one in slices if 0 < one.votes < totals[one.dimension, one.part][0]]
    tested = [(one, *_beside(one, *totals[one.dimension, one.part])) for one in looked]
    certain = holm([p for *_, p in tested], ALPHA)
    findings = [
        Finding(
            slice=one,
            share=one.wrong / one.votes,
            elsewhere=elsewhere,
            interval=wilson(one.wrong, one.votes),
            excess=one.wrong - one.votes * elsewhere,
            p=p,
            found=sure and one.wrong / one.votes - elsewhere >= FLOOR,
        )
        for (one, elsewhere, p), sure in zip(tested, certain, strict=True)
    ]
    ranked = sorted(findings, key=lambda it: (not it.found, it.p if it.found else 1.0, -it.excess))
    return tuple(_one_of_each_measure(ranked))


def stretches(counts: Mapping[int, tuple[int, int]], measure: Measure) -> list[Slice]:
    """A measure's slices: each of its places, and those up to and from each. `counts` are (votes, wrong) by place."""
    last = len(measure.edges)
    spans = [(place, place) for place in range(last + 1)]
    spans += [(0, place) for place in range(1, last)] + [(place, last) for place in range(1, last)]
    spans.append((NO_NUMBER, NO_NUMBER))
    found = []
    for first, end in spans:
        inside = [counts.get(place, (0, 0)) for place in range(first, end + 1)]
        votes, wrong = sum(n for n, _ in inside), sum(bad for _, bad in inside)
        found.append(Slice(Dimension.MEASURE, _between(measure.edges, first, end), votes, wrong, measure.name))
    return found


def fisher(votes: int, wrong: int, all_votes: int, all_wrong: int) -> float:
    """The chance of at least `wrong` among `votes` drawn from `all_votes`, of which `all_wrong` say wrong."""
    most = min(votes, all_wrong)
    log_first = (
        _log_choose(all_wrong, wrong)
        + _log_choose(all_votes - all_wrong, votes - wrong)
        - _log_choose(all_votes, votes)
    )
    total = term = 1.0
    for hits in range(wrong, most):
        term *= (all_wrong - hits) * (votes - hits) / ((hits + 1) * (all_votes - all_wrong - votes + hits + 1))
        total += term
        if term < total * 1e-15:
            break
    return min(1.0, math.exp(log_first + math.log(total)))


def _beside(one: Slice, votes: int, wrong: int) -> tuple[float, float]:
    elsewhere = (wrong - one.wrong) / (votes - one.votes)
    # What is no worse than the rest needs no test, and its tail may be long.
    return elsewhere, 1.0 if one.wrong / one.votes <= elsewhere else fisher(one.votes, one.wrong, votes, wrong)


def _one_of_each_measure(ranked: Sequence[Finding]) -> Iterable[Finding]:
    parts = set()
    for one in ranked:
        if one.slice.dimension is Dimension.MEASURE:
            if one.slice.part in parts:
                continue
            parts.add(one.slice.part)
        yield one


def _between(edges: Sequence[float], first: int, end: int) -> str:
    if first == NO_NUMBER:
        return "no number"
    low = f"{edges[first - 1]:.4g}" if first else None
    high = f"{edges[end]:.4g}" if end < len(edges) else None
    if low is None:
        return "any number" if high is None else f"under {high}"
    return f"{low} or more" if high is None else f"{low} to {high}"


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def by_dimension(slices: Iterable[Slice]) -> dict[tuple[Dimension, str], tuple[int, int]]:
    """The votes of each dimension, and those that say wrong, where its slices do not overlap."""
    ordered = sorted(slices, key=lambda one: (one.dimension, one.part))
    sums = {}
    for key, group in groupby(ordered, key=lambda one: (one.dimension, one.part)):
        members = list(group)
        sums[key] = (sum(one.votes for one in members), sum(one.wrong for one in members))
    return sums


_WORDS: Mapping[Dimension, str] = {
    Dimension.VERSION: "Of version {name},",
    Dimension.ANSWER: "Where the answer is “{name}”,",
    Dimension.TRUTH: "Where it really was “{name}”,",
    Dimension.CERTAINTY: "Where the certainty is {name},",
    Dimension.CLOCK: "From {name} o'clock (UTC),",
    Dimension.DAY: "On {name},",
    Dimension.SIZE: "Of inputs of {name},",
    Dimension.MEASURE: "Where {part} is {name},",
}
