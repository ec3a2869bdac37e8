from __future__ import annotations

from typing import Any

import pytest

from canari.launch.cluster_config import BentoPods, ClusterConfig, FeedbackRef, GatewayRef
from canari.traffic.http_route import arm_clusters, http_route
from canari.types import Arm, Share, Split

CONFIG = ClusterConfig(
    instance="canari",
    namespace="apps",
    gateway=GatewayRef(name="canari", namespace="edge"),
    feedback=FeedbackRef(service="canari-feedback"),
    bento=BentoPods(image="canari/runtime:0.2.0"),
)
OWNER = {"apiVersion": "canari.dev/v1alpha1", "kind": "Model", "name": "cats-dogs", "uid": "u"}


def split(*shares: tuple[int, int], pins: tuple[int, ...] = (1, 2), seconds: float = 30, **more: Any) -> Split:
    arms = tuple(Share(Arm(7, 2, version), weight) for version, weight in shares)
    return Split(model="cats_dogs", shares=arms, pins=pins, timeout_seconds=seconds, **more)


def rules(wanted: Split) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http_route(wanted, CONFIG, OWNER)["spec"]["rules"]
    return found


def test_a_route_belongs_to_its_model_and_to_the_gateway() -> None:
    route = http_route(split((1, 100)), CONFIG, OWNER)
    assert (route["metadata"]["name"], route["metadata"]["namespace"]) == ("cats-dogs", "apps")
    assert route["metadata"]["ownerReferences"] == [OWNER]
    assert route["metadata"]["labels"] == CONFIG.labels("cats_dogs")
    (parent,) = route["spec"]["parentRefs"]
    assert (parent["kind"], parent["namespace"], parent["name"]) == ("Gateway", "edge", "canari")


def test_the_first_rule_is_the_split_with_a_stamp_per_arm_stable_first() -> None:
    first = rules(split((1, 80), (2, 20)))[0]
    assert [
        (b["name"], b["weight"], b["filters"][0]["requestHeaderModifier"]["set"]) for b in first["backendRefs"]
    ] == [
        ("cats-dogs-v1", 80, [{"name": "x-canari-arm", "value": "7.2.1"}]),
        ("cats-dogs-v2", 20, [{"name": "x-canari-arm", "value": "7.2.2"}]),
    ]
    assert first["timeouts"] == {"request": "30s"}
    rule = "httproute/apps/cats-dogs/rule/0"
    assert arm_clusters(split((1, 80), (2, 20)), CONFIG) == {
        f"{rule}/backend/0": Arm(7, 2, 1),
        f"{rule}/backend/1": Arm(7, 2, 2),
    }


def test_a_single_arm_has_both_places_so_that_none_comes_or_goes() -> None:
    alone = split((1, 100))
    backends = rules(alone)[0]["backendRefs"]
    assert [(b["name"], b["weight"]) for b in backends] == [("cats-dogs-v1", 1_000_000), ("cats-dogs-v1", 1)]
    assert backends[0]["filters"] == backends[1]["filters"]
    assert list(arm_clusters(alone, CONFIG)) == list(arm_clusters(split((1, 80), (2, 20)), CONFIG))
    assert set(arm_clusters(alone, CONFIG).values()) == {Arm(7, 2, 1)}


def test_every_ready_version_is_pinned_and_all_others_are_the_feedback_apis_to_refuse() -> None:
    _, *pins, absent = rules(split((1, 100)))
    assert [(p["backendRefs"][0]["name"], p["matches"][0]["headers"][0]["value"]) for p in pins] == [
        ("cats-dogs-v1", "1"),
        ("cats-dogs-v2", "2"),
    ]
    assert absent["backendRefs"] == [{"name": "canari-feedback", "port": 80}]


def test_without_a_ready_version_the_feedback_api_answers() -> None:
    first, absent = rules(split(pins=()))
    assert absent["backendRefs"] == [{"name": "canari-feedback", "port": 80}]
    assert [(b["name"], b["weight"]) for b in first["backendRefs"]] == [
        ("canari-feedback", 1_000_000),
        ("canari-feedback", 1),
    ]
    assert all("remove" in b["filters"][0]["requestHeaderModifier"] for b in first["backendRefs"])


def test_a_mirror_copies_a_percentage_of_the_split_alone() -> None:
    first, *others = rules(split((1, 100), mirror=3, mirror_percent=10))
    copies = {"backendRef": {"name": "cats-dogs-v3", "port": 80}, "percent": 10}
    assert first["filters"] == [{"type": "RequestMirror", "requestMirror": copies}]
    assert all(f["type"] != "RequestMirror" for rule in others for f in rule.get("filters", []))


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.5, "0s500ms"), (30, "30s"), (1.25, "1s250ms"), (14 * 86_400, "99999s")],
)
def test_a_timeout_is_written_as_the_gateway_api_reads_it(seconds: float, written: str) -> None:
    assert rules(split((1, 100), seconds=seconds))[0]["timeouts"] == {"request": written}
