"""Running a model's versions as Deployments.

An unchanged tick writes nothing: the objects that are there are listed once a tick, and only what lacks something of
what is wanted is applied. Secrets are never read, so that who breaks into the controller learns none: a version's
token is known by its end and its signer, which stand on the Deployment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from loguru import logger

from canari.errors import CanariError
from canari.kube import ApiError, Kube
from canari.launch.cluster_config import (
    HASH_ANNOTATION,
    MODEL_LABEL,
    VERSION_LABEL,
    ClusterConfig,
    version_object,
)
from canari.launch.launcher import State, VersionRun
from canari.launch.manifests import TOKEN_EXPIRES, TOKEN_SIGNER, Release, token_secret, version_manifests
from canari.launch.pods import fails, lacks_secret, trouble_of
from canari.objects import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    HPA,
    PDB,
    POD,
    SECRET,
    SERVICE,
    Kind,
    Manifest,
    OwnerReference,
    differences,
)

Key = tuple[str, int]
# A version's listed kinds, in the order in which they go. What is made first and goes last is how the rest is found.
_KINDS = (HPA, PDB, SERVICE, DEPLOYMENT)
_RENEWAL = timedelta(days=30)


class KubernetesLauncher:
    """Versions as Deployments of one namespace.

    `owner(model)` is the reference to the model's resource, with which everything goes; `token(model, number)` signs a
    version's token and tells when it ends; `tell(model, reason, note)` is called for each act.
    """

    def __init__(
        self,
        kube: Kube,
        config: ClusterConfig,
        *,
        owner: Callable[[str], OwnerReference | None],
        public_key: str,
        token: Callable[[str, int], tuple[str, datetime]],
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._kube = kube
        self._config = config
        self._release = Release(config, public_key)
        self._owner = owner
        self._token = token
        self._tell = tell
        self._objects: dict[Key, dict[Kind, Manifest]] = {}
        self._pods: dict[Key, list[Manifest]] = {}
        self._reachable: set[Key] = set()
        self._refused: dict[Key, str] = {}

    def observe(self) -> None:
        """Read what there is, once for all versions; the other methods speak of what was read."""
        objects: dict[Key, dict[Kind, Manifest]] = defaultdict(dict)
        for kind in _KINDS:
            for found in self._kube.list(kind, labels=self._config.owned):
                if (key := _key(found)) is not None and "deletionTimestamp" not in found["metadata"]:
                    objects[key][kind] = found
        pods: dict[Key, list[Manifest]] = defaultdict(list)
        for pod in self._kube.list(POD, labels=self._config.owned):
            if (key := _key(pod)) is not None:
                pods[key].append(pod)
        slices = self._kube.list(ENDPOINT_SLICE, labels=self._config.owned)
        self._reachable = {key for one in slices if (key := _key(one)) is not None and _leads_anywhere(one)}
        self._objects, self._pods, self._refused = dict(objects), dict(pods), {}

    def ensure(self, run: VersionRun) -> State:
        """Have a version running; writes only what differs. Raises CanariError where nothing of it can run."""
        key = (run.spec.name, run.number)
        owner = self._owner(run.spec.name)
        if owner is None:
            raise CanariError(f"there is no Model resource of {run.spec.name}: apply one")
        there = self._objects.setdefault(key, {})
        try:
            self._bring(run, owner, there)
        except ApiError as error:
            # What runs goes on to answer, whatever the API server thinks of a change.
            if DEPLOYMENT not in there:
                raise
            self._refused[key] = str(error)
        return self._state(key)

    def running(self) -> set[Key]:
        """Every version of which an object is left."""
        return {key for key, there in self._objects.items() if there}

    def stop(self, versions: Collection[Key]) -> None:
        """End versions: their pods finish what they are answering. A version half stopped is found again."""
        for key in versions:
            name = version_object(*key)
            self._kube.delete(SECRET, name)
            for kind in _KINDS:
                if kind in self._objects.get(key, {}):
                    self._kube.delete(kind, name)
            self._objects.pop(key, None)
            self._tell(key[0], "VersionStopped", f"version {key[1]} has left and is stopped")

    def trouble(self, model: str, number: int) -> str | None:
        """Why a version is not as it is wanted, in the cluster's words; None where nothing is amiss."""
        key = (model, number)
        if key in self._refused:
            return self._refused[key]
        deployment = self._objects.get(key, {}).get(DEPLOYMENT, {})
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                return str(condition.get("message", condition.get("reason")))
        return next((said for pod in self._pods.get(key, []) if (said := trouble_of(pod))), None)

    def _bring(self, run: VersionRun, owner: OwnerReference, there: dict[Kind, Manifest]) -> None:
        key = (run.spec.name, run.number)
        name = version_object(*key)
        expires = self._kept_until(there.get(DEPLOYMENT))
        token = None
        if expires is None:
            token, expires = self._token(*key)
        elif any(lacks_secret(pod, name) for pod in self._pods.get(key, [])):
            token, _ = self._token(*key)
        wanted = version_manifests(self._release, run, owner, expires)
        for manifest in wanted:
            kind = Kind(manifest["apiVersion"], manifest["kind"])
            if kind == DEPLOYMENT and token is not None:
                self._kube.apply(token_secret(self._config, run, owner, token))
            self._have(run, kind, manifest, there)
        if HPA in there and all(manifest["kind"] != HPA.kind for manifest in wanted):
            self._kube.delete(HPA, name)
            del there[HPA]

    def _kept_until(self, deployment: Manifest | None) -> datetime | None:
        """When the version's token ends; None where there is none, or where it is time for a new one."""
        if deployment is None:
            return None
        noted = deployment["spec"]["template"]["metadata"].get("annotations", {})
        if noted.get(TOKEN_SIGNER) != self._release.signer:
            return None
        try:
            expires = datetime.fromisoformat(noted[TOKEN_EXPIRES])
        except (KeyError, ValueError):
            return None
        return expires if expires - datetime.now(UTC) > _RENEWAL else None

    def _have(self, run: VersionRun, kind: Kind, manifest: Manifest, there: dict[Kind, Manifest]) -> None:
        old = there.get(kind)
        lacking = differences(old, manifest) if old else []
        if old and not lacking:
            return
        name = manifest["metadata"]["name"]
        changes = [line for line in lacking if HASH_ANNOTATION not in line] or lacking
        for line in changes:
            logger.info("{} {}: {}", kind.kind, name, line)
        there[kind] = self._kube.apply(_scaled(manifest, run, old) if kind == DEPLOYMENT else manifest)
        if kind == DEPLOYMENT:
            reason, note = ("VersionChanged", "; ".join(changes)) if old else ("VersionStarted", f"{name} is made")
            self._tell(run.spec.name, reason, f"version {run.number}: {note}")

    def _state(self, key: Key) -> State:
        status = self._objects[key][DEPLOYMENT].get("status", {})
        # A pod that is ready gets nothing before its Service leads to it: a gateway would answer 503 for it.
        if status.get("readyReplicas", 0) >= 1 and key in self._reachable:
            return State.READY
        failing = any(fails(pod) for pod in self._pods.get(key, []))
        return State.BACKOFF if failing else State.STARTING


def _scaled(deployment: Manifest, run: VersionRun, old: Manifest | None) -> Manifest:
    """The Deployment as it is applied: where an autoscaler has the replicas, they are what they are.

    A field that an apply no longer names falls back to its default, which is one replica
    (https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership).
    """
    replicas = run.spec.serving.replicas
    if replicas.most == replicas.min:
        return deployment
    now = old["spec"].get("replicas", 1) if old else replicas.min
    spec = {**deployment["spec"], "replicas": max(replicas.min, min(replicas.most, now))}
    return {**deployment, "spec": spec}


def _key(found: Manifest) -> Key | None:
    labels = found["metadata"].get("labels", {})
    number = labels.get(VERSION_LABEL, "")
    return (labels[MODEL_LABEL], int(number)) if MODEL_LABEL in labels and number.isdecimal() else None


def _leads_anywhere(endpoint_slice: Manifest) -> bool:
    # The API leaves `ready` out where it does not know, and says that this is to be taken for true.
    endpoints = endpoint_slice.get("endpoints") or []
    return any(one.get("conditions", {}).get("ready") is not False for one in endpoints)
