"""Jobs: asked for here, done by whoever runs the platform's jobs, and told of while they go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Response
from sqlalchemy import Engine

from canari.errors import Problem
from canari.store import jobs
from canari.types import JobKind, JobState
from services.feedback.context import InContext
from services.feedback.identity import Known, operated
from services.feedback.job_schemas import (
    Arguments,
    FinetuneOptions,
    GenerateOptions,
    JobDetail,
    JobIn,
    JobPage,
    JobRow,
    RetrainOptions,
)
from services.web.problems import problems

router = APIRouter(tags=["Jobs"])
_ASKED = {
    **problems(401, 403, 404, 415, 422, 503),
    200: {"model": JobDetail, "description": "It was asked for under this Idempotency-Key before."},
}
_LARGEST = 2**63 - 1

Number = Annotated[int, Path(ge=1, le=_LARGEST)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="A request that is sent again with the same key asks for nothing new.",
    ),
]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a job of a model, under which key."""

    model: str
    subject: str
    key: str
    engine: Engine
    response: Response

    def ask(self, kind: JobKind, arguments: Arguments, reason: str) -> JobDetail:
        """Keep the job, or find it; raises Problem 422 where the key was given to another request."""
        # What may be kept no longer is deleted of all models at once.
        model = None if kind is JobKind.RETENTION else self.model
        given = arguments.model_dump(mode="json", exclude_none=True)
        job, new = jobs.ask(
            self.engine,
            kind,
            ":".join([kind, *([model] if model else []), "hand", self.key]),
            model=model,
            asked_by=self.subject,
            reason=reason,
            arguments=given,
        )
        if not new and job.arguments != given:
            detail = f"The Idempotency-Key was given to job {job.id}, which has other arguments: take a new one."
            raise Problem(422, "idempotency-key-reused", detail, job=job.id)
        self.response.status_code = 202 if new else 200
        self.response.headers["Location"] = f"/api/{self.model}/jobs/{job.id}"
        return JobDetail.of(job)


def asking(model: str, operator: Known, context: InContext, response: Response, key: Key = None) -> Asking:
    """Whoever may operate the model; raises Problem 403 or 404."""
    operated(context, model, operator)
    return Asking(model, operator.subject, key or uuid4().hex, context.engine, response)


@router.post("/api/{model}/jobs", status_code=202, summary="Ask for a job", responses=_ASKED)
def ask(wanted: Annotated[JobIn, Body()], asked: Annotated[Asking, Depends(asking)]) -> JobDetail:
    """`Location` tells how far it is. Needs the scope operate.

    It is begun within seconds on one machine; on a cluster at the schedule's next look for retraining, and retention
    at its own.
    """
    return asked.ask(wanted.kind, wanted.arguments, wanted.reason)


@router.post("/api/{model}/retrain", status_code=202, summary="Train the model's next version", responses=_ASKED)
def retrain(
    options: Annotated[RetrainOptions, Body(default_factory=RetrainOptions)], asked: Annotated[Asking, Depends(asking)]
) -> JobDetail:
    """A job `retrain` in short: on what its data policy lets it learn from, also where nothing is new. As /jobs."""
    return asked.ask(JobKind.RETRAIN, options.arguments(), options.reason)


@router.post(
    "/api/{model}/finetune", status_code=202, summary="Train the next version from given weights", responses=_ASKED
)
def finetune(
    options: Annotated[FinetuneOptions, Body(default_factory=FinetuneOptions)],
    asked: Annotated[Asking, Depends(asking)],
) -> JobDetail:
    """A job `retrain` in short, for a family whose training has the option `base_weights`. As /jobs."""
    return asked.ask(JobKind.RETRAIN, options.arguments(), options.reason)


@router.post(
    "/api/{model}/generate",
    status_code=202,
    summary="Train the next version on synthetic samples",
    responses=_ASKED,
)
def generate(options: GenerateOptions, asked: Annotated[Asking, Depends(asking)]) -> JobDetail:
    """A job `retrain` in short: the family's generator makes the samples, which are kept as synthetic. As /jobs."""
    return asked.ask(JobKind.RETRAIN, options.arguments(), options.reason)


@router.get(
    "/api/{model}/jobs",
    summary="A model's jobs, newest first",
    responses=problems(401, 403, 404, 422, 503),
)
def page(
    model: str,
    operator: Known,
    context: InContext,
    kind: JobKind | None = None,
    state: JobState | None = None,
    before: Annotated[int | None, Query(ge=1, le=_LARGEST, description="Only those with smaller numbers.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobPage:
    """Those of every model are among them. `next` is the `before` of the page that follows. Needs the scope operate."""
    operated(context, model, operator)
    found = jobs.newest(
        context.engine, kind=kind, model=model, everyones=True, state=state, before=before, limit=limit + 1
    )
    shown = found[:limit]
    return JobPage(jobs=[JobRow.of(job) for job in shown], next=shown[-1].id if len(found) > limit else None)


@router.get(
    "/api/{model}/jobs/{number}",
    summary="A job, how far it is, and what came of it",
    responses=problems(401, 403, 404, 422, 503),
)
def one(model: str, number: Number, operator: Known, context: InContext) -> JobDetail:
    """Needs the scope operate."""
    operated(context, model, operator)
    job = jobs.read(context.engine, number)
    if job is None or job.model not in {None, model}:
        raise Problem(404, "unknown-job", f"{model} has no job {number}.")
    return JobDetail.of(job)
