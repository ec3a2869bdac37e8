"""What becomes of a rollout: verdicts from the evidence, each with its sentence, and the guards before them. Pure."""

from __future__ import annotations

from canari.policy.decide import Judgement, Rule, Verdict, decide, verdicts
from canari.policy.guards import clock_went_back, counter_increase, participation_differs, split_differs
from canari.policy.plan import expected_seconds, plan_sentence
from canari.policy.standing import Standing
from canari.policy.unhappy import unhappy_sentence, users_unhappy

__all__ = [
    "Judgement",
    "Rule",
    "Standing",
    "Verdict",
    "clock_went_back",
    "counter_increase",
    "decide",
    "expected_seconds",
    "participation_differs",
    "plan_sentence",
    "split_differs",
    "unhappy_sentence",
    "users_unhappy",
    "verdicts",
]
