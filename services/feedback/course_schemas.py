"""What goes over the wire about the course of a rollout, with examples."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from canari.observations import Metric
from canari.store.courses import Replayed, View
from services.feedback.judgement_schemas import JUDGEMENT, JudgementOut
from services.feedback.rollout_schemas import ROLLOUT, RolloutRow

_POINT: JsonDict = {
    "at": 1795344600000,
    "step": 1,
    "low": 0.0544,
    "high": 0.2178,
    "difference": 0.131,
    "stable_n": 310,
    "stable_bad": 50,
    "canary_n": 102,
    "canary_bad": 30,
}
_SEQUENCE: JsonDict = {"metric": "satisfaction", "margin": 0.05, "required": True, "points": [_POINT]}
_COMPARED: JsonDict = {
    "id": 31,
    "at": 1795344600000,
    "action": "rolled_back",
    "actor": "controller",
    "recorded": "roll_back",
    "recomputed": "roll_back",
    "same": True,
    "why": None,
}


class PointOut(BaseModel):
    """What was known of a metric at a moment: totals so far, and the difference of the rates of bad outcomes."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _POINT})

    at: int = Field(description="In epoch milliseconds.")
    step: int
    low: float = Field(description="The least that canary − stable may be.")
    high: float = Field(description="The most; both hold at all points together, with confidence 1 − alpha.")
    difference: float | None = Field(description="The plain estimate, batch by batch; null before there is any.")
    stable_n: int
    stable_bad: int
    canary_n: int
    canary_bad: int


class SequenceOut(BaseModel):
    """A metric's confidence sequence."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _SEQUENCE})

    metric: Metric
    margin: float = Field(description="How much worse than stable still counts as no worse.")
    required: bool = Field(description="Whether a promotion waits for it.")
    points: list[PointOut] = Field(description="In order of time; some 200 at most.")


class CourseOut(BaseModel):
    """The course of a rollout so far."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "rollout": ROLLOUT,
                "steps": [5, 25, 50],
                "judgement": JUDGEMENT,
                "tick": 1795344600000,
                "metrics": [_SEQUENCE],
            }
        },
    )

    rollout: RolloutRow
    steps: list[Literal["shadow"] | int] = Field(description="Empty where it is steered by hand.")
    judgement: JudgementOut | None = Field(description="Null before it is judged for the first time.")
    tick: int | None = Field(description="The newest look that found something, in epoch milliseconds.")
    metrics: list[SequenceOut] = Field(description="Those that are judged.")

    @classmethod
    def of(cls, view: View) -> CourseOut:
        """From what the store holds."""
        return cls.model_validate(view)


class ComparedOut(BaseModel):
    """A decision beside what its evidence leads to today."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _COMPARED})

    id: int | None = Field(
        description="The decision; null for a look at which nothing was decided, and might have been."
    )
    at: int = Field(description="In epoch milliseconds.")
    action: str | None
    actor: str | None
    recorded: str | None = Field(description="The verdict as it was recorded; null where a person decided.")
    recomputed: str | None
    same: bool
    why: str | None = Field(description="What differs, or what one ought to know.")


class ReplayOut(BaseModel):
    """A rollout, judged again."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"example": {"rollout": 7, "looks": 5214, "same": True, "compared": [_COMPARED]}},
    )

    rollout: int
    looks: int = Field(description="How many looks found something.")
    same: bool = Field(description="Whether all of it is as it was recorded.")
    compared: list[ComparedOut]

    @classmethod
    def of(cls, replayed: Replayed) -> ReplayOut:
        """From what the store found."""
        return cls.model_validate(replayed)
