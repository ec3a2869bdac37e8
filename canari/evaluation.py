"""How good a version is on the examples held out: accuracy, per-label figures, calibration and coverage. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.stats import wilson

_BINS = 10


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """One label's figures; None where nothing was predicted (precision) or present (recall)."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose certainty lies in [lower, upper): how certain they were, and how often right."""

    lower: float
    upper: float
    count: int
    certainty: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A version measured. `confusion[i][j]` counts examples of label i answered j, in the specification's order.

    `accuracy_low` and `accuracy_high` are Wilson's 95 % interval (1927). `calibration_error` is the expected
    calibration error over ten equal bins (Guo et al., "On Calibration of Modern Neural Networks", 2017). `coverage`
    is the share of answers that do not abstain, `answered_accuracy` their accuracy (None where all abstain).
    """

    labels: tuple[str, ...]
    count: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    per_label: dict[str, LabelFigures]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    bins: tuple[Bin, ...]
    coverage: float
    answered_accuracy: float | None

    def document(self) -> dict[str, Any]:
        """The figures as JSON values, rounded to six digits, as the store keeps them with a version."""
        return {
            "count": self.count,
            "accuracy": _rounded(self.accuracy),
            "accuracy_interval": [_rounded(self.accuracy_low), _rounded(self.accuracy_high)],
            "macro_f1": _rounded(self.macro_f1),
            "labels": {
                label: {
                    "precision": _rounded(figures.precision),
                    "recall": _rounded(figures.recall),
                    "f1": _rounded(figures.f1),
                    "support": figures.support,
                }
                for label, figures in self.per_label.items()
            },
            "confusion": [list(row) for row in self.confusion],
            "calibration_error": _rounded(self.calibration_error),
            "coverage": _rounded(self.coverage),
            "answered_accuracy": _rounded(self.answered_accuracy),
        }


def evaluate(
    scores: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str], *, abstain_below: float = 0.0
) -> Evaluation:
    """Measure probabilities `scores` (n, labels) against `truth` (n,), indices into `labels`.

    Raises ValueError where there are no examples or the shapes do not agree, CanariError where training diverged.
    """
    if scores.shape != (len(truth), len(labels)) or not len(truth):
        raise ValueError(f"scores {scores.shape} do not fit {len(truth)} examples of {len(labels)} labels")
    if not np.isfinite(scores).all():
        raise CanariError("the model's answers are not all finite numbers: its training diverged")
    answers, certainty = scores.argmax(axis=1), scores.max(axis=1).astype(np.float64)
    right = answers == truth
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    per_label = {label: _figures(confusion, index) for index, label in enumerate(labels)}
    seen = [figures.f1 for figures in per_label.values() if figures.f1 is not None]
    low, high = wilson(int(right.sum()), len(truth))
    bins = _bins(certainty, right)
    answered = certainty >= abstain_below
    return Evaluation(
        labels=tuple(labels),
        count=len(truth),
        accuracy=float(right.mean()),
        accuracy_low=low,
        accuracy_high=high,
        macro_f1=sum(seen) / len(seen),
        per_label=per_label,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        calibration_error=calibration_error(bins),
        bins=bins,
        coverage=float(answered.mean()),
        answered_accuracy=float(right[answered].mean()) if answered.any() else None,
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error of answers by their certainty; raises ValueError where there are none."""
    count = sum(one.count for one in bins)
    if not count:
        raise ValueError("without answers nothing is known of their certainty")
    return sum(one.count * abs(one.accuracy - one.certainty) for one in bins) / count


def _figures(confusion: NDArray[np.int64], index: int) -> LabelFigures:
    hits, present, predicted = (
        int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
    )
    return LabelFigures(
        precision=hits / predicted if predicted else None,
        recall=hits / present if present else None,
        f1=2 * hits / (present + predicted) if present + predicted else None,
        support=present,
    )


def _bins(certainty: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    place = np.minimum((certainty * _BINS).astype(np.int64), _BINS - 1)
    return tuple(
        Bin(
            lower=index / _BINS,
            upper=(index + 1) / _BINS,
            count=int(inside.sum()),
            certainty=float(certainty[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for index in range(_BINS)
        if (inside := place == index).any()
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
