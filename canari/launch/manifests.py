"""What Kubernetes is told of one version of a model. Pure: a version in, manifests out.

Pods satisfy the Pod Security Standard `restricted` (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any

from canari.launch.cluster_config import (
    BENTO_PORT,
    BENTO_SERVICE_PORT,
    HASH_ANNOTATION,
    ClusterConfig,
    version_object,
)
from canari.launch.launcher import VersionRun
from canari.objects import Manifest, OwnerReference
from canari.spec import Resources

TOKEN_EXPIRES = "canari.dev/token-expires"  # noqa: S105 - an annotation's name
TOKEN_SIGNER = "canari.dev/token-signer"  # noqa: S105
_USER = 10001
_FLUSH_SECONDS = 10
_CONTAINER = "bento"
# The recorder holds back at most 256 MiB, in whole segments of 8 MiB.
_VOLUMES = {"bento": "1Gi", "spool": "320Mi", "tmp": "64Mi"}


@dataclass(frozen=True, slots=True)
class Release:
    """What all versions of a platform share: the configuration, and the public key (PEM) that verifies tokens."""

    config: ClusterConfig
    public_key: str

    @property
    def signer(self) -> str:
        """The key as an annotation names it."""
        return hashlib.sha256(self.public_key.encode()).hexdigest()[:16]


def version_manifests(
    release: Release, run: VersionRun, owner: OwnerReference, token_expires: datetime
) -> list[Manifest]:
    """A version's objects but its Secret, in the order in which they are made; the Deployment is last.

    Without a range of replicas there is no HorizontalPodAutoscaler; with one, the Deployment leaves its replicas to it.
    """
    replicas = run.spec.serving.replicas
    made = [_service(release.config, run), _disruption_budget(release.config, run)]
    if replicas.most > replicas.min:
        made.append(_autoscaler(run))
    made.append(_deployment(release, run, token_expires))
    return [_finished(manifest, release.config, run, owner) for manifest in made]


def token_secret(config: ClusterConfig, run: VersionRun, owner: OwnerReference, token: str) -> Manifest:
    """The Secret with the token that the version records its predictions with."""
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": {"token": token}}
    return _named(secret, config, run, owner)


def whole_cpus(quantity: str) -> int | None:
    """The number of cores, where a quantity of CPU is a whole one."""
    millis = int(quantity[:-1]) if quantity.endswith("m") else round(float(quantity) * 1000)
    return millis // 1000 if millis and millis % 1000 == 0 else None


def _finished(manifest: Manifest, config: ClusterConfig, run: VersionRun, owner: OwnerReference) -> Manifest:
    finished = _named(manifest, config, run, owner)
    # Comparing fields shows what was changed or taken away; this shows what is no longer asked for.
    digest = hashlib.sha256(json.dumps(finished, sort_keys=True).encode()).hexdigest()[:16]
    finished["metadata"].setdefault("annotations", {})[HASH_ANNOTATION] = digest
    return finished


def _named(manifest: Manifest, config: ClusterConfig, run: VersionRun, owner: OwnerReference) -> Manifest:
    metadata = {
        "name": version_object(run.spec.name, run.number),
        "namespace": config.namespace,
        "labels": config.labels(run.spec.name, run.number),
        "ownerReferences": [owner],
    }
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": metadata, **manifest}


def _service(config: ClusterConfig, run: VersionRun) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "spec": {
            "type": "ClusterIP",
            "selector": config.selector(run.spec.name, run.number),
            "ports": [
                {
                    "name": "http",
                    "port": BENTO_SERVICE_PORT,
                    "targetPort": "http",
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
            ],
        },
    }


def _disruption_budget(config: ClusterConfig, run: VersionRun) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "spec": {
            "maxUnavailable": 1,
            # A pod that never became ready must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": config.selector(run.spec.name, run.number)},
        },
    }


def _autoscaler(run: VersionRun) -> Manifest:
    replicas = run.spec.serving.replicas
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": version_object(run.spec.name, run.number)}
    usage = {"type": "Utilization", "averageUtilization": replicas.cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": replicas.min,
            "maxReplicas": replicas.most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": usage}}],
        },
    }


def _deployment(release: Release, run: VersionRun, token_expires: datetime) -> Manifest:
    replicas = run.spec.serving.replicas
    config, bento = release.config, release.config.bento
    # A pod reads its token when it starts: a renewed one changes the template, and so replaces the pods.
    token = {
        TOKEN_EXPIRES: token_expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        TOKEN_SIGNER: release.signer,
    }
    spec = {
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": 600,
        # Never fewer pods than there are to be while they are replaced.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": config.selector(run.spec.name, run.number)},
        "template": {
            "metadata": {
                "labels": {**bento.pod_labels, **config.labels(run.spec.name, run.number)},
                "annotations": {**bento.pod_annotations, **token},
            },
            "spec": _pod(release, run),
        },
    }
    if replicas.most == replicas.min:
        spec["replicas"] = replicas.min
    return {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}


def _pod(release: Release, run: VersionRun) -> dict[str, Any]:
    bento = release.config.bento
    drain = ceil(run.spec.serving.timeout.total_seconds())
    optional = {
        "imagePullSecrets": bento.image_pull_secrets,
        "nodeSelector": bento.node_selector,
        "tolerations": bento.tolerations,
        "topologySpreadConstraints": _spread(
            bento.topology_spread_constraints, release.config.selector(run.spec.name, run.number)
        ),
        "priorityClassName": bento.priority_class_name,
    }
    return {
        "serviceAccountName": bento.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": bento.pre_stop_seconds + drain + _FLUSH_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_fetching(release, run)],
        "containers": [_serving(release, run, drain)],
        "volumes": [{"name": name, "emptyDir": {"sizeLimit": size}} for name, size in _VOLUMES.items()],
        **{name: value for name, value in optional.items() if value},
    }


def _fetching(release: Release, run: VersionRun) -> dict[str, Any]:
    return {
        **_container(release, run, "fetch", ("bento", "tmp")),
        "command": ["python", "-B", "-m", "canari.runtime.fetch", "--to", "/bento"],
        "env": [
            {"name": "CANARI_ARCHIVE", "value": run.archive},
            *_platform(release, run),
        ],
    }


def _serving(release: Release, run: VersionRun, drain: int) -> dict[str, Any]:
    cpus = whole_cpus(run.spec.serving.resources.limits.cpu)
    variables = {
        "CANARI_SPEC": _live_part(run),
        "CANARI_PUBLIC_KEY": release.public_key,
        "CANARI_SPOOL_DIR": "/spool",
    } | ({"CANARI_CPUS": str(cpus)} if cpus else {})
    return {
        **_container(release, run, _CONTAINER, ("bento", "spool", "tmp")),
        "command": [
            *("python", "-B", "-m", "canari.runtime.serve", "/bento/content"),
            *("--port", str(BENTO_PORT), "--host", "0.0.0.0", "--grace", str(drain)),  # noqa: S104 - a pod's own address
        ],
        # The bento's own frozen code goes before the image's.
        "workingDir": "/bento/content/src",
        "env": _by_name(
            *_platform(release, run),
            *({"name": name, "value": value} for name, value in variables.items()),
            *release.config.bento.extra_env,
        ),
        "ports": [{"name": "http", "containerPort": BENTO_PORT, "protocol": "TCP"}],
        "startupProbe": _probe("/readyz", period=1, failures=180),
        "readinessProbe": _probe("/readyz", period=5, failures=2),
        "livenessProbe": _probe("/livez", period=10, failures=6),
        # The proxies hear of a leaving pod a moment after it is told to end: it answers on until they have
        # (https://github.com/kubernetes/enhancements/issues/3960).
        "lifecycle": {"preStop": {"sleep": {"seconds": release.config.bento.pre_stop_seconds}}},
    }


def _container(release: Release, run: VersionRun, name: str, volumes: Collection[str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": release.config.bento.image,
        "imagePullPolicy": release.config.bento.image_pull_policy,
        "resources": _resources(run.spec.serving.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # Why a container ended stands in its pod's status, from where it goes into the Model's conditions.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": volume, "mountPath": f"/{volume}"} for volume in volumes],
    }


def _platform(release: Release, run: VersionRun) -> list[dict[str, Any]]:
    secret = {"name": version_object(run.spec.name, run.number), "key": "token"}
    return [
        {"name": "CANARI_FEEDBACK_URL", "value": release.config.feedback.url},
        {"name": "CANARI_TOKEN", "valueFrom": {"secretKeyRef": secret}},
        {"name": "CANARI_LOG_FORMAT", "value": "json"},
        {"name": "CANARI_LOG_LEVEL", "value": release.config.log_level},
    ]


def _by_name(*variables: dict[str, Any]) -> list[dict[str, Any]]:
    """Each variable once, for server-side apply refuses a name that comes twice; the last one counts."""
    return list({variable["name"]: variable for variable in variables}.values())


def _live_part(run: VersionRun) -> str:
    """What a running version follows of the live specification; to scale it is no reason to start it anew."""
    document = run.spec.document()
    serving = {name: value for name, value in document["serving"].items() if name not in {"replicas", "resources"}}
    live = {
        "name": run.spec.name,
        "access": document["access"],
        "abstain": document["abstain"],
        "serving": serving,
        "data": {"retain_inputs": run.spec.retains},
    }
    return json.dumps(live, ensure_ascii=False, sort_keys=True)


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _resources(resources: Resources) -> dict[str, dict[str, str]]:
    return {
        "requests": {"cpu": resources.requests.cpu, "memory": resources.requests.memory},
        "limits": {"cpu": resources.limits.cpu, "memory": resources.limits.memory},
    }


def _spread(constraints: Collection[Mapping[str, Any]], selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """Constraints that name no pods are about the version's own."""
    return [{"labelSelector": {"matchLabels": selector}, **constraint} for constraint in constraints]
