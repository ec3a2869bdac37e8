"""Predictions for the tests of the store."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from canari.ids import first_id, new_id
from canari.types import Prediction, RequestKind

RECORDER = UUID("0190a000-0000-7000-8000-000000000001")


def prediction(seq: int = 1, **changes: Any) -> Prediction:
    """An answered prediction, changed as asked."""
    values: dict[str, Any] = {
        "id": new_id(),
        "recorder": RECORDER,
        "seq": seq,
        "kind": RequestKind.ARM,
        "rollout": 1,
        "step": 0,
        "subject": "visitor:ada",
        "status": 200,
        "request_id": f"request-{seq}",
        "input_bytes": 12_345,
        "latency_ms": 12.5,
        "label": "cat",
        "score": 0.75,
        "scores": {"cat": 0.75, "dog": 0.25},
        "reason": None,
        "input_sha256": "a" * 64,
    }
    return Prediction(**{**values, **changes})


def id_at(moment: datetime) -> UUID:
    """A fresh UUIDv7 of `moment`."""
    return UUID(int=first_id(moment).int | (uuid4().int & ((1 << 62) - 1)))
