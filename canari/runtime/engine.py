"""What runs an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.measures import EMBEDDING

Array = NDArray[np.float32]


class Engine(Protocol):
    """Turns inputs into probabilities. Called from several threads at once."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One input's shape, without the batch axis."""

    def predict(self, inputs: Array, *, alone: bool) -> tuple[Array, Array | None]:
        """Probabilities (n, labels) of inputs (n, *input_shape), and the embedding (n, width) where there is one.

        `alone`: no other request wants a CPU now.
        """


class OnnxEngine:
    """ONNX Runtime on the CPU.

    A lone request is answered soonest by all CPUs together; several at once are answered soonest by one CPU each. So
    there are two sessions of the same model.
    """

    def __init__(self, model: Path, threads: int) -> None:
        self._narrow = _session(model, 1)
        self._wide = _session(model, threads) if threads > 1 else self._narrow
        inputs, outputs = self._narrow.get_inputs(), [out.name for out in self._narrow.get_outputs()]
        if len(inputs) != 1 or outputs[1:] not in ([], [EMBEDDING]) or inputs[0].type != "tensor(float)":
            raise CanariError(f"{model}: a model has one float32 input (n, *shape) and one output (n, labels)")
        self._input = inputs[0].name
        self._shape = tuple(inputs[0].shape[1:])
        if not all(isinstance(size, int) for size in self._shape):
            raise CanariError(f"{model}: only the input's first axis may be free, but its shape is {inputs[0].shape}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One input's shape, as the graph says."""
        return self._shape

    def predict(self, inputs: Array, *, alone: bool) -> tuple[Array, Array | None]:
        """Probabilities (n, labels) and the embedding (n, width); raises what ONNX Runtime raises."""
        session = self._wide if alone else self._narrow
        scores, *embedding = session.run(None, {self._input: inputs})
        return scores, embedding[0] if embedding else None


def _session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take the CPU from the requests beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
