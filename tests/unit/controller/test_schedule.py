"""Which jobs one machine starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from canari.schedule import RETRAIN_LOOK
from canari.types import JobKind
from services.controller.schedule import due, keys

NOW = datetime(2026, 11, 21, 12, 3, tzinfo=UTC)
SCHEDULES = {JobKind.EVALUATE: "7 * * * *", JobKind.RETENTION: "37 3 * * *", JobKind.RETRAIN: "*/5 * * * *"}
SEEN_TO: dict[str, datetime | None] = {
    "evaluate:2026-11-21T11:07Z": NOW,
    "retention:2026-11-21T03:37Z": NOW,
    RETRAIN_LOOK: NOW - timedelta(minutes=2),
}


def test_on_a_new_platform_everything_is_due_once() -> None:
    assert due(SCHEDULES, {}, (), NOW) == [JobKind.EVALUATE, JobKind.RETENTION, JobKind.RETRAIN]


def test_a_window_that_was_seen_to_is_not_due_again() -> None:
    assert due(SCHEDULES, SEEN_TO, (), NOW) == []
    assert set(keys(SCHEDULES, NOW).values()) == set(SEEN_TO)


@pytest.mark.parametrize(
    ("later", "kinds"),
    [
        (timedelta(minutes=2), [JobKind.RETRAIN]),
        (timedelta(minutes=4), [JobKind.EVALUATE, JobKind.RETRAIN]),
        (timedelta(hours=16), [JobKind.EVALUATE, JobKind.RETENTION, JobKind.RETRAIN]),
    ],
)
def test_the_next_window_is_due_once_its_moment_has_come(later: timedelta, kinds: list[JobKind]) -> None:
    assert due(SCHEDULES, SEEN_TO, (), NOW + later) == kinds


def test_a_window_whose_row_has_not_ended_is_in_somebodys_hands() -> None:
    begun = {**SEEN_TO, "evaluate:2026-11-21T11:07Z": None}
    assert due(SCHEDULES, begun, (), NOW) == []


def test_a_job_that_waits_is_due_whatever_the_clock_says() -> None:
    assert due(SCHEDULES, SEEN_TO, {JobKind.RETRAIN}, NOW) == [JobKind.RETRAIN]
