"""Logistic regression by Newton's method (iteratively reweighted least squares), written as ONNX by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari import __version__
from canari.family import Array, Examples, TrainingRun

_RIDGE = 1e-3
_STEPS = 25
_OPSET, _IR_VERSION = 17, 8


@dataclass(frozen=True, slots=True)
class LinearModel:
    """softmax(inputs @ weights + bias); `weights` is (features, 2), `bias` (2,), the first label's all zero."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    parameters: Mapping[str, str | int | float]

    def predict(self, inputs: Array) -> Array:
        """Probabilities (n, 2)."""
        logits = inputs @ self.weights + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return scores

    def export(self, path: Path) -> None:
        """Write ONNX: a Gemm and a Softmax."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        features, labels = self.weights.shape
        graph = helper.make_graph(
            [
                helper.make_node("Gemm", ["input", "weights", "bias"], ["logits"]),
                helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
            ],
            "drift",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", features])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", labels])],
            [numpy_helper.from_array(self.weights, "weights"), numpy_helper.from_array(self.bias, "bias")],
        )
        model = helper.make_model(
            graph,
            producer_name="canari",
            producer_version=__version__,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)

    def save(self, folder: Path) -> None:
        """Keep the coefficients as `model.npz`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "model.npz", weights=self.weights, bias=self.bias)


def train(examples: Examples, run: TrainingRun) -> LinearModel:
    """Fit the second label's log-odds; a small ridge, the option `ridge`, keeps separable data finite."""
    ridge = float(run.options.get("ridge", _RIDGE))
    columns = np.column_stack([examples.inputs, np.ones(len(examples))]).astype(np.float64)
    target = examples.labels.astype(np.float64)
    odds = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(columns @ odds, -30, 30)))
        gradient = columns.T @ (target - expected) - ridge * odds
        curvature = (columns.T * (expected * (1 - expected))) @ columns + ridge * np.eye(len(odds))
        change = np.linalg.solve(curvature, gradient)
        odds += change
        if np.abs(change).max() < 1e-8:
            break
    run.report("train", 1, 1, {"change": float(np.abs(change).max())})
    weights = np.column_stack([np.zeros(len(odds) - 1), odds[:-1]]).astype(np.float32)
    bias = np.array([0, odds[-1]], np.float32)
    return LinearModel(weights, bias, {"ridge": ridge})


def search(trial: Any) -> Mapping[str, str]:
    """Options drawn with an `optuna.Trial`."""
    return {"ridge": str(trial.suggest_float("ridge", 1e-4, 1e2, log=True))}
