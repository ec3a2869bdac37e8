"""The feedback API, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from canari import __version__
from canari.runtime.client import PREDICTIONS
from services.feedback import (
    absent,
    accuracy,
    away,
    erasures,
    inputs,
    intake,
    internal,
    jobs,
    lookups,
    models,
    openapi,
    pushes,
    queue,
    rollout_course,
    samples,
    sessions,
    status,
    steering,
    votes,
)
from services.feedback.context import STATUS_SECONDS, STATUS_SHARE, Cached, Context
from services.feedback.loop_metrics import LoopCollector
from services.feedback.metrics import StoreCollector
from services.feedback.volumes import VolumeCollector
from services.web import problems
from services.web.requests import RequestMetrics, RequestMiddleware, metrics_route

THREADS = 10
# Names under /api that are no model's come first.
_PARTS = (
    status,
    sessions,
    erasures,
    inputs,
    models,
    pushes,
    steering,
    rollout_course,
    jobs,
    votes,
    lookups,
    accuracy,
    queue,
    samples,
    internal,
    absent,
)
_DESCRIPTION = """
Ask a model, say whether the answer was right, and see how every model does.

Every error is [problem details](https://www.rfc-editor.org/rfc/rfc9457): `type` names the problem, `detail` says what
would be right, `request_id` is what to quote. Requests show who they come from with `Authorization: Bearer TOKEN` or a
session cookie; models that admit visitors answer without.
"""


def create_app(context: Context) -> FastAPI:
    """The application. It keeps nothing but a few seconds' caches: everything else is in the database."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # No more threads than connections: a request waits for a thread rather than, holding one, for a connection.
        current_default_thread_limiter().total_tokens = THREADS
        yield
        context.engine.dispose()

    app = FastAPI(
        title="Canari",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.context = context
    app.state.status = Cached(lambda: status.gather(context.engine), STATUS_SECONDS, STATUS_SHARE)
    app.state.courses = rollout_course.Courses(context.engine)
    metrics = RequestMetrics("feedback")
    metrics.registry.register(StoreCollector(context.engine))
    metrics.registry.register(VolumeCollector(context.layout.root))
    metrics.registry.register(LoopCollector(context.engine))
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        most_bytes={
            PREDICTIONS: intake.MOST_BYTES,
            pushes.ARCHIVE_PATHS: context.archive_max_bytes,
            pushes.VERSION_PATHS: pushes.MOST_VERSION_BYTES,
            inputs.PATHS: inputs.MOST_BODY_BYTES,
            samples.PATHS: samples.MOST_BYTES,
        },
    )
    problems.install(app, away.PROBLEMS)
    for part in _PARTS:
        app.include_router(part.router)
    app.router.routes.append(metrics_route(metrics))
    openapi.complete(app)
    return app
