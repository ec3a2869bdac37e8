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
    """At most one rollout per model is `open`, and at most one is `queued` behind it."""

    QUEUED = "queued"
    OPEN = "open"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    ABORTED = "aborted"


class RolloutMode(StrEnum):
    """Who moves a rollout: people alone, or its evidence, step by step."""

    MANUAL = "manual"
    JUDGED = "judged"


class RequestKind(StrEnum):
    """How a request came to a version: by the split, asked for by header, mirrored, or past the gateway."""

    ARM = "arm"
    PIN = "pin"
    SHADOW = "shadow"
    DIRECT = "direct"


class JobKind(StrEnum):
    """What is done now and then: measure live versions, train anew where it is due, forget what may not be kept."""

    EVALUATE = "evaluate"
    RETRAIN = "retrain"
    RETENTION = "retention"


class JobState(StrEnum):
    """A job waits, is held by a runner, and ends: done, refused with a reason, or failed for good."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


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
    lost row leaves a hole. `scores` maps labels to probabilities; `reason` is the problem's code when refused. `bins`
    are the places of the input's measures among the reference's, where the version has a reference.
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
    bins: tuple[int, ...] | None = None


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
    """A change of version: `weight` percent of the traffic go to `canary`, the rest to `stable`.

    `step` counts the changes of weight; of a judged rollout it is the place in its specification's steps. An open one
    whose weight is 0 is a shadow: the canary gets copies. The specification of `spec_hash` holds from start to end.
    `priors` are stable's rates of bad outcomes before it opened, by metric, where anything is known of them.
    """

    id: int
    model: str
    stable: int | None
    canary: int
    step: int
    weight: int
    state: RolloutState
    created_at: datetime
    mode: RolloutMode = RolloutMode.MANUAL
    spec_hash: str | None = None
    paused_at: datetime | None = None
    step_started_at: datetime | None = None
    deadline_at: datetime | None = None
    settled_at: datetime | None = None
    proposed_by: str | None = None
    reason: str | None = None
    priors: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Previous:
    """The stable version of before a promotion, kept ready `until` then with `weight` percent of the traffic.

    `rollout` is the one that was promoted, and `step` the one after its last: what is said of both versions meanwhile
    is told apart by them. `judged` where evidence promoted it, and not a person.
    """

    version: int
    rollout: int
    step: int
    weight: int
    until: datetime
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """Which versions of a model are to run, and how its traffic is to be divided among them."""

    stable: int | None
    rollout: Rollout | None = None
    previous: Previous | None = None

    @property
    def versions(self) -> list[int]:
        """Those that are to run, in order."""
        arms = (self.rollout.canary, self.rollout.stable) if self.rollout else ()
        kept = self.previous.version if self.previous else None
        return sorted({number for number in (self.stable, kept, *arms) if number is not None})

    def weight(self, version: int) -> int:
        """Percent of the traffic that a version is to get."""
        other, given = None, 0
        if self.rollout:
            other, given = self.rollout.canary, self.rollout.weight
        elif self.previous:
            other, given = self.previous.version, self.previous.weight
        return given if version == other else 100 - given if version == self.stable else 0


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


class Origin(StrEnum):
    """Where a sample comes from: the team added it, a person accepted what a user sent, or the model was sure of it."""

    TEAM = "team"
    CURATED = "curated"
    CONFIDENT = "confident"


class Review(StrEnum):
    """What a person made of an input that a user sent: it waits until then."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    RELABELLED = "relabelled"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Sample:
    """One example to learn from: a file, its label, and the group it never leaves (near-duplicates share a group).

    `labelled_by` tells what gave a user's input its label: a person, or a version.
    """

    sha256: str
    label: str
    group: str
    path: Path
    evaluation: bool
    source: str = ""
    origin: Origin = Origin.TEAM
    labelled_by: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Exactly what a version learned from and was judged on; its digest is part of the version's lineage."""

    model: str
    samples: tuple[Sample, ...]
    synthetic: bool
    skipped: tuple[tuple[str, str], ...] = field(default=())


def manifest_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a manifest's model and samples (content, label, group, side, user's origin)."""
    identity = {name: document[name] for name in ("model", "samples")}
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
