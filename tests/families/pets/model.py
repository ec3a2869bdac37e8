"""What a request to pets holds: a photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from canari.runtime import images
from canari.spec import ModelSpec


def decode(payload: bytes, spec: ModelSpec) -> NDArray[np.float32]:
    """A photo as float32 (height, width, 3), 0 to 255; raises Problem 4xx that says what is accepted."""
    assert spec.input.size is not None
    return images.decode(payload, spec.input.size, spec.input.max_pixels)
