from datetime import UTC, datetime

import pytest

from canari.spec_file import load_spec
from canari.traffic import envoy
from canari.traffic.split import split_for
from canari.types import Arm, Rollout, RolloutState, Share, Split
from tests.conftest import ROOT

SPEC = load_spec(ROOT / "bentos" / "drift")


def rollout(weight: int, stable: int | None = 1) -> Rollout:
    return Rollout(9, "drift", stable, 2, 3, weight, RolloutState.OPEN, datetime.now(UTC))


def weights(split: Split) -> dict[int, int]:
    return {share.arm.version: share.weight for share in split.shares}


def test_without_a_rollout_stable_takes_all() -> None:
    split = split_for(SPEC, 1, None, {1, 2})
    assert split.shares == (Share(Arm(0, 0, 1), 100),)
    assert split.pins == (1, 2)
    assert split.timeout_seconds == 10


def test_with_a_rollout_both_arms_carry_its_step() -> None:
    split = split_for(SPEC, 1, rollout(20), {1, 2})
    assert split.shares == (Share(Arm(9, 3, 1), 80), Share(Arm(9, 3, 2), 20))


@pytest.mark.parametrize(("ready", "expected"), [({1}, {1: 100}), ({2}, {2: 100}), (set(), {})])
def test_an_arm_that_cannot_answer_gets_nothing(ready: set[int], expected: dict[int, int]) -> None:
    assert weights(split_for(SPEC, 1, rollout(20), ready)) == expected


def test_a_first_version_takes_all() -> None:
    assert weights(split_for(SPEC, None, rollout(100, stable=None), {2})) == {2: 100}
    assert weights(split_for(SPEC, None, None, {2})) == {}


def test_each_arm_has_a_cluster_of_its_own_and_pins_are_apart() -> None:
    split = split_for(SPEC, 1, rollout(20), {1, 2})
    names = [cluster["name"] for cluster in envoy.clusters([split], ROOT)]
    assert names == ["feedback", "portal", "fetcher", "arm/drift/1", "arm/drift/2", "pin/drift/1", "pin/drift/2"]


def test_weights_come_stable_first_with_their_stamps() -> None:
    table = envoy.routes([split_for(SPEC, 1, rollout(20), {1, 2})])["virtual_hosts"][0]["routes"]
    (predict,) = [r for r in table if r["match"] == {"path": "/api/drift/predict"}]
    found = [
        (c["name"], c["weight"], c["request_headers_to_add"][0]["header"]["value"])
        for c in predict["route"]["weighted_clusters"]["clusters"]
    ]
    assert found == [("arm/drift/1", 80, "9.3.1"), ("arm/drift/2", 20, "9.3.2")]
