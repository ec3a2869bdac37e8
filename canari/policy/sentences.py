"""Verdicts in words that a person understands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from canari.policy.standing import Standing


@dataclass(frozen=True, slots=True)
class _Words:
    """A metric's title, what is counted, and what is said of the share that is told: the good ones, or the bad."""

    title: str
    counted: str
    said: str
    good: bool = False


_WORDS = {
    "errors": _Words("errors", "requests", "failed"),
    "throttled": _Words("refusals", "requests", "refused as too many"),
    "latency": _Words("latency", "requests", "over the budget"),
    "satisfaction": _Words("feedback", "votes", "right", good=True),
    "accuracy": _Words("accuracy", "labels", "right", good=True),
}


_DAY = 86400
_UNITS = (
    ("years", 365 * _DAY),
    ("months", 30.4 * _DAY),
    ("weeks", 7 * _DAY),
    ("days", _DAY),
    ("hours", 3600),
    ("minutes", 60),
)


def _words(metric: str) -> _Words:
    return _WORDS.get(metric, _Words(metric, "outcomes", "bad"))


def harm(at: Standing) -> str:
    """Why a canary is rolled back."""
    words = _words(at.metric)
    shares = [
        (total - bad if words.good else bad) / total
        for total, bad in ((at.canary_n, at.canary_bad), (at.stable_n, at.stable_bad))
    ]
    return (
        f"{words.title}: {_percent(shares[0])} {words.said} against {_percent(shares[1])}, worse by more than "
        f"{points(at.margin)} with {confidence(at.log_harm)} confidence after {_seen(at)}"
    )


def no_worse(shown: Sequence[Standing]) -> str:
    """Why a step is over."""
    told = (
        f"{_words(at.metric).title} ({confidence(at.log_no_worse)} confidence that it is less than "
        f"{points(at.margin)} worse, after {_seen(at)})"
        for at in shown
    )
    return "no worse than stable: " + ", ".join(told)


def waiting(at: Standing, bar: float) -> str:
    """What a rollout waits for."""
    words = _words(at.metric)
    if at.mistrust is not None:
        return f"{words.title}: {at.mistrust}"
    if not at.heard:
        least = min(at.stable_n, at.canary_n)
        arm = "the canary" if at.canary_n <= at.stable_n else "stable"
        return f"{words.title}: {least:,} {words.counted} for {arm} so far, {at.minimum:,} are the least that counts"
    return (
        f"{words.title}: {confidence(at.log_no_worse)} confidence that it is less than {points(at.margin)} worse, "
        f"{confidence(math.log(bar))} is needed, after {_seen(at)}"
    )


def baking(seconds: float) -> str:
    """A step that has shown enough and has to last a while yet."""
    return f"no worse so far; this step bakes for {lasting(seconds)} more"


def gone(version: int, seconds: float) -> str:
    """Why a version that does not answer is rolled back."""
    return f"version {version} does not answer, or never for long, for {lasting(seconds)} now"


def deadline(outcome: str, still: str) -> str:
    """What becomes of a rollout that has no verdict at its deadline."""
    done = {"hold": "held", "promote": "promoted", "rollback": "rolled back"}[outcome]
    return f"the deadline has passed without a verdict, and the rollout is {done} ({still})"


def share(value: float) -> str:
    """A share of one, in percent."""
    return f"{100 * value:.3g} %"


def points(share: float) -> str:
    """A difference of rates, in points of a percent."""
    value = 100 * share
    return f"{value:.3g} point" + ("" if value == 1 else "s")


def confidence(log_evidence: float) -> str:
    """1 - 1/E, rounded down: what is told is never more than what is known."""
    value = -math.expm1(-log_evidence) if log_evidence > 0 else 0.0
    return "over 99.9 %" if value > 0.999 else f"{math.floor(1000 * value) / 10:.3g} %"


def _percent(share: float) -> str:
    value = 100 * share
    return f"{value:.0f} %" if 10 <= value <= 90 or value in (0, 100) else f"{value:.2f} %"


def _seen(at: Standing) -> str:
    return f"{at.stable_n + at.canary_n:,} {_words(at.metric).counted}"


def lasting(seconds: float) -> str:
    """A time, in the unit that a person would choose."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
