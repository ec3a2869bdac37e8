"""Every pod, of whatever kind: it satisfies the strictest Pod Security Standard, has bounds, and holds no token it does
not need (https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.chart.rendering import CHOICES, Manifest, containers, manifests, named, pods, version_s_pod
from tests.conftest import ROOT

# Those that speak to the API server.
WITH_TOKEN = {"Deployment canari-controller", "Job canari-welcome", "Job canari-leave", "Deployment canari-prometheus"}
# The volumes that `restricted` allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def every_pod() -> Iterator[tuple[str, str, Manifest]]:
    for choice in CHOICES:
        for name, pod in pods(manifests(choice)):
            yield choice, name, pod
        yield choice, "a version's", version_s_pod(choice)


@pytest.fixture(scope="module", params=[pytest.param(pod, id=f"{c}: {n}") for c, n, pod in every_pod()])
def pod(request: pytest.FixtureRequest) -> Manifest:
    found: Manifest = request.param
    return found


def test_it_is_restricted(pod: Manifest) -> None:
    spec = pod["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert not {"privileged", "runAsUser", "procMount"} & set(security)
        assert all("hostPort" not in port for port in container.get("ports", []))
    for volume in spec.get("volumes", []):
        assert set(volume) - {"name"} <= VOLUMES


def test_it_is_bounded(pod: Manifest) -> None:
    for container in containers(pod):
        for bound in ("requests", "limits"):
            assert set(container["resources"][bound]) >= {"cpu", "memory"}, container["name"]
    for volume in pod["spec"].get("volumes", []):
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), volume


def test_it_mounts_what_it_has_and_has_what_it_mounts(pod: Manifest) -> None:
    claimed = {"data"}  # a StatefulSet's own claim
    there = {volume["name"] for volume in pod["spec"].get("volumes", [])}
    mounted = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", [])}
    assert mounted - claimed <= there <= mounted


def test_its_images_are_pinned_and_name_no_registry(pod: Manifest) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for container in containers(pod):
        image = container["image"].removeprefix("registry.example/").removeprefix("localhost/")
        name, _, tag = image.partition(":")
        assert "." not in name.partition("/")[0], image
        assert tag not in {"", "latest"}
        if name.startswith("canari/") and "@" not in image:
            assert tag == version


@pytest.mark.parametrize("choice", CHOICES)
def test_what_runs_for_long_is_probed_and_ends_in_order(choice: str) -> None:
    for name, pod in pods(manifests(choice)):
        if name.partition(" ")[0] in {"Deployment", "StatefulSet"}:
            for container in pod["spec"]["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= set(container), name
            assert pod["spec"]["terminationGracePeriodSeconds"] >= 30


@pytest.mark.parametrize("choice", CHOICES)
def test_only_who_speaks_to_the_api_server_holds_a_token(choice: str) -> None:
    found = manifests(choice)
    for name, pod in pods(found):
        assert pod["spec"]["automountServiceAccountToken"] is (name in WITH_TOKEN), name
        account = named(found, "ServiceAccount", pod["spec"]["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("choice", CHOICES)
def test_a_version_s_pods_hold_no_api_token_and_are_probed(choice: str) -> None:
    spec = version_s_pod(choice)["spec"]
    assert spec["automountServiceAccountToken"] is False
    named(manifests(choice), "ServiceAccount", spec["serviceAccountName"])
    [serving] = spec["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(serving)
    assert serving["lifecycle"]["preStop"]["sleep"]["seconds"] == 10


def test_who_answers_requests_is_drained_before_it_ends() -> None:
    found = dict(pods(manifests()))
    for name in ("feedback", "portal", "fetcher"):
        [container] = found[f"Deployment canari-{name}"]["spec"]["containers"]
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


def rights(role: Manifest) -> dict[str, set[str]]:
    return {
        f"{group}/{resource}".removeprefix("/"): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_controller_may_do_what_it_does_and_nothing_more() -> None:
    found = manifests()
    made = {"list", "create", "patch", "delete"}
    assert rights(named(found, "Role", "canari-controller")) == {
        "canari.dev/models": {"list"},
        "canari.dev/models/status": {"patch"},
        "apps/deployments": made,
        "services": made,
        "policy/poddisruptionbudgets": made,
        "autoscaling/horizontalpodautoscalers": made,
        "gateway.networking.k8s.io/httproutes": made,
        "secrets": made - {"list"},
        "pods": {"list"},
        "discovery.k8s.io/endpointslices": {"list"},
        "events.k8s.io/events": {"create"},
        "coordination.k8s.io/leases": {"get", "create", "update"},
        "gateway.networking.k8s.io/gateways": {"get"},
    }
    assert not [m for m in found if m["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    [elsewhere] = [m for m in found if m["kind"] == "Role" and m["metadata"]["namespace"] != "canari"]
    assert rights(elsewhere) == {"pods": {"list"}}


def test_a_gateway_of_another_namespace_is_read_there() -> None:
    found = [m for m in manifests("existing gateway") if m["metadata"].get("namespace") == "gateways"]
    [role] = [m for m in found if m["kind"] == "Role"]
    [binding] = [m for m in found if m["kind"] == "RoleBinding"]
    [rule] = role["rules"]
    assert (rule["resources"], rule["resourceNames"], rule["verbs"]) == (["gateways"], ["shared"], ["get"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    [subject] = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == ("canari-controller", "canari")


def test_no_role_holds_a_wildcard() -> None:
    for manifest in manifests():
        for rule in manifest.get("rules", []) if manifest["kind"] == "Role" else []:
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


def test_the_test_cluster_s_requests_fit_beside_two_models() -> None:
    total = 0.0
    for name, pod in pods(manifests("test cluster")):
        if name.partition(" ")[0] in {"Deployment", "StatefulSet"}:
            total += sum(_cores(c["resources"]["requests"]["cpu"]) for c in containers(pod))
    assert total < 0.7


def _cores(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if re.fullmatch(r"\d+m", quantity) else float(quantity)
