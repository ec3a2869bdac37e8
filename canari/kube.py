"""One namespace of a Kubernetes cluster, spoken to by server-side apply.

Objects are plain dictionaries as the API server writes them. What this process owns of an object is what it applied
last (https://kubernetes.io/docs/reference/using-api/server-side-apply/); what others put beside it stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.resource import Resource
from loguru import logger
from urllib3.exceptions import HTTPError

from canari.errors import CanariError
from canari.objects import LEASE, Kind, Manifest

_TIMEOUT_SECONDS = (3.05, 15.0)  # to connect, to answer


class ApiError(CanariError):
    """The API server refused, or did not answer (`status` 0); the message holds its words."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def connect(kubeconfig: Path | None = None) -> ApiClient:
    """A client: of `kubeconfig`, else of the pod's service account, else of $KUBECONFIG or ~/.kube/config."""
    settings = Configuration()
    try:
        if kubeconfig is None:
            try:
                config.load_incluster_config(client_configuration=settings)
            except config.ConfigException:
                config.load_kube_config(client_configuration=settings)
        else:
            config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
    except (config.ConfigException, OSError, ValueError, TypeError) as error:
        raise CanariError(
            f"no Kubernetes cluster is known here ({error}): set KUBECONFIG to a kubeconfig file, "
            "or run in a pod with a service account"
        ) from error
    settings.retries = False
    return ApiClient(settings)


class Kube:
    """One namespace of a cluster. Server-side apply as the field manager `manager`.

    With `dry_run` the API server judges every write and keeps none. `guard` is called before each write: what it
    raises keeps the write from being sent.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        *,
        manager: str = "canari-controller",
        dry_run: bool = False,
        guard: Callable[[], None] | None = None,
    ) -> None:
        # What is spoken of is known beforehand, so nothing is asked of the server's discovery.
        self._client = DynamicClient(client, discoverer=lambda *_: None)
        self.namespace = namespace
        self.dry_run = dry_run
        self._manager = manager
        self._guard = guard

    def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Manifest | None:
        """The object, or None where there is none."""
        try:
            return self._ask("get", kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, kind: Kind, *, labels: Mapping[str, str] | None = None, namespace: str | None = None
    ) -> list[Manifest]:
        """Every object of a kind that carries all of `labels`."""
        selector = ",".join(f"{name}={value}" for name, value in (labels or {}).items())
        found = self._ask("get", kind, None, namespace, label_selector=selector or None)
        return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in found["items"]]

    def apply(self, manifest: Manifest) -> Manifest:
        """Make the object hold what `manifest` says, and drop what an earlier apply said and this one does not.

        What others own of the same fields becomes this manager's.
        """
        kind, name = _named(manifest)
        return self._write(
            "patch",
            kind,
            name,
            manifest,
            "apply",
            content_type="application/apply-patch+yaml",
            force_conflicts=True,
            field_manager=self._manager,
        )

    def create(self, manifest: Manifest) -> Manifest:
        """Make an object that is not there yet; raises ApiError 409 where it is."""
        kind, name = _named(manifest)
        return self._write("post", kind, name, manifest, "create", field_manager=self._manager)

    def replace(self, manifest: Manifest) -> Manifest:
        """Put `manifest` in an object's place; raises ApiError 409 where its `resourceVersion` is an old one."""
        kind, name = _named(manifest)
        return self._write("put", kind, name, manifest, "replace", field_manager=self._manager)

    def patch_status(self, kind: Kind, name: str, status: Manifest) -> None:
        """Merge `status` into an object's status (RFC 7386: lists as a whole, None removes)."""
        body = {"status": status}
        self._write(
            "patch",
            kind,
            name,
            body,
            "write the status of",
            subresource="status",
            content_type="application/merge-patch+json",
            field_manager=self._manager,
        )

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object, and in the background what it owns; one that is absent is fine."""
        try:
            self._write("delete", kind, name, None, "delete", propagation_policy="Background")
        except ApiError as error:
            if error.status != 404:
                raise

    def _write(self, method: str, kind: Kind, name: str, body: Manifest | None, act: str, **options: Any) -> Manifest:
        if self._guard is not None:
            self._guard()
        namespace = (body or {}).get("metadata", {}).get("namespace")
        if self.dry_run:
            options["dry_run"] = "All"
        answer = self._ask(method, kind, None if method == "post" else name, namespace, body=body, **options)
        # A lease is renewed every few seconds.
        level = "DEBUG" if kind == LEASE else "INFO"
        logger.log(level, "{} {} {}", f"would {act}" if self.dry_run else act, kind.kind, name)
        return answer

    def _ask(
        self, method: str, kind: Kind, name: str | None, namespace: str | None, *, subresource: str = "", **options: Any
    ) -> Manifest:
        path = _resource(kind).path(name=name, namespace=namespace or self.namespace)
        if subresource:
            path = f"{path}/{subresource}"
        try:
            answer = self._client.request(method, path, serialize=False, _request_timeout=_TIMEOUT_SECONDS, **options)
            return dict(json.loads(answer.data))
        except ApiException as error:
            what = f"{kind.kind} {name}" if name else kind.kind
            raise ApiError(f"{what}: {_words(error)}", error.status or 0) from None
        except (HTTPError, OSError) as error:
            raise ApiError(f"the API server of Kubernetes does not answer: {error}", 0) from error


def _named(manifest: Manifest) -> tuple[Kind, str]:
    api_version, kind = manifest["apiVersion"], manifest["kind"]
    return Kind(api_version, kind), manifest["metadata"]["name"]


def _resource(kind: Kind) -> Resource:
    group, _, version = kind.api_version.rpartition("/")
    prefix = "apis" if group else "api"
    return Resource(
        prefix=prefix, group=group, api_version=version, kind=kind.kind, name=kind.plural, namespaced=True, verbs=[]
    )


def _words(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, TypeError, KeyError):
        return f"{error.status} {error.reason}"
