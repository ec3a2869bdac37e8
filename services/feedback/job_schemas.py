"""What goes over the wire about jobs, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from canari.spec_parts import Duration
from canari.store.jobs import Job
from canari.types import JobKind, JobState
from services.feedback.schemas import NO_NUL

_Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NO_NUL)]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
_Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
_Count = Annotated[int, Field(ge=2, le=100_000)]
_JOB: JsonDict = {
    "id": 12,
    "kind": "retrain",
    "model": "cats_dogs",
    "key": "retrain:cats_dogs:hand:4f2a9c",
    "state": "running",
    "asked_by": "account:ada",
    "reason": "winter photos were added",
    "attempts": 1,
    "progress": {"stage": "train", "done": 3, "total": 10, "figures": {"accuracy": 0.91}},
    "error": None,
    "created_at": "2026-11-21T09:00:00Z",
    "not_before": "2026-11-21T09:00:00Z",
    "started_at": "2026-11-21T09:00:04Z",
    "ended_at": None,
}


class Arguments(BaseModel):
    """What is asked of a job."""

    model_config = ConfigDict(extra="forbid")


class EvaluateArguments(Arguments):
    """The window that is looked at: by default the 24 hours before the job was asked for."""

    since: Duration | datetime | None = Field(
        default=None, description="Its beginning: `7d` before its end, or a moment."
    )
    until: datetime | None = Field(default=None, description="Its end.")


class RetrainArguments(Arguments):
    """How a version is trained; by default as the family does, on what its data policy lets it learn from."""

    options: dict[_Word, _Word] = Field(
        default={}, max_length=50, description="What the family's own training understands, such as `epochs`."
    )
    seed: _Seed = Field(default=0, description="The same seed and data train the same.")
    tune: int | None = Field(default=None, ge=1, le=200, description="Search this many sets of options first.")
    generate: _Count | None = Field(default=None, description="Train on this many synthetic samples instead.")


class NoArguments(Arguments):
    """Nothing can be chosen."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: _Reason = Field(default="by hand", description="Why, for the history.")


class EvaluateIn(_Told):
    """Measure how the model's live versions did."""

    kind: Literal[JobKind.EVALUATE]
    arguments: EvaluateArguments = EvaluateArguments()


class RetrainIn(_Told):
    """Train the model's next version, and propose it."""

    kind: Literal[JobKind.RETRAIN]
    arguments: RetrainArguments = RetrainArguments()


class RetentionIn(_Told):
    """Delete what may be kept no longer, of every model."""

    kind: Literal[JobKind.RETENTION]
    arguments: NoArguments = NoArguments()


JobIn = Annotated[
    EvaluateIn | RetrainIn | RetentionIn,
    Field(
        discriminator="kind",
        examples=[
            {"kind": "retrain", "reason": "winter photos were added", "arguments": {"options": {"epochs": "10"}}},
            {"kind": "evaluate", "arguments": {"since": "7d"}},
        ],
    ),
]


class RetrainOptions(RetrainArguments):
    """How, and why."""

    reason: _Reason = Field(default="by hand", description="Why, for the history.")

    def arguments(self) -> RetrainArguments:
        """All but the reason."""
        return RetrainArguments.model_validate(self.model_dump(exclude={"reason"}))


class FinetuneOptions(RetrainOptions):
    """As for training anew, and what one starts from."""

    base_weights: _Word = Field(
        default="imagenet", description="`imagenet`, or a file of weights where the platform trains."
    )

    def arguments(self) -> RetrainArguments:
        """The weights are an option of the family's training."""
        given = self.model_dump(exclude={"reason", "base_weights"})
        return RetrainArguments.model_validate(
            {**given, "options": {**self.options, "base_weights": self.base_weights}}
        )


class GenerateOptions(_Told):
    """How many synthetic samples, and which."""

    count: _Count = Field(description="How many, divided evenly among the labels.")
    seed: _Seed = Field(default=0, description="The same seed makes the same samples.")

    def arguments(self) -> RetrainArguments:
        """A training on what is generated."""
        return RetrainArguments(generate=self.count, seed=self.seed)


class ProgressOut(BaseModel):
    """How far a job is."""

    stage: str
    done: int
    total: int
    figures: dict[str, float] = {}


class JobRow(BaseModel):
    """A job."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _JOB})

    id: int
    kind: JobKind
    model: str | None = Field(description="Null where it is every model's.")
    key: str = Field(description="What it was asked for under: the same key is the same job.")
    state: JobState
    asked_by: str
    reason: str
    attempts: int = Field(description="How often it was begun.")
    progress: ProgressOut | None = Field(description="Null until it has said how far it is.")
    error: str | None = Field(description="Why it was refused, failed, or is to be tried again.")
    created_at: datetime
    not_before: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def fields_of(cls, job: Job) -> dict[str, Any]:
        """What a row shows of a job."""
        shown = {name: getattr(job, name) for name in JobRow.model_fields if name != "progress"}
        return {**shown, "progress": job.place}

    @classmethod
    def of(cls, job: Job) -> JobRow:
        """From what the store holds."""
        return cls.model_validate(cls.fields_of(job))


class JobDetail(JobRow):
    """A job, what was asked of it, and what came of it."""

    model_config = ConfigDict(
        json_schema_extra={"example": {**_JOB, "arguments": {"options": {"epochs": "10"}}, "result": {}}}
    )

    arguments: dict[str, Any]
    result: dict[str, Any] = Field(description="Empty until it has ended.")

    @classmethod
    def of(cls, job: Job) -> JobDetail:
        """From what the store holds."""
        return cls.model_validate({**cls.fields_of(job), "arguments": job.arguments, "result": job.result})


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobRow]
    next: int | None = Field(description="The `before` of the page that follows; null on the last.")
