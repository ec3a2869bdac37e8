"""What a model may learn from, by its data policy. Pure.

The evaluation set holds what the team added, and nothing else: what users sent is learned from or left alone. So that
no version is ever judged on what it learned, a user's input is left out where its group (its near-duplicates) belongs,
or would belong, to the evaluation set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from canari.dataset import held_out
from canari.spec import ModelSpec, TrainOn
from canari.types import Origin, Sample

MOST_CONFIDENT = 1000
# No label gets more than so many times the samples of the rarest by what a version was sure of.
_QUOTA = 2

ORIGINS: Mapping[TrainOn, frozenset[Origin]] = {
    TrainOn.OWN: frozenset({Origin.TEAM}),
    TrainOn.CURATED: frozenset({Origin.TEAM, Origin.CURATED}),
    TrainOn.CONFIDENT: frozenset({Origin.TEAM, Origin.CURATED, Origin.CONFIDENT}),
}


def news(train_on: TrainOn) -> list[Origin]:
    """Whose samples count as new: what a version was sure of is learned from, but is no reason to learn."""
    return sorted(ORIGINS[train_on] - {Origin.CONFIDENT})


@dataclass(frozen=True, slots=True)
class Curated:
    """A dataset by a data policy: its samples by digest, and how many were left out, by why."""

    samples: tuple[Sample, ...]
    left_out: Mapping[str, int]

    @property
    def origins(self) -> dict[str, int]:
        """How many samples come from where."""
        return dict(Counter(str(one.origin) for one in self.samples))

    @property
    def shares(self) -> dict[str, float]:
        """Each label's share of what is learned from."""
        learned = Counter(one.label for one in self.samples if not one.evaluation)
        return {label: round(n / learned.total(), 6) for label, n in sorted(learned.items())}


def curate(
    spec: ModelSpec,
    labelled: Iterable[Sample],
    confident: Iterable[Sample] = (),
    *,
    erased: Collection[str] = frozenset(),
) -> Curated:
    """The dataset that `spec.data` allows.

    `labelled` are samples that people labelled, `confident` inputs that a version was sure of, newest first; of these
    the first thousand that may be used count, and no label gets more of them than makes it twice as frequent as the
    rarest. What was erased (SHA-256) never comes back.
    """
    why: Counter[str] = Counter()
    people = [one for one in labelled if _allowed(spec, one, erased, why)]
    judged = {one.group for one in people if one.evaluation}
    chosen = {one.sha256: one for one in _apart(spec, people, judged, why)}
    sure: dict[str, Sample] = {}
    for one in _apart(spec, (one for one in confident if _allowed(spec, one, erased, why)), judged, why):
        if len(sure) < MOST_CONFIDENT and one.sha256 not in chosen:
            sure.setdefault(one.sha256, one)
    chosen |= {one.sha256: one for one in _within_quota(spec.labels, chosen.values(), sure.values(), why)}
    return Curated(tuple(chosen[sha256] for sha256 in sorted(chosen)), dict(why))


def _allowed(spec: ModelSpec, one: Sample, erased: Collection[str], why: Counter[str]) -> bool:
    if one.sha256 in erased:
        why["erased"] += 1
    elif one.origin not in ORIGINS[spec.data.train_on]:
        why[f"not of what train_on: {spec.data.train_on} allows"] += 1
    elif one.label not in spec.labels:
        why["not one of the labels"] += 1
    else:
        return True
    return False


def _apart(spec: ModelSpec, samples: Iterable[Sample], judged: set[str], why: Counter[str]) -> Iterable[Sample]:
    """Those that no group of the evaluation set holds, and the evaluation set itself."""
    for one in samples:
        users = one.origin is not Origin.TEAM
        if one.evaluation and not users:
            yield one
        elif one.group in judged or (users and held_out(one.group, spec.evaluation.share)):
            why["like a sample of the evaluation set"] += 1
        else:
            yield replace(one, evaluation=False)


def _within_quota(
    labels: Iterable[str], people: Iterable[Sample], sure: Collection[Sample], why: Counter[str]
) -> Iterable[Sample]:
    """The newest of each label, as many as its quota leaves beside what people labelled."""
    by_people = Counter(one.label for one in people if not one.evaluation)
    by_version = Counter(one.label for one in sure)
    most = _QUOTA * min(by_people[label] + by_version[label] for label in labels)
    taken: Counter[str] = Counter()
    for one in sure:
        if by_people[one.label] + taken[one.label] < most:
            taken[one.label] += 1
            yield one
        else:
            why["over its label's quota"] += 1
