"""What a specification's `canary` part asks for: the rule, and the metrics with the method that each is tested by."""

from __future__ import annotations

from canari.observations import Metric
from canari.policy.decide import Rule
from canari.spec_canary import Canary, Margin
from canari.stats import RARE, VOTES, Method


def rule_of(rules: Canary) -> Rule:
    """The rule that a specification asks for."""
    return Rule(
        alpha=rules.alpha,
        bake=rules.bake.total_seconds(),
        deadline=rules.deadline.total_seconds(),
        on_deadline=rules.on_deadline,
    )


def judged(rules: Canary) -> dict[Metric, tuple[Margin, Method]]:
    """The metrics that are judged, each with its margin and the method of its tests."""
    given = rules.metrics
    found: dict[Metric, tuple[Margin | None, Method]] = {
        Metric.ERRORS: (given.errors, RARE),
        Metric.THROTTLED: (given.throttled, RARE),
        Metric.LATENCY: (given.latency, RARE),
        Metric.SATISFACTION: (given.satisfaction, VOTES),
        Metric.ACCURACY: (given.accuracy, VOTES),
    }
    return {metric: (margin, method) for metric, (margin, method) in found.items() if margin is not None}
