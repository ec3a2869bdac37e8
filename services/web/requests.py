"""What happens around every request: an id, a log line, a metric, and a plain 500 where nothing else answered."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from loguru import logger
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from canari.errors import Problem
from canari.ids import new_id
from services.web.problems import problem_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MOST_BYTES = 64 * 1024
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class RequestMetrics:
    """Requests by method, route template and status, in a registry of the application's own."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        labels = ("service", "method", "route")
        self._service = service
        self._requests = Counter(
            "canari_http_requests_total", "Requests answered.", (*labels, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "canari_http_request_seconds", "Time to answer.", labels, registry=self.registry, buckets=_SECONDS
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(self._service, method, route, str(status)).inc()
        self._seconds.labels(self._service, method, route).observe(seconds)


class RequestMiddleware:
    """ASGI middleware: takes the gateway's `x-request-id` or makes one; it is on the answer and on every log line.

    A body over 64 KiB is refused, unless `most_bytes` gives the path, by the pattern that it matches, another limit.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, most_bytes: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._most_bytes = {re.compile(pattern): limit for pattern, limit in (most_bytes or {}).items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = scope["request_id"] = given if _REQUEST_ID.fullmatch(given) else str(new_id())
        status, received, most = 0, 0, self._limit(scope["path"])

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                # Of all exceptions, FastAPI lets this one alone out of its reading of the body.
                raise HTTPException(413, f"The body is over the {most} bytes that are accepted here")
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with logger.contextualize(request_id=request_id):
            started = time.perf_counter()
            try:
                await self._app(scope, receive_within_limit, send_with_id)
            except Exception:
                logger.exception("{} {} failed", scope["method"], scope["path"])
                if status:
                    raise
                detail = "Something went wrong on our side. Quote the request id when asking for help."
                problem = Problem(500, "internal-error", detail)
                await problem_response(problem, request_id)(scope, receive, send_with_id)
            finally:
                self._note(scope, status, time.perf_counter() - started)

    def _limit(self, path: str) -> int:
        return next((limit for pattern, limit in self._most_bytes.items() if pattern.fullmatch(path)), _MOST_BYTES)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method, path = scope["method"], scope["path"]
        self._metrics.observe(method, route, status, seconds)
        quiet = status < 400 and (method in {"GET", "HEAD"} or path.startswith("/internal/"))
        logger.log("DEBUG" if quiet else "INFO", "{} {} {} {:.1f} ms", method, path, status, seconds * 1000)


def metrics_route(metrics: RequestMetrics) -> Route:
    """`GET /metrics`, in Prometheus' text format. The gateway has no route to it."""

    def expose(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", expose)
