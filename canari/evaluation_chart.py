"""An evaluation as a picture: which labels are taken for which, and whether certainty can be believed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from canari.evaluation import Bin, Evaluation

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
    confusion(left, evaluation.labels, evaluation.confusion)
    left.set_title("Confusion")
    reliability(right, evaluation.bins)
    right.set_title(f"Reliability (calibration error {evaluation.calibration_error:.1%})")
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue()


def confusion(axes: Any, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """Draw `counts[i][j]`, the examples of label i that were answered j, into matplotlib's `axes`."""
    table = np.array(counts)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="GnBu", vmin=0, vmax=1)
    size = len(labels)
    if size <= _WRITTEN:
        for (row, column), count in np.ndenumerate(table):
            colour = "white" if shares[row, column] > 0.6 else _INK
            text = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    if size <= _NAMED:
        axes.set_xticks(range(size), labels, rotation=0 if size <= 4 else 60)
        axes.set_yticks(range(size), labels)
    axes.set(xlabel="Answer", ylabel="Truth")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def reliability(axes: Any, bins: Sequence[Bin]) -> None:
    """Draw what share of answers was right, by how certain they were, into matplotlib's `axes`."""
    axes.plot([0, 1], [0, 1], color=_AMBER, linestyle="--", label="certainty = accuracy")
    axes.bar(
        [b.lower for b in bins],
        [b.accuracy for b in bins],
        width=[b.upper - b.lower for b in bins],
        align="edge",
        color=_BLUE,
        edgecolor="white",
        label="answers",
    )
    for b in bins:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
        axes.text((b.lower + b.upper) / 2, b.accuracy + 0.02, b.count, ha="center", color=_INK, fontsize=8, bbox=box)
    axes.set(xlim=(0, 1), ylim=(0, 1.15), xlabel="Certainty", ylabel="Share right")
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
