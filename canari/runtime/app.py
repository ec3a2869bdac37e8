"""The hot route: a hand-dispatched ASGI application, because a framework's routing would cost as much as the rest."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from loguru import logger

from canari.errors import Problem
from canari.ids import new_id
from canari.runtime import metrics as prometheus
from canari.runtime import oip
from canari.runtime.access import identify, route_of
from canari.runtime.dialects import Dialect, Headers, InferDialect, PlainDialect, Reply
from canari.runtime.inputs import Keeper
from canari.runtime.metrics import Metrics
from canari.runtime.plane import Answer, DataPlane, Outcome, Question
from canari.runtime.recorder import Recorder
from canari.tokens import Verifier
from canari.types import Prediction, RequestKind

if TYPE_CHECKING:
    from canari.runtime.traces import Traces

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Headers, str, Receive], Awaitable[Reply]]

RECORDED_SCORES = 100
"""A model of thousands of labels would fill the spool with scores nobody reads."""

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    handler: Handler


@dataclass(slots=True)
class _Call:
    """One request to the model, from its arrival to its record."""

    id: UUID
    started: float
    headers: Headers
    request_id: str
    kind: RequestKind
    rollout: int
    step: int
    subject: str
    received_bytes: int = 0


class App:
    """Answers for one model and version; see the module `dialects` for what is said on the wire."""

    def __init__(
        self,
        plane: DataPlane,
        version: int,
        metrics: Metrics,
        verifier: Verifier | None,
        recorder: Recorder | None,
        traces: Traces | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._plane = plane
        self._spec = plane.spec
        self._version = version
        self._metrics = metrics
        self._verifier = verifier
        self._recorder = recorder
        self._traces = traces
        self._keeper = keeper
        self._keeps_all = self._spec.retains == "always"
        self._held = 0
        self._timeout = self._spec.serving.timeout.total_seconds()
        self._plain: Dialect = PlainDialect(self._spec, version)
        self._infer: Dialect = InferDialect(self._spec, version, plane.engine.input_shape)
        self._routes = self._build_routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3, HTTP only."""
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        route = self._routes.get(scope["path"])
        if route and route.method == scope["method"]:
            reply = await route.handler(headers, request_id, receive)
        else:
            reply = self._misdirected(scope["path"], route, request_id)
        await _send(send, reply, self._version, request_id)

    def _build_routes(self) -> dict[str, _Route]:
        name, shape = self._spec.name, self._plane.engine.input_shape
        metadata = _constant(oip.metadata(self._spec, self._version, shape))
        ready = _constant(b'{"name": "%s", "ready": true}' % name.encode())
        routes = {
            f"/api/{name}/predict": _Route("POST", partial(self._ask, self._plain)),
            "/metrics": _Route("GET", self._show_metrics),
        }
        for base in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{self._version}"):
            routes[base] = _Route("GET", metadata)
            routes[f"{base}/ready"] = _Route("GET", ready)
            routes[f"{base}/infer"] = _Route("POST", partial(self._ask, self._infer))
        return routes

    async def _ask(self, dialect: Dialect, headers: Headers, request_id: str, receive: Receive) -> Reply:
        call = self._call(headers, request_id)
        outcome: Outcome | None = None
        refusal: Problem | None = None
        self._held += 1
        self._metrics.in_flight.inc()
        try:
            outcome = await self._predict(call, dialect, receive)
            ids = [call.id, *(new_id() for _ in outcome.answers[1:])]
            kept = self._keep(call, ids, outcome.question)
            reply = dialect.answer(outcome, ids, _since(call.started), kept=kept)
            self._record(call, 200, ids, outcome.answers, None)
        except Problem as problem:
            refusal = problem
        except Exception:  # noqa: BLE001 - whatever fails, the caller gets an answer and the record a row
            logger.opt(exception=True).error("a prediction failed", request_id=call.request_id)
            refusal = Problem(500, "internal-error", "The model failed on this input; the fault is logged.")
        finally:
            self._held -= 1
            self._metrics.in_flight.dec()
        if refusal:
            reply = dialect.refuse(refusal, call.request_id)
            self._record(call, reply.status, [call.id], [], refusal.code)
        self._note(call, reply.status, outcome)
        return reply

    async def _predict(self, call: _Call, dialect: Dialect, receive: Receive) -> Outcome:
        if self._held > self._spec.serving.concurrency:
            raise Problem(429, "too-many-requests", "All places are taken: try again.", headers={"Retry-After": "1"})
        subject = identify(self._spec, self._verifier, call.headers)
        if subject:
            call.subject = subject
        dialect.check(call.headers)
        deadline = time.monotonic() + self._timeout
        body = await _read_body(call, receive, self._spec.input.max_bytes, self._timeout)
        return await self._plane.ask(partial(dialect.read, call.headers, body), deadline)

    def _call(self, headers: Headers, request_id: str) -> _Call:
        identifier = new_id()
        kind, rollout, step = route_of(headers.get(b"x-canari-arm"), self._version)
        return _Call(
            id=identifier,
            started=time.perf_counter(),
            headers=headers,
            request_id=request_id,
            kind=kind,
            rollout=rollout,
            step=step,
            subject=f"anonymous:{identifier}",
        )

    def _keep(self, call: _Call, ids: list[UUID], question: Question) -> bool:
        """Have the inputs kept where the live data policy says so; whether they are being kept."""
        keeper, consented = self._keeper, question.consent
        # A mirrored copy is the input of the version that answers.
        if keeper is None or call.kind is RequestKind.SHADOW or not (consented or self._keeps_all):
            return False
        pairs = zip(ids, question.payloads, strict=False)
        taken = [keeper.offer(one, call.subject, payload, consented=consented) for one, payload in pairs]
        return bool(taken) and all(taken)

    def _record(self, call: _Call, status: int, ids: list[UUID], answers: list[Answer], reason: str | None) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        latency_ms = round(_since(call.started), 3)
        rows = []
        for place, identifier in enumerate(ids):
            answer = answers[place] if answers else None
            rows.append(
                Prediction(
                    id=identifier,
                    recorder=recorder.id,
                    seq=recorder.next_seq(),
                    kind=call.kind,
                    rollout=call.rollout,
                    step=call.step,
                    subject=call.subject,
                    status=status,
                    request_id=call.request_id,
                    input_bytes=answer.input_bytes if answer else call.received_bytes,
                    latency_ms=latency_ms,
                    label=answer.label if answer else None,
                    score=answer.score if answer else None,
                    scores=dict(answer.ranked[:RECORDED_SCORES]) if answer else None,
                    reason=reason,
                    input_sha256=answer.input_sha256 if answer else None,
                    bins=answer.bins if answer else None,
                )
            )
        recorder.append(rows)

    def _note(self, call: _Call, status: int, outcome: Outcome | None) -> None:
        total_ms = _since(call.started)
        self._metrics.answered(status, call.kind, total_ms / 1000)
        if outcome:
            self._metrics.predicted(outcome.decode_ms / 1000, outcome.inference_ms / 1000)
        if self._traces:
            self._traces.note(call.headers, call.id, status, total_ms, outcome)
        logger.debug(
            "answered {} in {:.1f} ms",
            status,
            total_ms,
            request_id=call.request_id,
            prediction_id=str(call.id),
            kind=str(call.kind),
        )

    async def _show_metrics(self, _headers: Headers, _request_id: str, _receive: Receive) -> Reply:
        return Reply(200, await asyncio.to_thread(self._metrics.expose), prometheus.CONTENT_TYPE)

    def _misdirected(self, path: str, route: _Route | None, request_id: str) -> Reply:
        if route:
            problem = Problem(405, "method-not-allowed", f"Use {route.method}.", headers={"Allow": route.method})
        else:
            there = f"version {self._version} of {self._spec.name!r} answers here"
            problem = Problem(404, "not-found", f"There is nothing at {path[:200]!r}; {there}.")
        dialect = self._infer if path.startswith("/v2/") else self._plain
        return dialect.refuse(problem, request_id)


def _constant(body: bytes) -> Handler:
    reply = Reply(200, body)

    async def show(_headers: Headers, _request_id: str, _receive: Receive) -> Reply:
        return reply

    return show


async def _read_body(call: _Call, receive: Receive, limit: int, timeout_seconds: float) -> bytes:
    declared = call.headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts = []
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(499, "client-closed-request", "The client went away before its request was complete.")
                part = message.get("body", b"")
                call.received_bytes += len(part)
                if call.received_bytes > limit:
                    raise _too_large(limit)
                parts.append(part)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise Problem(408, "request-timeout", f"The body did not arrive within {timeout_seconds:g} s.") from None


def _too_large(limit: int) -> Problem:
    return Problem(413, "body-too-large", f"The body exceeds the {limit} bytes accepted.", max_bytes=limit)


def _request_id(headers: Headers) -> str:
    given = headers.get(b"x-request-id")
    return given.decode("ascii") if given and _REQUEST_ID.fullmatch(given) else str(new_id())


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


async def _send(send: Send, reply: Reply, version: int, request_id: str) -> None:
    headers = [
        (b"content-type", reply.content_type.encode()),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-canari-version", b"%d" % version),
        (b"x-request-id", request_id.encode()),
    ]
    headers += [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
