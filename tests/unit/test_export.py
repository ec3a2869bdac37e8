from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from canari.errors import CanariError
from canari.export import export, onnx_embedding, onnx_scores
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


WEIGHTS = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
LAST = np.random.default_rng(2).normal(size=(3, 2)).astype(np.float32)


@dataclass
class Graph:
    """A model of given nodes from `input` to `scores`."""

    nodes: list[onnx.NodeProto]
    weights: dict[str, NDArray[np.float32]]
    parameters: dict[str, str | int | float] = field(default_factory=dict)

    def predict(self, inputs: Array) -> Array:
        raise NotImplementedError

    def export(self, path: Path) -> None:
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def exported(path: Path, nodes: list[onnx.NodeProto], **weights: NDArray[np.float32]) -> Path:
    model = Graph(nodes, weights)
    model.export(path)
    export(model, ROWS, onnx_scores(path, ROWS), path)
    return path


def test_what_goes_into_the_last_layer_is_a_second_output_beside_the_same_answers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "weights"], ["product"]),
        helper.make_node("Relu", ["product"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "last"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    file = exported(tmp_path / "model.onnx", nodes, weights=WEIGHTS, last=LAST)
    assert [out.name for out in onnx.load(file).graph.output] == ["scores", "canari_embedding"]
    embedding = onnx_embedding(file, [ROWS[:50], ROWS[50:]])
    assert embedding is not None
    hidden = np.maximum(ROWS @ WEIGHTS, 0)
    assert np.allclose(embedding, hidden, atol=1e-5)
    powers = np.exp(hidden @ LAST)
    assert np.allclose(onnx_scores(file, ROWS), powers / powers.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Softmax", ["input"], ["scores"], axis=1)],
        [
            helper.make_node("MatMul", ["input", "square"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        [
            helper.make_node("MatMul", ["input", "square"], ["unused"]),
            helper.make_node("Softmax", ["input"], ["scores"], axis=1),
        ],
    ],
)
def test_where_nothing_comes_before_the_last_layer_there_is_one_output(
    tmp_path: Path, nodes: list[onnx.NodeProto]
) -> None:
    file = exported(tmp_path / "model.onnx", nodes, square=WEIGHTS[:, :2])
    assert [out.name for out in onnx.load(file).graph.output] == ["scores"]
    assert onnx_embedding(file, [ROWS]) is None
