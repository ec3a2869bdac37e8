"""Traffic split by the Gateway API: an HTTPRoute per model, and the counters of the Gateway's Envoy proxies."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import httpx

from canari.kube import Kube
from canari.launch.cluster_config import ClusterConfig
from canari.objects import HTTP_ROUTE, POD, Manifest, OwnerReference, differences
from canari.observations import Counters, Counts
from canari.spec import kubernetes_name
from canari.traffic.counters import parse, statistics
from canari.traffic.http_route import arm_clusters, http_route, mirror_cluster
from canari.traffic.split import mirrored
from canari.types import Arm, Split

# Envoy follows some 20 ms after the route is accepted, and later where Envoy Gateway is short of CPU or a proxy has
# lost its stream for a moment: nothing tells when. A version that stays a little longer costs next to nothing.
SETTLE_SECONDS = 10.0
_STATISTICS_PORT = 19001
_PROXY = "gateway.envoyproxy.io/owning-gateway-"


class GatewayRoutes:
    """The cluster's TrafficSplit. `owners` gives the owner reference of a model's resource, None where it has none.

    All it remembers is since when versions are seen to have left: after a restart they stay a little longer.
    """

    settle_seconds = SETTLE_SECONDS

    def __init__(
        self,
        kube: Kube,
        config: ClusterConfig,
        owners: Callable[[str], OwnerReference | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        client: httpx.Client | None = None,
    ) -> None:
        self._kube = kube
        self._config = config
        self._owners = owners
        self._clock = clock
        self._left: dict[tuple[str, int], float] = {}
        self._client = client or httpx.Client(timeout=2)
        self.troubles: dict[str, str] = {}  # by model: why its route is not in force yet

    def apply(self, splits: Collection[Split]) -> bool:
        """Make these the splits of all models; True once the Gateway has accepted every route as it now is."""
        live = {route["metadata"]["name"]: route for route in self._kube.list(HTTP_ROUTE, labels=self._config.owned)}
        self.troubles = {}
        for split in splits:
            wanted = http_route(split, self._config, self._owners(split.model))
            route = live.pop(kubernetes_name(split.model), {})
            if differences(route, wanted):
                route = self._kube.apply(wanted)
            if trouble := _trouble(route, self._config):
                self.troubles[split.model] = trouble
            for version in _named(split):
                self._left.pop((split.model, version), None)
        for name in live:
            self._kube.delete(HTTP_ROUTE, name)
        return not self.troubles and not live

    def in_force(self, model: str) -> bool:
        """Whether the last `apply` found that the Gateway accepts the model's route as it now is."""
        return model not in self.troubles

    def unused(self, model: str, version: int) -> bool:
        """Whether no request is on its way to a version: `apply` was true without it, long enough ago."""
        now = self._clock()
        return now - self._left.setdefault((model, version), now) >= SETTLE_SECONDS

    def counters(self) -> Counters:
        """What each proxy of the Gateway counted of each arm and mirror.

        One without an address, or that has ended, is no more.
        """
        gateway = self._config.gateway
        labels = {f"{_PROXY}name": gateway.name, f"{_PROXY}namespace": gateway.namespace}
        clusters = f"httproute/{self._config.namespace}/[^/]+/rule/0(/backend/[0-9]+|-mirror-0)"
        found: dict[str, dict[str, Counts] | None] = {}
        for pod in self._kube.list(POD, labels=labels, namespace=gateway.proxy_namespace):
            # A pod that has ended keeps its address, and may be listed for days.
            if (address := pod["status"].get("podIP")) and pod["status"].get("phase") not in {"Failed", "Succeeded"}:
                host = f"[{address}]" if ":" in address else address
                url = f"http://{host}:{_STATISTICS_PORT}/stats/prometheus"
                try:
                    page = self._client.get(url, params={"filter": statistics(clusters)}).raise_for_status()
                except httpx.HTTPError:
                    found[_process(pod)] = None
                else:
                    found[_process(pod)] = parse(page.text)
        return found

    def arms(self, split: Split) -> dict[str, Arm]:
        """The Envoy cluster of each arm of a split, and of its mirror.

        Clusters are named by place: counts that grew while the split changed may be of either arm.
        """
        found = arm_clusters(split, self._config)
        if (shadow := mirrored(split)) is not None:
            found[mirror_cluster(split, self._config)] = shadow
        return found


def _named(split: Split) -> set[int]:
    versions = {*(share.arm.version for share in split.shares), *split.pins}
    return versions if split.mirror is None else versions | {split.mirror}


def _trouble(route: Manifest, config: ClusterConfig) -> str | None:
    """Why a route is not in force, None where it is."""
    name, namespace = config.gateway.name, config.gateway.namespace
    gateway = f"the Gateway {namespace}/{name}"
    for parent in route.get("status", {}).get("parents", []):
        reference = parent["parentRef"]
        if (reference["name"], reference.get("namespace", config.namespace)) == (name, namespace):
            conditions = {condition["type"]: condition for condition in parent.get("conditions", [])}
            found = [conditions.get(wanted, {}) for wanted in ("Accepted", "ResolvedRefs")]
            if any(condition.get("observedGeneration", 0) < route["metadata"]["generation"] for condition in found):
                return f"{gateway} has yet to take the route in"
            faults = [f"{c['reason']}: {c['message']}" for c in found if c["status"] != "True"]
            return f"{gateway} says {'; '.join(faults)}" if faults else None
    return f"{gateway} has not answered: is there one, and does a controller serve its class?"


def _process(pod: Manifest) -> str:
    """The pod's proxy process: another one after every restart of a container."""
    restarts = sum(container["restartCount"] for container in pod["status"].get("containerStatuses", []))
    return f"{pod['metadata']['uid']}/{restarts}"
