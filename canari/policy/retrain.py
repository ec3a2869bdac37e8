"""When a model is to be trained again, by its specification's triggers, and the sentence that says why. Pure.

Votes and late labels are looked at by two tests at once. One asks whether the stable version was too bad all the time
since it became stable; a version that is just good enough is ever called bad by it with a chance of at most 5 %. The
other finds one that was good for months and is so no more; it is wrong once in ten years of hourly looks, on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from canari.errors import CanariError
from canari.policy.sentences import lasting, share
from canari.policy.unhappy import unhappy_sentence, users_unhappy
from canari.schedule import newest_due
from canari.spec import Satisfaction, Triggers
from canari.stats import VOTES, OneRate, change, wilson

ALPHA = 0.05
HOURS_PER_YEAR = 8766
YEARS_TO_FALSE_ALARM = 10
# While samples come in one after the other, a dataset is not whole yet.
QUIET = timedelta(minutes=1)
_SELF_LABELLING = timedelta(days=1)
_LEAST_RATE = 1e-6


class Trigger(StrEnum):
    """What a model may be trained again for."""

    SATISFACTION = "satisfaction"
    ACCURACY = "accuracy"
    DRIFT = "drift"
    NEW_SAMPLES = "new_samples"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Due:
    """A model is due: what for, and why in a person's words. `since` is when the trouble began, where that is known."""

    trigger: Trigger
    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class HourCounts:
    """What became of the stable version's answers of one hour; see `canari.store.tables.hours`."""

    hour: datetime
    predictions: int
    voted: int
    satisfied: int
    labelled: int
    correct: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a look sees of a model and its stable version.

    `hours` are those since it became stable, in their order. `held_out` is how many of the evaluation set it has right,
    and of how many, `drift` the share of measures that moved: both by the newest evaluation, None where it has none.
    `new_samples` may be learned from and are not part of stable's manifest; the last of them came at `newest_sample`.
    `asked_at` is when training was last asked for, `trained_at` when that made a version; `waiting` is a job of it that
    is not over, `on_trial` a version whose rollout is open or queued.
    """

    model: str
    stable: int
    stable_since: datetime
    hours: Sequence[HourCounts] = ()
    held_out: tuple[int, int] | None = None
    drift: float | None = None
    new_samples: int = 0
    newest_sample: datetime | None = None
    asked_at: datetime | None = None
    trained_at: datetime | None = None
    waiting: int | None = None
    on_trial: int | None = None


def should_retrain(triggers: Triggers, facts: Facts, now: datetime) -> Due | None:
    """The first trigger that speaks; None where none does. `now` is aware. Raises CanariError for a bad schedule."""
    checks: tuple[Callable[[Triggers, Facts, datetime], Due | None], ...]
    checks = (_unhappy, _inaccurate, _drifted, _enough_new, _scheduled)
    return next((due for check in checks if (due := check(triggers, facts, now)) is not None), None)


def not_now(facts: Facts, now: datetime, *, self_labelling: bool = False) -> str | None:
    """Why a model that is due has to wait for a while; None where it need not.

    One that learns from its own answers has new data all the time: it is trained once a day at most.
    """
    if facts.waiting is not None:
        return f"job {facts.waiting} comes first"
    if facts.on_trial is not None:
        return f"version {facts.on_trial} is on trial: its outcome comes first"
    if facts.newest_sample is not None and facts.newest_sample > now - QUIET:
        return "samples are still coming in: it waits until a minute has passed without one"
    if self_labelling and facts.trained_at is not None and facts.trained_at > now - _SELF_LABELLING:
        return "it learns from its own answers, and so at most once a day"
    return None


def _unhappy(triggers: Triggers, facts: Facts, _now: datetime) -> Due | None:
    rule = triggers.satisfaction
    if rule is None or not facts.hours:
        return None
    asked, votes, right = _counts(facts, "predictions", "voted", "satisfied")
    whole = OneRate(_wrong(rule.below), VOTES)
    whole.update(votes.sum(), votes.sum() - right.sum())
    log_worse, n = float(whole.log_worse), int(votes.sum())
    if users_unhappy(log_worse, n, asked.sum(), participation=rule.participation, alpha=ALPHA):
        sentence = unhappy_sentence(rule.below, n, int(right.sum()), int(asked.sum()), log_worse)
        return Due(Trigger.SATISFACTION, sentence, facts.stable_since)
    return _lately_unhappy(rule, facts, asked, votes, right)


def _lately_unhappy(rule: Satisfaction, facts: Facts, asked: _Counts, votes: _Counts, right: _Counts) -> Due | None:
    found = _became_bad(rule.below, votes, right)
    if found is None:
        return None
    first, years = found
    n, predictions = int(votes[first:].sum()), int(asked[first:].sum())
    if not n > rule.participation * predictions:
        return None
    return Due(
        Trigger.SATISFACTION,
        f"feedback since {_moment(facts.hours[first].hour)}: {share(right[first:].sum() / n)} right of {n:,} votes on "
        f"{predictions:,} predictions, less than {share(rule.below)}: by chance once in {years}",
        facts.hours[first].hour,
    )


def _inaccurate(triggers: Triggers, facts: Facts, _now: datetime) -> Due | None:
    least = triggers.accuracy_below
    if least is None:
        return None
    if facts.held_out is not None and (high := wilson(*facts.held_out)[1]) < least:
        good, n = facts.held_out
        why = f"{share(good / n)} of {n:,} held-out samples, {share(high)} at best, under {share(least)}"
        return Due(Trigger.ACCURACY, f"accuracy: {why}")
    labels, right = _counts(facts, "labelled", "correct")
    first = _bad_since(least, labels, right)
    if first is None:
        return None
    since, n = facts.hours[first].hour, int(labels[first:].sum())
    why = f"{share(right[first:].sum() / n)} of {n:,} late labels since {_moment(since)}, under {share(least)}"
    return Due(Trigger.ACCURACY, f"accuracy: {why}", since)


def _drifted(triggers: Triggers, facts: Facts, _now: datetime) -> Due | None:
    if triggers.drift is None or facts.drift is None or facts.drift < triggers.drift or not facts.drift:
        return None
    sentence = (
        f"drift: {share(facts.drift)} of the inputs' measures moved, {share(triggers.drift)} or more are too many"
    )
    return Due(Trigger.DRIFT, sentence)


def _enough_new(triggers: Triggers, facts: Facts, _now: datetime) -> Due | None:
    if triggers.new_samples is None or facts.new_samples < triggers.new_samples:
        return None
    sentence = (
        f"{facts.new_samples:,} new samples since version {facts.stable}, which is {triggers.new_samples:,} or more"
    )
    return Due(Trigger.NEW_SAMPLES, sentence)


def _scheduled(triggers: Triggers, facts: Facts, now: datetime) -> Due | None:
    if triggers.schedule is None:
        return None
    try:
        newest = newest_due(triggers.schedule, now)
    except CanariError as error:
        raise CanariError(f"{facts.model}: triggers.schedule: {error}") from None
    last = facts.asked_at or facts.stable_since
    if newest <= last:
        return None
    since = lasting((now - last).total_seconds())
    return Due(Trigger.SCHEDULE, f"schedule {triggers.schedule}: due at {_moment(newest)}, last done {since} ago")


_Counts = np.ndarray[tuple[int], np.dtype[np.int64]]


def _counts(facts: Facts, *names: str) -> tuple[_Counts, ...]:
    return tuple(np.array([getattr(hour, name) for hour in facts.hours], np.int64) for name in names)


def _became_bad(least: float, n: _Counts, right: _Counts) -> tuple[int, str] | None:
    """The hour since which too few are right, and how long such evidence is waited for in vain; None without any."""
    found = change(_wrong(least), VOTES, n, n - right)
    if found is None or found.log_evidence < math.log(YEARS_TO_FALSE_ALARM * HOURS_PER_YEAR):
        return None
    years = math.exp(min(found.log_evidence, 30.0)) / HOURS_PER_YEAR
    return found.first, f"{years:,.0f} years" if years < 1000 else "over 1,000 years"


def _bad_since(least: float, n: _Counts, right: _Counts) -> int | None:
    """The hour since which too few are right by either test."""
    whole = OneRate(_wrong(least), VOTES)
    whole.update(n.sum(), n.sum() - right.sum())
    if float(whole.log_worse) >= math.log(1 / ALPHA):
        return 0
    found = _became_bad(least, n, right)
    return None if found is None else found[0]


def _wrong(least_right: float) -> float:
    """The share of wrong outcomes that is still borne."""
    return min(max(1 - least_right, _LEAST_RATE), 1 - _LEAST_RATE)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
