"""The platform on a cluster, from nothing to nothing, with clients that notice everything."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from canari.family import find_family
from canari.traffic import counters
from tests.acceptance.conftest import FULL, Figures
from tests.cluster.release import PROXIES, Client, Release, asked, packed, pushed
from tests.cluster.tools import Kubectl, until
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(3600)
NAMESPACE = "canari-acceptance"
REQUESTS = 2000 if FULL else 500
POINT = json.dumps({"x1": 0.5, "x2": -0.5}).encode()
# What every namespace holds, and what Kubernetes itself writes beside other objects.
_OWN = re.compile(r"^(configmap/kube-root-ca\.crt|serviceaccount/default|event.*|.*\.metrics\.k8s\.io/.*)$")


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """An empty namespace under the strictest Pod Security Standard, and no Model resource's definition."""
    kubectl = Kubectl()
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    if "models.canari.dev" in kubectl("get", "crd", "--output=name"):
        # Those of other tests are leaving; those of people stay, and then this is no cluster to test on.
        until(lambda: not kubectl.items("models.canari.dev", "--all-namespaces"), "a cluster without Models")
        kubectl("delete", "crd", "models.canari.dev")
    kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    made = Release(kubectl.within(NAMESPACE))
    yield made
    if "canari" in made.helm("list", "--short"):
        made.uninstall()
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A drawn photo."""
    sample = next(find_family(ROOT / "bentos", "cats_dogs").generate(1, 7))
    return sample.content


@pytest.fixture(scope="module")
def clients(release: Release, photo: bytes) -> Iterator[tuple[Client, Client]]:
    """20 requests a second to drift and 2 to cats_dogs, for as long as these tests last."""
    made = (
        Client(release.url(), "/api/drift/predict", POINT, "application/json", rate=20),
        Client(release.url(), "/api/cats_dogs/predict", photo, "image/jpeg", rate=2),
    )
    for client in made:
        client.start()
    yield made
    for client in made:
        client.stop()


def test_one_command_leads_from_an_empty_cluster_to_a_prediction(
    release: Release, photo: bytes, figures: Figures
) -> None:
    seconds = release.install()
    answers = [
        httpx.post(f"{release.url()}/api/{model}/predict", content=body, headers={"content-type": kind}, timeout=30)
        for model, body, kind in (("drift", POINT, "application/json"), ("cats_dogs", photo, "image/jpeg"))
    ]
    figures.true(
        f"`helm install --wait` on an empty cluster, {seconds:.0f} s, then both models answer through the gateway",
        holds=[answer.status_code for answer in answers] == [200, 200],
    )
    said = release.helm("test", release.name)
    figures.true("`helm test` passes", holds="Succeeded" in said)
    columns = release.kubectl("get", "models").splitlines()[0].split()
    figures.true(
        f"`kubectl get models` shows {' '.join(columns)}",
        holds=columns == ["NAME", "STABLE", "CANARY", "WEIGHT", "VERDICT", "SATISFACTION", "AGE"],
    )


def test_a_fifth_family_is_a_model_resource_and_a_push(release: Release, tmp_path: Path, figures: Figures) -> None:
    families = tmp_path / "families"
    shutil.copytree(ROOT / "bentos" / "drift", families / "annonces")
    for file in (families / "annonces").iterdir():
        if file.is_file():
            text = file.read_text().replace("bentos.drift", "families.annonces")
            file.write_text(re.sub(r"^name: drift", "name: annonces", text, flags=re.MULTILINE))
    package = packed("annonces", tmp_path, seed=3, families=families)
    spec = json.loads((package / "package.json").read_text())["spec"]
    release.kubectl.apply(
        {
            "apiVersion": "canari.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "annonces", "namespace": NAMESPACE},
            "spec": spec,
        }
    )
    until(lambda: release.model("annonces").get("observedGeneration"), "the Model to be seen")
    number = pushed(release, package)
    until(lambda: asked(release, "annonces", POINT).is_success, "the fifth family to answer", seconds=180)
    figures.true(f"`kubectl apply` of a fifth family and a push: version {number} answers", holds=number == 1)


def test_a_canary_gets_its_share_and_envoy_counts_it(
    release: Release, clients: tuple[Client, Client], photo: bytes, tmp_path: Path, figures: Figures
) -> None:
    drift, cats_dogs = clients
    number = pushed(release, packed("cats_dogs", tmp_path, seed=1))
    release.canari("deploy", "cats_dogs", str(number), "--weight", "20")
    _settled(release, "cats_dogs", stable=1, canary=number, weight=20)
    with drift.paused(), cats_dogs.paused():
        before, said = _counted(release, "cats_dogs"), Counter(cats_dogs.answers)
    burst = [
        Client(release.url(), "/api/cats_dogs/predict", photo, "image/jpeg", rate=1e6, most=REQUESTS // 4)
        for _ in range(4)
    ]
    for client in burst:
        client.start()
    for client in burst:
        client.join()
    with drift.paused(), cats_dogs.paused():
        after = _counted(release, "cats_dogs")
        said = Counter(cats_dogs.answers) - said
    split = sum((client.answers for client in burst), Counter())
    canary = split[200, str(number)]
    sigma = (REQUESTS * 0.2 * 0.8) ** 0.5
    figures.within(
        f"requests of {REQUESTS} that met version {number} at weight 20",
        canary,
        round(REQUESTS * 0.2 - 4 * sigma),
        round(REQUESTS * 0.2 + 4 * sigma),
    )
    split += said
    arms = [split[200, "1"], split[200, str(number)]]
    counted = [after[arm] - before[arm] for arm in (0, 1)]
    figures.true(f"Envoy counted per arm {counted}, the clients {arms}", holds=counted == arms)


@pytest.mark.usefixtures("clients")
def test_an_upgrade_of_the_chart_moves_no_weight(release: Release, figures: Figures) -> None:
    before = release.model("cats_dogs")
    release.upgrade("--set", "logLevel=DEBUG")
    after = until(lambda: _calm(release, "cats_dogs"), "the model to be settled again")
    kept = [after.get(field) == before.get(field) for field in ("stable", "canary", "weight")]
    figures.true(f"`helm upgrade` in the middle of a canary keeps its weight of {after.get('weight')}", holds=all(kept))
    answer = asked(release, "annonces", POINT)
    figures.true("a user's own Model answers after the upgrade", holds=answer.status_code == 200)


def test_promote_roll_back_and_scale_lose_no_request(
    release: Release, clients: tuple[Client, Client], tmp_path: Path, figures: Figures
) -> None:
    release.canari("promote", "cats_dogs")
    _settled(release, "cats_dogs", stable=2)
    release.canari("deploy", "cats_dogs", "1", "--weight", "20")
    _settled(release, "cats_dogs", stable=2, canary=1, weight=20)
    release.canari("rollback", "cats_dogs")
    _settled(release, "cats_dogs", stable=2)
    number = pushed(release, packed("drift", tmp_path, seed=1))
    for weight in (50, 100):
        release.canari("deploy", "drift", str(number), "--weight", str(weight))
        _settled(release, "drift", **({"stable": 1, "canary": number, "weight": 50} if weight < 100 else {"stable": 2}))
    for replicas in (2, 1):
        patch = {"spec": {"serving": {"replicas": {"min": replicas}}}}
        release.kubectl("patch", "model", "drift", "--type=merge", "--patch", json.dumps(patch))
        until(lambda: _replicas(release, "drift-v2") == replicas, f"{replicas} pods")  # noqa: B023
    until(lambda: _versions_running(release) == {"annonces-v1", "cats-dogs-v2", "drift-v2"}, "the others to have left")
    time.sleep(5)
    asked_for = [sum(client.answers.values()) for client in clients]
    faults = [fault for client in clients for fault in client.faults]
    for fault in faults[:10]:
        figures.note(fault)
    figures.at_most(
        f"requests that failed of {asked_for[0]} to drift and {asked_for[1]} to cats_dogs, all the while",
        len(faults),
        0,
        ".0f",
    )


def test_a_controller_killed_at_any_transition_leaves_nothing_undone(
    release: Release, clients: tuple[Client, Client], figures: Figures
) -> None:
    transitions: list[tuple[list[str], dict[str, int]]] = [
        (["deploy", "drift", "1", "--weight", "10"], {"stable": 2, "canary": 1, "weight": 10}),
        (["deploy", "drift", "1", "--weight", "60"], {"stable": 2, "canary": 1, "weight": 60}),
        (["promote", "drift"], {"stable": 1}),
        (["deploy", "drift", "2", "--weight", "30"], {"stable": 1, "canary": 2, "weight": 30}),
        (["rollback", "drift"], {"stable": 1}),
    ]
    for act, wanted in transitions:
        release.canari(*act)
        _kill_controller(release)
        _settled(release, "drift", **wanted)
    until(lambda: _versions_running(release) == {"annonces-v1", "cats-dogs-v2", "drift-v1"}, "no version too many")
    orphans = _orphans(release)
    faults = [fault for client in clients for fault in client.faults]
    for fault in faults[:10]:
        figures.note(fault)
    figures.true(
        f"controller killed after each of {len(transitions)} acts, the next ends them; orphans: {orphans or 'none'}",
        holds=not orphans,
    )
    figures.at_most("requests that failed meanwhile", len(faults), 0, ".0f")


def test_a_version_starts_soon_and_costs_little(release: Release, figures: Figures) -> None:
    for model, version in (("drift", 2), ("cats_dogs", 1)):
        release.canari("deploy", model, str(version), "--weight", "1")
        _settled(release, model, canary=version, weight=1)
        name = f"{model.replace('_', '-')}-v{version}"
        selector = f"--selector=canari.dev/model={model},canari.dev/version={version}"
        [pod] = [p for p in release.kubectl.items("pods", selector) if "deletionTimestamp" not in p["metadata"]]
        times = {c["type"]: _moment(c["lastTransitionTime"]) for c in pod["status"]["conditions"]}
        seconds = times["Ready"] - _moment(pod["metadata"]["creationTimestamp"])
        figures.at_most(f"seconds from nothing to Ready, {name}", seconds, 30, ".0f")
        figures.at_most(f"MiB of memory, {name}", _memory(release, pod["metadata"]["name"]), 400, ".0f")
        release.canari("rollback", model)
    images = {
        name: image["sizeBytes"] / 1e6
        for node in release.kubectl.items("nodes")
        for image in node["status"]["images"]
        for name in image["names"] or []
        if "canari/" in name and "@" not in name
    }
    for name, megabytes in sorted(images.items()):
        figures.note(f"image {name}: {megabytes:.0f} MB as it is pulled")
    runtime = next(size for name, size in images.items() if "canari/runtime" in name)
    figures.at_most("MB of the runtime image, as it is pulled", runtime, 250, ".0f")


def test_uninstalling_keeps_the_data_and_nothing_else(release: Release, figures: Figures) -> None:
    known = _known(release)
    release.uninstall()
    until(lambda: not release.kubectl.items("pods"), "the pods to have ended")
    left = set(_everything(release.kubectl))
    claims = {name for name in left if name.startswith("persistentvolumeclaim/")}
    others = left - claims - {"secret/canari-secrets", "model.canari.dev/annonces"}
    figures.true(
        f"`helm uninstall` leaves {len(claims)} claims, the Secret, the user's own Model; else: {others or 'nothing'}",
        holds=len(claims) >= 2 and not others,
    )
    beside = release.kubectl.within(PROXIES)
    # A proxy that leaves lets its clients end first.
    until(lambda: not release.proxies(), "the gateway's proxies to have ended", seconds=180)
    outside = [name for name in _everything(beside) if NAMESPACE in name]
    figures.true(f"beside the gateway's proxies it leaves {outside or 'nothing'}", holds=not outside)
    crds = release.kubectl("get", "crd", "models.canari.dev", "--output=name")
    figures.true("the definition of Models stays", holds="models.canari.dev" in crds)
    release.install()
    until(lambda: asked(release, "annonces", POINT).is_success, "the user's own Model to answer again", seconds=180)
    found = _known(release)
    kept = all(found[m][:2] == known[m][:2] and found[m][2] >= known[m][2] > 0 for m in known)
    figures.true(
        f"a second install finds its versions and predictions: {sum(k[2] for k in known.values())}", holds=kept
    )


def test_the_chart_is_sound(figures: Figures) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "tests/chart"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1]
    if done.returncode:
        figures.note(done.stdout[-3000:])
    figures.true(f"kubeconform, lint, ten wrong values, and the policy of every pod: {last}", holds=not done.returncode)


def _calm(release: Release, model: str) -> dict[str, Any] | None:
    status = release.model(model)
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    return status if conditions.get("TrafficSplit") == "True" == conditions.get("VersionsReady") else None


def _settled(release: Release, model: str, **wanted: int) -> None:
    """Wait until a model's status says so much, and that its traffic is split so."""

    def holds() -> bool:
        status = _calm(release, model)
        fields = {"stable", "canary", "weight"} if "stable" in wanted else set(wanted)
        return status is not None and all(status.get(field) == wanted.get(field) for field in fields)

    until(holds, f"{model} to stand at {wanted}", seconds=180)


def _counted(release: Release, model: str) -> Counter[int]:
    """Requests that each arm of a model completed, over all of the gateway's proxies."""
    found: Counter[int] = Counter()
    prefix = f"httproute/{NAMESPACE}/{model.replace('_', '-')}/rule/0/backend/"
    for proxy in release.proxies():
        path = f"/api/v1/namespaces/{PROXIES}/pods/{proxy}:19001/proxy/stats/prometheus"
        for cluster, counted in counters.parse(release.kubectl("get", "--raw", path)).items():
            if cluster.startswith(prefix):
                found[int(cluster.removeprefix(prefix))] += counted.completed
    return found


def _kill_controller(release: Release) -> None:
    selector = "--selector=app.kubernetes.io/component=controller"
    release.kubectl("delete", "pods", selector, "--grace-period=0", "--force")


def _replicas(release: Release, deployment: str) -> int:
    status = release.kubectl.json("get", "deployment", deployment)["status"]
    return int(status.get("readyReplicas", 0)) if status.get("replicas") == status.get("readyReplicas") else -1


def _versions_running(release: Release) -> set[str]:
    found = release.kubectl.items("deployments", "--selector=app.kubernetes.io/managed-by=canari-controller")
    return {deployment["metadata"]["name"] for deployment in found}


def _orphans(release: Release) -> set[str]:
    """Objects of versions that no Deployment stands for, or that no Model owns."""
    running = _versions_running(release)
    found = release.kubectl.items(
        "deployments,services,secrets,poddisruptionbudgets,horizontalpodautoscalers",
        "--selector=app.kubernetes.io/managed-by=canari-controller",
    )
    return {
        f"{one['kind']} {one['metadata']['name']}"
        for one in found
        if one["metadata"]["name"] not in running or not one["metadata"].get("ownerReferences")
    }


def _memory(release: Release, pod: str) -> float:
    """MiB that a pod uses, by the metrics server."""
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods/{pod}"

    def usage() -> str | None:
        try:
            containers = json.loads(release.kubectl("get", "--raw", path))["containers"]
        except AssertionError:  # it has not been measured yet
            return None
        return str(containers[0]["usage"]["memory"]) if containers else None

    text = until(usage, "the metrics server to have measured the pod", pause=2)
    units = {"Ki": 1 / 1024, "Mi": 1.0, "Gi": 1024.0}
    return float(text[:-2]) * units[text[-2:]]


def _known(release: Release) -> dict[str, tuple[int, list[int], int]]:
    """What the platform remembers of each model: its stable version, its versions, and how many predictions."""
    models = httpx.get(f"{release.url()}/api/status", timeout=30).json()["models"]
    return {
        model["name"]: (
            model["stable"],
            [version["number"] for version in model["versions"]],
            model["last_day"]["predictions"],
        )
        for model in models
    }


def _everything(kubectl: Kubectl) -> list[str]:
    """Every object of a namespace, of whatever kind, but those that Kubernetes itself makes beside others."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    found = kubectl("get", ",".join(kinds), "--output=name", "--ignore-not-found").split()
    return [name for name in found if not _OWN.match(name)]


def _moment(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
