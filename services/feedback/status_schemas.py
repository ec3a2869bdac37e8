"""What goes over the wire about how the platform does."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from canari.spec import InputKind
from canari.spec_parts import Text
from services.feedback.schemas import VersionOut


class CanaryOut(BaseModel):
    """The version on trial and its share of the traffic."""

    version: int
    weight: int


class LastDay(BaseModel):
    """The last 24 hours by the clock, of which the running one is the last."""

    predictions: int = Field(description="Answered requests.")
    feedback: int = Field(description="Answers that somebody said were right or wrong.")
    satisfaction: float | None = Field(description="Share of these that were right; null without feedback.")


class EvaluationOut(BaseModel):
    """How the stable version did in a window of time, as last measured."""

    model_config = ConfigDict(from_attributes=True)

    version: int
    since: datetime
    until: datetime
    predictions: int = Field(description="Answered requests.")
    participation: float | None = Field(description="Votes per prediction; null without predictions.")
    satisfaction: float | None = Field(description="Share of the votes that say right; null without votes.")
    labelled: int = Field(description="Votes that name what it really was.")
    accuracy: float | None = Field(description="Share of these that are the answer; null without any.")
    answer_shares: dict[str, float] = Field(description="Each answer's share of the predictions.")


class ModelStatus(BaseModel):
    """How a model does."""

    name: str
    title: Text
    input: InputKind
    stable: int | None
    canary: CanaryOut | None
    versions: list[VersionOut] = Field(description="The newest, newest first.")
    last_day: LastDay
    lost: int = Field(description="Predictions that were made and never arrived here.")
    evaluation: EvaluationOut | None = Field(description="Null until the evaluation job has run.")


class Status(BaseModel):
    """How the platform does."""

    version: str = Field(description="Canari's own version.")
    models: list[ModelStatus]


class DatabaseStatus(BaseModel):
    """How the database does."""

    reachable: bool
    server_version: str | None = None
    schema_revision: str | None = None
    size_bytes: int | None = None


class Health(BaseModel):
    """The process answers, and so does its database."""

    status: Literal["ok"] = "ok"
    database: Literal["ok"] = "ok"


class ServerMetadata(BaseModel):
    """The Open Inference Protocol's server metadata."""

    name: str
    version: str
    extensions: list[str]
