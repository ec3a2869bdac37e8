"""From what is wanted and what answers to a split of the traffic. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Protocol

from canari.observations import Counters
from canari.spec import ModelSpec
from canari.types import Arm, Previous, Rollout, Share, Split


class TrafficSplit(Protocol):
    """Something that divides traffic: Envoy's files here, an HTTPRoute on Kubernetes."""

    # For how long a proxy may still divide as before although the split is in force.
    settle_seconds: float

    def apply(self, splits: Collection[Split]) -> bool:
        """Make these the splits of all models; True once every one of them is in force, and what has left is gone."""

    def in_force(self, model: str) -> bool:
        """Whether the last `apply` found the model's own split in force."""

    def unused(self, model: str, version: int) -> bool:
        """Whether no request is on its way to a version, now that no split names it."""

    def counters(self) -> Counters:
        """What every proxy counted of each arm so far. Raises httpx.HTTPError or OSError where none can be asked."""

    def arms(self, split: Split) -> dict[str, Arm]:
        """The Envoy cluster of each arm of a split, and of its mirror: the names that `counters` knows them by."""


def mirrored(split: Split) -> Arm | None:
    """The version that gets copies, as an arm of the rollout and step that the split belongs to."""
    if split.mirror is None or not split.shares:
        return None
    return replace(split.shares[0].arm, version=split.mirror)


def split_for(
    spec: ModelSpec,
    stable: int | None,
    rollout: Rollout | None,
    ready: Collection[int],
    previous: Previous | None = None,
) -> Split:
    """The split of one model, given the versions whose processes are `ready`.

    An arm that cannot answer gets nothing: its share goes to the other. Without any, `shares` is empty. `previous`,
    the stable version of before, has a part only while no rollout is open; its weight may be 0, as a shadow's is.
    """
    stamp, other, weight = (0, 0), None, 0
    if rollout is not None:
        stamp, stable, other, weight = (rollout.id, rollout.step), rollout.stable, rollout.canary, rollout.weight
    elif previous is not None:
        stamp, other, weight = (previous.rollout, previous.step), previous.version, previous.weight
    weights = [(number, part) for number, part in ((stable, 100 - weight), (other, weight)) if number in ready]
    if len(weights) == 1:
        weights = [(weights[0][0], 100)]
    shares = tuple(Share(Arm(*stamp, number), part) for number, part in weights if number is not None and part)
    unseen = {number for number, part in weights if not part} if rollout else set()
    return Split(
        model=spec.name,
        shares=shares,
        pins=tuple(sorted(ready)),
        timeout_seconds=spec.serving.timeout.total_seconds(),
        mirror=other if other in unseen else None,
    )
