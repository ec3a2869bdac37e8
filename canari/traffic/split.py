"""From what is wanted and what answers to a split of the traffic. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from canari.spec import ModelSpec
from canari.types import Arm, Rollout, Share, Split


class TrafficSplit(Protocol):
    """Something that divides traffic: Envoy's files here, an HTTPRoute on Kubernetes."""

    def apply(self, splits: Collection[Split]) -> bool:
        """Make these the splits of all models; True once every one of them is in force."""

    def unused(self, model: str, version: int) -> bool:
        """Whether no request is on its way to a version, now that no split names it."""


def split_for(spec: ModelSpec, stable: int | None, rollout: Rollout | None, ready: Collection[int]) -> Split:
    """The split of one model, given the versions whose processes are `ready`.

    An arm that cannot answer gets nothing: its share goes to the other. Without any, `shares` is empty.
    """
    number, step = (rollout.id, rollout.step) if rollout else (0, 0)
    weights: list[tuple[int, int]] = []
    if rollout is None:
        weights = [(stable, 100)] if stable is not None else []
    else:
        weights = [(rollout.canary, rollout.weight)]
        if rollout.stable is not None:
            weights.insert(0, (rollout.stable, 100 - rollout.weight))
    answering = [(version, weight) for version, weight in weights if version in ready]
    if len(answering) == 1:
        answering = [(answering[0][0], 100)]
    return Split(
        model=spec.name,
        shares=tuple(Share(Arm(number, step, version), weight) for version, weight in answering),
        pins=tuple(sorted(ready)),
        timeout_seconds=spec.serving.timeout.total_seconds(),
    )
