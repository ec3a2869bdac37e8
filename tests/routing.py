"""What a gateway has to make of a request: one table for the laptop's Envoy and for the cluster's.

The versions 1 (99 %) and 2 of cats_dogs are there, nothing else.
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """A request, and who answers it: `arms`, `pin N`, or `refused` (the version is absent)."""

    path: str
    version: str | None
    answer: str


PREDICT, PROTOCOL = "/api/cats_dogs/predict", "/v2/models/cats_dogs"
CASES = [
    Case(PREDICT, None, "arms"),
    Case(PREDICT + "?explain=1", None, "arms"),
    Case(PREDICT, "1", "pin 1"),
    Case(PREDICT, "2", "pin 2"),
    Case(PREDICT, "9", "refused"),
    Case(PREDICT, "02", "refused"),
    Case(PROTOCOL, None, "arms"),
    Case(PROTOCOL + "/infer", None, "arms"),
    Case(PROTOCOL + "/ready", "2", "pin 2"),
    Case(PROTOCOL + "/infer", "9", "refused"),
    Case(PROTOCOL + "/versions/2", None, "pin 2"),
    Case(PROTOCOL + "/versions/2/infer", None, "pin 2"),
    Case(PROTOCOL + "/versions/9/infer", None, "refused"),
    Case(PROTOCOL + "/versions/21/infer", None, "refused"),
    Case(PROTOCOL + "/versions", None, "refused"),
    # What the path names goes before what the header names.
    Case(PROTOCOL + "/versions/2/infer", "1", "pin 2"),
    Case(PROTOCOL + "/versions/1/infer", "2", "pin 1"),
    Case(PROTOCOL + "/versions/2/infer", "9", "pin 2"),
    Case(PROTOCOL + "/versions/9/infer", "2", "refused"),
]
