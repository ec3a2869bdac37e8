"""Every error as problem details (RFC 9457), and how OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from canari.errors import PROBLEM_JSON, Problem

_CODES = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}
Translate = Callable[[Request, Any], Problem]


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 says it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:canari:problem:unknown-model",
                "title": "Unknown model",
                "status": 404,
                "detail": "There is no model 'cats'; the models are: cats_dogs, drift.",
                "request_id": "0198c6a2-7f6e-7d52-8f0a-2f9f4f0a3b11",
            }
        },
    )

    type: str = Field(description="What kind of problem this is, for machines.")
    title: str = Field(description="The same in words.")
    status: int = Field(description="The answer's status.")
    detail: str = Field(description="What is wrong here, and what would be right.")
    request_id: str | None = Field(default=None, description="What to quote when asking for help.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer these errors."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {
        status: {"description": _MEANINGS[status], "content": {PROBLEM_JSON: schema}} for status in sorted(statuses)
    }


_MEANINGS = {
    400: "The request ended too early, or cannot be read.",
    401: "A token or a session is needed, or the one given is not good.",
    403: "The token or session does not allow this.",
    404: "There is no such thing.",
    409: "It is at odds with how things stand now.",
    413: "The request is too large.",
    415: "The request is not of a kind that is accepted.",
    422: "The request is not as described; `errors` lists each fault.",
    429: "Too many requests; Retry-After says when to come back.",
    503: "The database does not answer; Retry-After says when to come back.",
}


def sentence(message: object) -> str:
    """What a CanariError says to a person at a terminal, as a problem's detail says it."""
    text = str(message)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def problem_response(problem: Problem, request_id: str | None) -> Response:
    """The answer a problem makes."""
    return Response(problem.encode(request_id), problem.status, problem.headers, PROBLEM_JSON)


def install(app: FastAPI, others: Mapping[type[Exception], Translate] = MappingProxyType({})) -> None:
    """Make every error of `app` problem details; `others` are the application's own.

    What no handler foresees is the request middleware's.
    """
    kinds: dict[type[Exception], Translate] = {
        Problem: lambda _, problem: problem,
        HTTPException: _of_http,
        RequestValidationError: _of_validation,
        **others,
    }
    for kind, translate in kinds.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Translate) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        return problem_response(translate(request, error), request.scope.get("request_id"))

    return handle


def _of_http(request: Request, error: HTTPException) -> Problem:
    details = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not possible at {request.url.path}.",
    }
    code = _CODES.get(error.status_code, f"http-{error.status_code}")
    detail = details.get(error.status_code, f"{error.detail}.")
    return Problem(error.status_code, code, detail, headers=dict(error.headers or {}))


def _of_validation(request: Request, error: RequestValidationError) -> Problem:
    faults = [
        {"field": ".".join(map(str, fault["loc"])), "message": fault["msg"].removeprefix("Value error, ")}
        for fault in error.errors()
    ]
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if any(fault["field"] == "body" for fault in faults) and media_type != "application/json":
        said = f"not {media_type}" if media_type else "and say so in Content-Type"
        return Problem(415, "unsupported-media-type", f"Send the body as application/json, {said}.")
    first = faults[0]
    return Problem(422, "invalid-request", f"{first['field']}: {first['message']}", errors=faults)
