"""An evaluation as a picture: which labels are taken for which, and whether certainty can be believed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from canari.evaluation import Evaluation

_BLUE, _AMBER, _INK, _GRID = "#1f6f8b", "#e0a030", "#22313a", "#dfe5e8"
_WRITTEN = 12
_NAMED = 40


def draw(evaluation: Evaluation, title: str) -> bytes:
    """A PNG with the confusion matrix on the left and the reliability diagram on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    interval = f"95% interval {evaluation.accuracy_low:.0%} to {evaluation.accuracy_high:.0%}"
    headline = f"{title}: {evaluation.accuracy:.1%} right of {evaluation.count} held out ({interval})"
    figure.suptitle(f"{headline}\n", color=_INK, fontsize=13)
    _confusion(left, evaluation)
    _reliability(right, evaluation)
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue()


def _confusion(axes: Any, evaluation: Evaluation) -> None:
    counts = np.array(evaluation.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="GnBu", vmin=0, vmax=1)
    size = len(evaluation.labels)
    if size <= _WRITTEN:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.6 else _INK
            text = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    if size <= _NAMED:
        axes.set_xticks(range(size), evaluation.labels, rotation=0 if size <= 4 else 60)
        axes.set_yticks(range(size), evaluation.labels)
    axes.set(title="Confusion", xlabel="Answer", ylabel="Truth")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _reliability(axes: Any, evaluation: Evaluation) -> None:
    axes.plot([0, 1], [0, 1], color=_AMBER, linestyle="--", label="certainty = accuracy")
    axes.bar(
        [b.lower for b in evaluation.bins],
        [b.accuracy for b in evaluation.bins],
        width=[b.upper - b.lower for b in evaluation.bins],
        align="edge",
        color=_BLUE,
        edgecolor="white",
        label="answers",
    )
    for b in evaluation.bins:
        axes.text((b.lower + b.upper) / 2, b.accuracy + 0.015, b.count, ha="center", color=_INK, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.15), xlabel="Certainty", ylabel="Share right")
    axes.set_title(f"Reliability (calibration error {evaluation.calibration_error:.1%})")
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
