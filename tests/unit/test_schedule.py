"""What is due by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from canari.errors import CanariError
from canari.schedule import newest_due, window_key
from canari.types import JobKind

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "now", "due"),
    [
        ("7 * * * *", NOON, datetime(2026, 11, 21, 11, 7, tzinfo=UTC)),
        ("7 * * * *", NOON.replace(minute=7), NOON.replace(minute=7)),
        ("7 * * * *", NOON.replace(minute=7, second=59, microsecond=5), NOON.replace(minute=7)),
        ("7 * * * *", NOON.replace(minute=6, second=59, microsecond=999_999), NOON.replace(hour=11, minute=7)),
        ("*/5 * * * *", NOON, NOON),
        ("37 3 * * *", NOON.replace(hour=3), datetime(2026, 11, 20, 3, 37, tzinfo=UTC)),
        ("0 3 * * 1", NOON, datetime(2026, 11, 16, 3, 0, tzinfo=UTC)),
        ("0 0 29 2 *", NOON, datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_missed_moments_collapse_into_the_newest(schedule: str, now: datetime, due: datetime) -> None:
    assert newest_due(schedule, now) == due


def test_a_schedule_is_in_utc_wherever_one_looks_from() -> None:
    paris = timezone(timedelta(hours=1))
    assert newest_due("30 3 * * *", datetime(2026, 11, 21, 4, 31, tzinfo=paris)) == datetime(
        2026, 11, 21, 3, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("schedule", ["", "often", "7 * * *", "0 7 * * * *", "61 * * * *", "0 0 31 2 *"])
def test_what_is_no_schedule_is_told_with_one_that_is(schedule: str) -> None:
    with pytest.raises(CanariError, match="is no schedule"):
        newest_due(schedule, NOON)


def test_the_key_of_a_window_is_the_same_from_every_zone_and_process() -> None:
    window = datetime(2026, 11, 21, 23, 7, tzinfo=UTC)
    paris = timezone(timedelta(hours=1))
    assert window_key(JobKind.EVALUATE, window) == "evaluate:2026-11-21T23:07Z"
    assert window_key(JobKind.EVALUATE, window.astimezone(paris)) == window_key(JobKind.EVALUATE, window)
