"""The vocabulary: plain immutable values that every part of Canari shares."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

_ARM = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class VersionState(StrEnum):
    """A version's life: its number is allotted (`building`) before anything is trained."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class RolloutState(StrEnum):
    """At most one rollout per model is `open`."""

    OPEN = "open"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


class RequestKind(StrEnum):
    """How a request came to a version: by the split, asked for by header, mirrored, or past the gateway."""

    ARM = "arm"
    PIN = "pin"
    SHADOW = "shadow"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a split, as the gateway stamps it on each request: ``rollout.step.version``.

    Rollout 0 stands for "no rollout is open".
    """

    rollout: int
    step: int
    version: int

    def __str__(self) -> str:
        return f"{self.rollout}.{self.step}.{self.version}"

    @classmethod
    def parse(cls, stamp: str) -> Arm | None:
        """The arm a stamp names, or None where it is no stamp of an arm."""
        match = _ARM.fullmatch(stamp)
        return cls(*map(int, match.groups())) if match else None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One request to a version, answered or refused, as the recorder spools it and the store keeps it.

    `recorder` and `seq` name the process that wrote it and its place in that process's unbroken count, so that a
    lost row leaves a hole. `scores` maps labels to probabilities; `reason` is the problem's code when refused.
    """

    id: UUID
    recorder: UUID
    seq: int
    kind: RequestKind
    rollout: int
    step: int
    subject: str
    status: int
    request_id: str
    input_bytes: int
    latency_ms: float
    label: str | None = None
    score: float | None = None
    scores: dict[str, float] | None = None
    reason: str | None = None
    input_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person said of a prediction: right or wrong, and what it really was."""

    prediction_id: UUID
    model: str
    subject: str
    right: bool
    label: str | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """One trained version of a model; `number` is allotted by Postgres, `archive` is the bento's SHA-256."""

    model: str
    number: int
    state: VersionState
    spec_hash: str
    archive: str | None
    synthetic: bool
    metrics: dict[str, Any]
    created_at: datetime
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A change of version: `weight` percent of the traffic go to `canary`, the rest to `stable`."""

    id: int
    model: str
    stable: int | None
    canary: int
    step: int
    weight: int
    state: RolloutState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """An arm and its weight in percent."""

    arm: Arm
    weight: int


@dataclass(frozen=True, slots=True)
class Split:
    """How one model's traffic is to be divided: `shares` sum to 100, stable first; empty where nothing can answer.

    `pins` are the versions a request may ask for by header or path; `mirror` gets copies whose answers nobody sees.
    """

    model: str
    shares: tuple[Share, ...]
    pins: tuple[int, ...]
    timeout_seconds: float
    mirror: int | None = None
    mirror_percent: int = 100


@dataclass(frozen=True, slots=True)
class Sample:
    """One example to learn from: a file, its label, and the group it never leaves (near-duplicates share a group)."""

    sha256: str
    label: str
    group: str
    path: Path
    evaluation: bool
    source: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Exactly what a version learned from and was judged on; its digest is part of the version's lineage."""

    model: str
    samples: tuple[Sample, ...]
    synthetic: bool
    skipped: tuple[tuple[str, str], ...] = field(default=())


def manifest_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a manifest's model and samples (content, label, group, side)."""
    identity = {name: document[name] for name in ("model", "samples")}
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
