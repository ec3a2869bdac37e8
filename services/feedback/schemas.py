"""What goes over the wire, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from canari.ids import moment_of
from canari.spec import InputKind, Retention
from canari.spec_parts import Text
from canari.store.predictions import Recorded, Vote
from canari.tokens import Scope
from canari.types import VersionState

_ID = "0198c6a2-7f6e-7d52-8f0a-2f9f4f0a3b11"
# PostgreSQL's text holds every character but this one.
NO_NUL = r"^[^\x00]*$"


class FeedbackIn(BaseModel):
    """What a person says of an answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"prediction_id": _ID, "right": True},
                {"prediction_id": _ID, "right": False, "label": "dog", "comment": "Un petit chien, de dos."},
            ]
        },
    )

    prediction_id: UUID = Field(description="The answer's `prediction_id`.")
    right: bool = Field(strict=True, description="Whether the answer was right.")
    label: str | None = Field(default=None, description="What it really was: one of the model's labels.")
    comment: Annotated[str, StringConstraints(max_length=2000, pattern=NO_NUL)] | None = Field(
        default=None, description="Anything else worth knowing."
    )


class FeedbackOut(BaseModel):
    """The feedback as it stands now."""

    outcome: Literal["created", "same", "changed"] = Field(description="What this request changed.")
    prediction_id: UUID
    right: bool
    label: str | None
    comment: str | None


class Score(BaseModel):
    """A label and how certain the model is of it."""

    label: str
    score: float


class VoteOut(BaseModel):
    """One person's feedback."""

    model_config = ConfigDict(from_attributes=True)

    subject: str
    right: bool
    label: str | None
    comment: str | None
    created_at: datetime
    changed_at: datetime


class PredictionOut(BaseModel):
    """A prediction as it was recorded."""

    prediction_id: UUID
    made_at: datetime
    model: str
    version: int
    subject: str
    kind: str = Field(description="arm, pin, shadow or direct: how the request came to this version.")
    status: int
    reason: str | None = Field(description="Why it was refused.")
    label: str | None
    score: float | None
    labels: list[Score] = Field(description="Every label, best first.")
    latency_ms: float
    input_bytes: int
    request_id: str

    @classmethod
    def of(cls, recorded: Recorded) -> PredictionOut:
        """From what the store holds."""
        p = recorded.prediction
        ranked = sorted((p.scores or {}).items(), key=lambda item: -item[1])
        return cls(
            prediction_id=p.id,
            made_at=moment_of(p.id),
            model=recorded.model,
            version=recorded.version,
            subject=p.subject,
            kind=p.kind,
            status=p.status,
            reason=p.reason,
            label=p.label,
            score=p.score,
            labels=[Score(label=label, score=score) for label, score in ranked],
            latency_ms=p.latency_ms,
            input_bytes=p.input_bytes,
            request_id=p.request_id,
        )


class PredictionWithFeedback(PredictionOut):
    """A prediction and what was said of it."""

    feedback: list[VoteOut]

    @classmethod
    def with_votes(cls, recorded: Recorded, votes: list[Vote]) -> PredictionWithFeedback:
        """From what the store holds."""
        said = [VoteOut.model_validate(vote) for vote in votes]
        return cls(**PredictionOut.of(recorded).model_dump(), feedback=said)


class PredictionPage(BaseModel):
    """Predictions, newest first."""

    predictions: list[PredictionOut]
    next: UUID | None = Field(description="The next page's `before`; null on the last page.")


class LabelOut(BaseModel):
    """One of a model's answers, and its name for people."""

    label: str
    title: Text


class VersionOut(BaseModel):
    """One trained version of a model."""

    number: int
    state: VersionState
    synthetic: bool = Field(description="Whether it learned from drawn or generated samples.")
    weight: int = Field(description="Percent of the traffic it is to get.")


class InputOut(BaseModel):
    """What a request holds."""

    kind: InputKind
    size: tuple[int, int] | None
    features: tuple[str, ...]
    max_bytes: int


class KeepingOut(BaseModel):
    """What becomes of the inputs."""

    inputs: Retention = Field(description="Never kept; kept where `x-canari-consent: keep` comes with them; or always.")
    days: int | None = Field(description="For how long; null where they are never kept.")


class ModelOut(BaseModel):
    """A model, as those who use it need to know it."""

    name: str
    title: Text
    description: Text | None
    input: InputOut
    labels: list[LabelOut]
    abstain: LabelOut | None = Field(description="The answer of a model that is not certain enough.")
    anonymous: bool = Field(description="Whether visitors may ask without a token.")
    keeping: KeepingOut
    stable: int | None = Field(description="The version that answers unless a canary does.")
    versions: list[VersionOut] = Field(description="Newest first.")


class Login(BaseModel):
    """A name and a password."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "ada", "password": "correct horse"}})

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    password: str = Field(max_length=1024)


class Me(BaseModel):
    """Who the request comes from."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"subject": "account:ada", "visitor": False, "scopes": ["operate"]}}
    )

    subject: str | None = Field(description="Null without a token or session.")
    visitor: bool = Field(description="Whether this is somebody unnamed.")
    scopes: list[Scope] = []
    models: list[str] = Field(default=[], description="`*` stands for every model.")
    expires_at: datetime | None = None


class Refusal(BaseModel):
    """A line that was not kept."""

    line: int = Field(description="Counted from 1.")
    why: str


class Taken(BaseModel):
    """What became of a batch of predictions."""

    inserted: int
    duplicates: int
    refused: list[Refusal]


class Revocations(BaseModel):
    """The ids of tokens that are good no more."""

    revoked: list[str]
