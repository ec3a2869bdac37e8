"""Envoy's configuration as plain values: a listener that is there for good, clusters and routes that change. Pure.

Each arm is a cluster of its own, and the route *sets* the header `x-canari-arm` over anything the client sent: so the
gateway's counters are per arm, and a bento knows by which arm a request came.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from canari.errors import PROBLEM_JSON, Problem
from canari.traffic.refusals import no_such_version, no_version_ready
from canari.types import Split

ARM_HEADER = "x-canari-arm"
VERSION_HEADER = "x-canari-version"
FEEDBACK, PORTAL, FETCHER = "feedback", "portal", "fetcher"
_TYPE = "type.googleapis.com/"
_ROUTES = "canari"
Value = dict[str, Any]


def arm_cluster(model: str, version: int) -> str:
    """The cluster of a version's share of the split."""
    return f"arm/{model}/{version}"


def pin_cluster(model: str, version: int) -> str:
    """The cluster of requests that asked for a version: its counters never mix with an arm's."""
    return f"pin/{model}/{version}"


def shadow_cluster(model: str, version: int) -> str:
    """The cluster of mirrored requests."""
    return f"shadow/{model}/{version}"


def bootstrap(*, folder: Path, admin: Path, host: str, port: int) -> Value:
    """What Envoy starts with: the listener, and where the rest is found. `admin` is a Unix socket."""

    def watched(name: str) -> Value:
        source = {"path": str(folder / name), "watched_directory": {"path": str(folder)}}
        return {"path_config_source": source, "resource_api_version": "V3"}

    manager = _connection_manager(watched("routes.json"))
    listener = {
        "name": "ingress",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "per_connection_buffer_limit_bytes": 2**20,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    # The listener alone bounds connections on a laptop; Envoy warns where nothing does.
    connections = {
        "@type": _TYPE + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 10_000,
    }
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections}
    return {
        "node": {"id": "canari", "cluster": "canari"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": watched("clusters.json")},
        "static_resources": {"listeners": [listener]},
        "overload_manager": {"resource_monitors": [monitor]},
    }


def _connection_manager(routes_source: Value) -> Value:
    router = {"@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    return {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "rds": {"route_config_name": _ROUTES, "config_source": routes_source},
        "http_filters": [{"name": "router", "typed_config": router}],
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "always_set_request_id_in_response": True,
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "300s",
        "request_timeout": "120s",
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
    }


def clusters(splits: Iterable[Split], sockets: Path) -> list[Value]:
    """A cluster for each service, and for each arm, pin and shadow; upstreams are Unix sockets."""
    found = [_cluster(service, sockets / f"{service}.sock") for service in (FEEDBACK, PORTAL, FETCHER)]
    for split in splits:
        arms = [share.arm.version for share in split.shares]
        for name, versions in ((arm_cluster, arms), (pin_cluster, split.pins)):
            found += [_cluster(name(split.model, v), sockets / f"{split.model}-{v}.sock") for v in versions]
        if split.mirror is not None:
            socket = sockets / f"{split.model}-{split.mirror}.sock"
            found.append(_cluster(shadow_cluster(split.model, split.mirror), socket))
    return found


def routes(splits: Iterable[Split]) -> Value:
    """The route table: each model's predictions by weight or pin, the rest of the API, and the portal."""
    table: list[Value] = []
    for split in splits:
        table += _model_routes(split)
    table += [
        # A fetch and the prediction after it each have their own limit: the sum of both is not this route's to cut.
        {"match": {"safe_regex": {"regex": "/api/[^/]+/predict-url"}}, "route": {"cluster": FETCHER, "timeout": "0s"}},
        {"match": {"prefix": "/api/"}, "route": _to(FEEDBACK)},
        {"match": {"path_separated_prefix": "/v2"}, "route": _to(FEEDBACK)},
        {
            "match": {"path_separated_prefix": "/internal"},
            **_refusal(Problem(404, "not-found", "There is nothing here.")),
        },
        {"match": {"prefix": "/"}, "route": _to(PORTAL)},
    ]
    host = {"name": "all", "domains": ["*"], "routes": table, "request_headers_to_remove": ["x-envoy-original-path"]}
    return {
        "@type": _TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": _ROUTES,
        "virtual_hosts": [host],
    }


def discovery(resources: Collection[Value], version: str) -> str:
    """Resources as the file of a discovery response; `version` is told back by Envoy once it is in force."""
    return json.dumps({"version_info": version, "resources": list(resources)}, sort_keys=True)


def _model_routes(split: Split) -> list[Value]:
    predict: Value = {"path": f"/api/{split.model}/predict"}
    protocol: Value = {"path_separated_prefix": f"/v2/models/{split.model}"}
    versioned: Value = {"path_separated_prefix": f"/v2/models/{split.model}/versions"}
    absent = _refusal(no_such_version(split.model, split.pins))
    # What a path names goes before what a header names: so it is on Kubernetes, where the longest path wins.
    table: list[Value] = [
        {"match": {"path_separated_prefix": f"/v2/models/{split.model}/versions/{version}"}, **_pin(split, version)}
        for version in split.pins
    ]
    table.append({"match": versioned, **absent})
    for version in split.pins:
        pinned = {"name": VERSION_HEADER, "string_match": {"exact": str(version)}}
        table += [{"match": {**match, "headers": [pinned]}, **_pin(split, version)} for match in (predict, protocol)]
    any_pin = {"name": VERSION_HEADER, "present_match": True}
    table += [{"match": {**match, "headers": [any_pin]}, **absent} for match in (predict, protocol)]
    return table + [{"match": match, **_arms(split)} for match in (predict, protocol)]


def _arms(split: Split) -> Value:
    if not split.shares:
        return _refusal(no_version_ready(split.model))
    weighted = [
        {
            "name": arm_cluster(split.model, share.arm.version),
            "weight": share.weight,
            "request_headers_to_add": [_stamp(str(share.arm))],
        }
        for share in split.shares
    ]
    action = _limits(split) | {"weighted_clusters": {"clusters": weighted}}
    if split.mirror is not None:
        percent = {"default_value": {"numerator": split.mirror_percent, "denominator": "HUNDRED"}}
        mirror = {"cluster": shadow_cluster(split.model, split.mirror), "runtime_fraction": percent}
        action["request_mirror_policies"] = [mirror]
    return {"route": action}


def _pin(split: Split, version: int) -> Value:
    return {
        "route": _limits(split) | {"cluster": pin_cluster(split.model, version)},
        "request_headers_to_add": [_stamp("pin")],
    }


def _limits(split: Split) -> Value:
    # Only what provably never reached a version is tried again: no prediction is made twice.
    return {
        "timeout": f"{split.timeout_seconds:g}s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
    }


def _to(cluster: str) -> Value:
    return {"cluster": cluster, "timeout": "30s", "retry_policy": {"retry_on": "connect-failure", "num_retries": 3}}


def _stamp(value: str) -> Value:
    return {"header": {"key": ARM_HEADER, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _refusal(problem: Problem) -> Value:
    headers = {"content-type": PROBLEM_JSON, **{name.lower(): value for name, value in problem.headers.items()}}
    return {
        "direct_response": {"status": problem.status, "body": {"inline_string": problem.encode().decode()}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    }


def _cluster(name: str, socket: Path) -> Value:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    options = {
        "@type": _TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        # Shorter than the servers' own keep-alive: a connection is never reused while they close it.
        "common_http_protocol_options": {"idle_timeout": "30s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
