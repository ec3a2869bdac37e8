"""The fetcher, put together: an address in, the photo passed on to the model, the model's answer out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import FastAPI, Path, Request
from loguru import logger
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse, Response

from canari.errors import Problem
from canari.spec import NAME_PATTERN
from services.fetcher.fetch import Fetcher, Photo
from services.web import problems
from services.web.requests import RequestMetrics, RequestMiddleware, metrics_route

# Who asks, for which version, what may be kept, in which language and trace; all of it for the platform alone.
_PASSED_ON = (
    *("authorization", "cookie", "x-canari-version", "x-canari-consent", "accept-language"),
    *("traceparent", "tracestate"),
)
_PASSED_BACK = ("content-type", "retry-after", "www-authenticate", "x-canari-version")
# The gateway bounds a prediction by the specification's own timeout.
_GATEWAY_SECONDS = 120


class PhotoAddress(BaseModel):
    """Where a photo lies."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, description="An address of the public Internet, http:// or https://.")


class Places:
    """At most `most` fetches at once."""

    def __init__(self, most: int) -> None:
        self._free = most

    def __enter__(self) -> None:
        """Take a place; raises Problem 429 where none is free."""
        if not self._free:
            detail = "All places are taken: try again."
            raise Problem(429, "too-many-requests", detail, headers={"Retry-After": "1"})
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1


def create_app(fetcher: Fetcher, gateway: httpx.AsyncClient, *, places: int) -> FastAPI:
    """The application; `gateway` is a client whose base URL is the gateway's."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway:
            yield

    app = FastAPI(title="Canari fetcher", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    metrics = RequestMetrics("fetcher")
    app.add_middleware(RequestMiddleware, metrics=metrics)
    problems.install(app)
    free = Places(places)

    @app.post("/api/{model}/predict-url")
    async def predict_url(
        request: Request, model: Annotated[str, Path(pattern=NAME_PATTERN)], address: PhotoAddress
    ) -> Response:
        """Ask a model about the photo at an address."""
        with free:
            photo = await fetcher.fetch(address.url)
            answer = await _ask(gateway, model, photo, request)
        headers = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, headers)

    @app.get("/healthz")
    async def healthz() -> Response:
        """Whether the process answers."""
        return PlainTextResponse("ok")

    app.router.routes.append(metrics_route(metrics))
    return app


def gateway_client(url: str) -> httpx.AsyncClient:
    """A client of the gateway at `url`. Proxies of the environment are for the outside, not for the gateway."""
    return httpx.AsyncClient(base_url=url, timeout=_GATEWAY_SECONDS, trust_env=False)


async def _ask(gateway: httpx.AsyncClient, model: str, photo: Photo, request: Request) -> httpx.Response:
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    headers |= {"content-type": photo.media_type, "x-request-id": request.scope["request_id"]}
    try:
        return await gateway.post(f"/api/{model}/predict", content=photo.content, headers=headers)
    except httpx.TransportError as error:
        logger.warning("the gateway does not answer: {!r}", error)
        detail = "The gateway does not answer; try again shortly."
        raise Problem(503, "gateway-away", detail, headers={"Retry-After": "2"}) from None
