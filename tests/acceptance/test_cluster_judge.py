"""Rollouts on a cluster: what the judge does with a good version and with four bad ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from canari.family import find_family
from tests.acceptance.rollouts import TEMPERS, Operator, Rollouts, Stage, packed, staged, write_families
from tests.cluster.release import PROXIES, Release, asked
from tests.cluster.tools import Kubectl, until
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(1800)
NAMESPACE = "canari-rollouts"
POINT = json.dumps({"x1": 0.5, "x2": -0.5}).encode()


@dataclass
class Cluster:
    """A release of the chart with the families of `write_families`."""

    release: Release
    families: Path

    def url(self) -> str:
        return self.release.url()

    def account(self) -> tuple[str, str]:
        secret = self.release.kubectl.json("get", "secret", f"{self.release.name}-secrets")["data"]["admin-password"]
        return "admin", base64.b64decode(secret).decode()

    @contextmanager
    def metrics_away(self) -> Iterator[None]:
        """The controller may not list the gateway's proxies."""
        beside = self.release.kubectl.within(PROXIES)
        labels = f"app.kubernetes.io/instance={self.release.name},app.kubernetes.io/component=gateway"
        found = beside.items("rolebindings", f"--selector={labels}")
        [binding] = [one for one in found if one["subjects"][0]["namespace"] == self.release.namespace]
        name = binding["metadata"]["name"]

        def give(subjects: list[dict[str, str]]) -> None:
            patch = [{"op": "replace", "path": "/subjects", "value": subjects}]
            beside("patch", "rolebinding", name, "--type=json", "--patch", json.dumps(patch))

        give([])
        try:
            yield
        finally:
            give(binding["subjects"])

    def add(self, model: str, folder: Path) -> None:
        """Apply a model's resource, and push its first version, a good one."""
        spec = find_family(self.families, model).spec
        self.release.kubectl.apply(
            {
                "apiVersion": "canari.dev/v1alpha1",
                "kind": "Model",
                "metadata": {"name": model},
                "spec": spec.model_dump(mode="json", exclude_defaults=True),
            }
        )
        package = packed(self.families, model, "good", folder / "first")
        until(lambda: self.release.model(model).get("observedGeneration"), f"{model} to be seen")
        Operator(self.url(), *self.account()).canari("push", model, "--package", str(package))


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """A release in a namespace of its own under the strictest Pod Security Standard, without the sample models."""
    kubectl = Kubectl()
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    # A release leaves a definition alone that another one has made, and that may be of another time.
    kubectl("apply", "--server-side", "--force-conflicts", f"--filename={ROOT / 'k8s' / 'crd.yaml'}")
    kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    made = Release(kubectl.within(NAMESPACE))
    try:
        made.install("--set", "samples.install=false", "--set", "mlflow.enabled=false")
        yield made
    finally:
        made.kubectl("delete", "models", "--all", "--ignore-not-found")
        if "canari" in made.helm("list", "--short"):
            made.uninstall()
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def stage(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("rollouts")
    world = Cluster(release, folder / "families")
    write_families(world.families)
    for model in TEMPERS:
        world.add(model, folder)
    for model in TEMPERS:
        until(lambda: asked(release, model, POINT).is_success, f"{model} to answer", seconds=180)  # noqa: B023
    with staged(world, tmp_path_factory.mktemp("packages")) as made:
        yield made


class TestRolloutsOnACluster(Rollouts):
    """All of them, here."""
