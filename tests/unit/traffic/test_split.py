from datetime import UTC, datetime

import pytest

from canari.spec_file import load_spec
from canari.traffic import envoy
from canari.traffic.split import mirrored, split_for
from canari.types import Arm, Previous, Rollout, RolloutState, Share, Split
from tests.conftest import ROOT

SPEC = load_spec(ROOT / "bentos" / "drift")


def rollout(weight: int, stable: int | None = 1) -> Rollout:
    return Rollout(9, "drift", stable, 2, 3, weight, RolloutState.OPEN, datetime.now(UTC))


def previous(weight: int) -> Previous:
    return Previous(1, rollout=7, step=4, weight=weight, until=datetime.now(UTC))


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


def test_a_shadow_gets_copies_and_no_traffic() -> None:
    split = split_for(SPEC, 1, rollout(0), {1, 2})
    assert split.shares == (Share(Arm(9, 3, 1), 100),)
    assert (split.mirror, split.mirror_percent) == (2, 100)
    assert split.pins == (1, 2)
    for ready in ({1}, {2}, set()):
        assert split_for(SPEC, 1, rollout(0), ready).mirror is None
    # Nobody waits for an answer because the only version that has one was to be a shadow.
    assert weights(split_for(SPEC, 1, rollout(0), {2})) == {2: 100}


@pytest.mark.parametrize(
    ("ready", "expected"), [({1, 2}, {2: 90, 1: 10}), ({2}, {2: 100}), ({1}, {1: 100}), (set(), {})]
)
def test_the_version_of_before_gets_its_holdback(ready: set[int], expected: dict[int, int]) -> None:
    split = split_for(SPEC, 2, None, ready, previous(10))
    assert weights(split) == expected
    assert {share.arm.rollout for share in split.shares} <= {7}
    assert split.mirror is None


def test_a_version_of_before_without_holdback_stands_in_when_stable_does_not_answer() -> None:
    assert split_for(SPEC, 2, None, {1, 2}, previous(0)).shares == (Share(Arm(7, 4, 2), 100),)
    assert weights(split_for(SPEC, 2, None, {1}, previous(0))) == {1: 100}


def test_an_open_rollout_leaves_the_version_of_before_no_part() -> None:
    open_now = Rollout(9, "drift", 2, 3, 0, 20, RolloutState.OPEN, datetime.now(UTC))
    split = split_for(SPEC, 2, open_now, {1, 2, 3}, previous(10))
    assert weights(split) == {2: 80, 3: 20}
    assert split.pins == (1, 2, 3)


def test_copies_belong_to_the_rollout_and_step_of_the_split() -> None:
    assert mirrored(split_for(SPEC, 1, rollout(0), {1, 2})) == Arm(9, 3, 2)
    assert mirrored(split_for(SPEC, 1, rollout(20), {1, 2})) is None


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
