"""The exported model must answer as the trained one did: what is measured is what is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.family import Array, TrainedModel

TOLERANCE = 1e-3
_BATCH = 32


def export(model: TrainedModel, inputs: Array, expected: Array, path: Path) -> float:
    """Write `model` as ONNX to `path` and check it against its own answers `expected` on `inputs`.

    Returns the largest difference of a probability; raises CanariError where it is over TOLERANCE or the ONNX model
    has other ends than one input and one output.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    model.export(path)
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
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ends = [*session.get_inputs(), *session.get_outputs()]
    if [end.type for end in ends] != ["tensor(float)"] * 2 or len(session.get_inputs()) != 1:
        described = ", ".join(f"{end.name} {end.type}" for end in ends)
        raise CanariError(f"an exported model has one float32 input and one float32 output; this one has {described}")
    batches = (np.asarray(inputs[start : start + _BATCH]) for start in range(0, len(inputs), _BATCH))
    return np.concatenate([session.run(None, {ends[0].name: batch})[0] for batch in batches])
