"""The rest of the gateway's routes in the same OpenAPI document: those that the models themselves answer."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from canari.errors import PROBLEM_JSON
from services.web.problems import ProblemDetails, problems

_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "cats_dogs"}
_VERSION_HEADER = {
    "name": "x-canari-version",
    "in": "header",
    "required": False,
    "description": "Ask this version rather than the one the split gives.",
    "schema": {"type": "integer"},
}
_CONSENT_HEADER = {
    "name": "x-canari-consent",
    "in": "header",
    "required": False,
    "description": "`keep` allows the platform to keep the input where the model's policy is `consented`.",
    "schema": {"type": "string", "enum": ["keep"]},
}
_ANSWER = {
    "prediction_id": "0198c6a2-7f6e-7d52-8f0a-2f9f4f0a3b11",
    "model": "cats_dogs",
    "version": 2,
    "labels": [{"label": "dog", "score": 0.94}, {"label": "cat", "score": 0.06}],
    "answer": "dog",
    "timing_ms": {"decode": 3.1, "inference": 24.0, "total": 28.4},
}
_TENSOR = {"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [0.3, -1.2]}
_SCORES = {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.2, 0.8]}
_FLOAT = {"type": "number"}
_STRING = {"type": "string"}


def _object(required: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required}


_FORM = _object({"file": {"type": "string", "format": "binary"}})
_FORM["properties"]["consent"] = {"type": "string", "enum": ["keep"], "description": "As the header says it."}
_SCORE = _object({"label": _STRING, "score": _FLOAT})
_PREDICTION = _object(
    {
        "prediction_id": {"type": "string", "format": "uuid", "description": "What feedback refers to."},
        "model": _STRING,
        "version": {"type": "integer"},
        "labels": {"type": "array", "items": _SCORE, "description": "Every label, best first."},
        "answer": {"type": "string", "description": "The best label, or the model's word for not being certain."},
        "timing_ms": {"type": "object", "additionalProperties": _FLOAT},
    }
)
_PREDICTION["properties"]["kept"] = {
    "type": "boolean",
    "const": True,
    "description": "The input is being kept, as the model's policy allows; left out where it is not.",
}
_PROBLEM = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
_PREDICT: dict[str, Any] = {
    "tags": ["Predictions"],
    "summary": "Ask a model",
    "description": "The input is the body as it is, a form's file, or JSON that holds it in base64; a row is JSON.",
    "operationId": "predict",
    "parameters": [_MODEL, _VERSION_HEADER, _CONSENT_HEADER],
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {"schema": _FORM},
            "application/json": {
                "schema": {"type": "object"},
                "examples": {
                    "a row": {"value": {"x1": 0.3, "x2": -1.2}},
                    "a photo": {"value": {"image": "/9j/4AAQSkZJRg..."}},
                },
            },
        },
    },
    "responses": {
        "200": {
            "description": "The answer.",
            "content": {"application/json": {"schema": _PREDICTION, "example": _ANSWER}},
        },
        **{str(k): v for k, v in problems(401, 403, 404, 413, 415, 429, 503).items()},
    },
}
_INFER = {
    "tags": ["Open Inference Protocol"],
    "summary": "Infer, as the Open Inference Protocol says",
    "operationId": "infer",
    "parameters": [_MODEL, _CONSENT_HEADER],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"inputs": [_TENSOR]}}},
    },
    "responses": {
        "200": {
            "description": "The scores, and the id of each prediction.",
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {"model_name": "drift", "model_version": "1", "outputs": [_SCORES]},
                }
            },
        },
        "400": {"description": "The request is not as the protocol says: `error` tells what is."},
    },
}
_PREDICT_URL = _PREDICT | {
    "summary": "Ask a model about the photo at an address",
    "description": "The photo is fetched from the public Internet and passed on; the answer is the model's.",
    "operationId": "predictUrl",
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _object({"url": {"type": "string", "format": "uri"}}),
                "example": {"url": "https://example.com/cat.jpg"},
            }
        },
    },
    "responses": {
        **_PREDICT["responses"],
        **{str(k): v for k, v in problems(422).items()},
        "502": {"description": "The site did not give the photo.", "content": _PROBLEM},
        "504": {"description": "The site did not give the photo in time.", "content": _PROBLEM},
    },
}
_OF_THE_MODELS = {
    "/api/{model}/predict": {"post": _PREDICT},
    "/api/{model}/predict-url": {"post": _PREDICT_URL},
    "/v2/models/{model}/infer": {"post": _INFER},
}


def _drop_frameworks_errors(document: dict[str, Any]) -> None:
    """FastAPI puts its own form of 422 where a route names none; here a path that names no model is a 404."""
    for operations in document["paths"].values():
        for operation in operations.values():
            refused = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in refused:
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def complete(app: FastAPI) -> None:
    """Add to the application's document what the models answer, and the schema of errors."""
    own = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = own()
            _drop_frameworks_errors(document)
            document["paths"] |= _OF_THE_MODELS
            document["components"]["schemas"]["ProblemDetails"] = ProblemDetails.model_json_schema()
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign] # FastAPI's documented way to extend the document
