"""The loop on a cluster: users grow unhappy, and all that follows happens by itself but for the data that a team adds.

Real photos, and people who say what they think of the answers. Needs the images `platform`, `runtime` and `trainer`.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from canari.family import RawSample, find_family
from tests.acceptance.conftest import Figures
from tests.acceptance.rollouts import Operator
from tests.acceptance.traffic import People
from tests.cluster import receiver
from tests.cluster.release import Release, asked, packed
from tests.cluster.tools import Kubectl, until
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(2400)
NAMESPACE = "canari-loop"
MODEL = "cats_dogs"
RATE = 4.0
BAR_SECONDS = 900
# A quarter of the photos is what people ask about; the team finds the others only when it is told.
_ASKED = 4
_SECRET = "discord"
# Judged sooner than in earnest: the test has minutes, not weeks.
_RULES: dict[str, Any] = {
    "canary": {
        "steps": [50],
        "bake": "5s",
        "deadline": "1d",
        "on_deadline": "hold",
        "metrics": {
            "errors": {"margin": 0.05},
            "throttled": None,
            "latency": None,
            "satisfaction": {"margin": 0.2, "age": "10s"},
        },
    },
    # On the platform's volume, where the team has put it.
    "training": {"options": {"base_weights": "/data/weights/mobilenet.npz"}},
    "evaluation": {"threshold": 0.4},
}
_OPTIONS = {
    "samples.install": "false",
    "mlflow.enabled": "false",
    "evaluate.suspend": "false",
    "retrain.suspend": "false",
    "retrain.schedule": "* * * * *",
    "monitoring.prometheus.enabled": "true",
    "monitoring.alertmanager.enabled": "true",
    "monitoring.alertmanager.discord": "true",
    "monitoring.alertmanager.existingSecret": _SECRET,
}


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """A release with its own monitoring, and what plays Discord beside it."""
    kubectl = Kubectl()
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    kubectl("apply", "--server-side", "--force-conflicts", f"--filename={ROOT / 'k8s' / 'crd.yaml'}")
    kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    made = Release(kubectl.within(NAMESPACE))
    made.kubectl.apply(*receiver.manifests())
    discord = f"http://receiver.{NAMESPACE}:{receiver.HTTP}/api/webhooks/1/the-secret/slack"
    made.kubectl("create", "secret", "generic", _SECRET, f"--from-literal=discord-url={discord}")
    options = [f"--set={name}={value}" for name, value in _OPTIONS.items()]
    try:
        made.install(*options, '--set-json=monitoring.alertmanager.egress=[{"to":[{"podSelector":{}}]}]')
        yield made
    finally:
        made.kubectl("delete", "models", "--all", "--ignore-not-found")
        if "canari" in made.helm("list", "--short"):
            made.uninstall()
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@dataclass(frozen=True)
class Photos:
    """What people ask about, the folder of what the team adds, and the base that it trains a head on."""

    asked: Sequence[RawSample]
    added: Path
    weights: Path


@pytest.fixture(scope="module")
def photos(real_data: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    assert real_data is not None, "set CANARI_TEST_DATA to the folder that holds cats_dogs/ and weights/"
    folder = tmp_path_factory.mktemp("photos")
    asked_about = []
    for label in ("cat", "dog"):
        (folder / label).mkdir()
        for place, file in enumerate(sorted((real_data / MODEL / label).iterdir())):
            if place % _ASKED:
                shutil.copy(file, folder / label)
            else:
                asked_about.append(RawSample(file.read_bytes(), label, file.name))
    return Photos(asked_about, folder, real_data / "weights" / "mobilenet_v2_0.35_224_imagenet_notop.npz")


def test_unhappy_users_end_with_a_better_version_by_themselves(
    release: Release, photos: Photos, tmp_path: Path, figures: Figures
) -> None:
    operator = _operator(release)
    _put_weights(release, photos.weights)
    _add_first_version(release, operator, tmp_path)
    people = People(release.url(), _forever(photos.asked), RATE, models=(MODEL,), media_type="image/jpeg")
    people.start()
    began = time.time()

    def since() -> float:
        return time.time() - began

    alert = until(lambda: _alert(release), "the alert to reach Discord", seconds=600, pause=2)
    figures.note(f"{since():.0f} s: Discord is told: {alert}")
    figures.true("the alert names the model and the votes", holds=MODEL in alert and "votes say right" in alert)
    refused = until(lambda: _job(operator, "refused"), "a retraining without data to be refused", seconds=180, pause=2)
    figures.note(f"{since():.0f} s: without new data, {refused['error']}")
    added = operator.canari("data", "add", MODEL, str(photos.added), "--url", release.url())
    figures.note(f"{since():.0f} s: the team has added {added['added']} photos")
    training = until(lambda: _job_at(operator, "features"), "the CronJob to train", seconds=200, pause=0.5)
    _delete_its_pod(release)
    figures.note(f"{since():.0f} s: its pod is deleted amid the training")
    until(lambda: _left(operator, training), "the job to have lost its pod", pause=0.2)
    done = until(lambda: _job(operator, "done"), "the CronJob to retrain", seconds=700, pause=2)
    figures.note(f"{since():.0f} s: {done['result']['why']}")
    numbers = [one["number"] for one in operator.get(f"/api/{MODEL}/versions")["versions"]]
    figures.true(
        f"the next pod ended the same job, and the versions are {numbers}",
        holds=done["id"] == training["id"] and numbers == [2, 1],
    )
    number = done["result"]["rollout"]
    ended = until(lambda: _settled(operator, number), "the new version to have a verdict", seconds=600, pause=1)
    seconds = datetime.fromisoformat(ended["settled_at"]).timestamp() - began
    people.stop()
    last = ended["decisions"][-1]
    figures.note(f"{seconds:.0f} s: {last['action']} by the {last['actor']}: {last['reason']}")
    figures.true(
        f"version {done['result']['version']} is proposed by {ended['proposed_by']} and promoted by its evidence",
        holds=(last["action"], last["actor"], ended["proposed_by"]) == ("promoted", "controller", "job:retrain"),
    )
    figures.true("the model serves it", holds=release.model(MODEL)["stable"] == done["result"]["version"] == 2)
    faults = [one for one in people.answers if not one.good]
    figures.at_most(f"errors of {len(people.answers)} requests", len(faults), 0, ".0f")
    figures.at_most("seconds from the first user to the promotion", seconds, BAR_SECONDS, ".0f")


def test_a_person_is_forgotten_and_what_is_over_goes(release: Release, photos: Photos, figures: Figures) -> None:
    """After the test above, on its platform."""
    operator = _operator(release)
    with httpx.Client(base_url=release.url(), timeout=60) as visitor:
        visitor.post("/api/session/anonymous").raise_for_status()
        body, kind = photos.asked[0].content, {"content-type": "image/jpeg"}
        said = visitor.post(f"/api/{MODEL}/predict", content=body, headers=kind).raise_for_status().json()
        kept = f"/api/{MODEL}/predictions/{said['prediction_id']}"
        until(lambda: visitor.get(kept).is_success, "the prediction to be stored")
        erasure = visitor.delete("/api/me/data").raise_for_status().headers["location"]
    done = until(lambda: operator.get(erasure)["certificate"], "the visitor's erasure", seconds=120)
    erased = done["counts"]
    figures.true(f"a visitor is erased by themselves: {erased}", holds=erased.get("predictions") == 1)
    release.kubectl("create", "job", "forgetting", f"--from=cronjob/{release.name}-retention")
    release.kubectl("wait", "--for=condition=complete", "job/forgetting", "--timeout=180s")
    job = operator.get(f"/api/{MODEL}/jobs", kind="retention")["jobs"][0]
    result = operator.get(f"/api/{MODEL}/jobs/{job['id']}")["result"]
    figures.true(f"the CronJob's retention: {result}", holds=job["state"] == "done" and result["erasures_open"] == 0)


def _operator(release: Release) -> Operator:
    secret = release.kubectl.json("get", "secret", f"{release.name}-secrets")["data"]["admin-password"]
    return Operator(release.url(), "admin", base64.b64decode(secret).decode())


def _put_weights(release: Release, weights: Path) -> None:
    pod = release.kubectl.items("pods", "--selector=app.kubernetes.io/component=feedback")[0]["metadata"]["name"]
    release.kubectl("exec", pod, "--", "mkdir", "-p", "/data/weights")
    release.kubectl("cp", str(weights), f"{pod}:/data/weights/mobilenet.npz")


def _add_first_version(release: Release, operator: Operator, folder: Path) -> None:
    """A model of drawn pets: it does not know real ones well."""
    spec = find_family(ROOT / "bentos", MODEL).spec.model_dump(mode="json", exclude_defaults=True)
    resource = {"apiVersion": "canari.dev/v1alpha1", "kind": "Model", "metadata": {"name": MODEL.replace("_", "-")}}
    release.kubectl.apply({**resource, "spec": {**spec, **_RULES}})
    until(lambda: release.model(MODEL).get("observedGeneration"), "the Model to be seen")
    package = packed(MODEL, folder, seed=1)
    operator.canari("push", MODEL, "--package", str(package))
    photo = next(find_family(ROOT / "bentos", MODEL).generate(1, 7)).content
    until(lambda: asked(release, MODEL, photo, "image/jpeg").is_success, "the first version to answer", seconds=180)


def _forever(samples: Sequence[RawSample]) -> Iterator[RawSample]:
    chance = random.Random(3)
    while True:
        yield chance.choice(samples)


def _alert(release: Release) -> str | None:
    """What Discord was told of satisfaction."""
    pod = f"/api/v1/namespaces/{NAMESPACE}/pods/receiver:{receiver.HTTP}/proxy/told"
    for told in json.loads(release.kubectl("get", "--raw", pod)):
        if told["way"] == "discord" and "votes say right" in told["text"]:
            return f"{told['title']}: {' '.join(told['text'].split())}"
    return None


def _job(operator: Operator, state: str) -> dict[str, Any] | None:
    """The newest retraining in that state."""
    asked_for = [one for one in operator.get(f"/api/{MODEL}/jobs", kind="retrain")["jobs"] if one["model"] == MODEL]
    assert all(one["state"] != "failed" for one in asked_for), asked_for
    found = next((one for one in asked_for if one["state"] == state), None)
    return operator.get(f"/api/{MODEL}/jobs/{found['id']}") if found else None


def _job_at(operator: Operator, stage: str) -> dict[str, Any] | None:
    """A retraining that runs and was last reported to be there."""
    running = _job(operator, "running")
    return running if running and running["progress"] and running["progress"]["stage"] == stage else None


def _left(operator: Operator, job: dict[str, Any]) -> bool:
    """Whether the runner that held a job then holds it no more: it gave it back when told to end, or died."""
    now = operator.get(f"/api/{MODEL}/jobs/{job['id']}")
    return now["state"] == "queued" or bool(now["attempts"] > job["attempts"])


def _delete_its_pod(release: Release) -> None:
    pods = ("pods", "--selector=app.kubernetes.io/component=retrain", "--field-selector=status.phase=Running")
    release.kubectl("delete", *pods, "--grace-period=0", "--force")


def _settled(operator: Operator, number: int) -> dict[str, Any] | None:
    found = operator.rollout(MODEL, number)
    return None if found["state"] in {"open", "queued"} else found
