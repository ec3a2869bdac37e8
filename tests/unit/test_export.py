from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from canari.errors import CanariError
from canari.export import export, onnx_scores
from canari.family import Array

ROWS = np.random.default_rng(0).normal(size=(70, 2)).astype(np.float32)


@dataclass
class Softmax:
    """A model whose export may answer otherwise than it does."""

    factor: float = 1.0
    outputs: int = 1
    parameters: dict[str, str | int | float] = field(default_factory=dict)

    def predict(self, inputs: Array) -> Array:
        powers = np.exp(inputs)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def export(self, path: Path) -> None:
        names = [f"scores{number or ''}" for number in range(self.outputs)]
        nodes = [helper.make_node("Mul", ["input", "factor"], ["logits"])]
        nodes += [helper.make_node("Softmax", ["logits"], [name], axis=1) for name in names]
        graph = helper.make_graph(
            nodes,
            "softmax",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in names],
            [helper.make_tensor("factor", TensorProto.FLOAT, [], [self.factor])],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def test_a_faithful_export_is_kept_and_its_difference_told(tmp_path: Path) -> None:
    model = Softmax()
    path = tmp_path / "artifact" / "model.onnx"
    assert export(model, ROWS, model.predict(ROWS), path) < 1e-6
    assert onnx_scores(path, ROWS).shape == (70, 2)


def test_an_export_that_answers_otherwise_is_refused_with_the_figure(tmp_path: Path) -> None:
    model = Softmax(factor=1.05)
    with pytest.raises(CanariError, match=r"differ from the trained one's by 0\.0\d+; at most 0.001"):
        export(model, ROWS, model.predict(ROWS), tmp_path / "model.onnx")


def test_an_export_that_answers_no_number_is_refused(tmp_path: Path) -> None:
    model = Softmax(factor=float("nan"))
    with pytest.raises(CanariError, match="differ from the trained one's by nan"):
        export(model, ROWS, model.predict(ROWS), tmp_path / "model.onnx")


def test_an_export_with_other_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="answers"):
        export(Softmax(), ROWS, np.zeros((70, 3), np.float32), tmp_path / "model.onnx")


def test_an_export_with_two_outputs_is_refused(tmp_path: Path) -> None:
    model = Softmax(outputs=2)
    with pytest.raises(CanariError, match="one float32 input and one float32 output"):
        export(model, ROWS, model.predict(ROWS), tmp_path / "model.onnx")
