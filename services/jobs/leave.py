"""Before a platform is uninstalled: what the controller made goes, while something still knows that it was made."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from canari.kube import Kube
from canari.launch.cluster_config import MANAGER
from canari.objects import DEPLOYMENT, HPA, HTTP_ROUTE, LEASE, MODEL, PDB, POD, SECRET, SERVICE, Kind
from services.jobs.asking import Patience
from services.jobs.welcome import SAMPLE_LABEL

# The route first, so that nothing is sent to what goes next; the Deployment last, for it names the rest.
_MADE = (HTTP_ROUTE, HPA, PDB, SERVICE, DEPLOYMENT)


def leave(kube: Kube, instance: str, patience: Patience) -> None:
    """Stop the controller of the release `instance`, delete the sample Models and all it made, and wait for the end.

    Models that people made stay, and another installation takes them up. Raises CanariError where it takes too long.
    """
    release = {"app.kubernetes.io/instance": instance}
    controller = release | {"app.kubernetes.io/component": "controller"}
    for deployment in kube.list(DEPLOYMENT, labels=controller):
        name = deployment["metadata"]["name"]
        kube.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 0}})
    patience.until("the controller to end", lambda: _left(kube, (POD,), controller))
    for model in kube.list(MODEL, labels={SAMPLE_LABEL: "true"}):
        kube.delete(MODEL, model["metadata"]["name"])
    made = release | {"app.kubernetes.io/managed-by": MANAGER}
    for kind in _MADE:
        for found in kube.list(kind, labels=made):
            name = found["metadata"]["name"]
            if kind is DEPLOYMENT:
                # Secrets are not ours to list; each is called like its version's Deployment.
                kube.delete(SECRET, name)
            kube.delete(kind, name)
    kube.delete(LEASE, f"{instance}-controller")
    patience.until("what the controller made to go", lambda: _left(kube, (*_MADE, POD), made))


def _left(kube: Kube, kinds: Collection[Kind], labels: Mapping[str, str]) -> str | None:
    names = [f"{kind.kind} {found['metadata']['name']}" for kind in kinds for found in kube.list(kind, labels=labels)]
    return f"there are still {', '.join(names)}" if names else None
