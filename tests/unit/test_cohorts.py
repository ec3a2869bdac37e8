from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from canari.bursts import Pace
from canari.cohorts import SAFE_LAG, Heard, due, holes, weigh
from canari.observations import Evidence, FaultKind, Metric

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CALM = {1: Pace(1000, 10_000, 864_000), 2: Pace(100, 1000, 864_000)}


@pytest.mark.parametrize(
    ("age", "begun", "minutes"),
    [
        (timedelta(hours=1), 1.5 * MINUTE, 1.5),
        (timedelta(hours=1), 0.9 * MINUTE, None),
        (timedelta(hours=1), 300 * MINUTE, 10),
        (timedelta(hours=1), -300 * MINUTE, None),
        (timedelta(seconds=20), 0.1 * MINUTE, 0.1),
        (timedelta(seconds=20), 0.03 * MINUTE, None),
    ],
)
def test_a_cohort_is_due_once_it_is_old_and_long_enough(
    age: timedelta, begun: timedelta, minutes: float | None
) -> None:
    oldest = NOW - age - SAFE_LAG - begun
    assert due(oldest, NOW, age) == (None if minutes is None else oldest + minutes * MINUTE)


def test_votes_and_participation_are_counted_by_version_and_step() -> None:
    heard = [Heard(1, 0, asked=950, voted=30, votes=3, wrong=1, busiest=2), Heard(2, 0, 50, 0, 0, 0, 0)]
    weighed = weigh(heard, CALM, rollout=7, versions=(1, 2), seconds=3600, tick=5)
    assert weighed.evidence == (
        Evidence(7, 5, 0, 1, Metric.PARTICIPATION, 950, 920),
        Evidence(7, 5, 0, 1, Metric.SATISFACTION, 3, 1),
        Evidence(7, 5, 0, 2, Metric.PARTICIPATION, 50, 50),
    )
    assert weighed.faults == ()
    assert (weighed.paces[1].votes, weighed.paces[2].votes) == (1003, 100)
    assert weighed.paces[2].seconds == 864_000 + 3600


def test_a_burst_on_one_version_leaves_the_votes_on_both_out() -> None:
    heard = [Heard(1, 0, 950, 3, 3, 1, 1), Heard(2, 0, 50, 45, votes=45, wrong=45, busiest=1)]
    weighed = weigh(heard, CALM, rollout=7, versions=(1, 2), seconds=60, tick=5)
    assert weighed.evidence == ()
    assert [fault.kind for fault in weighed.faults] == [FaultKind.BURST]
    assert "version 2" in weighed.faults[0].sentence


def test_one_busy_person_takes_nothing_away() -> None:
    weighed = weigh([Heard(2, 0, 50, 40, 1, 1, 40)], CALM, rollout=7, versions=(1, 2), seconds=60, tick=5)
    assert [row.n for row in weighed.evidence] == [50, 1]
    assert [fault.kind for fault in weighed.faults] == [FaultKind.REPEATED]


def test_a_hole_is_told_when_it_grows_and_only_of_versions_known_before() -> None:
    assert holes({}, {1: 7, 2: 3}) == ()
    assert holes({1: 7, 2: 3}, {1: 7, 2: 1}) == ()
    grown = holes({1: 7, 2: 3}, {1: 8, 2: 1003})
    assert {fault.kind for fault in grown} == {FaultKind.HOLE}
    assert [fault.sentence for fault in grown] == [
        "1 prediction of version 1 was never recorded: a vote on it cannot count",
        "1,000 predictions of version 2 were never recorded: votes on them cannot count",
    ]
