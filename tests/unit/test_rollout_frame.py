"""What `canari rollout watch` draws, by the characters."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from canari.cli.rollout_frame import frame
from canari.cli.sequence_picture import MARGIN, ZERO, draw
from canari.observations import Metric
from canari.policy.sequence import Batch, sequences
from canari.spec_canary import Canary

BEGUN = datetime(2026, 11, 21, 9, tzinfo=UTC)
RULES = Canary.model_validate({"metrics": {"errors": {"margin": 0.02}, "satisfaction": {"margin": 0.05}}})


def points(stable: float, canary: float, metric: Metric = Metric.ERRORS, looks: int = 150) -> list[dict[str, Any]]:
    draws = np.random.default_rng(1)
    first = int(BEGUN.timestamp() * 1000)
    n = {0: (95, 5), 1: (75, 25), 2: (50, 50)}
    batches = [
        Batch(
            metric,
            first + 10_000 * at,
            step,
            n[step][0],
            int(draws.binomial(n[step][0], stable)),
            n[step][1],
            int(draws.binomial(n[step][1], canary)),
        )
        for at in range(looks)
        for step in [3 * at // looks]
    ]
    [found] = [one for one in sequences(RULES, batches) if one.metric is metric]
    return [asdict(point) for point in found.points]


def picture(stable: float, canary: float, *, width: int = 80, height: int = 16, **options: Any) -> list[str]:
    return [line.plain for line in draw(points(stable, canary), 0.02, width=width, height=height, **options)]


def row_of(lines: list[str], label: str) -> str:
    [found] = [line for line in lines if line.strip().startswith(f"{label} ┤")]
    return found.split("┤")[1]


def thickness(lines: list[str], column: int) -> int:
    return sum(line[11:][column] not in f" {MARGIN}{ZERO}" for line in lines[:-2])


@pytest.mark.parametrize(("width", "height"), [(40, 7), (78, 12), (150, 30)])
def test_a_picture_is_as_large_as_was_asked(width: int, height: int) -> None:
    lines = picture(0.1, 0.1, width=width, height=height)
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}


def test_the_band_narrows_about_the_difference() -> None:
    lines = picture(0.05, 0.15)
    widths = [thickness(lines, column) for column in range(4, 69)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0]
    # It ends above the margin, which is drawn where the band is not.
    assert row_of(lines, "+2 %")[-10:] == MARGIN * 10
    assert row_of(lines, "0 %")[-10:] == ZERO * 10
    top = next(place for place, line in enumerate(lines) if line[-1] in "▁▂▃▄▅▆▇█")
    assert top < next(place for place, line in enumerate(lines) if "+2 %" in line)


def test_the_colour_tells_on_which_side_of_the_margin_it_surely_is() -> None:
    for canary, colour in ((0.25, "color(167)"), (0.05, "color(71)")):
        lines = draw(points(0.1, canary), 0.02, width=80, height=16)
        last = {str(line.spans[-1].style.color.name) for line in lines[:-2] if line.plain[-1] == "█"}  # type: ignore[union-attr]
        assert last == {colour}
        first = {str(span.style.color.name) for span in lines[3].spans[1:3] if getattr(span.style, "color", None)}  # type: ignore[union-attr]
        assert first <= {"color(67)", "color(231)"}


def test_times_and_steps_stand_below() -> None:
    *_, axis, times = picture(0.1, 0.1, steps=[5, 25, 50])
    local = [(BEGUN + timedelta(seconds=at)).astimezone().strftime("%H:%M:%S") for at in (0, 1490)]
    assert times.split() == [local[0], "25", "%", "50", "%", local[1]]
    assert axis.count("┴") == 2
    assert abs(axis.index("┴") - times.index("25 %")) <= 2
    *_, crowded = picture(0.1, 0.1, width=30, steps=[5, 25, 50])
    assert crowded.split()[0] == local[0]
    longer = picture(0.1, 0.1, until=(BEGUN + timedelta(days=2)).timestamp() * 1000)[-1]
    assert "23 Nov" in longer


def test_the_margin_and_zero_keep_their_rows_until_there_is_no_room() -> None:
    lines = picture(0.1, 0.1)
    assert MARGIN in row_of(lines, "+2 %") or "⠀" <= max(row_of(lines, "+2 %")) <= "⣿"
    early = draw(points(0.1, 0.1)[:2], 0.0001, width=60, height=8)
    assert "+0.01 % ┤" in "\n".join(line.plain for line in early)


def test_nothing_known_is_drawn_as_nothing() -> None:
    assert [line.plain for line in draw([], 0.02, width=60, height=8)] == [""] * 8


def view(**changes: Any) -> dict[str, Any]:
    """A course as the API tells it."""
    standing = {
        "metric": "errors", "margin": 0.02, "stable_n": 11_000, "stable_bad": 550, "canary_n": 4000, "canary_bad": 600,
        "log_harm": 3.4, "log_no_worse": -2.0, "required": True, "minimum": 20, "mistrust": None,
    }  # fmt: skip
    metrics = [
        {"metric": "errors", "margin": 0.02, "required": True, "points": points(0.05, 0.15)},
        {"metric": "latency", "margin": 0.05, "required": False, "points": []},
        {"metric": "satisfaction", "margin": 0.05, "required": True, "points": points(0.1, 0.1, Metric.SATISFACTION)},
    ]
    told: dict[str, Any] = {
        "model": "cats_dogs",
        "rollout": {
            "id": 7, "state": "open", "mode": "judged", "stable": 3, "canary": 4, "step": 1, "weight": 25,
            "step_started_at": BEGUN.isoformat(), "deadline_at": (BEGUN + timedelta(days=14)).isoformat(),
            "paused_at": None, "settled_at": None,
        },
        "steps": [5, 25, 50],
        "judgement": {
            "verdict": "hold", "sentence": "errors: 0 % confidence", "metric": "errors", "barred": False,
            "metrics": {"errors": standing},
        },
        "tick": int((BEGUN + timedelta(seconds=1490)).timestamp() * 1000),
        "metrics": metrics,
    }  # fmt: skip
    return json.loads(json.dumps({**told, **changes}))  # type: ignore[no-any-return]


def shown(told: dict[str, Any], width: int, height: int, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, force_terminal=True)
    values = {"expected": None, "now": BEGUN + timedelta(hours=2), **options}
    console.print(frame(told, console=console, **values))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
def test_a_frame_fits_its_terminal(width: int, height: int) -> None:
    lines = shown(view(), width, height, expected="At today's 4,200 requests a verdict takes about 3 weeks.")
    assert len(lines) < height
    assert max(cell_len(line) for line in lines) <= width
    assert not [line for line in lines if "…" in line]
    assert sum("canary − stable" in line for line in lines) >= 1


def test_a_frame_tells_where_the_rollout_stands_and_why() -> None:
    text = "\n".join(shown(view(), 110, 40, expected="A verdict takes about 3 weeks."))
    for told in (
        "cats_dogs, rollout 7: version 4 against version 3  open",
        "steps: 5 % → 25 % → 50 %  for 2 hours; deadline",
        "in 14 days",
        "A verdict takes about 3 weeks.",
        "hold  errors: 0 % confidence",
        "2 %  96.6 %       0 %",
        "latency, optional",
    ):
        assert told in text, told


def test_as_many_pictures_as_there_is_room_for_the_most_telling_first() -> None:
    def titles(width: int, height: int) -> list[str]:
        words = [line.split() for line in shown(view(), width, height)]
        return [word for line in words for word, follows in itertools.pairwise(line) if follows in {"answers", "votes"}]

    assert titles(80, 24) == ["errors"]
    assert titles(80, 40) == ["errors", "satisfaction"]
    assert titles(160, 24) == ["errors", "satisfaction"]
    assert titles(80, 14) == []


def test_where_room_is_short_a_picture_goes_before_what_is_to_be_expected() -> None:
    lines = shown(view(), 80, 19, expected="A verdict takes about 3 weeks.")
    assert "canary − stable" in "\n".join(lines)
    assert "3 weeks" not in "\n".join(lines)


def test_a_frame_tells_of_a_pause_an_end_a_hand_and_of_no_answer() -> None:
    rollout = view()["rollout"]
    settled = {**rollout, "state": "rolled_back", "settled_at": BEGUN.isoformat()}
    assert "rolled back\n" in "\n".join(shown(view(rollout=settled), 100, 30))
    assert "  paused" in shown(view(rollout={**rollout, "paused_at": BEGUN.isoformat()}), 100, 30)[0]
    manual = {**rollout, "mode": "manual", "deadline_at": None}
    by_hand = shown(view(rollout=manual, steps=[], metrics=[], judgement=None, tick=None), 100, 30)
    assert by_hand[0].endswith("open, by hand")
    assert by_hand[1] == "25 % of the traffic"
    late = shown(view(), 100, 30, now=BEGUN + timedelta(days=15), trouble="it does not answer")
    assert "passed" in "\n".join(late)
    assert "it does not answer" in late
