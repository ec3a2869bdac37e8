"""How versions run on a cluster: what the chart tells the controller, and the names and labels of what it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from canari.errors import CanariError
from canari.spec import kubernetes_name

MANAGER = "canari-controller"
MODEL_LABEL = "canari.dev/model"
VERSION_LABEL = "canari.dev/version"
HASH_ANNOTATION = "canari.dev/hash"
BENTO_PORT = 3000  # of a pod
BENTO_SERVICE_PORT = 80


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class GatewayRef(_Part):
    """The Gateway that splits the traffic, and where its proxies' pods are."""

    name: str
    namespace: str
    proxy_namespace: str = "envoy-gateway-system"


class FeedbackRef(_Part):
    """The Service of the feedback API, in the versions' namespace."""

    service: str
    port: int = Field(default=80, ge=1, le=65535)

    @property
    def url(self) -> str:
        """Where pods of the same namespace reach it."""
        return f"http://{self.service}" + ("" if self.port == 80 else f":{self.port}")


class BentoPods(_Part):
    """The pods of versions: their image, and what an operator adds to each of them, as Kubernetes writes it."""

    image: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[dict[str, Any]] = []
    service_account: str = "canari-bento"
    pre_stop_seconds: int = Field(default=10, ge=1, le=300)
    pod_labels: dict[str, str] = {}
    pod_annotations: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    topology_spread_constraints: list[dict[str, Any]] = []
    extra_env: list[dict[str, Any]] = []
    priority_class_name: str = ""


class ClusterConfig(_Part):
    """The controller's configuration file. `instance` is the chart's release, `namespace` that of all it works on."""

    instance: str
    namespace: str
    gateway: GatewayRef
    feedback: FeedbackRef
    bento: BentoPods
    log_level: str = "INFO"
    poll_seconds: float = Field(default=2, ge=0.1, le=300)

    @property
    def owned(self) -> dict[str, str]:
        """The labels of everything the controller makes for versions."""
        return {
            "app.kubernetes.io/name": "canari",
            "app.kubernetes.io/instance": self.instance,
            "app.kubernetes.io/component": "bento",
            "app.kubernetes.io/part-of": "canari",
            "app.kubernetes.io/managed-by": MANAGER,
        }

    def labels(self, model: str, version: int | None = None) -> dict[str, str]:
        """The labels of an object that belongs to a model, or to one of its versions."""
        return {**self.owned, MODEL_LABEL: model} | ({} if version is None else {VERSION_LABEL: str(version)})

    def selector(self, model: str, version: int) -> dict[str, str]:
        """The labels that tell a version's pods from all others; they never change."""
        names = ("app.kubernetes.io/instance", "app.kubernetes.io/component", MODEL_LABEL, VERSION_LABEL)
        labels = self.labels(model, version)
        return {name: labels[name] for name in names}


def load_config(file: Path) -> ClusterConfig:
    """Read the controller's configuration; raises CanariError that names the file and every fault."""
    try:
        return ClusterConfig.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise CanariError(
            f"{file}: cannot be read ({error.strerror}): name the controller's file in CANARI_CLUSTER_CONFIG"
        ) from error
    except yaml.YAMLError as error:
        raise CanariError(f"{file}: this is not YAML: {error}") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors())
        raise CanariError(f"{file}: " + "; ".join(faults)) from None


def version_object(model: str, version: int) -> str:
    """The name of every object of one version."""
    return f"{kubernetes_name(model)}-v{version}"
