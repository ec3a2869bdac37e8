"""A rollout on one screen: where it stands, what the judge says, its metrics, and how they went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from canari.cli.sequence_picture import LEAST_HEIGHT, draw, percent
from canari.policy.sentences import confidence, lasting
from canari.types import RolloutMode, RolloutState

_MOST_HEIGHT = 16
_TWO_COLUMNS, _GAP = 120, 2
_WIDE = 100
_POINTS = 0.02  # differences are told in tenths of a percent from this margin on, else in hundredths
_VERDICTS = {"hold": "yellow", "advance": "green", "promote": "green", "roll_back": "red"}
_STATES = {RolloutState.PROMOTED: "green", RolloutState.ROLLED_BACK: "red", RolloutState.OPEN: "cyan"}
WITHOUT_VERDICT = {RolloutState.ABORTED, RolloutState.SUPERSEDED}
_WORDS = {
    "errors": "answers of status 5xx",
    "throttled": "answers of status 429",
    "latency": "requests over the budget",
    "satisfaction": "votes that say wrong",
    "accuracy": "labels that differ",
}


def frame(
    view: Mapping[str, Any], *, expected: str | None, now: datetime, console: Console, trouble: str | None = None
) -> Group:
    """All of a course that the console's size has room for.

    `view` is a `canari.store.courses.View` as JSON, and the name of the `model`.
    """
    width, height = console.size
    parts: list[RenderableType] = [_head(view, expected, now), "", _judgement(view, trouble)]
    if view["metrics"]:
        parts += ["", _metrics(view, width)]
    room = height - sum(len(console.render_lines(part)) for part in parts) - 1
    if expected and room < LEAST_HEIGHT + 2:
        # A picture is worth more.
        return frame(view, expected=None, now=now, console=console, trouble=trouble)
    parts += _pictures(view, width, room)
    return Group(*parts)


def verdict_of(judgement: Mapping[str, Any] | None) -> str:
    """The verdict in a word or two."""
    if judgement is None:
        return "not judged yet"
    return str(judgement["verdict"]).replace("_", " ")


def state_of(rollout: Mapping[str, Any]) -> str:
    """Its state in a word or two."""
    paused = rollout["paused_at"] and rollout["state"] == RolloutState.OPEN
    return "paused" if paused else str(rollout["state"]).replace("_", " ")


def versions_of(rollout: Mapping[str, Any]) -> str:
    """Which version is tried, and against which."""
    against = "the first one" if rollout["stable"] is None else f"against version {rollout['stable']}"
    return f"version {rollout['canary']} {against}"


def _head(view: Mapping[str, Any], expected: str | None, now: datetime) -> Text:
    rollout = view["rollout"]
    text = Text()
    text.append(view["model"], "bold")
    text.append(f", rollout {rollout['id']}: {versions_of(rollout)}  ")
    text.append(state_of(rollout), _STATES.get(rollout["state"], "bold"))
    if rollout["mode"] == RolloutMode.MANUAL:
        text.append(f", by hand\n{rollout['weight']} % of the traffic")
        return text
    text.append("\nsteps: ")
    for place, step in enumerate(view["steps"]):
        here = place == rollout["step"]
        text.append(" → " if place else "")
        text.append(f"{step} %" if isinstance(step, int) else step, "bold reverse" if here else "dim")
    opened = _moment(rollout["step_started_at"])
    if rollout["state"] == RolloutState.OPEN:
        text.append(f"  for {lasting((now - opened).total_seconds())}")
        if rollout["deadline_at"]:
            deadline = _moment(rollout["deadline_at"])
            left = (deadline - now).total_seconds()
            told = f"in {lasting(left)}" if left > 0 else "passed"
            text.append(f"; deadline {deadline.astimezone():%d %b %H:%M}, {told}")
    elif rollout["settled_at"]:
        text.append(f"  settled {_moment(rollout['settled_at']).astimezone():%d %b %H:%M:%S}")
    if expected:
        text.append(f"\n{expected}", "dim")
    return text


def _judgement(view: Mapping[str, Any], trouble: str | None) -> Text:
    text = Text()
    judgement = view["judgement"]
    word = verdict_of(judgement)
    if view["rollout"]["mode"] == RolloutMode.MANUAL:
        text.append("nothing is judged", "dim")
    elif view["rollout"]["state"] in WITHOUT_VERDICT:
        text.append("ended without a verdict", "dim")
    elif judgement is None:
        text.append(word, "dim")
    else:
        text.append(word, f"bold {_VERDICTS[judgement['verdict']]}")
        text.append(f"  {judgement['sentence']}")
    if trouble:
        text.append(f"\n{trouble}", "red")
    return text


def _metrics(view: Mapping[str, Any], width: int) -> Table:
    wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if wide else 1, 0, 0))
    table.add_column("METRIC", no_wrap=True)
    for name in ("STABLE", "CANARY", "DIFFERENCE", "MARGIN", "HARM", "NO WORSE"):
        table.add_column(name, justify="right", no_wrap=True)
    standings = (view["judgement"] or {}).get("metrics", {})
    for metric in view["metrics"]:
        last = metric["points"][-1] if metric["points"] else None
        at = standings.get(metric["metric"])
        silent = at is None or at["mistrust"] or min(at["stable_n"], at["canary_n"]) < at["minimum"]
        optional = f"{metric['metric']}, optional" if wide else f"({metric['metric']})"
        table.add_row(
            metric["metric"] if metric["required"] else optional,
            _rate(last, "stable", wide=wide),
            _rate(last, "canary", wide=wide),
            _difference(last, metric["margin"]),
            percent(metric["margin"]).lstrip("+"),
            *(confidence(at[name]).replace("over ", ">") if at else "–" for name in ("log_harm", "log_no_worse")),
            style="dim" if silent or last is None else _colour(metric),
        )
    return table


def _rate(last: Mapping[str, Any] | None, arm: str, *, wide: bool) -> str:
    n, bad = (last[f"{arm}_n"], last[f"{arm}_bad"]) if last else (0, 0)
    if not n:
        return "–"
    rate = f"{100 * bad / n:.{2 if bad < 0.1 * n else 1}f} %"
    if wide:
        return f"{rate} of {n:,}"
    short = next((f"{n / size:.0f}{unit}" for unit, size in (("M", 10**6), ("k", 10**3)) if n >= 10 * size), str(n))
    return f"{rate}/{short}"


def _difference(last: Mapping[str, Any] | None, margin: float) -> str:
    if last is None or last["difference"] is None:
        return "–"
    digits = 1 if margin >= _POINTS else 2
    # What is rounded to nothing has no sign.
    values = (round(100 * last[name], digits) + 0.0 for name in ("difference", "low", "high"))
    here, low, high = (f"{value:+.{digits}f}".replace("-", "−") for value in values)
    return f"{here} [{low}, {high}]"


def _colour(metric: Mapping[str, Any]) -> str:
    """As the band of the picture."""
    last = metric["points"][-1]
    return "red" if last["low"] > metric["margin"] else "green" if last["high"] < metric["margin"] else ""


def _pictures(view: Mapping[str, Any], width: int, room: int) -> list[RenderableType]:
    """The metrics' pictures, the most telling first, as many as there is room for."""
    drawn = _most_telling(view)
    columns = 2 if width >= _TWO_COLUMNS and len(drawn) > 1 else 1
    # Each has a blank line and a title above it.
    rows = min(room // (LEAST_HEIGHT + 2), math.ceil(len(drawn) / columns))
    if rows < 1:
        return []
    height = min(room // rows - 2, _MOST_HEIGHT)
    each = (width - _GAP * (columns - 1)) // columns
    grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for _ in range(columns):
        grid.add_column(width=each, no_wrap=True)
    shown = [_picture(view, metric, each, height) for metric in drawn[: rows * columns]]
    for place in range(0, len(shown), columns):
        grid.add_row(*shown[place : place + columns])
    return [grid]


def _most_telling(view: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    judgement = view["judgement"] or {}
    standings = judgement.get("metrics", {})

    def rank(metric: Mapping[str, Any]) -> tuple[bool, float, bool]:
        harm = standings.get(metric["metric"], {}).get("log_harm", 0.0)
        return metric["metric"] != judgement.get("metric"), -max(harm, 0.0), not metric["required"]

    return sorted((metric for metric in view["metrics"] if metric["points"]), key=rank)


def _picture(view: Mapping[str, Any], metric: Mapping[str, Any], width: int, height: int) -> Group:
    title = Text.assemble((metric["metric"], "bold"), (f"  {_WORDS[metric['metric']]}, canary − stable", "dim"))
    lines = draw(
        metric["points"], metric["margin"], width=width, height=height, until=view["tick"], steps=view["steps"]
    )
    return Group("", title, *lines)


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
