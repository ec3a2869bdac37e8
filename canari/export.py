"""The exported model must answer as the trained one did: what is measured is what is served."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.family import Array, TrainedModel
from canari.measures import EMBEDDING

TOLERANCE = 1e-3
_WIDEST = 2048
_LAYERS = ("Gemm", "MatMul")
_BATCH = 32


def export(model: TrainedModel, inputs: Array, expected: Array, path: Path) -> float:
    """Write `model` as ONNX to `path` and check it against its own answers `expected` on `inputs`.

    Where the graph has a layer before its last, what that one gives is named as a second output, EMBEDDING. Returns
    the largest difference of a probability; raises CanariError where it is over TOLERANCE or the exported model has
    other ends than one input and one output.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    model.export(path)
    _name_embedding(path)
    answers = onnx_scores(path, inputs)
    if answers.shape != expected.shape:
        raise CanariError(f"the exported model answers {answers.shape}, the trained one {expected.shape}")
    difference = float(np.abs(answers - expected).max())
    if not difference <= TOLERANCE:
        raise CanariError(
            f"the exported model's probabilities differ from the trained one's by {difference:.2g}; "
            f"at most {TOLERANCE:g} is allowed, so it is not served"
        )
    return difference


def onnx_scores(path: Path, inputs: Array) -> NDArray[np.float32]:
    """Probabilities (n, labels) as ONNX Runtime computes them on the CPU."""
    session = _session(path)
    given, outputs = session.get_inputs(), [out for out in session.get_outputs() if out.name != EMBEDDING]
    ends = [*given, *outputs]
    if [end.type for end in ends] != ["tensor(float)"] * 2 or len(given) != 1:
        described = ", ".join(f"{end.name} {end.type}" for end in ends)
        raise CanariError(f"an exported model has one float32 input and one float32 output; this one has {described}")
    batches = (np.asarray(inputs[start : start + _BATCH]) for start in range(0, len(inputs), _BATCH))
    return _run(session, outputs[0].name, batches)


def onnx_embedding(path: Path, batches: Iterable[Array]) -> NDArray[np.float32] | None:
    """What a model makes of batches of inputs before its last layer, (n, width); None where it does not tell."""
    session = _session(path)
    if EMBEDDING not in {out.name for out in session.get_outputs()}:
        return None
    return _run(session, EMBEDDING, batches)


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _run(session: Any, output: str, batches: Iterable[Array]) -> NDArray[np.float32]:
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([output], {name: batch})[0] for batch in batches])


def _name_embedding(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    found = _embedding(onnx.shape_inference.infer_shapes(model))
    if found is None:
        return
    name, width = found
    model.graph.node.append(onnx.helper.make_node("Identity", [name], [EMBEDDING]))
    model.graph.output.append(onnx.helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, ["n", width]))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _embedding(model: Any) -> tuple[str, int] | None:
    """The name and width of what goes into the last matrix product before the only output, of (n, width) float32.

    None where there is no such product, its input is the graph's own, or that is no (n, width) of a fair width.
    """
    from onnx import TensorProto

    if len(model.graph.output) != 1 or len(model.graph.input) != 1:
        return None
    # Nodes stand in the order of their computation, so that one pass each way tells what depends on what.
    moving = {model.graph.input[0].name}
    for node in model.graph.node:
        if moving.intersection(node.input):
            moving.update(node.output)
    needed = {model.graph.output[0].name}
    for node in reversed(model.graph.node):
        if not needed.intersection(node.output):
            continue
        if node.op_type in _LAYERS:
            name = next((given for given in node.input if given in moving), "")
            break
        needed.update(node.input)
    else:
        return None
    known = {value.name: value.type.tensor_type for value in model.graph.value_info}
    if name not in known or known[name].elem_type != TensorProto.FLOAT:
        return None
    sizes = [size.dim_value for size in known[name].shape.dim]
    return (name, sizes[1]) if len(sizes) == 2 and 0 < sizes[1] <= _WIDEST else None
