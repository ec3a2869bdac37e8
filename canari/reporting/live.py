"""The report of a live version's evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from canari.drift import Drift
from canari.evaluation import Bin
from canari.reporting import charts
from canari.reporting.charts import Share, Votes
from canari.reporting.page import Page, Part, Tile, percent, render
from canari.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Labelled:
    """`n` predictions answered `answer` that were `truth`."""

    answer: str
    truth: str
    n: int


@dataclass(frozen=True, slots=True)
class Live:
    """All that a report tells of a version: its window, figures, and where they are known what they are made of.

    `figures` is a live evaluation's document. `hours` are those of all versions whose users are to be compared.
    `troubles` are told first, `notes` last.
    """

    spec: ModelSpec
    version: int
    since: datetime
    until: datetime
    figures: Mapping[str, Any]
    hours: Sequence[Votes]
    labelled: Sequence[Labelled]
    label_bins: Sequence[Bin]
    drift: Drift | None
    troubles: Sequence[str]
    notes: Sequence[str]


def report(live: Live) -> str:
    """The report as an HTML file."""
    title = f"{live.spec.title.en}, version {live.version}"
    parts = [*_voted(live), *_accurate(live), *_calibrated(live), *_confused(live), *_drifted(live)]
    return render(
        Page(
            kind="Evaluation of a live version",
            title=title,
            when=f"{live.since:%d %B %Y %H:%M} to {live.until:%d %B %Y %H:%M} UTC",
            headline="What stands out" if live.troubles else "Nothing stands out",
            told=live.troubles,
            tiles=_tiles(live),
            parts=parts,
            notes=live.notes,
        )
    )


def _tiles(live: Live) -> list[Tile]:
    figures, held_out = live.figures, live.figures["held_out"] or {}
    threshold, unhappy = live.spec.least_accuracy, live.spec.triggers.satisfaction
    accuracy, satisfaction = held_out.get("accuracy"), figures["satisfaction"]
    return [
        Tile("predictions", f"{figures['predictions']:,}"),
        Tile(f"of {figures['voted']:,} votes say right", percent(satisfaction),
             bad=unhappy is not None and satisfaction is not None and satisfaction < unhappy.below),
        Tile("of the answers have a vote", percent(figures["participation"], 1)),
        Tile("right on the evaluation set", percent(accuracy, 1), bad=accuracy is not None and accuracy < threshold),
        Tile(f"of {figures['labelled']:,} late labels are right", percent(figures["accuracy"], 1),
             bad=figures["accuracy"] is not None and figures["accuracy"] < threshold),
        Tile("of the measures moved", percent(live.drift.share if live.drift and not live.drift.reason else None),
             bad=live.drift is not None and live.drift.flagged),
    ]  # fmt: skip


def _voted(live: Live) -> list[Part]:
    if not any(one.voted for one in live.hours):
        return []
    below = live.spec.triggers.satisfaction.below if live.spec.triggers.satisfaction else None
    lead = (
        "What people said of the answers, by the time of the prediction. The band is the range in which this version's "
        "true share lies with 95 % confidence."
    )
    return [Part("Satisfaction and votes", lead, charts.votes(live.hours, live.version, below))]


def _accurate(live: Live) -> list[Part]:
    held_out, figures = live.figures["held_out"], live.figures
    found = []
    if held_out:
        kind = "generated evaluation set" if held_out["synthetic"] else "evaluation set"
        found.append(Share(kind, round(held_out["accuracy"] * held_out["count"]), held_out["count"]))
    if figures["labelled"]:
        found.append(Share("late labels", figures["correct"], figures["labelled"]))
    if not found:
        return []
    lead = (
        "On the examples that no version learns from, asked anew today, and on what people said it really was. Labels "
        "come more often where an answer was wrong, so they tell less than the evaluation set."
    )
    return [Part("Accuracy", lead, charts.shares(found, live.spec.least_accuracy))]


def _calibrated(live: Live) -> list[Part]:
    held_out = live.figures["held_out"]
    sides: dict[str, Sequence[Bin]] = {}
    if held_out:
        sides[f"Evaluation set (error {held_out['calibration_error']:.1%})"] = [Bin(**one) for one in held_out["bins"]]
    if live.label_bins:
        sides[f"Late labels (error {live.figures['calibration_error']:.1%})"] = live.label_bins
    if not sides:
        return []
    lead = "Whether certainty can be believed: of the answers given with 80 % certainty, 80 % ought to be right."
    return [Part("Calibration", lead, charts.reliability(sides))]


def _confused(live: Live) -> list[Part]:
    held_out = live.figures["held_out"]
    sides: dict[str, tuple[Sequence[str], Sequence[Sequence[int]]]] = {}
    if held_out:
        sides["Evaluation set"] = (held_out["names"], held_out["confusion"])
    if live.labelled:
        counts = Counter[tuple[str, str]]()
        for one in live.labelled:
            counts[one.truth, one.answer] += one.n
        seen = {label for pair in counts for label in pair}
        labels = [label for label in live.spec.labels if label in seen or len(live.spec.labels) <= 12]
        labels += sorted(seen.difference(labels))
        sides["Late labels"] = (labels, [[counts[truth, answer] for answer in labels] for truth in labels])
    if not sides:
        return []
    lead = "What the answer was (columns), by what it really was (rows); percentages are of the row."
    return [Part("Which labels are taken for which", lead, charts.confusion(sides))]


def _drifted(live: Live) -> list[Part]:
    if live.drift is None:
        return []
    found = [*live.drift.measures, *([live.drift.answers] if live.drift.answers else [])]
    lead = (
        "Where the inputs lie now (coloured), beside those that the version was made of (grey). A measure moved where "
        "the difference is neither chance nor a trifle."
    )
    picture = charts.drift(found) if found else None
    return [Part("Drift", lead, picture, sentences=live.drift.sentences)]
