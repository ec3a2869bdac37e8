"""A confidence sequence in the terminal: time to the right, the difference up, its interval a band that narrows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.style import Style
from rich.text import Text

LEAST_HEIGHT = 7
_LABELS = 10  # columns for the axis of differences
_BELOW = 2  # rows for the axis of time
# Eighths of a cell, from its foot; the last is the whole cell.
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column, from the top
# Mid colours of the 256, which stand out on dark and on light terminals.
_UNDECIDED, _WORSE, _NO_WORSE, _LINE = "color(67)", "color(167)", "color(71)", "color(231)"
ZERO, MARGIN = "─", "╌"
Point = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Which row a difference lies in. Zero lies in the middle of row `zero`, counted from the top."""

    zero: int
    unit: float  # of difference, for each row
    rows: int

    def place(self, difference: float) -> float:
        """The place from the top, in rows: row i reaches from i to i + 1."""
        return self.zero + 0.5 - difference / self.unit

    def value(self, row: int) -> float:
        """The difference in the middle of a row."""
        return (self.zero - row) * self.unit


def draw(
    points: Sequence[Point],
    margin: float,
    *,
    width: int,
    height: int,
    until: float | None = None,
    steps: Sequence[str | int] = (),
) -> list[Text]:
    """The picture of one metric, `height` lines (7 at least) of `width` cells.

    `points` are those of `canari.policy.sequence`, as JSON; `until` (ms since 1970) is where time ends, if that is
    later than the last of them. `steps` are the rollout's: where one begins, its percentage stands below, and after
    the last of them that it was promoted. The band is
    red where the canary is surely worse than the margin allows, and green where it surely is not.
    """
    rows, columns = height - _BELOW, width - _LABELS - 1
    if not points or rows < 1 or columns < 1:
        return [Text()] * height
    scale = _scale(points, margin, rows)
    first, last = points[0]["at"], max(points[-1]["at"], until or 0)
    shown = _by_column(points, first, last, 2 * columns)
    marks = {_column(at["at"], first, last, columns): at["step"] for at in _steps(points)}
    labels = _labels(scale, margin)
    lines = []
    for row in range(rows):
        line = Text()
        line.append(f"{labels.get(row, ''):>{_LABELS}}{'┤' if row in labels else '│'}", style="dim")
        line.append_text(_row(row, scale, shown, margin))
        lines.append(line)
    foot = "".join("┴" if column in marks else "─" for column in range(columns))
    lines.append(Text(" " * _LABELS + "└" + foot, style="dim"))
    begun = {column: f"{steps[step]} %" if step < len(steps) else "promoted" for column, step in marks.items()}
    lines.append(_times(first, last, columns, begun))
    return lines


def _scale(points: Sequence[Point], margin: float, rows: int) -> _Scale:
    """Shows the newest interval, zero and the margin, with room for how the interval came to be."""
    newest = points[-1]
    seen = [0.0, margin, newest["low"], newest["high"], newest["difference"] or 0.0]
    top, bottom = max(seen), min(seen)
    room = 0.35 * (top - bottom)
    top, bottom = min(top + room, 1.0), max(bottom - room, -1.0)
    unit = (top - bottom) / rows
    # The margin and zero are each in the middle of a row wherever there are rows enough.
    if margin >= unit:
        unit = margin / math.floor(margin / unit)
    return _Scale(zero=min(max(round(top / unit - 0.5), 0), rows - 1), unit=unit, rows=rows)


def _by_column(points: Sequence[Point], first: float, last: float, columns: int) -> list[Point | None]:
    """What was known at the end of each column."""
    shown: list[Point | None] = [None] * columns
    for at in points:
        shown[_column(at["at"], first, last, columns)] = at
    known: Point | None = None
    for column, newest in enumerate(shown):
        known = newest or known
        shown[column] = known
    return shown


def _column(at: float, first: float, last: float, columns: int) -> int:
    return min(int(columns * (at - first) / max(last - first, 1)), columns - 1)


def _steps(points: Sequence[Point]) -> Iterator[Point]:
    """The first point of each step but the first."""
    step = points[0]["step"]
    for at in points:
        if at["step"] > step:
            step = at["step"]
            yield at


def _labels(scale: _Scale, margin: float) -> dict[int, str]:
    border = _margin_row(scale, margin)
    labels = {row: scale.value(row) for row in (0, scale.rows - 1)}
    labels = {row: value for row, value in labels.items() if min(abs(row - scale.zero), abs(row - border)) > 1}
    labels |= {scale.zero: 0.0, border: margin}
    return {row: f"{percent(value)} " for row, value in labels.items()}


def _margin_row(scale: _Scale, margin: float) -> int:
    return min(max(math.floor(scale.place(margin)), 0), scale.rows - 1)


def percent(difference: float) -> str:
    """A difference of rates with its sign, in two digits."""
    value = float(f"{100 * difference:.2g}")
    return f"{value:+g} %".replace("-", "−") if value else "0 %"


def _row(row: int, scale: _Scale, shown: Sequence[Point | None], margin: float) -> Text:
    estimates = [None if at is None or at["difference"] is None else scale.place(at["difference"]) for at in shown]
    cells = [
        _cell(row, scale, shown[2 * column + 1], margin, _dots(row, estimates, 2 * column))
        for column in range(len(shown) // 2)
    ]
    line = Text()
    for style, alike in groupby(cells, key=itemgetter(1)):
        line.append("".join(cell for cell, _ in alike), style)
    return line


def _cell(row: int, scale: _Scale, at: Point | None, margin: float, dots: int) -> tuple[str, Style]:
    """A cell of the picture: the estimate before the margin, that before zero, and these before the band."""
    cell, style, inside = _band(row, scale, at, margin)
    if dots:
        behind = style.color.name if style.color else None
        return chr(_BRAILLE + dots), Style(color=_LINE if behind else None, bgcolor=behind, bold=True)
    if row == _margin_row(scale, margin) and margin:
        return MARGIN, Style(color=_LINE if inside else "color(172)", bgcolor=inside)
    if row == scale.zero:
        return ZERO, Style(color=_LINE if inside else None, bgcolor=inside, dim=not inside)
    return cell, style


def _band(row: int, scale: _Scale, at: Point | None, margin: float) -> tuple[str, Style, str | None]:
    """The interval's part of a cell, and the band's colour where it fills most of it."""
    if at is None:
        return " ", Style(), None
    colour = _WORSE if at["low"] > margin else _NO_WORSE if at["high"] < margin else _UNDECIDED
    top, foot = max(scale.place(at["high"]) - row, 0.0), min(scale.place(at["low"]) - row, 1.0)
    filled = foot - top
    if filled <= 0:
        return " ", Style(), None
    # A line that is drawn over it stands for the middle of its row.
    inside = colour if filled > 0.55 else None
    eighths = max(round(8 * filled), 1)
    if eighths == 8:
        # The background too: in many a font the block leaves a seam.
        return _EIGHTHS[8], Style(color=colour, bgcolor=colour), inside
    if top > 0 and foot < 1:
        return "━", Style(color=colour), inside
    # From the top there is half a block, and an eighth.
    return _EIGHTHS[eighths] if foot >= 1 else "▀" if eighths > 2 else "▔", Style(color=colour), inside


def _dots(row: int, estimates: Sequence[float | None], place: int) -> int:
    """The estimate's dots in a cell: two to the right and four down, joined from one column to the next."""
    dots = 0
    for half in (0, 1):
        here = estimates[place + half]
        before = estimates[place + half - 1] if place + half else None
        if here is None:
            continue
        ends = here, here if before is None else before
        first, last = (math.floor(4 * (end - row)) for end in (min(ends), max(ends)))
        for dot in range(max(first, 0), min(last, 3) + 1):
            dots |= _DOTS[half][dot]
    return dots


def _times(first: float, last: float, columns: int, begun: Mapping[int, str]) -> Text:
    """When time begins and ends, and between them what each step gave, as far as there is room."""
    begin, end = (datetime.fromtimestamp(at / 1000, tz=UTC).astimezone() for at in (first, last))
    form = "%H:%M:%S" if begin.date() == end.date() else "%d %b %H:%M"
    told = [" "] * columns
    for column, word in [(0, begin.strftime(form)), (columns, end.strftime(form)), *sorted(begun.items())]:
        place = min(max(column - (len(word) // 2 if column else 0), 0), columns - len(word))
        around = told[max(place - 1, 0) : place + len(word) + 1]
        if place >= 0 and not "".join(around).strip():
            told[place : place + len(word)] = word
    return Text(" " * (_LABELS + 1) + "".join(told), style="dim")
