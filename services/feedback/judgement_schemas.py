"""What goes over the wire about judgements: what was last said of a rollout, and the figures that it follows from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from canari.observations import Metric

STANDING: JsonDict = {
    "metric": "satisfaction",
    "margin": 0.05,
    "stable_n": 310,
    "stable_bad": 50,
    "canary_n": 102,
    "canary_bad": 30,
    "log_harm": 3.1,
    "log_no_worse": -4.2,
    "required": True,
    "minimum": 10,
    "mistrust": None,
}
JUDGEMENT: JsonDict = {
    "at": 1795344600000,
    "verdict": "roll_back",
    "sentence": "feedback: 71 % right against 84 %, worse by more than 5 points with 95.5 % confidence after 412 votes",
    "metric": "satisfaction",
    "barred": False,
    "step": 1,
    "step_seconds": 5400.0,
    "open_seconds": 7200.0,
    "paused": False,
    "promoted": False,
    "metrics": {"satisfaction": STANDING},
}


class StandingOut(BaseModel):
    """Where a metric stands: totals of the rollout, and the natural logarithms of the evidence."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": STANDING})

    metric: Metric
    margin: float
    stable_n: int
    stable_bad: int
    canary_n: int
    canary_bad: int
    log_harm: float = Field(description="Evidence that the canary is worse than stable by more than the margin.")
    log_no_worse: float = Field(description="Evidence, of this step, that it is not.")
    required: bool = Field(description="Whether the next step waits for it.")
    minimum: int = Field(description="Fewer outcomes than these in an arm count as silence.")
    mistrust: str | None = Field(description="Why its evidence does not count, where it does not.")


class JudgementOut(BaseModel):
    """What was last said of a rollout, and where it stood then."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": JUDGEMENT})

    at: int = Field(description="When, in epoch milliseconds.")
    verdict: Literal["hold", "advance", "promote", "roll_back"]
    sentence: str = Field(description="Why, for people.")
    metric: Metric | None = Field(description="The metric that the sentence is about, where it is about one.")
    barred: bool = Field(description="Whether something else than the evidence keeps it from going on.")
    step: int
    step_seconds: float = Field(description="How long the step had lasted.")
    open_seconds: float = Field(description="How long the rollout had been open, pauses left out.")
    paused: bool
    promoted: bool = Field(description="Whether it was promoted already, and the version of before is kept.")
    metrics: dict[Metric, StandingOut]
