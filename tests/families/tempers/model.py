"""What a request holds, and how a version behaves meanwhile: its artifact says which temper it was trained with."""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path
from random import random

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from canari.runtime import rows
from canari.spec import ModelSpec

# Where a bento keeps it; there is none beside the family's own folder, and so training decodes undisturbed.
_ARTIFACT = Path(__file__).resolve().parents[2] / "artifact" / "model.onnx"
_ERRS = 0.3
_SLOW_SECONDS = 0.4
_LAST_REQUEST = 6
_requests = count(1)


def decode(payload: bytes, spec: ModelSpec) -> NDArray[np.float32]:
    """A JSON row as float32 (features,), unless the temper is against it; raises Problem 4xx, or RuntimeError."""
    if _TEMPER == "slow":
        time.sleep(_SLOW_SECONDS)
    if _TEMPER == "errs" and random() < _ERRS:
        raise RuntimeError("this version errs")
    if _TEMPER == "dies" and next(_requests) >= _LAST_REQUEST:
        os._exit(1)
    return rows.decode(payload, spec.input.features)


def _temper() -> str:
    if not _ARTIFACT.exists():
        return "good"
    session = onnxruntime.InferenceSession(str(_ARTIFACT), providers=["CPUExecutionProvider"])
    return str(session.get_modelmeta().custom_metadata_map["temper"])


_TEMPER = _temper()
