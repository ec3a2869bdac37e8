"""What the queue of users' inputs looks like over the wire."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from canari.ids import moment_of
from canari.spec import ModelSpec, Retention, TrainOn
from canari.store.queue import Counts, Queued, guess
from canari.store.reviews import Decision
from canari.types import Review
from services.feedback.schemas import Score


class Opinion(BaseModel):
    """What somebody said of the answer; who it was is nobody's business here."""

    model_config = ConfigDict(from_attributes=True)

    right: bool
    label: str | None
    comment: str | None
    changed_at: datetime


class QueuedInput(BaseModel):
    """An input that its sender agreed to, what was answered, and what was said of it."""

    prediction_id: UUID
    made_at: datetime
    version: int = Field(description="The version that answered.")
    media_type: str
    bytes: int
    keep_until: datetime = Field(description="When it is deleted, unless it was accepted.")
    answer: str | None = Field(description="What was answered; null where that has not arrived.")
    guess: str | None = Field(description="The label that accepting gives it: the best, if none was certain enough.")
    score: float | None
    labels: list[Score] = Field(description="Every label, best first.")
    feedback: list[Opinion] = Field(description="What was said of the answer, first said first.")
    review: Review
    label: str | None = Field(description="The label a person gave it.")
    reviewed_by: str | None
    reviewed_at: datetime | None

    @classmethod
    def of(cls, queued: Queued, spec: ModelSpec) -> QueuedInput:
        """From what the store holds."""
        kept = queued.input
        ranked = sorted(queued.scores.items(), key=lambda item: -item[1])
        return cls(
            prediction_id=kept.prediction_id,
            made_at=moment_of(kept.prediction_id),
            version=kept.version,
            media_type=kept.media_type,
            bytes=kept.bytes,
            keep_until=kept.keep_until,
            answer=queued.answer,
            guess=guess(spec.labels, queued.answer, queued.scores),
            score=queued.score,
            labels=[Score(label=label, score=score) for label, score in ranked],
            feedback=[Opinion.model_validate(vote) for vote in queued.votes],
            review=Review(kept.review),
            label=kept.label,
            reviewed_by=kept.reviewed_by,
            reviewed_at=kept.reviewed_at,
        )


class LabelCount(BaseModel):
    """How a label stands."""

    label: str
    waiting: int = Field(description="Inputs that wait and were answered with it.")
    samples: int = Field(description="Samples of it that may be learned from, the team's and accepted ones.")


class StateCounts(BaseModel):
    """How many inputs wait, and what became of the others that are still kept."""

    waiting: int
    accepted: int
    relabelled: int
    refused: int


class QueuePage(BaseModel):
    """Inputs in the order in which a person's word is worth most: called wrong by somebody, then the least certain."""

    inputs: list[QueuedInput]
    next: str | None = Field(description="The next page's `before`; null on the last page.")
    counts: StateCounts
    labels: list[LabelCount]
    train_on: TrainOn = Field(description="What the model may learn from; with `own` it learns from no user's input.")
    retains: Retention = Field(description="Whose inputs are kept: of `never`, nothing gets here.")

    @classmethod
    def of(cls, found: list[Queued], counts: Counts, spec: ModelSpec, *, following: str | None) -> QueuePage:
        """From what the store holds."""
        return cls(
            inputs=[QueuedInput.of(one, spec) for one in found],
            next=following,
            counts=StateCounts(**{state.value: n for state, n in counts.states.items()}),
            labels=[
                LabelCount(label=label, waiting=counts.waiting.get(label, 0), samples=counts.samples.get(label, 0))
                for label in spec.labels
            ],
            train_on=spec.data.train_on,
            retains=spec.retains,
        )


class ReviewIn(BaseModel):
    """What a person says of an input."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"decision": "accept"}, {"decision": "relabel", "label": "dog"}, {"decision": "refuse"}]
        },
    )

    decision: Decision = Field(
        description="accept: the answer is right; relabel: it is `label`; refuse: learn nothing."
    )
    label: str | None = Field(default=None, description="With `relabel`: one of the model's labels.")

    @model_validator(mode="after")
    def _fits(self) -> ReviewIn:
        if (self.label is not None) != (self.decision == "relabel"):
            msg = "`relabel` needs a `label`, and only `relabel` takes one"
            raise ValueError(msg)
        return self


class ReviewOut(BaseModel):
    """How the input stands now."""

    model_config = ConfigDict(from_attributes=True)

    prediction_id: UUID
    review: Review
    label: str | None = Field(description="The label of the sample it became; null if it became none.")
    changed: bool = Field(description="Whether this request changed anything.")
