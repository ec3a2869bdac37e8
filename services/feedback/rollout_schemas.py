"""What goes over the wire about rollouts, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict, JsonValue

from canari.policy import Expectation
from canari.store.rollout_views import Detail
from canari.types import RolloutMode, RolloutState
from services.feedback.judgement_schemas import JUDGEMENT, JudgementOut
from services.feedback.schemas import NO_NUL

_Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NO_NUL)]
_Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
_MOMENTS: JsonDict = {
    "created_at": "2026-11-21T09:00:00Z",
    "step_started_at": "2026-11-21T10:30:00Z",
    "deadline_at": "2026-12-05T09:00:00Z",
    "paused_at": None,
    "settled_at": None,
}
_OPEN: JsonDict = {"state": "open", "mode": "judged", "stable": 1, "canary": 2, "weight": 25}
_EXPECTED: JsonDict = {
    "days": 36.8,
    "slowest": "satisfaction",
    "requests_per_day": 4200,
    "votes_per_day": 310,
    "sentence": "At today's 4,200 requests and 310 votes a day a verdict takes about 5 weeks, "
    "of which satisfaction is the slowest part, and the deadline is 2 weeks after its start: give it more time, a "
    "wider margin or larger steps.",
}
ROLLOUT: JsonDict = {
    "id": 7,
    **_OPEN,
    "step": 1,
    "proposed_by": "account:ada",
    "reason": "trained on winter photos",
    **_MOMENTS,
}
_DECISION: JsonDict = {
    "id": 31,
    "rollout": 7,
    "canary": 2,
    "state": "open",
    "action": "advance",
    "weight": 25,
    "reason": "errors and satisfaction are no worse so far",
    "actor": "controller",
    "created_at": "2026-11-21T10:30:00Z",
}
_EVIDENCE: list[JsonValue] = [
    {"step": 0, "version": 1, "metric": "errors", "n": 3991, "bad": 4},
    {"step": 0, "version": 2, "metric": "errors", "n": 209, "bad": 0},
]
_DISAGREEMENT: JsonDict = {
    "request_id": "6e8f2d52-0f3b-4b52-9b0e-1d9d6c1f7a55",
    "made_at": "2026-11-21T09:12:07.312Z",
    "stable": {"prediction_id": "019aa5c2-7d30-7b41-a3a2-0c5d2f9f1e01", "label": "cat", "score": 0.81},
    "shadow": {"prediction_id": "019aa5c2-7d34-7c02-8f11-9be2f3a4c7d2", "label": "dog", "score": 0.64},
    "input_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


class RolloutIn(BaseModel):
    """The version that is to be judged, or the share of the traffic that it is to get by hand."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"version": 2, "reason": "trained on winter photos"}, {"version": 2, "weight": 20}]
        },
    )

    version: _Number = Field(description="A ready version's number.")
    weight: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Percent of the traffic, by hand; 100 makes it stable. Without it the version is judged.",
    )
    reason: _Reason | None = Field(default=None, description="Why it is to be judged, for the history.")

    @model_validator(mode="after")
    def _reason_fits(self) -> RolloutIn:
        if self.weight is not None and self.reason is not None:
            msg = "`reason` tells why a version is to be judged: leave it out, or `weight`"
            raise ValueError(msg)
        return self


class ReasonIn(BaseModel):
    """Why, for the history, and which rollout is meant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "It takes dogs in the snow for cats.", "rollout": 7}]},
    )

    reason: _Reason = "by hand"
    rollout: _Number | None = Field(default=None, description="No other rollout than this one is touched.")


class ExpectedOut(BaseModel):
    """How long a rollout will take, if the coming days have the traffic of the last one."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _EXPECTED})

    days: float | None = Field(description="From the first step to the last; null where it would take for ever.")
    slowest: str = Field(description="The metric that takes longest, or `bake`.")
    requests_per_day: float
    votes_per_day: float
    sentence: str = Field(description="The same for people.")


class RolloutOut(BaseModel):
    """How a model's traffic is to be divided from now on; the controller makes it so within seconds."""

    model_config = ConfigDict(json_schema_extra={"example": {"rollout": 7, **_OPEN, "expected": _EXPECTED}})

    rollout: int | None = Field(
        description="The rollout that was opened, queued, moved or settled; null where none was."
    )
    state: RolloutState | None
    mode: RolloutMode | None = Field(description="judged, or manual: steered by hand.")
    stable: int | None = Field(description="The model's stable version.")
    canary: int | None = Field(description="The version on trial; null where none is.")
    weight: int = Field(description="Percent of the traffic that the version on trial gets.")
    expected: ExpectedOut | None = Field(default=None, description="Of a judged rollout that is not settled.")


class RolloutRow(BaseModel):
    """A rollout."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": ROLLOUT})

    id: int
    state: RolloutState
    mode: RolloutMode
    stable: int | None = Field(description="The version it is compared with; null for a model's first.")
    canary: int
    step: int = Field(description="The place in its steps, from 0.")
    weight: int = Field(description="Percent of the traffic; 0 is a shadow while it is open.")
    proposed_by: str | None
    reason: str | None = Field(description="Why it was proposed.")
    created_at: datetime
    step_started_at: datetime
    deadline_at: datetime | None
    paused_at: datetime | None
    settled_at: datetime | None


class DecisionOut(BaseModel):
    """One decision about a rollout."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _DECISION})

    id: int
    rollout: int
    canary: int = Field(description="The version that was rolled out.")
    state: RolloutState = Field(description="The rollout's state now.")
    action: str
    weight: int
    reason: str
    actor: str
    created_at: datetime
    evidence_tick: int | None = Field(default=None, description="How far its evidence reached, in epoch milliseconds.")
    verdict: dict[str, Any] | None = Field(default=None, description="The figures it was made on, by metric.")


class History(BaseModel):
    """The newest rollouts, and the newest decisions about them, each newest first."""

    rollouts: list[RolloutRow]
    decisions: list[DecisionOut]


class TotalOut(BaseModel):
    """What was counted of a metric on an arm while a step lasted."""

    model_config = ConfigDict(from_attributes=True)

    step: int
    version: int
    metric: str
    n: int
    bad: int


class RolloutDetail(RolloutRow):
    """A rollout, all that was decided about it, and what was counted."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                **ROLLOUT,
                "steps": [5, 25, 50],
                "decisions": [_DECISION],
                "evidence": _EVIDENCE,
                "expected": _EXPECTED,
                "judgement": JUDGEMENT,
            }
        }
    )

    steps: list[Literal["shadow"] | int] | None = Field(description="Null where it is steered by hand.")
    decisions: list[DecisionOut] = Field(description="From first to last.")
    evidence: list[TotalOut] = Field(description="By metric, step and version.")
    expected: ExpectedOut | None = Field(description="Null once it is settled, and where it is steered by hand.")
    judgement: JudgementOut | None = Field(description="What was last said of it; null before it is judged.")

    @classmethod
    def of(cls, detail: Detail, expected: Expectation | None) -> RolloutDetail:
        """From what the store holds."""
        state = detail.rollout.state
        return cls(
            **RolloutRow.model_validate(detail.rollout).model_dump(),
            steps=list(detail.rules.steps) if detail.rules else None,
            decisions=[
                DecisionOut.model_validate(
                    {name: getattr(made, name) for name in made.__slots__}
                    | {"rollout": detail.rollout.id, "state": state}
                )
                for made in detail.decisions
            ],
            evidence=[TotalOut.model_validate(total) for total in detail.evidence],
            expected=ExpectedOut.model_validate(expected) if expected else None,
            judgement=JudgementOut.model_validate(detail.judgement) if detail.judgement else None,
        )


class SaidOut(BaseModel):
    """What a version answered."""

    model_config = ConfigDict(from_attributes=True)

    prediction_id: UUID
    label: str
    score: float | None


class DisagreementOut(BaseModel):
    """A request that the shadow answered otherwise than the stable version; of several inputs, the first."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _DISAGREEMENT})

    request_id: str
    made_at: datetime
    stable: SaidOut
    shadow: SaidOut
    input_sha256: str | None = Field(description="The input's SHA-256, if it was kept.")


class Disagreements(BaseModel):
    """What a rollout's shadow answered otherwise than the stable version, newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"disagreements": [_DISAGREEMENT]}})

    disagreements: list[DisagreementOut]
