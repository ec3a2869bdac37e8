"""What a new platform on a cluster starts with: sample Models, and a small version of each, until they answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import httpx

from canari.kube import Kube
from canari.objects import MODEL
from canari.packages import Package, push
from canari.remote import RefusedError, checked
from canari.spec import ModelSpec
from services.jobs.asking import Patience, Tell, lacks, sample_input

SAMPLE_LABEL = "canari.dev/sample"
_LABELS = {SAMPLE_LABEL: "true", "app.kubernetes.io/part-of": "canari"}


def welcome(
    kube: Kube,
    packages: Sequence[Package],
    feedback: httpx.Client,
    gateway: httpx.Client,
    patience: Patience,
    tell: Tell,
) -> None:
    """Have every package's model on the platform, with a version, and answering through the gateway.

    A Model that is there stays as it is, whoever made it; so does a model that has versions, or whose specification a
    package does not fit. Raises CanariError where a model does not answer in time.
    """
    patience.until("the feedback API", partial(lacks, feedback, "GET", "/api/health"))
    answering = []
    for package in packages:
        _ensure_model(kube, package.spec)
        route = f"/api/{package.model}"
        patience.until(f"the controller to take in {package.model}", partial(lacks, feedback, "GET", route))
        if _ensure_version(feedback, package, patience, tell):
            answering.append(package)
    for package in answering:
        content, kind = sample_input(package.spec.input)
        route = f"/api/{package.model}/predict"
        patience.until(f"{package.model} to answer", partial(lacks, gateway, "POST", route, content, kind))
        tell(f"{package.model} answers")


def _ensure_model(kube: Kube, spec: ModelSpec) -> None:
    if kube.get(MODEL, spec.kubernetes_name) is not None:
        return
    kube.apply(
        {
            "apiVersion": MODEL.api_version,
            "kind": MODEL.kind,
            "metadata": {"name": spec.kubernetes_name, "labels": _LABELS},
            "spec": spec.document(),
        }
    )


def _ensure_version(feedback: httpx.Client, package: Package, patience: Patience, tell: Tell) -> bool:
    """Push the package where its model has no ready version; whether the model is to answer."""
    model = package.model
    refused: list[RefusedError] = []

    def pushed() -> str | None:
        try:
            known = checked(feedback.get(f"/api/{model}/versions"))["versions"]
            if not any(version["state"] == "ready" for version in known):
                number, _ = push(feedback, package)
                tell(f"{model} has version {number}")
        except httpx.TransportError as error:
            return f"the feedback API does not answer ({error})"
        except RefusedError as error:
            if error.status >= httpx.codes.INTERNAL_SERVER_ERROR:
                return str(error)
            refused.append(error)
        return None

    patience.until(f"{model}'s first version to be taken in", pushed)
    for error in refused:
        tell(f"{model} gets no sample version: {error}")
    return not refused
