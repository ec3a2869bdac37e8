"""The jobs that the clock starts: one at a time, not for ever, on the platform's volume."""

from __future__ import annotations

import pytest

from canari.settings import Settings
from canari.types import JobKind
from tests.chart.rendering import CHOICES, Manifest, manifests, named

IMAGES = {JobKind.EVALUATE: "trainer", JobKind.RETRAIN: "trainer", JobKind.RETENTION: "platform"}


def cron_job(kind: JobKind, choice: str = "default") -> Manifest:
    return named(manifests(choice), "CronJob", f"canari-{kind}")


def pod_of(kind: JobKind, choice: str = "default") -> Manifest:
    found: Manifest = cron_job(kind, choice)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def environment(kind: JobKind, choice: str = "default") -> dict[str, object]:
    [container] = pod_of(kind, choice)["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def claim(pod: Manifest) -> str:
    [data] = [volume for volume in pod["volumes"] if volume["name"] == "data"]
    return str(data["persistentVolumeClaim"]["claimName"])


@pytest.mark.parametrize("kind", JobKind)
def test_one_runs_at_a_time_within_bounds_when_the_code_itself_would(kind: JobKind) -> None:
    spec = cron_job(kind)["spec"]
    assert (spec["concurrencyPolicy"], spec["timeZone"], spec["suspend"]) == ("Forbid", "Etc/UTC", False)
    # Below 10 s Kubernetes may never start it: it looks every 10 s.
    assert spec["startingDeadlineSeconds"] > 10
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    assert spec["schedule"] == Settings.model_fields[f"{kind}_schedule"].default


@pytest.mark.parametrize("kind", JobKind)
def test_it_runs_its_command_in_its_image_and_knows_its_schedule(kind: JobKind) -> None:
    [container] = pod_of(kind)["containers"]
    assert container["args"] == ["python", "-m", "services.jobs", kind]
    assert container["image"].startswith(f"canari/{IMAGES[kind]}:")
    told = environment(kind)
    assert told[f"CANARI_{kind.upper()}_SCHEDULE"] == cron_job(kind)["spec"]["schedule"]
    assert told["CANARI_DATA_DIR"] == "/data"


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("kind", JobKind)
def test_it_works_on_the_volume_of_the_feedback_pods_beside_them(kind: JobKind, choice: str) -> None:
    feedback = named(manifests(choice), "Deployment", "canari-feedback")["spec"]["template"]["spec"]
    pod = pod_of(kind, choice)
    assert claim(pod) == claim(feedback)
    labels = named(manifests(choice), "Deployment", "canari-feedback")["spec"]["selector"]
    beside = {"labelSelector": labels, "topologyKey": "kubernetes.io/hostname"}
    # In `everything` the volume is any node's.
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [beside]}}
    assert pod.get("affinity") == (None if choice == "everything" else together)
    [container] = pod["containers"]
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]


def test_with_archives_in_s3_the_volume_is_another_and_the_jobs_know_the_store() -> None:
    assert claim(pod_of(JobKind.RETRAIN)) == "canari-archives"
    assert claim(pod_of(JobKind.RETRAIN, "s3")) == "canari-data"
    named(manifests("s3"), "PersistentVolumeClaim", "canari-data")
    for kind in (JobKind.EVALUATE, JobKind.RETRAIN):
        assert str(environment(kind, "s3")["CANARI_ARCHIVES_URL"]).startswith("s3://")
        assert "CANARI_ARCHIVES_URL" not in environment(kind)


def test_lineage_goes_to_the_release_s_mlflow() -> None:
    for kind in (JobKind.EVALUATE, JobKind.RETRAIN):
        assert environment(kind)["CANARI_LINEAGE_URL"] == "http://canari-mlflow"
    named(manifests(), "Service", "canari-mlflow")


def test_who_ends_erasures_may_vacuum_and_sign_and_no_other_job_may() -> None:
    password = {kind: environment(kind)["PGPASSWORD"] for kind in JobKind}
    owner = {"secretKeyRef": {"name": "canari-secrets", "key": "postgres-password"}}
    assert [kind for kind in JobKind if password[kind] == owner] == [JobKind.RETENTION]
    assert [kind for kind in JobKind if "CANARI_KEYS_DIR" in environment(kind)] == [JobKind.RETENTION]
