"""The two ways a model is asked over HTTP: Canari's own predict route, and the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from pydantic_core import to_json

from canari.errors import PROBLEM_JSON, Problem
from canari.runtime import oip
from canari.runtime.payloads import CONSENT, check_content_type, extract
from canari.runtime.plane import Outcome, Question
from canari.spec import ModelSpec

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, before the headers that every answer bears."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    """One way to ask: what a request's body means, and how answers and refusals are written."""

    def check(self, headers: Headers) -> None:
        """Refuse by the headers alone, before the body is read; raises Problem."""

    def read(self, headers: Headers, body: bytes) -> Question:
        """What is asked; raises Problem. Runs in the pool."""

    def answer(self, outcome: Outcome, ids: list[UUID], total_ms: float, *, kept: bool) -> Reply:
        """A 200. `kept`: the inputs are being kept."""

    def refuse(self, problem: Problem, request_id: str) -> Reply:
        """Any other status."""


class PlainDialect:
    """``POST /api/{model}/predict``: one input in, labels with scores out, problem details (RFC 9457) for errors."""

    def __init__(self, spec: ModelSpec, version: int) -> None:
        self._spec = spec
        self._version = version

    def check(self, headers: Headers) -> None:
        """Raise Problem 415 that lists the content types this kind of model takes."""
        check_content_type(self._spec.input.kind, _text(headers, b"content-type"))

    def read(self, headers: Headers, body: bytes) -> Question:
        """The one payload of the body."""
        payload = extract(self._spec.input.kind, _text(headers, b"content-type"), body)
        return Question(payloads=(payload.content,), consent=payload.consent or consents(headers))

    def answer(self, outcome: Outcome, ids: list[UUID], total_ms: float, *, kept: bool) -> Reply:
        """The labels, best first, the answer after abstention, the timing; and `kept` where the input is."""
        answer = outcome.answers[0]
        document: dict[str, object] = {
            "prediction_id": str(ids[0]),
            "model": self._spec.name,
            "version": self._version,
            "labels": [{"label": label, "score": score} for label, score in answer.ranked],
            "answer": answer.label,
            "timing_ms": {
                "decode": round(outcome.decode_ms, 3),
                "inference": round(outcome.inference_ms, 3),
                "total": round(total_ms, 3),
            },
        }
        if kept:
            document["kept"] = True
        return Reply(200, to_json(document))

    def refuse(self, problem: Problem, request_id: str) -> Reply:
        """Problem details."""
        return Reply(problem.status, problem.encode(request_id), PROBLEM_JSON, problem.headers)


class InferDialect:
    """``POST /v2/models/{model}/infer`` in JSON or with the binary tensor data extension."""

    def __init__(self, spec: ModelSpec, version: int, input_shape: tuple[int, ...]) -> None:
        self._spec = spec
        self._version = version
        self._shape = input_shape

    def check(self, headers: Headers) -> None:
        """Raise Problem 415 for compressed bodies: the protocol's clients send plain ones unless told otherwise."""
        encoding = _text(headers, b"content-encoding")
        if encoding not in {"", "identity"}:
            raise Problem(415, "unsupported-encoding", f"The content encoding {encoding!r} is not accepted; send none.")

    def read(self, headers: Headers, body: bytes) -> Question:
        """The payloads or the tensor of the one input."""
        length = headers.get(b"inference-header-content-length")
        return replace(oip.read_request(body, length, self._spec, self._shape), consent=consents(headers))

    def answer(self, outcome: Outcome, ids: list[UUID], total_ms: float, *, kept: bool) -> Reply:
        """Outputs `scores` and `label`, in the form and order the request asked for."""
        del total_ms, kept
        head, tail = oip.write_response(outcome, self._spec, self._version, ids)
        if not tail:
            return Reply(200, head)
        length = {"Inference-Header-Content-Length": str(len(head))}
        return Reply(200, head + tail, "application/octet-stream", length)

    def refuse(self, problem: Problem, request_id: str) -> Reply:
        """The protocol's error object."""
        del request_id
        return Reply(problem.status, oip.error(problem.detail), headers=problem.headers)


def consents(headers: Headers) -> bool:
    """Whether a request's sender agrees to its inputs being kept."""
    return headers.get(b"x-canari-consent") == CONSENT.encode()


def _text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")
