"""The Open Inference Protocol, version 2: requests and responses as JSON, and its binary tensor data extension.

A model takes one input: BYTES (n) or (n, 1) of encoded payloads, or FP32 (n, *input shape) that is the model's input
already. JSON holds no bytes, so there photos and sounds are base64 texts; text and rows are themselves.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from canari.errors import Problem
from canari.runtime.payloads import unbase64
from canari.runtime.plane import Outcome, Question
from canari.spec import InputKind, ModelSpec

OUTPUTS = ("scores", "label")


@dataclass(frozen=True, slots=True)
class InferQuestion(Question):
    """A question with what the protocol's answer needs: the request's id, and each wanted output's name and form."""

    id: str | None = None
    outputs: tuple[tuple[str, bool], ...] = ()


def read_request(body: bytes, json_length: bytes | None, spec: ModelSpec, shape: tuple[int, ...]) -> InferQuestion:
    """Read an infer request.

    `json_length` is the header Inference-Header-Content-Length, after whose bytes the binary tensor begins; `shape` is
    one input's. Raises Problem 400 that says what is accepted.
    """
    head, tail = _split(body, json_length)
    document = _document(head)
    tensor = _only_input(document)
    datatype, sizes = tensor.get("datatype"), tensor.get("shape")
    if not isinstance(sizes, list) or not sizes or not all(type(size) is int and size >= 0 for size in sizes):
        raise _bad("invalid-shape", f"`shape` is a list of whole numbers, not {sizes!r}.")
    if not 1 <= sizes[0] <= spec.serving.batch:
        raise _bad("invalid-shape", f"The first axis counts inputs: from 1 to {spec.serving.batch}, not {sizes[0]}.")
    raw = _raw(tensor, tail)
    identifier = document.get("id")
    name, outputs = str(identifier) if identifier is not None else None, _wanted(document)
    if datatype == "BYTES" and sizes[1:] in ([], [1]):
        return InferQuestion(payloads=_payloads(tensor, raw, sizes[0], spec.input.kind), id=name, outputs=outputs)
    if datatype == "FP32" and sizes[1:] == list(shape):
        return InferQuestion(tensor=_floats(tensor, raw, sizes), id=name, outputs=outputs)
    raise _bad(
        "invalid-tensor",
        f"The input is BYTES of shape [n] or [n, 1], or FP32 of shape {['n', *shape]}; not {datatype} of {sizes}.",
    )


def write_response(outcome: Outcome, spec: ModelSpec, version: int, ids: list[UUID]) -> tuple[bytes, bytes]:
    """The response's JSON, and the binary tensors that follow it (empty where none was asked for)."""
    question = cast("InferQuestion", outcome.question)
    outputs, tail = [], b""
    for name, binary in question.outputs:
        output, data = _output(name, outcome, spec, binary=binary)
        outputs.append(output)
        tail += data
    document: dict[str, Any] = {"model_name": spec.name, "model_version": str(version)}
    if question.id is not None:
        document["id"] = question.id
    document["parameters"] = {"prediction_ids": [str(identifier) for identifier in ids]}
    document["outputs"] = outputs
    return json.dumps(document, ensure_ascii=False).encode(), tail


def metadata(spec: ModelSpec, version: int, shape: tuple[int, ...]) -> bytes:
    """The model's metadata: its input (payloads, or the tensor itself as FP32) and outputs."""
    document = {
        "name": spec.name,
        "versions": [str(version)],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "input", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(spec.labels)]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
        "parameters": {"labels": list(spec.labels), "tensor": {"datatype": "FP32", "shape": [-1, *shape]}},
    }
    return json.dumps(document, ensure_ascii=False).encode()


def error(detail: str) -> bytes:
    """The protocol's error object."""
    return json.dumps({"error": detail}, ensure_ascii=False).encode()


def _bad(code: str, detail: str) -> Problem:
    return Problem(400, code, detail)


def _split(body: bytes, json_length: bytes | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not json_length.isdigit() or int(json_length) > len(body):
        raise _bad("invalid-header", "Inference-Header-Content-Length counts the JSON's bytes at the body's beginning.")
    return body[: int(json_length)], body[int(json_length) :]


def _document(head: bytes) -> dict[str, Any]:
    try:
        document = json.loads(head)
    except (ValueError, RecursionError) as fault:
        raise _bad("invalid-json", f"The request is not JSON: {fault}.") from None
    if not isinstance(document, dict):
        raise _bad("invalid-json", 'The request is a JSON object with the member "inputs".')
    return document


def _only_input(document: dict[str, Any]) -> dict[str, Any]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _bad("invalid-inputs", '"inputs" is a list of exactly one tensor.')
    return cast("dict[str, Any]", inputs[0])


def _parameters(part: dict[str, Any]) -> dict[str, Any]:
    parameters = part.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _raw(tensor: dict[str, Any], tail: bytes) -> bytes | None:
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        return None
    if size != len(tail):
        raise _bad("invalid-tensor", f"binary_data_size is {size}, but {len(tail)} bytes follow the JSON.")
    return tail


def _wanted(document: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
    default = _parameters(document).get("binary_data_output") is True
    outputs = document.get("outputs")
    if not outputs:
        return tuple((name, default) for name in OUTPUTS)
    if not isinstance(outputs, list) or not all(isinstance(o, dict) and o.get("name") in OUTPUTS for o in outputs):
        raise _bad("invalid-outputs", f"The outputs there are: {', '.join(OUTPUTS)}.")
    return tuple((output["name"], bool(_parameters(output).get("binary_data", default))) for output in outputs)


def _payloads(tensor: dict[str, Any], raw: bytes | None, count: int, kind: InputKind) -> tuple[bytes, ...]:
    if raw is not None:
        payloads = _length_prefixed(raw)
    else:
        texts = _flat(tensor.get("data"))
        if not all(isinstance(text, str) for text in texts):
            raise _bad("invalid-tensor", "BYTES data in JSON is a list of texts; photos and sounds as base64.")
        encoded = kind in {InputKind.IMAGE, InputKind.AUDIO} or _parameters(tensor).get("content_type") == "base64"
        payloads = [unbase64(text) if encoded else text.encode() for text in texts]
    if len(payloads) != count:
        raise _bad("invalid-shape", f"The shape says {count} inputs, but there are {len(payloads)}.")
    return tuple(payloads)


def _flat(data: object) -> list[Any]:
    if not isinstance(data, list):
        raise _bad("invalid-tensor", 'The tensor has neither "data" nor the parameter "binary_data_size".')
    return [item for entry in data for item in (entry if isinstance(entry, list) else [entry])]


def _length_prefixed(raw: bytes) -> list[bytes]:
    payloads, place = [], 0
    while place < len(raw):
        end = place + 4
        if end <= len(raw):
            end += struct.unpack_from("<I", raw, place)[0]
        if end > len(raw):
            raise _bad("invalid-tensor", "Binary BYTES are elements, each after its length in 4 bytes (little-endian).")
        payloads.append(raw[place + 4 : end])
        place = end
    return payloads


def _floats(tensor: dict[str, Any], raw: bytes | None, sizes: list[int]) -> NDArray[np.float32]:
    try:
        if raw is not None:
            numbers = np.frombuffer(raw, dtype="<f4")
        else:
            numbers = np.asarray(tensor.get("data"), dtype=np.float32)
        values = numbers.reshape(sizes)
    except (ValueError, TypeError, OverflowError):
        raise _bad("invalid-tensor", f"The data are not the numbers of an FP32 tensor of shape {sizes}.") from None
    if not np.isfinite(values).all():
        raise _bad("invalid-tensor", "The tensor holds numbers that are not finite.")
    return values


def _output(name: str, outcome: Outcome, spec: ModelSpec, *, binary: bool) -> tuple[dict[str, Any], bytes]:
    answers = outcome.answers
    output: dict[str, Any]
    if name == "label":
        texts = [answer.label.encode() for answer in answers]
        data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        output = {"name": name, "datatype": "BYTES", "shape": [len(answers)]}
        values: list[Any] = [answer.label for answer in answers]
    else:
        by_label = [dict(answer.ranked) for answer in answers]
        values = [scores[label] for scores in by_label for label in spec.labels]
        data = np.array(values, dtype="<f4").tobytes()
        output = {"name": name, "datatype": "FP32", "shape": [len(answers), len(spec.labels)]}
    if binary:
        return {**output, "parameters": {"binary_data_size": len(data)}}, data
    return {**output, "data": values}, b""
