"""The pictures of an evaluation's report, each as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from canari import evaluation_chart
from canari.drift import Movement
from canari.evaluation import Bin
from canari.reporting import style
from canari.stats import wilson

_MOST_POINTS = 32
_MOST_MEASURES = 24


@dataclass(frozen=True, slots=True)
class Votes:
    """What one version's users said of the answers of the hour that begins at `hour`."""

    version: int
    hour: datetime
    predictions: int
    voted: int
    satisfied: int


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `count`: a share with its interval, as one line of a chart."""

    name: str
    right: int
    count: int


@style.drawn
def votes(hours: Sequence[Votes], version: int, below: float | None) -> str:
    """Satisfaction of each version over time with Wilson's interval of `version`, and its votes underneath.

    `below` is the share under which users count as unhappy.
    """
    step, slots = _slots(hours)
    made, (upper, lower) = style.figure(10.4, 4.6, 2, 1, sharex=True, height_ratios=(3, 2))
    others = sorted({one.version for one in hours} - {version})
    colours = dict(zip([version, *others], style.VERSIONS * (len(others) + 1), strict=False))
    for number in (*others, version):
        sums = _sums(hours, number, slots, step)
        heard = [(when, voted, good) for when, _, voted, good in sums if voted]
        when = [moment + step / 2 for moment, _, _ in heard]
        emphasis = number == version
        upper.plot(
            when, [good / voted for _, voted, good in heard], color=colours[number], marker="o",
            markersize=4 if emphasis else 3, linewidth=2 if emphasis else 1.2, label=f"version {number}",
            alpha=1 if emphasis else 0.8,
        )  # fmt: skip
        if emphasis:
            bounds = [wilson(good, voted) for _, voted, good in heard]
            low, high = zip(*bounds, strict=True) if bounds else ((), ())
            upper.fill_between(when, low, high, color=colours[number], alpha=0.15, linewidth=0)
            _bars(lower, sums, step)
    if below is not None:
        upper.axhline(below, color=style.RED, linewidth=1, linestyle="--")
        upper.annotate(
            f"unhappy\nunder {below:.0%}", (1, below), xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
            color=style.RED, xytext=(4, 0), textcoords="offset points", annotation_clip=False,
        )  # fmt: skip
    upper.set(ylim=(-0.03, 1.03), title="Satisfaction: the share of votes that say right")
    lower.set_title(f"Votes on version {version}{_every(step)}")
    for axes in (upper, lower):
        style.plain(axes)
    style.percent(upper)
    upper.legend(loc="lower left", frameon=False, ncols=min(6, len(colours)))
    lower.legend(loc="upper left", frameon=False, ncols=2)
    _dates(lower, slots)
    return style.svg(made, "votes", f"Satisfaction and votes by time, of {len(colours)} versions")


@style.drawn
def shares(found: Sequence[Share], threshold: float) -> str:
    """Shares as points with Wilson's 95 % interval, beside the threshold."""
    made, axes = style.figure(10.4, 0.7 + 0.62 * len(found))
    for place, one in enumerate(reversed(found)):
        share, (low, high) = one.right / one.count, wilson(one.right, one.count)
        colour = style.RED if high < threshold else style.AMBER if share < threshold else style.BLUE
        axes.plot([low, high], [place, place], color=colour, linewidth=7, alpha=0.25, solid_capstyle="round")
        axes.plot([share], [place], "o", color=colour, markersize=8)
        axes.annotate(f"{share:.1%}", (share, place), xytext=(0, 9), textcoords="offset points", ha="center",
                      color=colour, weight="bold")  # fmt: skip
    names = [f"{one.name}\n{one.right:,} of {one.count:,}" for one in reversed(found)]
    axes.set_yticks(range(len(found)), names)
    axes.tick_params(axis="y", labelcolor=style.INK)
    axes.axvline(threshold, color=style.RED, linewidth=1, linestyle="--")
    axes.annotate(f"threshold {threshold:.0%}", (threshold, 1), xycoords=("data", "axes fraction"), ha="right",
                  va="top", fontsize=8.5, color=style.RED, xytext=(-4, 0), textcoords="offset points")  # fmt: skip
    axes.set(xlim=(-0.01, 1.02), ylim=(-0.6, len(found) - 0.25))
    style.plain(axes, "x")
    style.percent(axes, "x")
    return style.svg(made, "shares", "; ".join(f"{one.name}: {one.right} of {one.count}" for one in found))


@style.drawn
def reliability(sides: Mapping[str, Sequence[Bin]]) -> str:
    """A reliability diagram for each named side."""
    made, drawn = style.figure(5.2 * len(sides), 4.1, 1, len(sides), squeeze=False)
    for axes, (name, bins) in zip(drawn[0], sides.items(), strict=True):
        evaluation_chart.reliability(axes, bins)
        axes.set_title(name)
    return style.svg(made, "reliability", "How certain the answers were, and what share of them was right")


@style.drawn
def confusion(sides: Mapping[str, tuple[Sequence[str], Sequence[Sequence[int]]]]) -> str:
    """A matrix for each named side: what the answer was, by what it really was."""
    size = max(len(labels) for labels, _ in sides.values())
    made, drawn = style.figure(5.2 * len(sides), min(9.0, 3.4 + 0.22 * size), 1, len(sides), squeeze=False)
    for axes, (name, (labels, counts)) in zip(drawn[0], sides.items(), strict=True):
        evaluation_chart.confusion(axes, labels, counts)
        axes.set_title(name)
    return style.svg(made, "confusion", "Which labels are taken for which")


@style.drawn
def drift(measures: Sequence[Movement]) -> str:
    """Each measure's places as paired bars, the reference's and the window's; those that moved come first."""
    ranked = sorted(measures, key=lambda one: (not one.moved, -one.psi))[:_MOST_MEASURES]
    columns = min(3, len(ranked))
    rows = math.ceil(len(ranked) / columns)
    made, drawn = style.figure(10.4, 2.35 * rows + 0.3, rows, columns, squeeze=False)
    made.get_layout_engine().set(hspace=0.06, wspace=0.04)
    for axes in drawn.flat[len(ranked) :]:
        axes.set_visible(False)
    for axes, one in zip(drawn.flat, ranked, strict=False):
        _paired(axes, one)
    drawn.flat[0].legend(loc="upper left", frameon=False, fontsize=8, ncols=2, handlelength=1, borderaxespad=0)
    return style.svg(made, "drift", "; ".join(one.sentence for one in ranked if one.moved) or "no measure moved")


def _paired(axes: Any, one: Movement) -> None:
    last = max((place for place, pair in enumerate(zip(one.was, one.now, strict=True)) if any(pair)), default=0) + 1
    places = np.arange(last)
    colour = style.AMBER if one.moved else style.BLUE
    axes.bar(places - 0.21, one.was[:last], width=0.4, color="#c3ced4", label="made of")
    axes.bar(places + 0.21, one.now[:last], width=0.4, color=colour, label="asked now")
    axes.set_title(f"{one.name} – moved" if one.moved else one.name, color=style.RED if one.moved else style.INK)
    axes.set_xlabel(f"PSI {one.psi:.2f}, Jensen-Shannon {one.distance:.2f}", fontsize=8.5)
    axes.set_ylim(0, 1.28 * max((*one.was, *one.now), default=1))
    marks = [(place + 0.5, f"{edge:.3g}") for place, edge in enumerate(one.edges)][:: max(1, len(one.edges) // 4)]
    axes.set_xticks([place for place, _ in marks], [text for _, text in marks])
    style.plain(axes)
    style.percent(axes)
    axes.locator_params(axis="y", nbins=4)


def _slots(hours: Sequence[Votes]) -> tuple[timedelta, list[datetime]]:
    """The stretches of time that are drawn as one point each: few enough to be told apart."""
    first, last = min(one.hour for one in hours), max(one.hour for one in hours)
    span = int((last - first) / timedelta(hours=1)) + 1
    width = next(n for n in (1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 24 * 30, 24 * 365 * 20) if span / n <= _MOST_POINTS)
    step = timedelta(hours=width)
    return step, [first + n * step for n in range(math.ceil(span / width))]


def _sums(
    hours: Sequence[Votes], version: int, slots: Sequence[datetime], step: timedelta
) -> list[tuple[datetime, int, int, int]]:
    sums = dict.fromkeys(slots, (0, 0, 0))
    for one in hours:
        if one.version == version:
            slot = slots[int((one.hour - slots[0]) / step)]
            predictions, voted, good = sums[slot]
            sums[slot] = (predictions + one.predictions, voted + one.voted, good + one.satisfied)
    return [(slot, *found) for slot, found in sums.items()]


def _bars(axes: Any, sums: Sequence[tuple[datetime, int, int, int]], step: timedelta) -> None:
    middles = [when + step / 2 for when, *_ in sums]
    good = [one[3] for one in sums]
    axes.bar(middles, good, width=0.82 * step, color=style.BLUE, label="right")
    axes.bar(
        middles, [one[2] - one[3] for one in sums], width=0.82 * step, bottom=good, color=style.AMBER, label="wrong"
    )
    axes.set_ylim(0, 1.45 * max(1, *(one[2] for one in sums)))
    axes.locator_params(axis="y", nbins=4, integer=True)


def _every(step: timedelta) -> str:
    hours = int(step / timedelta(hours=1))
    return " by the hour" if hours == 1 else " by the day" if hours == 24 else f", {hours} hours to a bar"


def _dates(axes: Any, slots: Sequence[datetime]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=slots[0].tzinfo, minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=slots[0].tzinfo))
