"""A model's split as a route of the Gateway API: the rules of the laptop's Envoy, in Kubernetes' words. Pure.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute
"""

from __future__ import annotations

from typing import Any

from canari.launch.cluster_config import BENTO_SERVICE_PORT, ClusterConfig, version_object
from canari.objects import HTTP_ROUTE, Manifest, OwnerReference
from canari.spec import kubernetes_name
from canari.traffic.envoy import ARM_HEADER, VERSION_HEADER
from canari.types import Arm, Share, Split

Part = dict[str, Any]
# Envoy Gateway changes a route and the clusters that it leads to one after the other
# (https://github.com/envoyproxy/gateway/issues/6287): while a place comes or goes, who is sent there gets an empty
# answer of status 500. So there are always two, and only what is behind them changes. What is alone has both, and one
# request in a million takes the second: neither a weight of 0 nor one without a filter is a place to Envoy Gateway.
_ALONE = (1_000_000, 1)


def http_route(split: Split, config: ClusterConfig, owner: OwnerReference | None) -> Manifest:
    """The HTTPRoute of one model. Its first rule is the split; then come a rule per pin, and one for absent versions.

    Which rule a request takes is not a matter of their order: the longest path wins, then the most headers, then the
    exact header over the pattern. The API allows 16 rules: 14 versions that can be asked for at once.
    """
    metadata: Part = {
        "name": kubernetes_name(split.model),
        "namespace": config.namespace,
        "labels": config.labels(split.model),
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    gateway = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": config.gateway.namespace,
        "name": config.gateway.name,
    }
    rules = [_arms(split, config), *(_pin(split, version) for version in split.pins), _absent(split, config)]
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": metadata,
        "spec": {"parentRefs": [gateway], "rules": rules},
    }


def arm_clusters(split: Split, config: ClusterConfig) -> dict[str, Arm]:
    """The names Envoy Gateway gives the clusters of the arms.

    A place has one of its own because its backend has a filter: weighted backends without any are one cluster
    (https://github.com/envoyproxy/gateway, internal/ir/xds.go, NeedsClusterPerSetting).
    """
    rule = f"httproute/{config.namespace}/{kubernetes_name(split.model)}/rule/0"
    return {f"{rule}/backend/{index}": share.arm for index, (share, _) in enumerate(_places(split))}


def mirror_cluster(split: Split, config: ClusterConfig) -> str:
    """The name Envoy Gateway gives the cluster of a rule's first mirror."""
    return f"httproute/{config.namespace}/{kubernetes_name(split.model)}/rule/0-mirror-0"


def _arms(split: Split, config: ClusterConfig) -> Part:
    matches = [_predict(split), _protocol(split)]
    if not split.shares:
        nobody = _feedback(config) | {"filters": [_unstamped()]}
        return {"matches": matches, "filters": [], "backendRefs": [nobody | {"weight": n} for n in _ALONE]}
    backends = [
        _version(split, share.arm.version) | {"weight": weight, "filters": [_stamp(str(share.arm))]}
        for share, weight in _places(split)
    ]
    mirror: list[Part] = []
    if split.mirror is not None:
        copies = {"backendRef": _version(split, split.mirror), "percent": split.mirror_percent}
        mirror = [{"type": "RequestMirror", "requestMirror": copies}]
    return {"matches": matches, "filters": mirror, "backendRefs": backends, "timeouts": _timeouts(split)}


def _places(split: Split) -> list[tuple[Share, int]]:
    """The arm and weight of each place; a single arm has two."""
    if len(split.shares) == 1:
        return [(split.shares[0], weight) for weight in _ALONE]
    return [(share, share.weight) for share in split.shares]


def _pin(split: Split, version: int) -> Part:
    asked = [{"type": "Exact", "name": VERSION_HEADER, "value": str(version)}]
    by_header = [match | {"headers": asked} for match in (_predict(split), _protocol(split))]
    return {
        "matches": [*by_header, _protocol(split, f"/versions/{version}")],
        "filters": [_stamp("pin")],
        "backendRefs": [_version(split, version)],
        "timeouts": _timeouts(split),
    }


def _absent(split: Split, config: ClusterConfig) -> Part:
    # The feedback API knows which versions there are, and says so.
    asked = [{"type": "RegularExpression", "name": VERSION_HEADER, "value": ".*"}]
    by_header = [match | {"headers": asked} for match in (_predict(split), _protocol(split))]
    return {"matches": [*by_header, _protocol(split, "/versions")], "backendRefs": [_feedback(config)]}


def _predict(split: Split) -> Part:
    return {"path": {"type": "Exact", "value": f"/api/{split.model}/predict"}}


def _protocol(split: Split, below: str = "") -> Part:
    return {"path": {"type": "PathPrefix", "value": f"/v2/models/{split.model}{below}"}}


def _version(split: Split, version: int) -> Part:
    return {"name": version_object(split.model, version), "port": BENTO_SERVICE_PORT}


def _feedback(config: ClusterConfig) -> Part:
    return {"name": config.feedback.service, "port": config.feedback.port}


def _stamp(value: str) -> Part:
    # `set` overwrites what a client may have sent.
    return {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": ARM_HEADER, "value": value}]},
    }


def _unstamped() -> Part:
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [ARM_HEADER]}}


def _timeouts(split: Split) -> Part:
    # A duration is written as whole numbers of at most five digits (GEP-2257).
    seconds, milliseconds = divmod(min(round(split.timeout_seconds * 1000), 99_999_000), 1000)
    return {"request": f"{seconds}s{milliseconds}ms" if milliseconds else f"{seconds}s"}
