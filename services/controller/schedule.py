"""Which kinds of jobs are due on one machine, where no CronJob starts them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from canari.schedule import RETRAIN_LOOK, newest_due, window_key
from canari.types import JobKind


def keys(schedules: Mapping[JobKind, str], now: datetime) -> dict[JobKind, str]:
    """The key of the row by which one sees whether each kind's newest window was seen to."""
    return {
        kind: RETRAIN_LOOK if kind is JobKind.RETRAIN else window_key(kind, newest_due(schedule, now))
        for kind, schedule in schedules.items()
    }


def due(
    schedules: Mapping[JobKind, str], ended: Mapping[str, datetime | None], waiting: Collection[JobKind], now: datetime
) -> list[JobKind]:
    """The kinds to be started, in the order of `schedules`: none has begun its newest window, or a job waits.

    `ended` are the rows of `keys` that there are, and when each ended; `waiting` the kinds of jobs that could be taken.
    Raises CanariError where a schedule is none.
    """
    rows = keys(schedules, now)
    return [kind for kind in schedules if kind in waiting or _missed(kind, schedules[kind], rows[kind], ended, now)]


def _missed(kind: JobKind, schedule: str, key: str, ended: Mapping[str, datetime | None], now: datetime) -> bool:
    if kind is not JobKind.RETRAIN:
        return key not in ended
    looked = ended.get(key)
    return looked is None or looked < newest_due(schedule, now)
