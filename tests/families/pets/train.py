"""Ridge regression on the pixels, as a softmax over two labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from canari.family import Array, Examples, TrainingRun

_RIDGE = 10.0


@dataclass(frozen=True, slots=True)
class PixelModel:
    """softmax(pixels @ weights + bias); `weights` is (height * width * 3, 2)."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    shape: tuple[int, ...]
    parameters: Mapping[str, str | int | float]

    def predict(self, inputs: Array) -> Array:
        """Probabilities (n, 2)."""
        logits = inputs.reshape(len(inputs), -1) @ self.weights + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return scores

    def export(self, path: Path) -> None:
        """Write ONNX: a Flatten, a Gemm and a Softmax."""
        graph = helper.make_graph(
            [
                helper.make_node("Flatten", ["input"], ["pixels"], axis=1),
                helper.make_node("Gemm", ["pixels", "weights", "bias"], ["logits"]),
                helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
            ],
            "pets",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *self.shape])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
            [numpy_helper.from_array(self.weights, "weights"), numpy_helper.from_array(self.bias, "bias")],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    def save(self, folder: Path) -> None:
        """Keep the coefficients as `model.npz`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "model.npz", weights=self.weights, bias=self.bias)


def train(examples: Examples, run: TrainingRun) -> PixelModel:
    """Fit -1 and 1 by least squares."""
    pixels = np.asarray(examples.inputs, np.float64).reshape(len(examples), -1) / 255
    target = examples.labels * 2.0 - 1
    mean = pixels.mean(axis=0)
    centred = pixels - mean
    odds = np.linalg.solve(centred.T @ centred + _RIDGE * np.eye(centred.shape[1]), centred.T @ target)
    run.report("train", 1, 1, {})
    weights = np.column_stack([np.zeros_like(odds), odds / 255]).astype(np.float32)
    bias = np.array([0, target.mean() - mean @ odds], np.float32)
    return PixelModel(weights, bias, examples.inputs.shape[1:], {"ridge": _RIDGE})
