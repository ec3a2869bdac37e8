"""Model resources as the controller reads them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from canari.objects import MODEL, Manifest, OwnerReference
from canari.spec import ModelSpec
from canari.spec_file import SpecError, read_spec


@dataclass(frozen=True)
class Resource:
    """One Model resource: its specification, or what is wrong with it."""

    name: str
    namespace: str
    uid: str
    version: str
    generation: int
    created_at: datetime
    status: Manifest
    spec: ModelSpec | None
    fault: str | None

    @property
    def model(self) -> str:
        """The model's name; where the specification is broken, the one that the resource's name stands for."""
        return self.spec.name if self.spec else self.name.replace("-", "_")

    @property
    def reference(self) -> OwnerReference:
        """What objects carry that go with this resource."""
        return {
            "apiVersion": MODEL.api_version,
            "kind": MODEL.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }


def read_resource(manifest: Manifest) -> Resource:
    """The resource an object of the API server is."""
    metadata = manifest["metadata"]
    spec: ModelSpec | None = None
    fault = None
    try:
        spec = read_spec(manifest.get("spec"))
    except SpecError as error:
        fault = str(error)
    if spec is not None and spec.kubernetes_name != metadata["name"]:
        fault = f"metadata.name: it must be {spec.kubernetes_name}, for the model is called {spec.name}"
        spec = None
    return Resource(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        status=manifest.get("status", {}),
        spec=spec,
        fault=fault,
    )
