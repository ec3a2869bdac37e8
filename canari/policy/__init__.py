"""What becomes of a rollout: verdicts from the evidence, each with its sentence, and the guards before them. Pure."""

from __future__ import annotations

from canari.policy.decide import Judgement, Rule, Verdict, decide, verdicts
from canari.policy.guards import participation_differs, split_differs
from canari.policy.plan import Expectation, expected_duration
from canari.policy.rules import judged, rule_of
from canari.policy.standing import Standing
from canari.policy.trial import Course, Trial, figures
from canari.policy.unhappy import unhappy_sentence, users_unhappy

__all__ = [
    "Course",
    "Expectation",
    "Judgement",
    "Rule",
    "Standing",
    "Trial",
    "Verdict",
    "decide",
    "expected_duration",
    "figures",
    "judged",
    "participation_differs",
    "rule_of",
    "split_differs",
    "unhappy_sentence",
    "users_unhappy",
    "verdicts",
]
