from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.measures import Reference, refer
from canari.runtime.engine import OnnxEngine
from canari.runtime.plane import DataPlane, Question
from tests.unit.runtime.kit import decode_row, row_spec, write_embedding_model, write_row_model


class Witness:
    """An engine that notes who was said to be alone."""

    input_shape = (2,)

    def __init__(self, scores: list[float]) -> None:
        self.alone: list[bool] = []
        self._scores = scores
        self._both = threading.Barrier(2, timeout=5)

    def predict(self, inputs: NDArray[np.float32], *, alone: bool) -> tuple[NDArray[np.float32], None]:
        self.alone.append(alone)
        if not alone:
            self._both.wait()
        return np.array([self._scores] * len(inputs), np.float32), None


QUESTION = Question(tensor=np.zeros((1, 2), np.float32))


def test_only_a_lone_request_takes_every_cpu() -> None:
    witness = Witness([0.4, 0.6])
    plane = DataPlane(row_spec(), witness, decode_row, threads=2)
    together = threading.Barrier(2, timeout=5)

    def read() -> Question:
        together.wait()
        return QUESTION

    async def ask() -> None:
        await plane.ask(lambda: QUESTION, time.monotonic() + 5)
        await asyncio.gather(*[plane.ask(read, time.monotonic() + 5) for _ in range(2)])
        await plane.ask(lambda: QUESTION, time.monotonic() + 5)

    asyncio.run(ask())
    assert witness.alone == [True, False, False, True]


@pytest.mark.parametrize("scores", [[float("nan"), 0.5], [0.2, 0.3, 0.5]])
def test_a_model_whose_scores_are_no_probabilities_of_its_labels_does_not_warm_up(scores: list[float]) -> None:
    plane = DataPlane(row_spec(), Witness(scores), decode_row, threads=1)
    with pytest.raises(CanariError, match="expected"):
        plane.warm_up()


def test_equal_scores_keep_the_labels_order(tmp_path: Path) -> None:
    plane = DataPlane(row_spec(), OnnxEngine(write_row_model(tmp_path / "m.onnx"), 1), decode_row, threads=1)
    outcome = asyncio.run(plane.ask(lambda: QUESTION, time.monotonic() + 5))
    assert outcome.answers[0].ranked == [("below", 0.5), ("above", 0.5)]


ROWS = np.arange(40, dtype=np.float32).reshape(20, 2)


def reference(*, components: bool) -> Reference:
    return refer(row_spec().input, [ROWS], {}, (-ROWS, -ROWS) if components else None)


def plane(file: Path, reference: Reference | None) -> DataPlane:
    return DataPlane(row_spec(), OnnxEngine(file, 1), decode_row, threads=1, reference=reference)


def test_an_answer_tells_where_its_input_lies_and_nothing_more(tmp_path: Path) -> None:
    made = reference(components=True)
    assert made.names == ("x1", "x2", "component 1")
    question = Question(tensor=np.array([[-5, 100], [20, 21]], np.float32))
    asked = plane(write_embedding_model(tmp_path / "m.onnx"), made)
    asked.warm_up()
    outcome = asyncio.run(asked.ask(lambda: question, time.monotonic() + 5))
    first, second = (answer.bins for answer in outcome.answers)
    assert first is not None
    assert first[:2] == (0, 9)
    assert [second] == made.bins(ROWS[10:11], -ROWS[10:11])


def test_without_a_reference_there_are_no_places(tmp_path: Path) -> None:
    asked = plane(write_row_model(tmp_path / "m.onnx"), None)
    outcome = asyncio.run(asked.ask(lambda: QUESTION, time.monotonic() + 5))
    assert outcome.answers[0].bins is None


def test_a_reference_of_another_model_is_told_before_the_first_visitor_comes(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="the reference of inputs does not fit the model"):
        plane(write_row_model(tmp_path / "m.onnx"), reference(components=True)).warm_up()
