"""Reports hold whatever labels, times and shares there are, and nothing that a browser would run."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest

from canari.diagnosis import Diagnosis, Dimension, Slice, by_dimension, find
from canari.drift import Movement
from canari.evaluation import Bin
from canari.reporting import charts, diagnosed
from canari.reporting.charts import Share, Votes
from canari.reporting.live import Labelled, Live, report
from canari.spec_file import load_spec
from tests.conftest import ROOT

NASTY = "<script>alert('$\\frac$')</script>"
UNTIL = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SPEC = load_spec(ROOT / "bentos" / "drift").model_copy(update={"labels": (NASTY, "above")})
NOTHING = {
    "predictions": 0, "voted": 0, "labelled": 0, "correct": 0, "satisfaction": None, "participation": None,
    "accuracy": None, "held_out": None, "calibration_error": None,
}  # fmt: skip


def live(**changes: object) -> Live:
    values: dict[str, object] = {
        "spec": SPEC, "version": 1, "since": UNTIL - timedelta(days=1), "until": UNTIL, "figures": NOTHING,
        "hours": [], "labelled": [], "label_bins": [], "drift": None, "troubles": [], "notes": [],
    }  # fmt: skip
    return Live(**{**values, **changes})  # type: ignore[arg-type]


def whole(picture: str) -> ET.Element:
    """The picture is XML by itself; raises where it is not."""
    return ET.fromstring(picture)


def test_a_version_that_nobody_asked_has_a_report_too() -> None:
    page = report(live(notes=["there is no drift: why"]))
    assert "Nothing stands out" in page
    assert "there is no drift: why" in page
    assert "<svg" not in page


def test_what_comes_from_outside_is_neither_run_nor_taken_for_a_formula() -> None:
    figures = {**NOTHING, "labelled": 3, "correct": 2, "accuracy": 2 / 3, "calibration_error": 0.1}
    page = report(
        live(
            figures=figures, labelled=[Labelled(NASTY, NASTY, 2), Labelled(NASTY, "above", 1)],
            label_bins=[Bin(0.9, 1.0, 3, 0.95, 2 / 3)], troubles=[NASTY],
        )
    )  # fmt: skip
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("hours", [1, 7, 24, 168, 24 * 30, 24 * 800])
def test_votes_are_drawn_over_any_time_and_number_of_versions(hours: int) -> None:
    seen = [
        Votes(version, UNTIL.replace(minute=0) - timedelta(hours=back), 10, 4, 3)
        for back in range(0, hours, max(1, hours // 50))
        for version in range(1, 9)
    ]
    whole(charts.votes(seen, 3, 0.8))
    step, slots = charts._slots(seen)
    assert len(slots) <= charts._MOST_POINTS
    assert sum(voted for _, _, voted, _ in charts._sums(seen, 3, slots, step)) == 4 * len(seen) // 8


def test_every_other_picture_is_whole() -> None:
    flat, moved = (1.0, *(0.0,) * 10), (0.0,) * 10 + (1.0,)
    measures = [
        Movement(f"x{n}", 0.3, 0.2, 0.001, n == 3, flat, moved if n == 3 else flat, (1.0, 2.0), "x moved")
        for n in range(30)
    ]
    drawn = [
        charts.shares([Share("labels", 0, 1), Share("set", 7, 7)], 0.7),
        charts.reliability({"one": [Bin(0.9, 1.0, 3, 0.95, 1.0)]}),
        charts.confusion(
            {"one": (["a", "b"], [[1, 0], [0, 0]]), "two": ([str(n) for n in range(40)], [[1] * 40] * 40)}
        ),
        charts.drift(measures),
    ]
    for picture in drawn:
        root = whole(picture)
        assert root.get("aria-label")
        assert root.get("viewBox")
    names = [re.findall(r' id="([^"]+)"', picture) for picture in drawn]
    everything = [name for one in names for name in one]
    assert len(everything) == len(set(everything))


def test_a_diagnosis_is_shown_with_and_without_a_finding() -> None:
    slices = [Slice(Dimension.ANSWER, NASTY, 200, 120), Slice(Dimension.ANSWER, "above", 200, 20)]
    found = Diagnosis("drift", 1, UNTIL - timedelta(days=7), UNTIL, 400, 140, find(slices, by_dimension(slices)))
    page = diagnosed.report(SPEC, found)
    assert "60% of 200 votes say wrong, elsewhere 10%" in page
    assert "<script" not in page
    few = Diagnosis("drift", 1, UNTIL - timedelta(days=7), UNTIL, 3, 1, reason="3 votes are too few")
    assert "3 votes are too few" in diagnosed.report(SPEC, few)
    alike = [Slice(Dimension.ANSWER, "a", 200, 20), Slice(Dimension.ANSWER, "b", 200, 20)]
    nothing = Diagnosis("drift", 1, UNTIL, UNTIL, 400, 40, find(alike, by_dimension(alike)))
    assert "about everywhere" in diagnosed.report(SPEC, nothing)
