"""Who may reach whom, worked out from the NetworkPolicies as Kubernetes defines them: between two pods, what the one's
policies let out and the other's let in."""

from __future__ import annotations

import pytest

from tests.chart.rendering import CHOICES, Manifest, manifests, pods, version_s_pod

PREFIX = "app.kubernetes.io/"
PROXIES = "envoy-gateway-system"
OUTSIDE = "8.8.8.8"
COMPONENTS = {
    "bento", "controller", "evaluate", "feedback", "fetcher", "gateway", "leave", "migrate", "mlflow", "portal",
    "postgres", "probe", "retention", "retrain", "stranger", "welcome",
}  # fmt: skip
PORTS = {"bento": 3000, "postgres": 5432, "mlflow": 5000, "gateway": 10080, "stranger": 80}

# Everything that may be reached, and nothing else.
ALLOWED = {
    "bento": {"feedback"},
    "controller": {"postgres"},
    "evaluate": {"mlflow", "postgres"},
    "feedback": {"postgres"},
    "fetcher": {"gateway"},
    "gateway": {"bento", "feedback", "fetcher", "portal"},
    "leave": set(),
    "migrate": {"postgres"},
    "mlflow": {"postgres"},
    "portal": set(),
    "postgres": set(),
    "probe": {"gateway"},
    "retention": {"postgres"},
    "retrain": {"mlflow", "postgres"},
    "stranger": {"gateway"},
    "welcome": {"feedback", "gateway"},
}


def place(component: str) -> tuple[str, dict[str, str]]:
    """A component's namespace and labels; `stranger` is a pod of someone else's in the release's namespace."""
    if component == "gateway":
        owner = "gateway.envoyproxy.io/owning-gateway-"
        return PROXIES, {f"{owner}name": "canari", f"{owner}namespace": "canari"}
    if component == "stranger":
        return "canari", {"app": "other"}
    return "canari", {f"{PREFIX}name": "canari", f"{PREFIX}instance": "canari", f"{PREFIX}component": component}


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, selector
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def is_peer(peer: Manifest, policy: Manifest, component: str) -> bool:
    namespace, labels = place(component)
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        same = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        same = namespace == policy["metadata"]["namespace"]
    return same and selects(peer.get("podSelector", {}), labels)


def lets(policies: list[Manifest], component: str, direction: str, other: str, port: int) -> bool:
    """Whether the policies that select `component` let it speak to (`Egress`) or hear (`Ingress`) `other`."""
    namespace, labels = place(component)
    bound = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], labels)
    ]
    word = {"Egress": "to", "Ingress": "from"}[direction]
    rules = [(policy, rule) for policy in bound for rule in policy["spec"].get(direction.lower(), [])]
    return not bound or any(
        any(is_peer(peer, policy, other) for peer in rule[word])
        and any(p["port"] == port for p in rule.get("ports", [{"port": port}]))
        for policy, rule in rules
    )


def policies_of(choice: str = "default") -> list[Manifest]:
    return [m for m in manifests(choice) if m["kind"] == "NetworkPolicy"]


def reached(choice: str, component: str) -> set[str]:
    found = policies_of(choice)
    return {
        other
        for other in COMPONENTS - {component}
        if lets(found, component, "Egress", other, PORTS.get(other, 8000))
        and lets(found, other, "Ingress", component, PORTS.get(other, 8000))
    }


def test_the_table_names_every_pod_there_is() -> None:
    there = {pod["metadata"]["labels"][f"{PREFIX}component"] for _, pod in pods(manifests())}
    _, labels = place("bento")
    assert labels.items() <= version_s_pod("default")["metadata"]["labels"].items()
    assert there | {"bento", "gateway", "stranger"} == COMPONENTS == set(ALLOWED)


@pytest.mark.parametrize("component", sorted(COMPONENTS))
def test_it_reaches_what_it_needs_and_nothing_else(component: str) -> None:
    assert reached("default", component) == ALLOWED[component]


def test_a_version_s_pods_ask_names_and_the_feedback_api_alone() -> None:
    [bento] = [p for p in policies_of() if p["metadata"]["name"] == "canari-bento"]
    [rule] = bento["spec"]["egress"]
    assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]
    [default] = [p for p in policies_of() if p["metadata"]["name"] == "canari-default"]
    [names] = default["spec"]["egress"]
    assert {(p["port"], p["protocol"]) for p in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert "ingress" not in default["spec"]


def test_the_outside_is_reached_by_the_fetcher_alone_and_the_inside_is_not_by_it() -> None:
    blocks = {
        policy["metadata"]["name"]: peer["ipBlock"]
        for policy in policies_of()
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer and {p["port"] for p in rule["ports"]} != {443, 6443}
    }
    assert set(blocks) == {"canari-fetcher"}
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10"}
    assert private <= set(blocks["canari-fetcher"]["except"])


def test_the_api_server_is_reached_by_those_who_hold_a_token() -> None:
    reaching = {
        policy["metadata"]["name"]
        for policy in policies_of()
        for rule in policy["spec"].get("egress", [])
        if {p["port"] for p in rule.get("ports", [])} == {443, 6443}
    }
    assert reaching == {"canari-controller", "canari-leave", "canari-welcome"}


def test_proxies_counters_are_read_by_the_controller() -> None:
    assert lets(policies_of(), "controller", "Egress", "gateway", 19001)
    assert not lets(policies_of(), "controller", "Egress", "gateway", 10080)
    for other in ("fetcher", "probe", "welcome"):
        assert not lets(policies_of(), other, "Egress", "gateway", 19001)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_pod_of_the_release_is_denied_by_default(choice: str) -> None:
    [default] = [p for p in policies_of(choice) if p["metadata"]["name"] == "canari-default"]
    assert default["spec"]["policyTypes"] == ["Ingress", "Egress"]
    for _, pod in pods(manifests(choice)):
        assert selects(default["spec"]["podSelector"], pod["metadata"]["labels"])


def test_a_database_elsewhere_is_reached_where_it_lies() -> None:
    [policy] = [p for p in policies_of("external database") if p["metadata"]["name"] == "canari-feedback"]
    [rule] = policy["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert rule["ports"] == [{"port": 5432, "protocol": "TCP"}]


def test_a_prometheus_elsewhere_reads_metrics_where_it_is_let() -> None:
    [policy] = [p for p in policies_of("everything") if p["metadata"]["name"] == "canari-bento"]
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}} in peers
