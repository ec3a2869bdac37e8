"""The tables, as the newest migration leaves them (a test holds the two against each other)."""

from __future__ import annotations

from canari.store.tables.access import accounts, tokens
from canari.store.tables.base import metadata
from canari.store.tables.judging import (
    decisions,
    evidence,
    evidence_faults,
    evidence_voters,
    judge_state,
    looks,
    rollouts,
)
from canari.store.tables.keeping import erased_samples, erasures, inputs
from canari.store.tables.learning import evaluations, hour_marks, hours, input_references, jobs, manifests, samples
from canari.store.tables.serving import feedback, models, predictions, recorders, specs, versions

__all__ = [
    "accounts",
    "decisions",
    "erased_samples",
    "erasures",
    "evaluations",
    "evidence",
    "evidence_faults",
    "evidence_voters",
    "feedback",
    "hour_marks",
    "hours",
    "input_references",
    "inputs",
    "jobs",
    "judge_state",
    "looks",
    "manifests",
    "metadata",
    "models",
    "predictions",
    "recorders",
    "rollouts",
    "samples",
    "specs",
    "tokens",
    "versions",
]
