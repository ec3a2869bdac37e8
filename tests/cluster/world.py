"""A controller's world without the chart: a namespace with a Gateway, a database, and Model resources."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import httpx
from kubernetes.client import ApiClient

from canari.kube import Kube, connect
from canari.launch.cluster_config import ClusterConfig
from canari.objects import DEPLOYMENT, ENDPOINT_SLICE, MODEL, SERVICE, Kind, Manifest
from canari.spec import ModelSpec, kubernetes_name
from canari.store import versions
from canari.tokens import new_key, public_pem
from canari.traffic.gateway_api import GatewayRoutes
from services.controller.bento_token import bento_token
from services.controller.cluster_loop import ClusterController
from tests.cluster.tools import Kubectl, until
from tests.conftest import ROOT, Database

KINDS = "deployments,services,poddisruptionbudgets,horizontalpodautoscalers,httproutes,secrets"
OWNED = "--selector=app.kubernetes.io/managed-by=canari-controller"


class KilledError(BaseException):
    """The process is gone: nothing catches this."""


class WatchedKube(Kube):
    """Notes what is written, and ends the process after each write that `killers` does not know yet.

    With `ready`, every Deployment is said to have a pod that answers, and its Service to lead there.
    """

    def __init__(self, client: ApiClient, namespace: str, *, ready: bool, killers: set[str] | None = None) -> None:
        super().__init__(client, namespace)
        self.written: list[str] = []
        self._ready = ready
        self._killers = killers

    def list(self, kind: Kind, **options: Any) -> list[Manifest]:
        if self._ready and kind == ENDPOINT_SLICE:
            ready = [{"conditions": {"ready": True}}]
            return [{"metadata": one["metadata"], "endpoints": ready} for one in super().list(SERVICE, **options)]
        found = super().list(kind, **options)
        if self._ready and kind == DEPLOYMENT:
            for deployment in found:
                deployment.setdefault("status", {})["readyReplicas"] = 1
        return found

    def _write(self, method: str, kind: Kind, name: str, body: Manifest | None, act: str, **options: Any) -> Manifest:
        answer = super()._write(method, kind, name, body, act, **options)
        line = f"{act} {kind.kind} {name}"
        self.written.append(line)
        if self._killers is not None and line not in self._killers:
            self._killers.add(line)
            raise KilledError(line)
        return answer


@dataclass
class World:
    """What controllers work on, and ways to change it."""

    kubectl: Kubectl
    database: Database
    config: ClusterConfig
    key: Any = field(default_factory=new_key)
    _client: ApiClient = field(default_factory=connect)
    _proxies: httpx.Client = field(default_factory=httpx.Client)

    @classmethod
    def make(cls, kubectl: Kubectl, database: Database, **bento: Any) -> World:
        """Make what the chart makes elsewhere; no version runs before `point_feedback_at`."""
        assert kubectl.namespace
        kubectl("apply", "--server-side", "--force-conflicts", f"--filename={ROOT / 'k8s' / 'crd.yaml'}")
        kubectl("create", "serviceaccount", "canari-bento")
        listener = {"name": "http", "protocol": "HTTP", "port": 80}
        kubectl.apply(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": {"name": "canari"},
                "spec": {"gatewayClassName": "eg", "listeners": [listener]},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "canari-feedback"},
                "spec": {"ports": [{"port": 80, "name": "http"}]},
            },
        )
        config = {
            "instance": "canari",
            "namespace": kubectl.namespace,
            "gateway": {"name": "canari", "namespace": kubectl.namespace},
            "feedback": {"service": "canari-feedback"},
            "bento": bento,
        }
        return cls(kubectl, database, ClusterConfig.model_validate(config))

    def point_feedback_at(self, port: int) -> None:
        """Have the feedback API's Service lead to a process of this machine."""
        node = next(
            address["address"]
            for address in self.kubectl.items("nodes")[0]["status"]["addresses"]
            if address["type"] == "InternalIP"
        )
        # The address from which this machine speaks to the node is one that the node's pods can answer to.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((node, 9))
            here = probe.getsockname()[0]
        self.kubectl.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "canari-feedback",
                    "labels": {"kubernetes.io/service-name": "canari-feedback"},
                },
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
                "endpoints": [{"addresses": [here]}],
            }
        )

    @property
    def namespace(self) -> str:
        return self.config.namespace

    def kube(
        self, *, ready: bool = True, killers: set[str] | None = None, client: ApiClient | None = None
    ) -> WatchedKube:
        """What a process writes with."""
        return WatchedKube(client or self._client, self.namespace, ready=ready, killers=killers)

    def controller(self, kube: Kube, **options: Any) -> ClusterController:
        """A controller that has just started, and believes that 10 s pass each time it looks at its routes' clock."""
        clock = partial(next, count(step=10.0))
        told = {
            "public_key": public_pem(self.key).decode(),
            "token": partial(bento_token, self.key),
            "routes": partial(GatewayRoutes, kube, self.config, clock=clock, client=self._proxies),
            "instance": "a-test",
        }
        return ClusterController(kube, self.config, self.database.engine, **{**told, **options})

    def settle(self, kube: WatchedKube | None = None, **options: Any) -> None:
        """Have a controller go round until two rounds one after the other write nothing."""
        kube = kube or self.kube()
        controller = self.controller(kube, **options)

        def quiet() -> bool:
            kube.written.clear()
            controller.tick()
            controller.tick()
            return not kube.written

        until(quiet, "rounds that write nothing", seconds=60, pause=0.1)

    def apply(self, spec: ModelSpec, **changes: Any) -> None:
        """Apply a Model resource as a user would; `changes` replace fields of the specification."""
        document = spec.model_dump(mode="json", exclude_defaults=True)
        document |= {"serving": {**document.get("serving", {}), **changes.pop("serving", {})}} | changes
        metadata = {"name": spec.kubernetes_name}
        self.kubectl.apply(
            {"apiVersion": MODEL.api_version, "kind": MODEL.kind, "metadata": metadata, "spec": document}
        )

    def version(self, spec: ModelSpec, archive: str | None = None) -> int:
        """Another version of a model that may serve."""
        number = versions.allot(self.database.engine, spec, manifest_digest=None, synthetic=True)
        versions.mark_ready(self.database.engine, spec.name, number, archive=archive or f"{number:064d}", metrics={})
        return number

    def left(self, model: str) -> list[str]:
        """What there is of a model but its resource, as Kind/name."""
        found = self.kubectl.items(KINDS, OWNED, f"--selector=canari.dev/model={model}")
        return sorted(f"{item['kind']}/{item['metadata']['name']}" for item in found)

    def all(self, kinds: str) -> list[dict[str, Any]]:
        """Every object of these kinds."""
        return self.kubectl.items(kinds)

    def object(self, kind: str, name: str) -> Any:
        return self.kubectl.json("get", kind, name)

    def status(self, model: str) -> dict[str, Any]:
        return dict(self.object("model", kubernetes_name(model)).get("status", {}))

    def condition(self, model: str, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a model's condition; all empty before there is one."""
        for condition in self.status(model).get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"], condition["message"]
        return "", "", ""

    def events(self, model: str) -> list[tuple[str, str]]:
        """Reason and note of every Event about a model."""
        events = self.kubectl.items("events.events.k8s.io")
        return [(e["reason"], e["note"]) for e in events if e["regarding"]["name"] == kubernetes_name(model)]
