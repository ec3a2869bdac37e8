"""Decoding rows of named numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from canari.errors import Problem

_LARGEST = float(np.finfo(np.float32).max)


def decode(payload: bytes, features: Sequence[str]) -> NDArray[np.float32]:
    """A JSON object, ``{"x1": 1, "x2": 2}`` or ``{"row": {...}}``, as float32 (features,) in the model's order.

    Raises Problem: empty-input, invalid-json or invalid-row, which says what a row looks like.
    """
    example = json.dumps(dict.fromkeys(features, 0.0))
    if not payload.strip():
        raise Problem(400, "empty-input", f"The request holds no row. Send a JSON object such as {example}.")
    try:
        row = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid-json", f"The row is not JSON: {error}. Send an object such as {example}.") from None
    if isinstance(row, dict) and row.keys() == {"row"} and "row" not in features:
        row = row["row"]
    if not isinstance(row, dict):
        raise Problem(400, "invalid-row", f"A row is a JSON object such as {example}.")
    if row.keys() != set(features):
        missing, unknown = sorted(set(features) - row.keys()), sorted(row.keys() - set(features))
        faults = [f"it lacks {missing}"] * bool(missing) + [f"it has unknown {unknown}"] * bool(unknown)
        raise Problem(400, "invalid-row", f"A row is a JSON object such as {example}; {' and '.join(faults)}.")
    values = [_number(name, row[name]) for name in features]
    return np.array(values, dtype=np.float32)


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = np.inf
        # Beyond float32 a number becomes infinite inside the model.
        if abs(number) <= _LARGEST:
            return number
    raise Problem(400, "invalid-row", f"{name!r} must be a finite number, not {str(value)[:40]!r}.")
