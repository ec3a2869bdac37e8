"""How long a rollout will take, told at its start."""

from __future__ import annotations

from collections.abc import Sequence

from canari.policy.decide import Rule, bar
from canari.policy.sentences import counted, lasting
from canari.stats import Method, outcomes_to_no_worse


def expected_seconds(
    rule: Rule, weights: Sequence[int], *, rate: float, margin: float, method: Method, per_second: float
) -> float:
    """The time, on average, until a canary as good as stable is promoted by this metric; inf where it never is.

    `weights` are the steps' percentages, `rate` stable's rate of bad outcomes, `per_second` both arms' outcomes.
    """
    if per_second <= 0:
        return float("inf")
    return sum(
        max(
            rule.bake,
            outcomes_to_no_worse(rate, margin, weight / 100, method, bar(rule, last_step=place == len(weights) - 1))
            / per_second,
        )
        for place, weight in enumerate(weights)
    )


def plan_sentence(rule: Rule, metric: str, per_second: float, seconds: float) -> str:
    """What a rollout may expect, and whether its deadline leaves it the time."""
    per_day = f"at {86400 * per_second:,.0f} {counted(metric)} a day"
    if seconds == float("inf"):
        return f"{per_day} there will be no verdict: look at the margin, or wait for outcomes"
    told = f"{per_day} a verdict takes about {lasting(seconds)}"
    if seconds > rule.deadline:
        return (
            f"{told}, and the deadline is {lasting(rule.deadline)}: give it more time, a wider margin or more traffic"
        )
    return f"{told}; the deadline is {lasting(rule.deadline)}"
