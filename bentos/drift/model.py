"""What a request to drift holds: one row of two numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from canari.runtime import rows
from canari.spec import ModelSpec


def decode(payload: bytes, spec: ModelSpec) -> NDArray[np.float32]:
    """A JSON row as float32 (features,); raises Problem 4xx that says what is accepted."""
    return rows.decode(payload, spec.input.features)
