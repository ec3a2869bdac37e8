"""Whether a version that was just trained may go on trial: against its threshold, and against stable. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canari.policy.sentences import points, share
from canari.spec import ModelSpec
from canari.stats import Pairs, wilson

DEFAULT_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Bar:
    """What a version must show on the evaluation set: it may be worse than stable by less than `margin`.

    `alpha` is the chance that one which is worse by the margin passes. `may_fall` is False where the version learned
    from its predecessor's own answers: not one sample fewer may then be right.
    """

    threshold: float
    margin: float = DEFAULT_MARGIN
    alpha: float = 0.05
    may_fall: bool = True


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whether a version is accepted, the sentence that says why, and the figures behind it as JSON values."""

    accepted: bool
    sentence: str
    figures: Mapping[str, Any]


def bar_of(spec: ModelSpec, *, may_fall: bool) -> Bar:
    """What a specification asks: the margin and alpha with which its canaries' answers are judged, too."""
    metrics = spec.canary.metrics
    judged = metrics.accuracy or metrics.satisfaction
    margin = judged.margin if judged is not None and judged.margin > 0 else DEFAULT_MARGIN
    return Bar(spec.evaluation.threshold, margin, spec.canary.alpha, may_fall)


def accept(
    bar: Bar, count: int, right: int, pairs: Pairs | None, *, unpaired: str = "there is no stable version"
) -> Acceptance:
    """Judge a version that has `right` of `count` held-out samples right, and stable asked the same where it can be.

    Non-inferiority on paired answers: the lower end of Tango's interval has to lie above -margin. McNemar's mid-p value
    says besides whether it is worse at all. `unpaired` is why there are no pairs, where that is so.
    """
    accuracy = right / count
    low, high = wilson(right, count)
    figures: dict[str, Any] = {
        "count": count,
        "accuracy": round(accuracy, 6),
        "accuracy_interval": [round(low, 6), round(high, 6)],
        "threshold": bar.threshold,
    }
    if accuracy < bar.threshold:
        seen = f"{share(accuracy)} of {count:,} held-out samples are right"
        why = f"{seen}, under the threshold of {share(bar.threshold)}"
        return Acceptance(accepted=False, sentence=why, figures=figures)
    if pairs is None:
        why = f"{share(accuracy)} of {count:,} held-out samples are right; {unpaired}: the threshold alone decides"
        return Acceptance(accepted=True, sentence=why, figures=figures)
    return _paired(bar, pairs, accuracy, figures)


def _paired(bar: Bar, pairs: Pairs, accuracy: float, figures: dict[str, Any]) -> Acceptance:
    low, high = pairs.interval(1 - 2 * bar.alpha)
    stable = accuracy - pairs.difference
    figures |= {
        "stable_accuracy": round(stable, 6),
        "gained": pairs.gained,
        "lost": pairs.lost,
        "difference": round(pairs.difference, 6),
        "difference_interval": [round(low, 6), round(high, 6)],
        "interval_confidence": round(1 - 2 * bar.alpha, 6),
        "margin": bar.margin,
        "mid_p_worse": round(pairs.mid_p_worse, 6),
    }
    seen = (
        f"{share(accuracy)} right against stable's {share(stable)} on the same {pairs.count:,} held-out samples "
        f"({pairs.gained} gained, {pairs.lost} lost; difference {_points(low)} to {_points(high)})"
    )
    if not bar.may_fall and pairs.gained < pairs.lost:
        why = f"{seen}: a version that learned from the answers of the one before may not have a single one fewer right"
        return Acceptance(accepted=False, sentence=why, figures=figures)
    if low > -bar.margin:
        return Acceptance(accepted=True, sentence=f"no worse than stable: {seen}", figures=figures)
    if pairs.mid_p_worse <= bar.alpha:
        return Acceptance(accepted=False, sentence=f"worse than stable: {seen}", figures=figures)
    why = (
        f"not shown to be less than {points(bar.margin)} worse than stable: {seen}; more samples make the evaluation "
        f"set larger and the answer surer"
    )
    return Acceptance(accepted=False, sentence=why, figures=figures)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
