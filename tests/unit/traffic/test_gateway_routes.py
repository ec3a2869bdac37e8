from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import httpx
import pytest

from canari.kube import Kube
from canari.objects import HTTP_ROUTE, POD, Kind, Manifest
from canari.observations import Counts
from canari.traffic.gateway_api import SETTLE_SECONDS, GatewayRoutes
from canari.types import Arm, Share, Split
from tests.unit.traffic.test_http_route import CONFIG, OWNER

ACCEPTED = {"Accepted": "True", "ResolvedRefs": "True"}
PAGE = """\
# TYPE envoy_cluster_upstream_rq_completed counter
envoy_cluster_upstream_rq_completed{envoy_cluster_name="httproute/apps/cats-dogs/rule/0/backend/0"} 7
"""


class Cluster(Kube):
    """Routes and pods in memory; the routes' generation rises as the API server's does."""

    def __init__(self) -> None:
        self.routes: dict[str, Manifest] = {}
        self.pods: list[Manifest] = []
        self.writes: list[str] = []

    def list(
        self, kind: Kind, *, labels: Mapping[str, str] | None = None, namespace: str | None = None
    ) -> list[Manifest]:
        if kind == POD:
            assert namespace == "envoy-gateway-system"
            assert labels == {
                "gateway.envoyproxy.io/owning-gateway-name": "canari",
                "gateway.envoyproxy.io/owning-gateway-namespace": "edge",
            }
            return self.pods
        assert (kind, labels) == (HTTP_ROUTE, CONFIG.owned)
        return [deepcopy(route) for route in self.routes.values()]

    def apply(self, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        live = self.routes.get(name, {"metadata": {"generation": 0}, "status": {}})
        metadata = {**manifest["metadata"], "generation": live["metadata"]["generation"] + 1}
        self.routes[name] = {**deepcopy(manifest), "metadata": metadata, "status": live["status"]}
        self.writes.append(name)
        return self.routes[name]

    def delete(self, kind: Kind, name: str) -> None:
        assert kind == HTTP_ROUTE
        del self.routes[name]

    def answer(self, gateway: str = "canari", **conditions: str) -> None:
        """Let the Gateway say of every route, as it is now, what `conditions` hold."""
        for route in self.routes.values():
            found = [
                {
                    "type": name,
                    "status": status,
                    "reason": "BackendNotFound",
                    "message": "there is no such Service",
                    "observedGeneration": route["metadata"]["generation"],
                }
                for name, status in conditions.items()
            ]
            parent = {"parentRef": {"name": gateway, "namespace": "edge"}, "conditions": found}
            route["status"].setdefault("parents", []).insert(0, parent)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def split(*versions: int, model: str = "cats_dogs", mirror: int | None = None) -> Split:
    shares = tuple(Share(Arm(7, 1, version), 100 // len(versions)) for version in versions)
    return Split(model, shares, pins=versions, timeout_seconds=30, mirror=mirror)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def routes(cluster: Cluster, clock: Clock) -> GatewayRoutes:
    return GatewayRoutes(cluster, CONFIG, lambda _: OWNER, clock=clock)


def test_a_split_is_in_force_once_the_gateway_accepts_the_route_as_it_is(
    cluster: Cluster, routes: GatewayRoutes
) -> None:
    assert not routes.apply([split(1)])
    assert "the Gateway edge/canari has not answered" in routes.troubles["cats_dogs"]
    cluster.answer(gateway="another", **ACCEPTED)
    assert not routes.apply([split(1)])
    cluster.answer(**ACCEPTED)
    assert routes.apply([split(1)])
    assert routes.troubles == {}
    assert not routes.apply([split(1, 2)])
    assert routes.troubles == {"cats_dogs": "the Gateway edge/canari has yet to take the route in"}
    cluster.answer(**ACCEPTED)
    assert routes.apply([split(1, 2)])


def test_what_the_gateway_objects_to_is_told(cluster: Cluster, routes: GatewayRoutes) -> None:
    routes.apply([split(1)])
    cluster.answer(Accepted="True", ResolvedRefs="False")
    assert not routes.apply([split(1)])
    assert routes.troubles["cats_dogs"].endswith("edge/canari says BackendNotFound: there is no such Service")


def test_only_what_differs_is_written_by_a_new_controller_too(
    cluster: Cluster, routes: GatewayRoutes, clock: Clock
) -> None:
    routes.apply([split(1), split(1, model="drift")])
    cluster.answer(**ACCEPTED)
    again = GatewayRoutes(cluster, CONFIG, lambda _: OWNER, clock=clock)
    assert again.apply([split(1), split(1, model="drift")])
    assert cluster.writes == ["cats-dogs", "drift"]
    cluster.routes["drift"]["spec"]["rules"][0]["backendRefs"][0]["weight"] = 50
    again.apply([split(1), split(1, model="drift")])
    assert cluster.writes == ["cats-dogs", "drift", "drift"]


def test_the_route_of_a_model_that_left_goes(cluster: Cluster, routes: GatewayRoutes) -> None:
    routes.apply([split(1), split(1, model="drift")])
    cluster.answer(**ACCEPTED)
    assert not routes.apply([split(1)])
    assert set(cluster.routes) == {"cats-dogs"}
    assert routes.apply([split(1)])


@pytest.mark.parametrize("back", [split(1, 2), split(1, mirror=2)])
def test_a_version_is_unused_once_it_has_been_away_for_long_enough(
    cluster: Cluster, routes: GatewayRoutes, clock: Clock, back: Split
) -> None:
    def leave() -> None:
        routes.apply([split(1)])
        cluster.answer(**ACCEPTED)
        assert routes.apply([split(1)])
        assert not routes.unused("cats_dogs", 2)
        clock.now += SETTLE_SECONDS - 0.1
        assert not routes.unused("cats_dogs", 2)

    leave()
    clock.now += 0.2
    assert routes.unused("cats_dogs", 2)
    routes.apply([back])
    leave()


def pod(uid: str, address: str | None, restarts: int = 0) -> Manifest:
    status: dict[str, Any] = {"containerStatuses": [{"restartCount": restarts}, {"restartCount": 0}]}
    return {"metadata": {"uid": uid}, "status": status | ({"podIP": address} if address else {})}


def proxies(*answering: str) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.url.port, request.url.path) == (19001, "/stats/prometheus")
        assert "httproute/apps/" in request.url.params["filter"]
        if request.url.host not in answering:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, text=PAGE)

    return answer


def test_every_proxy_process_is_counted_apart_and_one_that_is_away_is_told(cluster: Cluster) -> None:
    client = httpx.Client(transport=httpx.MockTransport(proxies("10.0.0.1", "fd00::2")))
    routes = GatewayRoutes(cluster, CONFIG, lambda _: OWNER, client=client)
    cluster.pods = [pod("a", "10.0.0.1", restarts=2), pod("b", "fd00::2"), pod("c", "10.0.0.3"), pod("d", None)]
    cluster.pods.append(pod("e", "10.0.0.5") | {"status": {"podIP": "10.0.0.5", "phase": "Failed"}})
    first, second = routes.arms(split(1, 2))
    counted = {first: Counts(completed=7)}
    assert routes.counters() == {"a/2": counted, "b/0": counted, "c/0": None}
    assert routes.arms(split(1)) == {first: Arm(7, 1, 1), second: Arm(7, 1, 1)}
    mirrored = replace(split(1), mirror=2)
    assert routes.arms(mirrored) == {
        first: Arm(7, 1, 1),
        second: Arm(7, 1, 1),
        "httproute/apps/cats-dogs/rule/0-mirror-0": Arm(7, 1, 2),
    }
