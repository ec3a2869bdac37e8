"""What goes over the wire about how right versions are, and about their hours."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from canari.stats import wilson
from canari.store.evaluations import LiveEvaluation
from canari.store.hours import Hour


class ShareRight(BaseModel):
    """A share of right answers, and the 95 % interval (Wilson, 1927) of what it truly is."""

    accuracy: float
    interval: tuple[float, float]
    right: int
    count: int

    @classmethod
    def of(cls, right: int, count: int) -> ShareRight | None:
        """None without any answer."""
        return cls(accuracy=right / count, interval=wilson(right, count), right=right, count=count) if count else None


class EvaluatedOut(BaseModel):
    """How right a version was in a window of time, by both sources."""

    version: int
    since: datetime
    until: datetime
    held_out: ShareRight | None = Field(
        description="On the examples that no version learns from, asked anew; null where there are none."
    )
    synthetic: bool | None = Field(description="Whether these examples are generated ones; null without any.")
    labels: ShareRight | None = Field(description="On what people said it really was; null without any.")
    calibration_error: float | None = Field(
        description="How far certainty is from the share that late labels bear out; null without any."
    )
    drift: float | None = Field(description="Share of the inputs' measures that moved; null where nothing is known.")
    report: str | None = Field(description="The report's name, under `reports` in the data folder.")

    @classmethod
    def of(cls, found: LiveEvaluation) -> EvaluatedOut:
        """From what the store holds."""
        asked = found.held_out or {}
        count = int(asked.get("count") or 0)
        return cls(
            version=found.version,
            since=found.since,
            until=found.until,
            held_out=ShareRight.of(round(asked.get("accuracy", 0) * count), count),
            synthetic=asked.get("synthetic"),
            labels=ShareRight.of(found.correct, found.labelled),
            calibration_error=found.calibration_error,
            drift=found.drift["share"] if found.drift else None,
            report=found.report,
        )


class Accuracy(BaseModel):
    """How right a model's live versions are."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "drift", "stable": 3, "threshold": 0.7, "versions": []}}
    )

    model: str
    stable: int | None
    threshold: float = Field(description="A version under it may not serve, and is told of.")
    versions: list[EvaluatedOut] = Field(description="As last measured; without those that never were.")


class PastAccuracy(BaseModel):
    """A model's evaluations, newest first."""

    model: str
    threshold: float
    evaluations: list[EvaluatedOut]


class HourOut(BaseModel):
    """What one version did with the requests of an hour."""

    version: int
    hour: datetime = Field(description="When it began.")
    predictions: int = Field(description="Answered requests.")
    refused: int = Field(description="Requests answered 4xx.")
    failed: int = Field(description="Requests answered 5xx.")
    latency_ms: float | None = Field(description="The answers' mean time in the model; null without any.")
    certainty: float | None = Field(description="The answers' mean certainty; null without any.")
    answers: dict[str, int] = Field(description="How often each label was the answer.")
    voted: int = Field(description="Answers that somebody said were right or wrong.")
    satisfied: int = Field(description="Those of them that were right.")
    labelled: int = Field(description="Votes that name what it really was.")
    correct: int = Field(description="Those of them that name the answer.")

    @classmethod
    def of(cls, hour: Hour) -> HourOut:
        """From what the store holds."""
        counts = {name: getattr(hour, name) for name in cls.model_fields if name not in {"latency_ms", "certainty"}}
        n = hour.predictions
        return cls(**counts, latency_ms=hour.latency_ms / n if n else None, certainty=hour.score / n if n else None)


class Hours(BaseModel):
    """A model's last hours, oldest first; hours without a request are left out."""

    model: str
    hours: list[HourOut]
