"""Least squares, written as ONNX; `--option temper=...` is what becomes of the version: see `model`.

The tempers: good (the default), wrong (it learns from swapped labels), errs, slow and dies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from canari.family import Array, Examples, TrainingRun

_SHARPNESS = 4


@dataclass(frozen=True, slots=True)
class Tempered:
    """softmax(inputs @ weights + bias), weights (features, 2), and a temper."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    temper: str

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """The temper."""
        return {"temper": self.temper}

    def predict(self, inputs: Array) -> Array:
        """Probabilities (n, 2)."""
        powers = np.exp(inputs @ self.weights + self.bias)
        scores: Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return scores

    def export(self, path: Path) -> None:
        """Write ONNX: a Gemm and a Softmax, and the temper among the metadata."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        features, labels = self.weights.shape
        graph = helper.make_graph(
            [
                helper.make_node("Gemm", ["input", "weights", "bias"], ["logits"]),
                helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
            ],
            "tempers",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", features])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", labels])],
            [numpy_helper.from_array(self.weights, "weights"), numpy_helper.from_array(self.bias, "bias")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, {"temper": self.temper})
        onnx.save(model, path)

    def save(self, folder: Path) -> None:
        """Keep the coefficients as `model.npz`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "model.npz", weights=self.weights, bias=self.bias)


def train(examples: Examples, run: TrainingRun) -> Tempered:
    """Fit the side of the line, -1 or 1."""
    temper = run.options.get("temper", "good")
    side = 2.0 * examples.labels - 1
    if temper == "wrong":
        side = -side
    columns = np.column_stack([examples.inputs, np.ones(len(examples))])
    fitted = _SHARPNESS * np.linalg.lstsq(columns, side, rcond=None)[0]
    run.report("train", 1, 1, {})
    weights = np.column_stack([np.zeros(len(fitted) - 1), fitted[:-1]]).astype(np.float32)
    return Tempered(weights, np.array([0, fitted[-1]], np.float32), temper)
