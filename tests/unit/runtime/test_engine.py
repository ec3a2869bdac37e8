from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from canari.errors import CanariError
from canari.runtime.engine import OnnxEngine
from tests.unit.runtime.kit import write_embedding_model, write_photo_model, write_row_model


@pytest.mark.parametrize("threads", [1, 2])
def test_a_lone_request_and_a_crowd_get_the_same_answer(tmp_path: Path, threads: int) -> None:
    engine = OnnxEngine(write_row_model(tmp_path / "m.onnx"), threads)
    assert engine.input_shape == (2,)
    inputs = np.array([[0, 0], [1, 1]], np.float32)
    expected = [[0.5, 0.5], [1 / (1 + np.e**2), 1 / (1 + np.e**-2)]]
    for alone in (True, False):
        scores, embedding = engine.predict(inputs, alone=alone)
        assert np.allclose(scores, expected, atol=1e-6)
        assert embedding is None


def test_a_model_may_tell_what_goes_into_its_last_layer(tmp_path: Path) -> None:
    engine = OnnxEngine(write_embedding_model(tmp_path / "m.onnx"), 2)
    for alone in (True, False):
        scores, embedding = engine.predict(np.array([[1, 2]], np.float32), alone=alone)
        assert scores.shape == (1, 2)
        assert embedding is not None
        assert embedding.tolist() == [[-1, -2]]


def test_a_lone_request_gets_every_cpu_and_a_crowd_one_each(tmp_path: Path) -> None:
    engine = OnnxEngine(write_photo_model(tmp_path / "m.onnx"), 2)
    for session, threads in ((engine._wide, 2), (engine._narrow, 1)):
        options = session.get_session_options()
        assert options.intra_op_num_threads == threads
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def _model(file: Path, kind: int, shape: list[object]) -> Path:
    node = helper.make_node("Identity", ["input"], ["scores"])
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("input", "scores")]
    graph = helper.make_graph([node], "m", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def test_a_model_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="one float32 input"):
        OnnxEngine(_model(tmp_path / "m.onnx", TensorProto.DOUBLE, ["n", 2]), 1)
    with pytest.raises(CanariError, match="only the input's first axis may be free"):
        OnnxEngine(_model(tmp_path / "m.onnx", TensorProto.FLOAT, ["n", "m"]), 1)
