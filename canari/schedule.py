"""When something is due by the clock: cron schedules in UTC, and the keys of what is done once per window."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from canari.errors import CanariError
from canari.types import JobKind

# The row that tells when one last looked whether a model is to be trained again.
RETRAIN_LOOK = "look:retrain"
_FIELDS = 5


def newest_due(schedule: str, now: datetime) -> datetime:
    """The newest moment (UTC) not after `now` (aware) at which a cron schedule of five fields, in UTC, was due.

    Whoever missed several moments is due once, at the newest. Raises CanariError where `schedule` is none.
    """
    # The library looks before the moment it is given: one that is due this very second counts too.
    here = now.astimezone(UTC).replace(microsecond=1)
    try:
        # The library would take a sixth field for seconds, which Kubernetes does not know.
        found = next(CronSim(schedule, here, reverse=True)) if len(schedule.split()) == _FIELDS else None
    except (CronSimError, StopIteration):
        found = None
    if found is None:
        raise CanariError(
            f"{schedule!r} is no schedule: write minute, hour, day, month and weekday as cron does, in UTC, such as "
            "'7 * * * *' or '30 3 * * 1-5'"
        )
    return found


def window_key(kind: JobKind, window: datetime) -> str:
    """The key under which the job of a window is asked for: ``evaluate:2026-11-21T23:07Z``."""
    return f"{kind}:{window.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
