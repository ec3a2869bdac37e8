from __future__ import annotations

from typing import Any

import pytest

from canari.objects import GATEWAY, HPA, HTTP_ROUTE, Kind, differences


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        (HTTP_ROUTE, "httproutes"),
        (GATEWAY, "gateways"),
        (HPA, "horizontalpodautoscalers"),
        (Kind("networking.k8s.io/v1", "NetworkPolicy"), "networkpolicies"),
        (Kind("networking.k8s.io/v1", "Ingress"), "ingresses"),
    ],
)
def test_a_kinds_path_is_its_plural(kind: Kind, plural: str) -> None:
    assert kind.plural == plural


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"a": 1, "default": True}, {"a": 1}),
        ({"a": 1}, {"a": 1, "empty": {}, "none": None, "text": "", "list": []}),
        ({"cpu": "500m", "memory": "1Gi"}, {"cpu": "0.5", "memory": "1024Mi"}),
        ({"cpu": "1"}, {"cpu": "1000m"}),
        ({"sizeLimit": "1G"}, {"sizeLimit": "1000M"}),
        ([{"name": "a", "protocol": "TCP"}], [{"name": "a"}]),
    ],
)
def test_an_object_that_holds_what_is_wanted_lacks_nothing(live: Any, wanted: Any) -> None:
    assert differences(live, wanted) == []


@pytest.mark.parametrize(
    ("live", "wanted", "told"),
    [
        ({"spec": {"replicas": 1}}, {"spec": {"replicas": 3}}, "spec.replicas: 1 -> 3"),
        ({}, {"spec": {"paused": False}}, "spec.paused: nothing -> false"),
        ({"a": 1}, {"a": None}, "a: 1 -> nothing"),
        ({"env": [1, 2]}, {"env": [1]}, "env: [1, 2] -> [1]"),
        ({"env": [{"v": 1}]}, {"env": [{"v": 2}]}, "env[0].v: 1 -> 2"),
        ({"cpu": "500m"}, {"cpu": "0.6"}, 'cpu: "500m" -> "0.6"'),
        ({"cpu": "much"}, {"cpu": "little"}, 'cpu: "much" -> "little"'),
        ({"a": "x" * 100}, {"a": ""}, 'a: "' + "x" * 56 + '... -> ""'),
    ],
)
def test_what_differs_is_told_by_its_path(live: Any, wanted: Any, told: str) -> None:
    assert differences(live, wanted) == [told]
