"""How long a rollout will take to a verdict at today's traffic.

A step ends when each required metric's evidence of "no worse" has reached the step's bar; `canari.stats` tells how many
outcomes that takes between two equal arms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from canari.observations import Metric
from canari.policy.decide import Rule, bar
from canari.policy.rules import judged, rule_of
from canari.policy.sentences import lasting
from canari.spec_canary import Canary, LabelMargin, Margin, VoteMargin
from canari.stats import VOTES, Method, outcomes_to_no_worse

# Shares of bad outcomes that a service is taken to have where nothing is known of its own.
_FAILED, _SLOW, _WRONG = 0.001, 0.02, 0.2
# How many votes that assumption weighs as much as.
_PRIOR = 20
_BAKE = "bake"
_DAY = 86400.0
_LONGEST = 3650 * _DAY


@dataclass(frozen=True, slots=True)
class Expectation:
    """When a verdict is to be expected: `days` from the first step on, None where there will be none.

    `slowest` is the metric that takes longest, or `bake`; `sentence` tells all of it to people.
    """

    days: float | None
    slowest: str
    requests_per_day: float
    votes_per_day: float
    sentence: str


def expected_duration(
    canary: Canary, *, requests_per_day: float, votes_per_day: float, satisfaction: float | None = None
) -> Expectation:
    """How long a canary that is as good as stable takes through all its steps, on average.

    Both rates are the model's, over both arms; labels are taken to come as votes do. `satisfaction` is the share of the
    votes that say right; the fewer they are, the less is made of it.
    """
    rule = rule_of(canary)
    paces = list(_paces(canary, requests_per_day, votes_per_day, satisfaction))
    seconds, waits = 0.0, {_BAKE: rule.bake * len(canary.steps)}
    for place, step in enumerate(canary.steps, 1):
        evidence = bar(rule, last_step=place == len(canary.steps))
        needs = {pace.metric.value: pace.seconds(step, evidence) for pace in paces}
        waits |= {name: waits.get(name, 0.0) + need for name, need in needs.items()}
        seconds += max([rule.bake, *needs.values()])
    slowest = max(waits, key=lambda name: waits[name])
    today = f"{requests_per_day:,.0f} requests and {votes_per_day:,.0f} votes"
    return Expectation(
        days=seconds / _DAY if seconds <= _LONGEST else None,
        slowest=slowest,
        requests_per_day=requests_per_day,
        votes_per_day=votes_per_day,
        sentence=f"At today's {today} a day {_told(rule, seconds, slowest)}.",
    )


@dataclass(frozen=True, slots=True)
class _Pace:
    """How a metric comes to its evidence: stable's rate of bad outcomes, and how many outcomes both arms have a day."""

    metric: Metric
    method: Method
    rules: Margin
    rate: float
    per_day: float

    def seconds(self, step: str | int, evidence: float) -> float:
        """What a step waits for this metric; 0 where it does not."""
        if isinstance(step, int):
            share, per_day, waits = step / 100, self.per_day, self.rules.required
        else:
            # A shadow's requests are copies: it has as many as stable, and is judged by its errors alone.
            share, per_day, waits = 0.5, 2 * self.per_day, self.metric is Metric.ERRORS
        if not waits:
            return 0.0
        if per_day <= 0:
            return inf
        needed = outcomes_to_no_worse(self.rate, self.rules.margin, share, self.method, evidence)
        age = self.rules.age if isinstance(self.rules, VoteMargin | LabelMargin) else timedelta()
        return _DAY * needed / per_day + age.total_seconds()


def _paces(canary: Canary, requests: float, votes: float, satisfaction: float | None) -> Iterator[_Pace]:
    unhappy = votes * (_WRONG if satisfaction is None else 1 - satisfaction)
    wrong = (unhappy + _WRONG * _PRIOR) / (votes + _PRIOR)
    rates = {Metric.LATENCY: _SLOW, Metric.SATISFACTION: wrong, Metric.ACCURACY: wrong}
    for metric, (margin, method) in judged(canary).items():
        yield _Pace(metric, method, margin, rates.get(metric, _FAILED), votes if method is VOTES else requests)


def _told(rule: Rule, seconds: float, slowest: str) -> str:
    deadline = f"the deadline is {lasting(rule.deadline)} after its start"
    if seconds > _LONGEST:
        return f"there will be no verdict, since {slowest} would take for ever; {deadline}"
    told = f"a verdict takes about {lasting(seconds)}, of which {slowest} is the slowest part"
    if seconds > rule.deadline:
        return f"{told}, and {deadline}: give it more time, a wider margin or larger steps"
    return f"{told}; {deadline}"
