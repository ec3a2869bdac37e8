"""Votes, labels and shadows' answers by the requests they are about, each looked at once at a fixed age. Pure.

What comes late may depend on what it says: the unhappy vote sooner, a wrong answer is found out later. Counted by the
time of its coming, such evidence leans against whichever version got its traffic last (in simulation two equal versions
were told apart in nearly every rollout whose shares changed). Counted by cohorts of requests, all looked at when they
are equally old, it does not: whatever came later than that is late for both versions alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from canari.bursts import Pace, Window, watch
from canari.observations import Evidence, Fault, FaultKind, Metric

# Beyond its age a cohort waits until whatever came in time can be seen: the store ends statements after 30 s, and
# recorders try to ship again at least every 30 s.
SAFE_LAG = timedelta(seconds=35)
_SHORTEST = timedelta(minutes=1)
_LONGEST = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a cohort of requests to one arm brought.

    Of `asked` answered requests, `voted` have a vote; `votes` of these are people's first on the version, and `wrong`
    of these say wrong. `busiest` is how often one person voted on the version.
    """

    version: int
    step: int
    asked: int
    voted: int
    votes: int
    wrong: int
    busiest: int


@dataclass(frozen=True, slots=True)
class Weighed:
    """A cohort's evidence, what is to be told, and the pace of votes on each version after it."""

    evidence: tuple[Evidence, ...]
    faults: tuple[Fault, ...]
    paces: Mapping[int, Pace]


def due(read_until: datetime, now: datetime, age: timedelta) -> datetime | None:
    """The end of the cohort, begun at `read_until`, that is old enough at `now` to be looked at; None where none is.

    A cohort spans a minute at least (a tenth of a shorter age), so that looks are cheap, and ten at most, so that one
    look after a long absence is no dearer than another.
    """
    end = now - age - SAFE_LAG
    if end - read_until < min(_SHORTEST, age / 10):
        return None
    return min(end, read_until + _LONGEST)


def holes(before: Mapping[int, int], after: Mapping[int, int]) -> tuple[Fault, ...]:
    """What is to be told of the predictions of each version that were made and are not recorded, then and now.

    What came late after all fills a hole, and one that was there before the rollout is not its own: only growth tells.
    """
    grown = {version: count - before[version] for version, count in sorted(after.items()) if version in before}
    return tuple(Fault(FaultKind.HOLE, _lost(version, count)) for version, count in grown.items() if count > 0)


def _lost(version: int, count: int) -> str:
    if count == 1:
        return f"1 prediction of version {version} was never recorded: a vote on it cannot count"
    return f"{count:,} predictions of version {version} were never recorded: votes on them cannot count"


def weigh(
    heard: Iterable[Heard],
    paces: Mapping[int, Pace],
    *,
    rollout: int,
    versions: Iterable[int],
    seconds: float,
    tick: int,
) -> Weighed:
    """The evidence of what a cohort of `seconds` brought on a rollout's `versions`.

    Where votes came in a burst on one version, those on both are left out: how many there are decides that, never what
    they say.
    """
    arms = list(heard)
    faults, after = [], {}
    for version in sorted(versions):
        own = [arm for arm in arms if arm.version == version]
        window = Window(
            votes=sum(arm.votes for arm in own),
            asked=sum(arm.asked for arm in own),
            seconds=seconds,
            busiest=max((arm.busiest for arm in own), default=0),
        )
        after[version], fault = watch(paces.get(version, Pace()), window, version)
        if fault is not None:
            faults.append(fault)
    evidence = []
    if not any(fault.kind is FaultKind.BURST for fault in faults):
        for arm in arms:
            figures = {
                Metric.PARTICIPATION: (arm.asked, arm.asked - arm.voted),
                Metric.SATISFACTION: (arm.votes, arm.wrong),
            }
            evidence += [
                Evidence(rollout, tick, arm.step, arm.version, metric, n, bad)
                for metric, (n, bad) in figures.items()
                if n
            ]
    return Weighed(tuple(evidence), tuple(faults), after)
