"""Keras, imported quietly, and a trained Keras model as the platform wants one."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from canari.family import Array


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """TensorFlow's C++ greets on file descriptor 2 before its log level counts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _silenced():
    import keras
    import tensorflow as tf

    tf.constant(0)
    tf.get_logger().setLevel(logging.ERROR)

__all__ = ["KerasModel", "keras"]

_BATCH = 32


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A Keras model of one input (n, *input shape) and one output, probabilities (n, labels)."""

    model: Any
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)

    def predict(self, inputs: Array) -> Array:
        """Probabilities (n, labels), computed by Keras a batch at a time."""
        batches = (inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH))
        return np.concatenate([self.model.predict_on_batch(np.asarray(batch)) for batch in batches]).astype(np.float32)

    def export(self, path: Path) -> None:
        """Write ONNX, its input called `input` and its output `scores`, any number of rows at once."""
        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings(), _silenced():
            warnings.simplefilter("ignore", FutureWarning)
            self.model.export(str(path), format="onnx", verbose=False)
        _rename_ends(path)

    def save(self, folder: Path) -> None:
        """Keep the model as `model.keras`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / "model.keras")


def _rename_ends(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    (given,), (answer,) = model.graph.input, model.graph.output
    names = {given.name: "input", answer.name: "scores"}
    given.name, answer.name = "input", "scores"
    given.type.tensor_type.shape.dim[0].dim_param = "n"
    answer.type.tensor_type.shape.dim[0].dim_param = "n"
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
